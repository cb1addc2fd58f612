/** Which messages of a dump are skipped because they are unchanged, and that no change is missed. */

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

/** Reads one dump. Returns for each message whether it is known. */
function dump(known: KnownMessages, messages: readonly Uint8Array[], isValid = true): boolean[] {
  known.begin();
  const found = messages.map((message) => known.next(message, 0, message.length).isKnown);
  known.end(isValid);
  return found;
}

describe("a known message", () => {
  const [a, b, c] = [1, 2, 3].map((key) => deviceMessage({ peers: [{ key }] })) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];

  test.each<[string, (readonly Uint8Array[])[], boolean[]]>([
    ["known if it is the same as at its position in the last dump", [[a, b]], [true, true]],
    ["unknown at another position", [[b, a]], [false, false]],
    ["known even if a message after it changed", [[a, c]], [true, false]],
    ["unknown if the last dump had fewer messages", [[a]], [true, false]],
    ["known if the last dump had more messages", [[a, b, c]], [true, true]],
    [
      "unknown if its position had another message in the last of two dumps",
      [
        [a, b],
        [a, c],
      ],
      [true, false],
    ],
    ["unknown if the last of two dumps was shorter", [[a, b], [a]], [true, false]],
  ])("a message is %s", (_, before, expected) => {
    const known = new KnownMessages();
    for (const each of before) dump(known, each);
    expect(dump(known, [a, b])).toEqual(expected);
  });

  test("a message is not known after an incomplete or invalid dump", () => {
    const known = new KnownMessages();
    dump(known, [a, b]);
    known.begin();
    known.next(a, 0, a.length);
    expect(dump(known, [a, b])).toEqual([false, false]);
    expect(dump(known, [a, b], false)).toEqual([true, true]);
    expect(dump(known, [a, b])).toEqual([false, false]);
    expect(dump(known, [a, b])).toEqual([true, true]);
  });

  test("a message is known even if its netlink header differs", () => {
    const known = new KnownMessages();
    dump(known, [a]);
    const other = a.slice().fill(0xff, 0, HEADER_BYTES);
    expect(dump(known, [other])).toEqual([true]);
  });

  test("a message is known only if no byte after its header differs", () => {
    const messages = readGolden("wg-dump-1000-32k.bin");
    const known = new KnownMessages();
    dump(known, messages);
    const byteOffset = fc
      .nat(messages.length - 1)
      .chain((index) =>
        fc.tuple(
          fc.constant(index),
          fc.integer({ min: HEADER_BYTES, max: messages[index]!.length - 1 }),
        ),
      );
    fc.assert(
      fc.property(byteOffset, fc.integer({ min: 1, max: 255 }), ([index, at], difference) => {
        const changed = messages.with(index, messages[index]!.slice());
        changed[index]![at]! ^= difference;
        const expected = messages.map((_, each) => each !== index);
        expect(dump(known, changed)).toEqual(expected);
        expect(dump(known, messages)).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  test("a message is known only if no bit after its header differs", () => {
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
  test("a dump of many messages is not parsed while nothing changes, except messages that continue a peer", () => {
    const table = new PeerTable();
    const messages = readGolden("wg-dump-1000-32k.bin").flatMap(messagesOf);
    let reads = 0;
    const scanOnce = () => {
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
    scanOnce();
    const all = reads;
    for (let count = 0; count < 3; count++) {
      expect(scanOnce().changed).toEqual([]);
      expect(reads).toBeLessThan(all / 3);
    }
    expect(table.size).toBe(1000);
  });

  test("a dump of known messages has the same result as one whose messages are all parsed", () => {
    const peer = fc.record({
      rxBytes: fc.nat(1),
      handshake: fc.constantFrom([0, 0] as const, [5, 0] as const),
      isPresent: fc.boolean(),
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
          const peers: ({ isPresent: boolean } & PeerFields)[] = Array.from(
            { length: 20 },
            (_, key) => ({
              key,
              isPresent: true,
            }),
          );
          for (const [turn, { edits, ending }] of dumps.entries()) {
            for (const [key, fields] of edits) peers[key] = { key, ...fields };
            const present = peers.filter(({ isPresent }) => isPresent);
            const messages = inMessages(present, each).map(deviceMessage);
            const others = messages.map((message) => withVersion(message, turn));
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

  test("a dump reports a changed peer with all its allowed IPs, also those in unchanged messages", () => {
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

  test("a dump of mostly known messages reports removed peers, and later changed ones", () => {
    const peers: PeerFields[] = Array.from({ length: 20 }, (_, key) => ({ key }));
    const table = new PeerTable();
    const scanPeers = (some: readonly PeerFields[]) =>
      scan(table, inMessages(some, 5).map(deviceMessage));
    scanPeers(peers);
    scanPeers(peers);
    const rest = peers.toSpliced(12, 1);
    expect(scanPeers(rest)).toMatchObject({ changed: [], removed: [keyOf(12)] });
    expect(scanPeers(rest)).toMatchObject({ changed: [], removed: [] });
    const moved = rest.with(18, { key: 19, rxBytes: 7 });
    const { changed, removed } = scanPeers(moved);
    expect(removed).toEqual([]);
    expect(changed.map(({ peer }) => peer.publicKey)).toEqual([keyOf(19)]);
  });
});

function scan(table: PeerTable, messages: readonly Uint8Array[], interrupted = false): DeviceScan {
  table.begin();
  for (const message of messages.flatMap(messagesOf)) table.read(...message);
  return table.finish({ interrupted });
}

/** Distributes peers over messages, `each` peers per message; at least one message. */
function inMessages(peers: readonly PeerFields[], each: number): DeviceFields[] {
  return Array.from({ length: Math.max(1, Math.ceil(peers.length / each)) }, (_, index) => ({
    peers: peers.slice(index * each, (index + 1) * each),
  }));
}

/** The message with another version of the family, which PeerTable ignores, so that its hash differs. */
function withVersion(message: Uint8Array, turn: number): Uint8Array {
  return message.slice().fill(turn, HEADER_BYTES + 1, HEADER_BYTES + 2);
}

/** The 8 bytes of the counter WGPEER_A_RX_BYTES of this peer, as a view into the messages. */
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
