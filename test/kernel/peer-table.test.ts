/** PeerTable: the peers in the kernel's answers, and the differences between two answers. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { ParseError } from "../../src/base/errors.ts";
import {
  type Device,
  type DeviceScan,
  formatEndpoint,
  type Peer,
  type PublicKey,
} from "../../src/base/wireguard.ts";
import { align, type Attribute, encodeMessage, text, u16, u32 } from "../../src/kernel/netlink.ts";
import { PeerTable } from "../../src/kernel/peer-table.ts";
import { NLM_F_DUMP_INTR } from "../../src/platform/constants.ts";
import {
  type DeviceFields,
  deviceMessage,
  keyOf,
  messagesOf,
  type PeerFields,
  socketAddress,
  u64,
  whole,
} from "../support/answers.ts";
import { readGolden, readGoldenText } from "../support/golden.ts";

const DUMPS = [
  "device-wg0.bin",
  "device-wg1.bin",
  "device-wg2.bin",
  "device-interrupted.bin",
  "wg-dump-100-32k.bin",
  "wg-dump-1000-32k.bin",
];

const V6 = socketAddress("[2001:db8::1]:51820");

/** The attributes of a peer in the order in which the kernel writes them. */
const KERNEL_ORDER: readonly Attribute[] = [
  [1, new Uint8Array(32).fill(1)],
  [2, new Uint8Array(32).fill(2)],
  [6, Buffer.concat([u64(5), u64(1_000_000)])],
  [5, u16(25)],
  [8, u64(92)],
  [7, u64(148)],
  [10, u32(1)],
  [4, V6],
  [
    9,
    [
      [
        0,
        [
          [3, Uint8Array.of(32)],
          [1, u16(2)],
          [2, Uint8Array.of(10, 0, 0, 1)],
        ],
      ],
    ],
  ],
];
const peerOf = (attributes: readonly Attribute[]) => ({ peers: [{ key: 0, attributes }] });

/** One scan, with these datagrams as the kernel's answer. */
function decode(datagrams: readonly Uint8Array[], table = new PeerTable()): DeviceScan {
  table.begin();
  let interrupted = false;
  for (const message of datagrams.flatMap(messagesOf)) {
    const [{ view }, start] = message;
    interrupted ||= (view.getUint16(start + 6, true) & NLM_F_DUMP_INTR) !== 0;
    table.read(...message);
  }
  return table.finish({ interrupted });
}

/** One scan, with these messages as the kernel's answer. */
function scan(table: PeerTable, ...messages: readonly DeviceFields[]): DeviceScan {
  return decode(messages.map(deviceMessage), table);
}

describe("a recorded answer", () => {
  const text = readGoldenText("wg-show-all-dump.txt");
  const shown = (device: string) =>
    text
      .split("\n")
      .map((line) => line.split("\t"))
      .filter(([name]) => name === device);

  test.each(["wg0", "wg1", "wg2"])(
    "a recorded answer of %s has the values that wg(8) shows, except the secret keys",
    (name) => {
      const { device, changed } = decode(readGolden(`device-${name}.bin`));
      const [interfaceLine, ...peers] = shown(name);
      const [, , publicKey, listenPort] = interfaceLine!;
      expect(device.name).toBe(name);
      expect(device.publicKey ?? "(none)").toBe(publicKey!);
      expect(device.listenPort).toBe(Number(listenPort));
      expect(changed.map(({ peer }) => asShown(peer))).toEqual(
        peers.map(([, key, _presharedKey, ...rest]) => [key!, ...rest]),
      );
      expect(changed.every(({ before }) => before === null)).toBe(true);
    },
  );

  test("a recorded answer has handshake times in milliseconds", () => {
    const { changed } = decode(readGolden("device-wg0.bin"));
    const times = changed.map(({ peer }) => peer.lastHandshakeMs!);
    expect(times.every(Number.isInteger)).toBe(true);
    expect(times.some((time) => time % 1000 !== 0)).toBe(true);
  });

  test("a recorded answer of 100 peers has one peer whose 3002 allowed IPs continue in further messages", () => {
    const { device, changed, removed } = decode(readGolden("wg-dump-100-32k.bin"));
    expect(device.name).toBe("wg100");
    expect(changed).toHaveLength(100);
    expect(removed).toEqual([]);
    const counts = changed.map(({ peer }) => peer.allowedIps.length);
    expect(Math.max(...counts)).toBe(3002);
    const long = changed.find(({ peer }) => peer.allowedIps.length === 3002)!.peer.allowedIps;
    expect(new Set(long).size).toBe(3002);
  });

  test("a recorded answer of 1,000 peers consists of ten datagrams and has each peer once", () => {
    const datagrams = readGolden("wg-dump-1000-32k.bin");
    expect(datagrams).toHaveLength(10);
    const { changed } = decode(datagrams);
    expect(new Set(changed.map(({ peer }) => peer.publicKey)).size).toBe(1000);
  });

  test("a recorded answer that a removal interrupted reports no peer as removed", () => {
    const table = new PeerTable();
    scan(table, { peers: [{ key: 1 }] });
    const datagrams = readGolden("device-interrupted.bin");
    const first = decode(datagrams, table);
    expect(first.changed).toHaveLength(399);
    expect(first.removed).toEqual([]);
    for (const datagram of datagrams) new DataView(datagram.buffer).setUint16(6, 0, true);
    expect(decode(datagrams, table).removed).toEqual([keyOf(1)]);
  });

  test.each(DUMPS)("the recorded answer %s, read twice, has no changes", (name) => {
    const table = new PeerTable();
    decode(readGolden(name), table);
    const { changed, removed } = decode(readGolden(name), table);
    expect({ changed, removed }).toEqual({ changed: [], removed: [] });
  });
});

describe("a flipped bit in an answer", () => {
  const fields = ({ endpoint, lastHandshakeMs, rxBytes, txBytes }: Peer) =>
    JSON.stringify([endpoint, lastHandshakeMs, rxBytes, txBytes]);

  /** The expected result: the difference between two scans with new tables. */
  function difference(before: DeviceScan, now: DeviceScan): string[] {
    const known = new Map(before.changed.map(({ peer }) => [peer.publicKey, fields(peer)]));
    const changed = now.changed.filter(({ peer }) => known.get(peer.publicKey) !== fields(peer));
    const present = new Set(now.changed.map(({ peer }) => peer.publicKey));
    const removed = [...known.keys()].filter((key) => !present.has(key));
    return [...changed.map(({ peer }) => `${peer.publicKey} ${fields(peer)}`), ...removed];
  }

  const outcome = (scan: () => string[]): string => {
    try {
      return scan().toSorted().join("\n");
    } catch (error) {
      if (error instanceof ParseError) return "ParseError";
      throw error;
    }
  };

  test.each(["device-wg0.bin", "device-wg1.bin"])(
    "each flipped bit in an answer has the same result as with a new table, for %s",
    (name) => {
      const original = readGolden(name);
      const [datagram] = original;
      const [[, , end]] = messagesOf(datagram!) as [ReturnType<typeof whole>];
      const ofPeers = attributesIn(original).filter(({ path }) => path.length === 3);
      const before = decode(original);
      const counts = { unchanged: 0, reported: 0, refused: 0, skipped: 0 };
      // The netlink header is checked by the socket.
      for (let bit = 16 * 8; bit < end * 8; bit++) {
        const flipped = [datagram!.slice(), ...original.slice(1)];
        flipped[0]![bit >> 3]! ^= 1 << (bit & 7);
        const expected = outcome(() => difference(before, decode(flipped)));
        const table = new PeerTable();
        decode(original, table);
        const found = outcome(() => {
          const { changed, removed } = decode(flipped, table);
          return [...changed.map(({ peer }) => `${peer.publicKey} ${fields(peer)}`), ...removed];
        });
        if (found === "") counts.unchanged++;
        else counts[found === "ParseError" ? "refused" : "reported"]++;
        if (found === expected) continue;
        // The allowed IPs of an unchanged peer are not parsed, nor attributes that a flipped bit makes look like them.
        const place = ofPeers.find(({ at, stop }) => bit >= (at - 4) * 8 && bit < stop * 8);
        const isUnread = place !== undefined && (flipped[0]![place.at - 2]! & 0x3f) === 9;
        if (!isUnread || found !== "") expect([bit, found]).toEqual([bit, expected]);
        counts.skipped++;
      }
      for (const count of Object.values(counts)) expect(count).toBeGreaterThan(100);
    },
  );
});

describe("private and preshared keys in an answer", () => {
  /** The secret keys in the attributes of the answer. */
  function secretsIn(datagrams: readonly Uint8Array[]): Uint8Array[] {
    return (
      attributesIn(datagrams)
        // WGDEVICE_A_PRIVATE_KEY, WGPEER_A_PRESHARED_KEY: linux/wireguard.h
        .filter(({ path }) => path.join() === "3" || path.join() === "8,0,2")
        .map(({ bytes, at, stop }) => bytes.slice(at, stop))
        .filter((secret) => secret.some((byte) => byte !== 0))
    );
  }

  /** The secret keys of the device that wg(8) showed. */
  function secretsShown(device: string): string[] {
    const lines = readGoldenText("wg-show-all-dump.txt").trim().split("\n");
    const fields = lines.map((line) => line.split("\t")).filter(([name]) => name === device);
    const keys = fields.map((line) => (line.length === 5 ? line[1]! : line[2]!));
    return keys.filter((key) => key !== "(none)");
  }

  test.each(["wg0", "wg1"])(
    "no private or preshared key is missing from the keys that this test finds in %s",
    (device) => {
      const found = secretsIn(readGolden(`device-${device}.bin`)).map((secret) =>
        secret.toBase64(),
      );
      expect(found.toSorted()).toEqual(secretsShown(device).toSorted());
      expect(found.length).toBeGreaterThan(1);
    },
  );

  test.each(DUMPS)("no private or preshared key of %s is in any value, in any encoding", (name) => {
    const datagrams = readGolden(name);
    const values = strings(decode(datagrams));
    const all = values.join("\n");
    expect(values).toContain("publicKey");
    for (const secret of secretsIn(datagrams)) {
      expect(all).not.toContain(secret.toBase64());
      expect(all).not.toContain(secret.toBase64({ alphabet: "base64url" }).replace(/=+$/, ""));
      expect(all.toLowerCase()).not.toContain(secret.toHex());
      expect(all).not.toContain(secret.join());
      expect(all).not.toContain(new TextDecoder("latin1").decode(secret));
    }
  });
});

describe("PeerTable", () => {
  test("only peers whose handshake, endpoint or counters differ are reported", () => {
    const table = new PeerTable();
    const quiet: PeerFields = { key: 1, endpoint: "192.0.2.1:51820", allowedIps: ["10.0.0.1/32"] };
    const busy: PeerFields = { key: 2, endpoint: "[2001:db8::1]:1", rxBytes: 148, txBytes: 92 };
    expect(keys(scan(table, { peers: [quiet, busy] }))).toEqual([keyOf(1), keyOf(2)]);

    const moved = [
      { ...busy, handshake: [1, 2_999_999] as const },
      { ...busy, handshake: [1, 2_999_999] as const, rxBytes: 180 },
      { ...busy, handshake: [1, 2_999_999] as const, rxBytes: 180, txBytes: 93 },
      {
        ...busy,
        handshake: [1, 2_999_999] as const,
        rxBytes: 180,
        txBytes: 93,
        endpoint: "[2001:db8::1]:2",
      },
    ];
    for (const peer of moved)
      expect(keys(scan(table, { peers: [quiet, peer] }))).toEqual([keyOf(2)]);
    expect(keys(scan(table, { peers: [quiet, moved.at(-1)!] }))).toEqual([]);
  });

  test("a change has the previous values", () => {
    const table = new PeerTable();
    scan(table, { peers: [{ key: 1, rxBytes: 148, txBytes: 64 }] });
    const first = scan(table, {
      peers: [{ key: 1, rxBytes: 180, txBytes: 156, handshake: [1_700_000_000, 5e8] }],
    });
    expect(first.changed).toEqual([
      {
        before: { lastHandshakeMs: null, rxBytes: 148, txBytes: 64 },
        peer: {
          publicKey: keyOf(1),
          endpoint: null,
          allowedIps: [],
          lastHandshakeMs: 1_700_000_000_500,
          rxBytes: 180,
          txBytes: 156,
          persistentKeepaliveSeconds: 0,
        },
      },
    ]);
    const second = scan(table, {
      peers: [{ key: 1, rxBytes: 212, txBytes: 156, handshake: [1_700_000_000, 5e8] }],
    });
    expect(second.changed[0]?.before).toEqual({
      lastHandshakeMs: 1_700_000_000_500,
      rxBytes: 180,
      txBytes: 156,
    });
  });

  test("a peer that is not in the answer was removed, and is new when it returns", () => {
    const table = new PeerTable();
    scan(table, { peers: [{ key: 1 }, { key: 2, rxBytes: 9 }, { key: 3 }] });
    expect(scan(table, { peers: [{ key: 1 }, { key: 3 }] })).toMatchObject({
      changed: [],
      removed: [keyOf(2)],
    });
    expect(scan(table, { peers: [{ key: 1 }, { key: 2, rxBytes: 9 }, { key: 3 }] })).toMatchObject({
      changed: [{ before: null, peer: { publicKey: keyOf(2) } }],
      removed: [],
    });
  });

  test("an interrupted answer removes no peer, and the next complete one does", () => {
    const table = new PeerTable();
    scan(table, { peers: [{ key: 1 }, { key: 2 }] });
    const interrupted = { peers: [{ key: 1, rxBytes: 5 }], interrupted: true };
    expect(scan(table, interrupted)).toMatchObject({
      changed: [{ peer: { publicKey: keyOf(1) } }],
      removed: [],
    });
    expect(scan(table, { peers: [{ key: 1, rxBytes: 5 }] }).removed).toEqual([keyOf(2)]);
  });

  test("a new scope of an endpoint is a change, new flow information is not", () => {
    const table = new PeerTable();
    const sent = (patch: (address: Uint8Array) => void) => {
      const address = socketAddress("[fe80::1%7]:51820");
      patch(address);
      const attributes: Attribute[] = [
        [1, new Uint8Array(32)],
        [4, address],
      ];
      return scan(table, { peers: [{ key: 0, attributes }] });
    };
    expect(sent(() => {}).changed[0]?.peer.endpoint).toEqual({
      address: "fe80::1",
      port: 51_820,
      scopeId: 7,
    });
    expect(sent((address) => address.set([1, 2, 3, 4], 4)).changed).toEqual([]);
    expect(sent((address) => address.set([8], 24)).changed).toHaveLength(1);
  });

  test("a peer continues in the next message with more of its allowed IPs", () => {
    const table = new PeerTable();
    const first = { key: 1, endpoint: "192.0.2.1:51820", rxBytes: 1, allowedIps: ["10.0.0.1/32"] };
    const rest = { key: 1, allowedIps: ["10.0.0.2/32", "fd00::/64"] };
    const messages = [{ peers: [{ key: 9 }, first] }, { peers: [rest, { key: 2 }] }];
    const { changed } = scan(table, ...messages);
    expect(changed.map(({ peer }) => peer.allowedIps)).toEqual([
      [],
      ["10.0.0.1/32", "10.0.0.2/32", "fd00::/64"],
      [],
    ]);
    expect(changed[1]?.peer.endpoint).not.toBeNull();
    // The continuation has no endpoint and no counters, which does not clear them.
    expect(scan(table, ...messages).changed).toEqual([]);
  });

  test("an IPv4-mapped allowed IP stays IPv6, because its mask is for IPv6", () => {
    const allowedIps = ["10.0.0.0/8", "::ffff:a00:0/104"];
    const { changed } = scan(new PeerTable(), { peers: [{ key: 1, allowedIps }] });
    expect(changed[0]?.peer.allowedIps).toEqual(["10.0.0.0/8", "::ffff:10.0.0.0/104"]);
  });

  test("a dump that ends in the middle of a peer is corrected by the next one", () => {
    const table = new PeerTable();
    const whole = { key: 1, rxBytes: 1, allowedIps: ["10.0.0.1/32", "10.0.0.2/32"] };
    scan(table, { peers: [{ key: 1 }] });
    table.begin();
    table.read(...messageOf({ peers: [{ ...whole, allowedIps: ["10.0.0.1/32"] }] }));
    expect(scan(table, { peers: [whole] }).changed).toEqual([
      {
        before: { lastHandshakeMs: null, rxBytes: 0, txBytes: 0 },
        peer: expect.objectContaining({ allowedIps: ["10.0.0.1/32", "10.0.0.2/32"] }),
      },
    ]);
  });

  test("a peer that was added and removed between two complete scans is not reported", () => {
    const table = new PeerTable();
    scan(table, { peers: [{ key: 1 }] });
    table.begin();
    table.read(...messageOf({ peers: [{ key: 1 }, { key: 2 }] }));
    expect(scan(table, { peers: [{ key: 1 }] })).toMatchObject({ changed: [], removed: [] });
  });

  test("a change in an answer that fails later is reported by the next scan", () => {
    const table = new PeerTable();
    const peer = { key: 1, endpoint: "192.0.2.1:51820", rxBytes: 1, allowedIps: ["10.0.0.1/32"] };
    const wrongMask = deviceMessage({ peers: [peer] });
    new DataView(wrongMask.buffer).setUint16(wrongMask.length - 8, 6, true);
    table.begin();
    expect(() => table.read(...whole(wrongMask))).toThrow("WGALLOWEDIP_A_CIDR_MASK: 2 bytes");
    expect(scan(table, { peers: [peer] }).changed).toMatchObject([
      { before: null, peer: { rxBytes: 1 } },
    ]);
  });

  test("another order of attributes is not a change, nor is an unknown attribute", () => {
    const table = new PeerTable();
    const first = scan(table, peerOf(KERNEL_ORDER)).changed;
    expect(first).toHaveLength(1);
    const any = fc.shuffledSubarray([...KERNEL_ORDER], { minLength: KERNEL_ORDER.length });
    fc.assert(
      fc.property(any, fc.integer({ min: 11, max: 0x3fff }), (attributes, type) => {
        const more: readonly Attribute[] = [...attributes, [type, u32(7)]];
        expect(scan(table, peerOf(attributes)).changed).toEqual([]);
        expect(scan(table, peerOf(more)).changed).toEqual([]);
        expect(scan(new PeerTable(), peerOf(more)).changed).toEqual(first);
      }),
    );
  });

  test("a missing attribute counts as zero, and the flags of an attribute are ignored", () => {
    for (const [index, [type]] of KERNEL_ORDER.entries()) {
      const table = new PeerTable();
      scan(table, peerOf(KERNEL_ORDER));
      const flagged = KERNEL_ORDER.map(([each, payload]) => [each | 0xc000, payload] as const);
      expect(scan(table, peerOf(flagged)).changed).toEqual([]);
      if (type === 1) continue;
      const { changed } = scan(table, peerOf(KERNEL_ORDER.toSpliced(index, 1)));
      const isCompared = [4, 6, 7, 8].includes(type);
      expect(changed).toHaveLength(isCompared ? 1 : 0);
      if (!isCompared) continue;
      expect(changed[0]).toMatchObject({ before: { rxBytes: 148, txBytes: 92 } });
      expect(scan(table, peerOf(KERNEL_ORDER)).changed).toHaveLength(1);
    }
  });

  test("of a repeated attribute the last one counts", () => {
    const table = new PeerTable();
    scan(table, peerOf(KERNEL_ORDER));
    const again = (...more: readonly Attribute[]) =>
      scan(table, peerOf([...KERNEL_ORDER, ...more])).changed.map(({ peer }) => peer);
    expect(again([7, u64(148)], [1, new Uint8Array(32).fill(1)])).toEqual([]);
    expect(again([7 | 0x8000, u64(149)])).toMatchObject([{ rxBytes: 149 }]);
    expect(again([4 | 0x4000, socketAddress("192.0.2.1:1")])).toMatchObject([
      { endpoint: { address: "192.0.2.1", port: 1 } },
    ]);
    const ipv4: Attribute = [4 | 0x4000, socketAddress("192.0.2.1:1")];
    scan(table, peerOf(KERNEL_ORDER.with(7, ipv4)));
    expect(again(ipv4)).toEqual([]);
    expect(again([4, Uint8Array.of(0xff, 0xff)])).toMatchObject([{ endpoint: null }]);
    expect(again([1, new Uint8Array(32).fill(9)])).toMatchObject([{ publicKey: keyOf(9) }]);
  });

  test("a peer that was read in a failed dump is read again completely", () => {
    const table = new PeerTable();
    const before = KERNEL_ORDER.with(5, [7, u64(0)]);
    scan(table, peerOf(before));
    table.begin();
    table.read(...messageOf(peerOf(KERNEL_ORDER.slice(0, -1))));
    const { changed } = scan(table, peerOf(KERNEL_ORDER));
    expect(changed).toMatchObject([
      { before: { rxBytes: 0 }, peer: { rxBytes: 148, allowedIps: ["10.0.0.1/32"] } },
    ]);
  });

  test("a peer that is listed twice does not hide a removed one", () => {
    const table = new PeerTable();
    scan(table, { peers: [{ key: 1 }, { key: 2 }, { key: 3 }] });
    const { removed } = scan(table, { peers: [{ key: 1 }, { key: 2 }, { key: 1 }] });
    expect(removed).toEqual([keyOf(3)]);
  });

  test("a scan without changes returns the same object as the previous one", () => {
    const table = new PeerTable();
    scan(table, peerOf(KERNEL_ORDER));
    const quiet = scan(table, peerOf(KERNEL_ORDER));
    expect(scan(table, peerOf(KERNEL_ORDER))).toBe(quiet);
    expect(quiet).toMatchObject({ changed: [], removed: [], device: { name: "wg0" } });
  });

  test("a device has its present name, index, port and key in each scan", () => {
    const table = new PeerTable();
    const scanDevice = (attributes: readonly Attribute[]) => {
      const header = Uint8Array.of(0, 1, 0, 0);
      const message = encodeMessage({ type: 32, flags: 0, sequence: 1, header, attributes });
      return decode([message], table).device;
    };
    const name: Attribute = [2, text("wg0")];
    const index: Attribute = [1, u32(7)];
    const port: Attribute = [6, u16(51_820)];
    const key: Attribute = [4, new Uint8Array(32).fill(3)];
    const other = new Uint8Array(32).fill(4, 31);
    const wg0 = { name: "wg0", index: 7, listenPort: 51_820, publicKey: null };
    const base64 = (bytes: Attribute[1]) => (bytes as Uint8Array).toBase64() as PublicKey;
    const cases: readonly (readonly [Partial<Device>, readonly Attribute[]])[] = [
      [{}, [name, index, port]],
      [{ publicKey: base64(key[1]) }, [name, index, port, key]],
      [{ publicKey: base64(other) }, [name, index, port, [4, other]]],
      [{ name: "wg" }, [[2, text("wg")], index, port]],
      [{ name: "wg00" }, [[2, text("wg00")], index, port]],
      [{ name: "wg1" }, [[2, text("wg1")], index, port]],
      // Without its NUL.
      [{ name: "wg0x" }, [[2, text("wg0x").slice(0, 4)], index, port]],
      [{ name: "" }, [index, port]],
      [{ index: 8 }, [name, [1, u32(8)], port]],
      [{ listenPort: 1 }, [name, index, [6, u16(1)]]],
    ];
    for (const [, before] of cases) {
      for (const [now, attributes] of cases) {
        scanDevice(before);
        expect(scanDevice(attributes)).toEqual({ ...wg0, ...now });
        expect(scanDevice(attributes)).toEqual({ ...wg0, ...now });
      }
    }
  });

  test("counters are compared to the last bit", () => {
    const table = new PeerTable();
    for (const rx of [2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n, 2n ** 64n - 2n, 0n]) {
      const rxBytes = new Uint8Array(new BigUint64Array([rx]).buffer);
      const { changed } = scan(table, peerOf(KERNEL_ORDER.with(5, [7, rxBytes])));
      expect(changed).toMatchObject([{ peer: { rxBytes: Number(rx) } }]);
    }
  });

  test("the table has the same results as a simple model, for any sequence of dumps", () => {
    const state = fc.record({
      key: fc.nat(150),
      rxBytes: fc.nat(2),
      txBytes: fc.nat(2),
      handshake: fc.constantFrom([0, 0] as const, [5, 0] as const, [5, 1_000_000] as const),
      endpoint: fc.constantFrom("192.0.2.1:1", "192.0.2.1:2", "[2001:db8::1]:1"),
    });
    const dump = fc.record({
      peers: fc.uniqueArray(state, { maxLength: 150, selector: ({ key }) => key }),
      ending: fc.constantFrom("whole", "whole", "interrupted", "fails"),
    });
    fc.assert(
      fc.property(fc.array(dump, { maxLength: 8 }), fc.boolean(), (dumps, reportsIdlePeers) => {
        const table = new PeerTable({ reportsIdlePeers });
        const model = new Model(reportsIdlePeers);
        for (const { peers, ending } of dumps) {
          if (ending === "fails") {
            table.begin();
            table.read(...messageOf({ peers }));
            model.read(peers);
            continue;
          }
          const interrupted = ending === "interrupted";
          const { changed, removed } = scan(table, { peers, interrupted });
          const found = changed.map(({ peer, before }) => ({
            key: peer.publicKey,
            rxBytes: peer.rxBytes,
            txBytes: peer.txBytes,
            lastHandshakeMs: peer.lastHandshakeMs,
            endpoint: formatEndpoint(peer.endpoint!),
            before,
          }));
          model.read(peers);
          const expected = model.finish(interrupted ? null : peers);
          expect(found.toSorted(byKey)).toEqual(expected.changed.toSorted(byKey));
          expect(removed.toSorted()).toEqual(expected.removed.toSorted());
          expect(table.size).toBe(model.size);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("ten thousand peers are distinguished, and half of them can be removed", () => {
    const table = new PeerTable();
    const peers = Array.from({ length: 10_000 }, (_, key) => ({ key: key + 1 }));
    const inMessages = (each: readonly PeerFields[]) =>
      Array.from({ length: Math.ceil(each.length / 500) }, (_, i) => ({
        peers: each.slice(i * 500, (i + 1) * 500),
      }));
    expect(scan(table, ...inMessages(peers)).changed).toHaveLength(10_000);
    const rest = peers.filter(({ key }) => key % 2 === 0);
    const { changed, removed } = scan(table, ...inMessages(rest));
    expect([changed.length, removed.length, table.size]).toEqual([0, 5_000, 5_000]);
    expect(scan(table, ...inMessages(rest))).toMatchObject({ changed: [], removed: [] });
  });
});

describe("PeerTable without reportsIdlePeers", () => {
  const quiet: PeerFields = { key: 1, endpoint: "192.0.2.1:51820", rxBytes: 148 };
  const known: PeerFields = { key: 2, handshake: [5, 0] };

  test("without reportsIdlePeers, the first scan and later ones report only peers that have connected", () => {
    const table = new PeerTable({ reportsIdlePeers: false });
    expect(keys(scan(table, { peers: [quiet, known] }))).toEqual([keyOf(2)]);
    const more = [{ key: 3 }, { key: 4, handshake: [6, 0] as const }];
    expect(keys(scan(table, { peers: [quiet, known, ...more] }))).toEqual([keyOf(4)]);
    expect(table.size).toBe(4);
  });

  test("without reportsIdlePeers, the first change of a peer is reported with the previous values", () => {
    const table = new PeerTable({ reportsIdlePeers: false });
    scan(table, { peers: [quiet, known] });
    expect(scan(table, { peers: [quiet, known] }).changed).toEqual([]);
    const { changed } = scan(table, { peers: [{ ...quiet, rxBytes: 296 }, known] });
    expect(changed).toMatchObject([
      {
        before: { lastHandshakeMs: null, rxBytes: 148, txBytes: 0 },
        peer: { publicKey: keyOf(1), rxBytes: 296 },
      },
    ]);
  });

  test("without reportsIdlePeers, a peer that connects while the first scan is repeated is new", () => {
    const table = new PeerTable({ reportsIdlePeers: false });
    table.begin();
    table.read(...messageOf({ peers: [quiet] }));
    const { changed } = scan(table, { peers: [{ ...quiet, handshake: [5, 0] }] });
    expect(changed).toMatchObject([{ before: null, peer: { lastHandshakeMs: 5000 } }]);
  });

  test("without reportsIdlePeers, new peers are reported once a peer that had connected was removed, because they may be that peer", () => {
    const table = new PeerTable({ reportsIdlePeers: false });
    scan(table, { peers: [quiet, known] });
    expect(scan(table, { peers: [known] }).removed).toEqual([keyOf(1)]);
    expect(scan(table, { peers: [known, quiet] }).changed).toEqual([]);
    expect(scan(table, { peers: [quiet] }).removed).toEqual([keyOf(2)]);
    expect(keys(scan(table, { peers: [quiet, { key: 2 }] }))).toEqual([keyOf(2)]);
  });
});

describe("an invalid answer", () => {
  const key: Attribute = [1, new Uint8Array(32)];
  test.each<[string, readonly Attribute[]]>([
    ["WGDEVICE_A_PEERS: peer without WGPEER_A_PUBLIC_KEY", [[4, socketAddress("192.0.2.1:1")]]],
    ["WGPEER_A_PUBLIC_KEY: 31 bytes instead of 32", [[1, new Uint8Array(31)]]],
    ["WGPEER_A_ENDPOINT: 1 bytes", [key, [4, Uint8Array.of(2)]]],
    [
      "WGPEER_A_ENDPOINT of family 2: 28 bytes instead of 16",
      [key, [4, new Uint8Array(28).fill(2, 0, 1)]],
    ],
    [
      "WGPEER_A_ENDPOINT of family 10: 16 bytes instead of 28",
      [key, [4, new Uint8Array(16).fill(10, 0, 1)]],
    ],
    ["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: 4 bytes instead of 2", [key, [5, u32(1)]]],
    ["WGPEER_A_LAST_HANDSHAKE_TIME: 8 bytes instead of 16", [key, [6, u64(1)]]],
    [
      "WGPEER_A_LAST_HANDSHAKE_TIME: 1 s 1000000000 ns is not a valid time",
      [key, [6, Buffer.concat([u64(1), u64(1e9)])]],
    ],
    [
      "WGPEER_A_LAST_HANDSHAKE_TIME: 8640000000000 s 1000000 ns is not a valid time",
      [key, [6, Buffer.concat([u64(8.64e12), u64(1e6)])]],
    ],
    ["WGPEER_A_RX_BYTES: 4 bytes instead of 8", [key, [7, u32(1)]]],
    ["WGPEER_A_TX_BYTES: 4 bytes instead of 8", [key, [8, u32(1)]]],
    [
      "WGPEER_A_ALLOWEDIPS: 16 bytes of family 2",
      [
        key,
        [
          9,
          [
            [
              0,
              [
                [1, Uint8Array.of(2, 0)],
                [2, new Uint8Array(16)],
                [3, Uint8Array.of(32)],
              ],
            ],
          ],
        ],
      ],
    ],
    [
      "WGPEER_A_ALLOWEDIPS: 4 bytes of family 2",
      [
        key,
        [
          9,
          [
            [
              0,
              [
                [1, Uint8Array.of(2, 0)],
                [2, new Uint8Array(4)],
              ],
            ],
          ],
        ],
      ],
    ],
    [
      "WGALLOWEDIP_A_CIDR_MASK: 33",
      [
        key,
        [
          9,
          [
            [
              0,
              [
                [1, Uint8Array.of(2, 0)],
                [2, new Uint8Array(4)],
                [3, Uint8Array.of(33)],
              ],
            ],
          ],
        ],
      ],
    ],
    ["WGALLOWEDIP_A_CIDR_MASK: 4 bytes instead of 1", [key, [9, [[0, [[3, u32(32)]]]]]]],
  ])('an invalid answer is the ParseError "%s"', (message, attributes) => {
    expect(() => scan(new PeerTable(), { peers: [{ key: 0, attributes }] })).toThrow(
      new ParseError(message),
    );
  });

  test("an answer without messages is a ParseError", () => {
    const table = new PeerTable();
    table.begin();
    expect(() => table.finish({ interrupted: false })).toThrow(
      new ParseError("WG_CMD_GET_DEVICE: answer without a device"),
    );
  });
});

describe("an invalid attribute of a known peer", () => {
  test.each<[string, Attribute]>([
    ["WGPEER_A_PUBLIC_KEY: 31 bytes instead of 32", [1, new Uint8Array(31)]],
    ["WGPEER_A_ENDPOINT: 1 bytes", [4, Uint8Array.of(2)]],
    ["WGPEER_A_ENDPOINT of family 10: 16 bytes instead of 28", [4, V6.slice(0, 16)]],
    ["WGPEER_A_ENDPOINT of family 10: 24 bytes instead of 28", [4, V6.slice(0, 24)]],
    ["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: 4 bytes instead of 2", [5, u32(25)]],
    ["WGPEER_A_LAST_HANDSHAKE_TIME: 8 bytes instead of 16", [6, u64(5)]],
    ["WGPEER_A_RX_BYTES: 4 bytes instead of 8", [7, u32(148)]],
    ["WGPEER_A_TX_BYTES: 4 bytes instead of 8", [8, u32(92)]],
  ])('an invalid attribute of a known peer is the ParseError "%s"', (message, wrong) => {
    const table = new PeerTable();
    scan(table, peerOf(KERNEL_ORDER));
    const replaced = KERNEL_ORDER.map((each) => (each[0] === wrong[0] ? wrong : each));
    for (const attributes of [replaced, [...KERNEL_ORDER, wrong]]) {
      expect(() => scan(table, peerOf(attributes))).toThrow(new ParseError(message));
    }
  });

  test("an IPv4 address of a known peer with the length of IPv6 is a ParseError", () => {
    const table = new PeerTable();
    const ipv4 = (bytes: Uint8Array) => scan(table, peerOf(KERNEL_ORDER.with(7, [4, bytes])));
    // It begins like the known address, and all other bytes of both are zero.
    ipv4(socketAddress("0.0.0.0:51820"));
    const long = new Uint8Array(28);
    long.set(socketAddress("0.0.0.0:51820"));
    expect(() => ipv4(long)).toThrow("WGPEER_A_ENDPOINT of family 2: 28 bytes instead of 16");
  });

  test("a known peer that ends within its key is a ParseError", () => {
    const table = new PeerTable();
    scan(table, peerOf(KERNEL_ORDER));
    const message = deviceMessage(peerOf(KERNEL_ORDER));
    const [peer] = attributesIn([message]).filter(({ path }) => path.join() === "8,0");
    new DataView(message.buffer).setUint16(peer!.at - 4, 4 + 20, true);
    expect(() => decode([message], table)).toThrow("length is 36 bytes, but 20 are left");
  });

  test("an attribute that is longer than its known peer is a ParseError", () => {
    const table = new PeerTable();
    scan(table, peerOf(KERNEL_ORDER));
    for (const { path, at } of attributesIn([deviceMessage(peerOf(KERNEL_ORDER))])) {
      if (path.length !== 3) continue;
      const message = deviceMessage(peerOf(KERNEL_ORDER));
      new DataView(message.buffer).setUint16(at - 4, 0x7fff, true);
      expect(() => decode([message], table)).toThrow("length is 32767 bytes");
    }
  });
});

test("attributes and families that a later kernel may add are skipped", () => {
  const attributes: Attribute[] = [
    [1, new Uint8Array(32)],
    [0x3ff0, u32(1)],
    [4, Uint8Array.of(0xff, 0xff, 1, 2)],
    [
      9,
      [
        [
          0,
          [
            [1, Uint8Array.of(99, 0)],
            [77, u32(7)],
          ],
        ],
      ],
    ],
  ];
  const { changed } = scan(new PeerTable(), { peers: [{ key: 0, attributes }] });
  expect(changed[0]?.peer).toMatchObject({ endpoint: null, allowedIps: [] });
});

/** An attribute: the types of its parents and its own, and where its payload is. */
interface Place {
  readonly path: readonly number[];
  readonly bytes: Uint8Array;
  readonly at: number;
  readonly stop: number;
}

/** All attributes of a device and its peers. */
function attributesIn(datagrams: readonly Uint8Array[]): Place[] {
  const places: Place[] = [];
  for (const [{ bytes, view }, start, end] of datagrams.flatMap(messagesOf)) {
    const walk = (path: readonly number[], from: number, to: number) => {
      for (let at = from; at < to; at = align(at + view.getUint16(at, true))) {
        const type = view.getUint16(at + 2, true) & 0x3fff;
        const place = { path: [...path, type], at: at + 4, stop: at + view.getUint16(at, true) };
        places.push({ bytes, ...place });
        // WGDEVICE_A_PEERS, and each of the peers in it.
        if (place.path.join() === "8" || path.join() === "8") {
          walk(place.path, place.at, place.stop);
        }
      }
    };
    walk([], start + 20, end);
  }
  return places;
}

/** A simple model of `PeerTable`, without its optimisations. */
class Model {
  readonly #known = new Map<number, PeerFields>();
  readonly #changed = new Map<number, PeerFields>();
  #reportsIdlePeers: boolean;

  constructor(reportsIdlePeers: boolean) {
    this.#reportsIdlePeers = reportsIdlePeers;
  }

  get size(): number {
    return new Set([...this.#known.keys(), ...this.#changed.keys()]).size;
  }

  read(peers: readonly PeerFields[]): void {
    for (const peer of peers) {
      const isSame = JSON.stringify(this.#known.get(peer.key)) === JSON.stringify(peer);
      if (this.#changed.has(peer.key) || !isSame) this.#changed.set(peer.key, peer);
    }
  }

  /** @param present The peers of a complete dump; null: the dump was interrupted. */
  finish(present: readonly PeerFields[] | null) {
    const removed: PublicKey[] = [];
    const isGone = (key: number) => present !== null && !present.some((peer) => peer.key === key);
    const reportsIdlePeers = this.#reportsIdlePeers;
    for (const key of [...this.#changed.keys()].filter(isGone)) {
      this.#reportsIdlePeers ||= handshakeMs(this.#changed.get(key)!) !== null;
      this.#changed.delete(key);
    }
    for (const key of [...this.#known.keys()].filter(isGone)) {
      this.#reportsIdlePeers ||= handshakeMs(this.#known.get(key)!) !== null;
      this.#known.delete(key);
      removed.push(keyOf(key));
    }
    const isReported = ([key, peer]: [number, PeerFields]) =>
      reportsIdlePeers || this.#known.has(key) || handshakeMs(peer) !== null;
    const changed = [...this.#changed].filter(isReported).map(([key, peer]) => {
      const before = this.#known.get(key);
      return {
        key: keyOf(key),
        rxBytes: peer.rxBytes!,
        txBytes: peer.txBytes!,
        lastHandshakeMs: handshakeMs(peer),
        endpoint: peer.endpoint!,
        before:
          before === undefined
            ? null
            : {
                lastHandshakeMs: handshakeMs(before),
                rxBytes: before.rxBytes!,
                txBytes: before.txBytes!,
              },
      };
    });
    for (const [key, peer] of this.#changed) this.#known.set(key, peer);
    this.#changed.clear();
    return { changed, removed };
  }
}

function handshakeMs({ handshake }: PeerFields): number | null {
  const [seconds, nanoseconds] = handshake!;
  return seconds * 1000 + nanoseconds / 1e6 || null;
}

function byKey(a: { key: string }, b: { key: string }): number {
  return a.key < b.key ? -1 : 1;
}

function keys({ changed }: DeviceScan): string[] {
  return changed.map(({ peer }) => peer.publicKey);
}

function messageOf(fields: DeviceFields) {
  return whole(deviceMessage(fields));
}

/** The fields of a peer in `wg show all dump`, without the preshared key, and with the name of its scope. */
function asShown(peer: Peer): string[] {
  const { publicKey, endpoint, allowedIps, lastHandshakeMs, rxBytes, txBytes } = peer;
  const scope = endpoint === null ? "" : `%${linkName(endpoint.scopeId)}`;
  return [
    publicKey,
    endpoint === null ? "(none)" : formatEndpoint(endpoint).replace(/%\d+/, scope),
    allowedIps.join() || "(none)",
    String(Math.floor((lastHandshakeMs ?? 0) / 1000)),
    String(rxBytes),
    String(txBytes),
    String(peer.persistentKeepaliveSeconds || "off"),
  ];
}

function linkName(index: number): string {
  for (const [{ bytes, view }, start, end] of readGolden("links-unfiltered.bin").flatMap(
    messagesOf,
  )) {
    if (view.getInt32(start + 20, true) !== index) continue;
    // IFLA_IFNAME comes first.
    return new TextDecoder().decode(bytes.subarray(start + 36, end)).split("\0")[0]!;
  }
  return String(index);
}

/** All texts in a value, keys included. */
function strings(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (typeof value !== "object" || value === null) return [];
  if (value instanceof Uint8Array) return [value.toHex(), new TextDecoder("latin1").decode(value)];
  return Object.entries(value).flatMap(([key, each]) => [key, ...strings(each)]);
}
