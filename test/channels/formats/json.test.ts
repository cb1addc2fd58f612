/** JSON: one event is its own body, several events are a digest. */

import { expect, test } from "bun:test";

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import fc from "fast-check";

import { json, jsonText } from "../../../src/channels/formats/json.ts";
import { DigestSchema, EventSchema } from "../../../src/events/event-schema.ts";
import { anEvent, eventTypes, hostileMessage, messageOf } from "../../support/events.ts";

FormatRegistry.Set("date-time", (text) => new Date(text).toISOString() === text);

const URL_ = new URL("https://hooks.example.net/wgmon?token=s3cret");
const parsed = (message: Parameters<typeof json.request>[0]): unknown =>
  JSON.parse(json.request(message, URL_).body);

test.each(eventTypes)("the body for %s is the event, and is valid by the schema", (type) => {
  const event = anEvent(type);
  expect(parsed(messageOf(event))).toEqual(event);
  expect(Value.Check(EventSchema, parsed(messageOf(event)))).toBe(true);
});

test("the body for several events is a digest, and is valid by the schema", () => {
  const events = eventTypes.map((type) => anEvent(type)) as [ReturnType<typeof anEvent>];
  const digest = parsed(messageOf(...events));
  expect(digest).toEqual({
    id: `msg_${"a".repeat(32)}`,
    version: 1,
    type: "digest",
    timestamp: events.at(-1)!.timestamp,
    host: "gw1",
    data: { events },
  });
  expect([...Value.Errors(DigestSchema, digest)]).toEqual([]);
  expect(Value.Check(EventSchema, digest)).toBe(false);
});

test("the request goes to the unchanged URL, and is signed", () => {
  expect(json.request(messageOf(anEvent("device.added")), URL_)).toMatchObject({
    url: URL_.href,
    contentType: "application/json",
  });
  expect(json.isSigned).toBe(true);
});

test("a lone surrogate is replaced, and all other characters are kept", () => {
  expect(jsonText({ name: '\ud800 "\n\u202e😀' })).toBe('{"name":"\ufffd \\"\\n\u202e😀"}');
  fc.assert(
    fc.property(hostileMessage, (message) => {
      const { body } = json.request(message, URL_);
      expect(body).not.toMatch(/\\ud[89a-f]/);
      expect(body.isWellFormed()).toBe(true);
      JSON.parse(body);
    }),
    { numRuns: 50 },
  );
});
