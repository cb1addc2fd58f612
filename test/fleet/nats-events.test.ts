import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import type { EventsMessage } from "../../src/fleet/messages.ts";
import {
  decodeStreamEvent,
  encodeStreamEvent,
  joinEvents,
  type PlacedEvent,
} from "../../src/fleet/nats-events.ts";
import { eventOf, eventsOf } from "../support/fleet-nats.ts";
import { ALICE } from "../support/peers.ts";

/** What the hub reads after a gateway has stored the messages. */
function throughStream(...messages: EventsMessage[]): PlacedEvent[] {
  return messages.flatMap((message) =>
    message.events.map((_, index) => {
      const { headers, body } = encodeStreamEvent(message, index);
      const event = decodeStreamEvent((name) => headers[name] ?? "", body);
      if (event === null) throw new Error(`not an event: ${body}`);
      return event;
    }),
  );
}

describe("events in the NATS stream", () => {
  test("a message has the event unchanged, its place, and headers to filter by", () => {
    const { id, headers, body } = encodeStreamEvent(eventsOf("berlin", 4, 5), 1);
    const event = eventOf("berlin", 5);
    expect(body).toBe(JSON.stringify(event));
    expect(id).toBe(`${String(event["id"])}.0a1b2c3d`);
    expect(headers).toEqual({
      "Nats-Msg-Id": id,
      "Wgmon-Version": "1",
      "Wgmon-Epoch": "0a1b2c3d",
      "Wgmon-Seq": "5",
      "Wgmon-First": "1",
      "Wgmon-After": `4 ${String(eventOf("berlin", 4)["id"])}`,
      "Wgmon-Type": "peer.connected",
      "Wgmon-Device": "wg0",
      "Wgmon-Peer": ALICE,
    });
  });

  test("consecutive events become one message again, also with numbers that the store no longer has", () => {
    const whole = eventsOf("berlin", 1, 6);
    expect(joinEvents(throughStream(whole), 500)).toEqual([whole]);
    const withHole = { ...whole, events: whole.events.filter(({ seq }) => seq !== 3) };
    expect(joinEvents(throughStream(withHole), 500)).toEqual([withHole]);
  });

  test("where the stream has lost an event, another message begins", () => {
    const events = throughStream(eventsOf("berlin", 1, 5)).filter(({ seq }) => seq !== 3);
    expect(joinEvents(events, 500)).toEqual([eventsOf("berlin", 1, 2), eventsOf("berlin", 4, 5)]);
  });

  test("events of another epoch, or of a second gateway with this name, are in another message", () => {
    const [one, two] = [eventsOf("berlin", 1, 2), eventsOf("berlin", 1, 2, "99999999")];
    expect(joinEvents(throughStream(one, two), 500)).toEqual([one, two]);
    const [a1, a2] = throughStream(one);
    const [b1, b2] = throughStream(two);
    const mixed = joinEvents([a1!, b1!, a2!, b2!], 500);
    expect(mixed.map(({ epoch, events }) => `${epoch} ${events[0]?.seq}`)).toEqual([
      "0a1b2c3d 1",
      "99999999 1",
      "0a1b2c3d 2",
      "99999999 2",
    ]);
  });

  test("messages have at most the given number of events", () => {
    const joined = joinEvents(throughStream(eventsOf("berlin", 1, 5)), 2);
    expect(joined).toEqual([
      eventsOf("berlin", 1, 2),
      eventsOf("berlin", 3, 4),
      eventsOf("berlin", 5, 5),
    ]);
  });

  test("any other message is not an event", () => {
    const headers: Record<string, string> = {
      ...encodeStreamEvent(eventsOf("berlin", 1, 1), 0).headers,
    };
    const decode = (change: Record<string, string>, body = "{}") =>
      decodeStreamEvent((name) => ({ ...headers, ...change })[name] ?? "", body);
    expect(decode({})).toMatchObject({ seq: 1, after: null });
    expect(decode({ "Wgmon-Seq": "" })).toBeNull();
    expect(decode({ "Wgmon-Seq": "0" })).toBeNull();
    expect(decode({ "Wgmon-Seq": "1e3" })).toBeNull();
    expect(decode({ "Wgmon-First": "9007199254740993" })).toBeNull();
    expect(decode({ "Wgmon-Version": "2" })).toBeNull();
    for (const body of ["", "null", "[]", '"text"', "{"]) expect(decode({}, body)).toBeNull();
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.string()), fc.string(), (change, body) => {
        decode(change, body);
      }),
    );
  });

  test("text of any kind in an event never breaks the headers", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (type, device) => {
        const event = { ...eventOf("berlin", 1), type, data: { device } };
        const { headers } = encodeStreamEvent(
          { ...eventsOf("berlin", 1, 1), events: [{ seq: 1, event }] },
          0,
        );
        for (const value of Object.values(headers)) expect(value).toMatch(/^[\x20-\x7e]*$/);
      }),
    );
  });
});
