/** The events of a hub about its gateways: their sentences, their log lines, their schema, and their requests. */

import { expect, test } from "bun:test";

import Ajv from "ajv";

import { formats } from "../../src/channels/formats/index.ts";
import { matchesFilter } from "../../src/events/event-filter.ts";
import { EventSchema } from "../../src/events/event-schema.ts";
import { describeEvent, deviceOf, logFields, logLevel } from "../../src/events/event.ts";
import { aFleetEvent, fleetTypes, messageOf } from "../support/events.ts";

const sentences = {
  "gateway.lost":
    "gateway wgmon-test does not report any more; the state of its 12 peers is unknown",
  "gateway.back": "gateway wgmon-test reports again after 12m 5s",
  "gateway.stopped": "wgmon on gateway wgmon-test was stopped",
  "fleet.partition":
    "3 of 4 gateways do not report any more: wgmon-test, wgmon-test-2, wgmon-test-3; the hub's network may have failed",
  "fleet.gap":
    "gateway wgmon-test does not have 12 events any more (30 to 41), so the hub cannot get them",
  "fleet.duplicate-name":
    "two gateways report as wgmon-test; give one of them another --host, and enroll it",
};

test.each(fleetTypes)("the sentence of %s names the gateway and what to expect", (type) => {
  expect(describeEvent(aFleetEvent(type))).toBe(sentences[type]);
});

test.each(fleetTypes)("%s matches the schema of events, has no device and no peer", (type) => {
  const event = aFleetEvent(type);
  const validate = new Ajv({ strict: false, formats: { "date-time": true } }).compile(EventSchema);
  expect(validate(event)).toBe(true);
  expect(deviceOf(event)).toBeNull();
  expect(logFields(event)).toMatchObject({ event: type, id: event.id });
});

test("an event about a gateway is a warning in the log, unless the gateway is back or was stopped", () => {
  const levels = fleetTypes.map((type) => [type, logLevel(aFleetEvent(type))]);
  expect(Object.fromEntries(levels)).toEqual({
    "gateway.lost": "warn",
    "gateway.back": "info",
    "gateway.stopped": "info",
    "fleet.partition": "warn",
    "fleet.gap": "warn",
    "fleet.duplicate-name": "warn",
  });
});

test("a partition of many gateways names three of them", () => {
  const event = aFleetEvent("fleet.partition");
  if (event.type !== "fleet.partition") throw new Error();
  const gateways = Array.from({ length: 100 }, (_, index) => `gw${index}`);
  const data = { gateways, count: 340, known: 900 };
  expect(describeEvent({ ...event, data })).toBe(
    "340 of 900 gateways do not report any more: gw0, gw1, gw2 and 337 more; the hub's network may have failed",
  );
});

test("gateway.* and fleet.* in a filter select the events about gateways, and a filter by peer or device none", () => {
  const selected = (
    events: readonly ("gateway.*" | "fleet.*")[],
    devices: readonly string[] = [],
  ) =>
    fleetTypes.filter((type) => matchesFilter(aFleetEvent(type), { events, devices, peers: [] }));
  expect(selected(["gateway.*"])).toEqual(["gateway.lost", "gateway.back", "gateway.stopped"]);
  expect(selected(["fleet.*"])).toEqual(["fleet.partition", "fleet.gap", "fleet.duplicate-name"]);
  expect(selected([])).toEqual([...fleetTypes]);
  expect(selected([], ["wg0"])).toEqual([]);
});

const urls: Partial<Record<keyof typeof formats, string>> = {
  telegram: "https://api.telegram.org/bot1:a/sendMessage?chat_id=1",
  pushover: "https://api.pushover.net/1/messages.json?token=a&user=u",
  ntfy: "https://ntfy.sh/alerts",
};

test.each(Object.keys(formats) as (keyof typeof formats)[])(
  "the format %s has the sentence of each event about gateways",
  (name) => {
    const url = new URL(urls[name] ?? "https://hooks.example.net/a");
    for (const type of fleetTypes) {
      const { body } = formats[name].request(messageOf(aFleetEvent(type)), url);
      if (name === "json") expect(JSON.parse(body)).toEqual(aFleetEvent(type));
      else {
        const plain = decodeURIComponent(body.replaceAll("+", " ")).replaceAll("\\", "");
        expect(plain).toContain(sentences[type]);
      }
    }
  },
);
