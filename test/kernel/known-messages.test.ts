/** Which messages of a dump are skipped, and that nothing of what they say is missed for it. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import type { DeviceScan } from "../../src/base/wireguard.ts";
import { KnownMessages } from "../../src/kernel/known-messages.ts";
import { PeerTable } from "../../src/kernel/peer-table.ts";
import {
  type DeviceFields,
  deviceMessage,
  keyOf,
  messagesOf,
  type PeerFields,
  whole,
} from "../support/answers.ts";
import { readGolden } from "../support/golden.ts";

const HEADER_BYTES = 16;
const RX = 7;

/** Which of the messages are known, in one dump. */
function dump(known: KnownMessages, messages: readonly Uint8Array[], isValid = true): boolean[] {
  known.begin();
  const found = messages.map((message) => known.next(message, 0, message.length).isKnown);
  known.end(isValid);
  return found;
}

describe("a message is known", () => {
  const [a, b, c] = [1, 2, 3].map((key) => deviceMessage({ peers: [{ key }] })) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];

  test.each<[string, (readonly Uint8Array[])[], boolean[]]>([
    ["at its second time", [[a, b]], [true, true]],
    ["not where another one was", [[b, a]], [false, false]],
    ["beside others", [[a, c]], [true, false]],
    ["not when there were fewer", [[a]], [true, false]],
    ["when there were more", [[a, b, c]], [true, true]],
    [
      "not when the one at its place was another in the last dump",
      [
        [a, b],
        [a, c],
      ],
      [true, false],
    ],
    ["not when the last dump was shorter", [[a, b], [a]], [true, false]],
  ])("%s", (_, before, expected) => {
    const known = new KnownMessages();
    for (const each of before) dump(known, each);
    expect(dump(known, [a, b])).toEqual(expected);
  });

  test("not after a dump that did not end, or not well", () => {
    const known = new KnownMessages();
    dump(known, [a, b]);
    known.begin();
    known.next(a, 0, a.length);
    expect(dump(known, [a, b])).toEqual([false, false]);
    expect(dump(known, [a, b], false)).toEqual([true, true]);
    expect(dump(known, [a, b])).toEqual([false, false]);
    expect(dump(known, [a, b])).toEqual([true, true]);
  });

  test("whatever its netlink header says", () => {
    const known = new KnownMessages();
    dump(known, [a]);
    const other = a.slice().fill(0xff, 0, HEADER_BYTES);
    expect(dump(known, [other])).toEqual([true]);
  });

  test("only if no byte of it differs", () => {
    const messages = readGolden("wg-dump-1000-32k.bin");
    const known = new KnownMessages();
    dump(known, messages);
    const place = fc
      .nat(messages.length - 1)
      .chain((index) =>
        fc.tuple(
          fc.constant(index),
          fc.integer({ min: HEADER_BYTES, max: messages[index]!.length - 1 }),
        ),
      );
    fc.assert(
      fc.property(place, fc.integer({ min: 1, max: 255 }), ([index, at], difference) => {
        const changed = messages.with(index, messages[index]!.slice());
        changed[index]![at]! ^= difference;
        const expected = messages.map((_, each) => each !== index);
        expect(dump(known, changed)).toEqual(expected);
        expect(dump(known, messages)).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  test("only if none of its bits differs, of a small one", () => {
    const known = new KnownMessages();
    const small = deviceMessage({ peers: [{ key: 1, rxBytes: 5, endpoint: "192.0.2.1:1" }] });
    for (let bit = HEADER_BYTES * 8; bit < small.length * 8; bit++) {
      const changed = small.slice();
      changed[bit >> 3]! ^= 1 << (bit & 7);
      dump(known, [small]);
      expect(dump(known, [changed])).toEqual([false]);
    }
  });
});

describe("a dump of many messages", () => {
  test("is not read while nothing changes, but for messages that continue a peer", () => {
    const table = new PeerTable();
    const messages = readGolden("wg-dump-1000-32k.bin").flatMap(messagesOf);
    let reads = 0;
    const lookAt = () => {
      reads = 0;
      table.begin();
      for (const [{ bytes, view }, start, end] of messages) {
        const answer = {
          bytes,
          get view(): DataView {
            reads++;
            return view;
          },
        };
        table.read(answer, start, end);
      }
      return table.finish({ interrupted: false });
    };
    lookAt();
    const all = reads;
    for (let count = 0; count < 3; count++) {
      expect(lookAt().changed).toEqual([]);
      expect(reads).toBeLessThan(all / 3);
    }
    expect(table.size).toBe(1000);
  });

  test("says the same as one whose messages are all read", () => {
    const peer = fc.record({
      rxBytes: fc.nat(1),
      handshake: fc.constantFrom([0, 0] as const, [5, 0] as const),
      isThere: fc.boolean(),
    });
    const edit = fc.record({
      edits: fc.array(fc.tuple(fc.nat(19), peer), { maxLength: 3 }),
      ending: fc.constantFrom("whole", "whole", "whole", "interrupted", "fails"),
    });
    const size = fc.integer({ min: 1, max: 7 });
    fc.assert(
      fc.property(
        fc.array(edit, { maxLength: 10 }),
        size,
        fc.boolean(),
        (dumps, each, reportsIdlePeers) => {
          const table = new PeerTable({ reportsIdlePeers });
          const reading = new PeerTable({ reportsIdlePeers });
          const peers: ({ isThere: boolean } & PeerFields)[] = Array.from(
            { length: 20 },
            (_, key) => ({
              key,
              isThere: true,
            }),
          );
          for (const [turn, { edits, ending }] of dumps.entries()) {
            for (const [key, fields] of edits) peers[key] = { key, ...fields };
            const there = peers.filter(({ isThere }) => isThere);
            const messages = inMessages(there, each).map(deviceMessage);
            const others = messages.map((message) => unlike(message, turn));
            if (ending === "fails") {
              for (const one of [table, reading]) one.begin();
              table.read(...whole(messages[0]!));
              reading.read(...whole(others[0]!));
              continue;
            }
            const interrupted = ending === "interrupted";
            const found = scan(table, messages, interrupted);
            const expected = scan(reading, others, interrupted);
            expect(found).toEqual(expected);
            expect(table.size).toBe(reading.size);
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test("tells of a peer that changed all allowed IPs, also those in messages that did not change", () => {
    const datagrams = readGolden("wg-dump-100-32k.bin");
    const table = new PeerTable();
    const peers = scan(table, datagrams).changed.map(({ peer }) => peer);
    const { publicKey } = peers.find(({ allowedIps }) => allowedIps.length === 3002)!;
    expect(scan(table, datagrams).changed).toEqual([]);
    counterOf(datagrams, publicKey)[0]!++;
    const { changed, removed } = scan(table, datagrams);
    expect(removed).toEqual([]);
    expect(changed.map(({ peer }) => [peer.publicKey, peer.allowedIps.length])).toEqual([
      [publicKey, 3002],
    ]);
    expect(scan(table, datagrams).changed).toEqual([]);
  });

  test("of which most are known names those that are removed, and then those that change", () => {
    const peers: PeerFields[] = Array.from({ length: 20 }, (_, key) => ({ key }));
    const table = new PeerTable();
    const lookAt = (those: readonly PeerFields[]) =>
      scan(table, inMessages(those, 5).map(deviceMessage));
    lookAt(peers);
    lookAt(peers);
    const rest = peers.toSpliced(12, 1);
    expect(lookAt(rest)).toMatchObject({ changed: [], removed: [keyOf(12)] });
    expect(lookAt(rest)).toMatchObject({ changed: [], removed: [] });
    const moved = rest.with(18, { key: 19, rxBytes: 7 });
    const { changed, removed } = lookAt(moved);
    expect(removed).toEqual([]);
    expect(changed.map(({ peer }) => peer.publicKey)).toEqual([keyOf(19)]);
  });
});

function scan(table: PeerTable, messages: readonly Uint8Array[], interrupted = false): DeviceScan {
  table.begin();
  for (const message of messages.flatMap(messagesOf)) table.read(...message);
  return table.finish({ interrupted });
}

/** At least one. */
function inMessages(peers: readonly PeerFields[], each: number): DeviceFields[] {
  return Array.from({ length: Math.max(1, Math.ceil(peers.length / each)) }, (_, index) => ({
    peers: peers.slice(index * each, (index + 1) * each),
  }));
}

/** The same for the table, and for the hash another: with the version of the family, that nobody reads. */
function unlike(message: Uint8Array, turn: number): Uint8Array {
  return message.slice().fill(turn, HEADER_BYTES + 1, HEADER_BYTES + 2);
}

/** Where the messages have the bytes that the peer received. */
function counterOf(messages: readonly Uint8Array[], publicKey: string): Uint8Array {
  const key = Buffer.from(publicKey, "base64");
  for (const bytes of messages) {
    const keyAt = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(key);
    if (keyAt === -1) continue;
    for (let at = keyAt + key.length; at < bytes.length;) {
      const [low, high, type] = bytes.subarray(at);
      if (type === RX) return bytes.subarray(at + 4, at + 12);
      at += (((high! << 8) | low!) + 3) & ~3;
    }
  }
  throw new Error("the peer is in no message");
}
