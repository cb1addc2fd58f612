/** Which packets the kernel passes: libpcap's programs and wgmon's own, run on generated and recorded packets. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { errno, libc } from "../../ffi/libc.ts";
import { ParseError } from "../../src/base/errors.ts";
import {
  handshakeExpression,
  handshakeFilter,
  indexFilter,
  sentFilter,
} from "../../src/capture/bpf-program.ts";
import { compileExpression } from "../../src/capture/bpf.ts";
import { parseLogged } from "../../src/capture/nflog.ts";
import { attachFilter } from "../../src/capture/packet-socket.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { encodeMessage } from "../../src/kernel/netlink.ts";
import {
  AF_INET,
  NFNL_SUBSYS_ULOG,
  NFULA_PACKET_HDR,
  NFULA_PAYLOAD,
  NFULNL_MSG_PACKET,
  SOCK_DGRAM,
} from "../../src/platform/constants.ts";
import { SELECTED_MAX } from "../../src/scan/expected-handshakes.ts";
import { runProgram } from "../support/bpf.ts";
import { readGolden } from "../support/golden.ts";
import { cookie, data, initiation, ipv4, ipv6, message, response } from "../support/packets.ts";

const PORTS = [51_820, 51_821];
const handshakes = compileExpression(handshakeExpression(PORTS)!);
const passes = (packet: Uint8Array) => runProgram(handshakes, packet) > 0;

/** Whether parsePacket finds a message that should cause a scan. */
function isWanted(packet: Uint8Array): boolean {
  try {
    const datagram = parsePacket(packet);
    if (datagram === null || !PORTS.includes(datagram.destinationPort)) return false;
    return datagram.type === 1 || datagram.type === 2 || datagram.isFirstData;
  } catch (error) {
    if (error instanceof ParseError) return false;
    throw error;
  }
}

describe.each([
  ["IPv4", ipv4],
  ["IPv6", ipv6],
] as const)("the filter for handshakes over %s", (name, ip) => {
  test.each([
    ["an initiation passes", initiation(), {}, true],
    ["a response passes", response(), {}, true],
    ["the first data passes", data(0), {}, true],
    ["the first data passes if it is not a keepalive", data(0, 1400), {}, true],
    ["an initiation to the second port passes", initiation(), { destinationPort: 51_821 }, true],
    ["later data does not pass", data(1), {}, false],
    ["data whose counter is 2 ** 32 does not pass", data(2 ** 32), {}, false],
    ["a cookie reply does not pass", cookie(), {}, false],
    ["a message whose reserved bytes are not zero does not pass", message(0x0101, 148), {}, false],
    ["a message to another port does not pass", initiation(), { destinationPort: 53 }, false],
    [
      "a message from the port to another port does not pass",
      initiation(),
      { sourcePort: 51_820, destinationPort: 53 },
      false,
    ],
    ["TCP does not pass", initiation(), { protocol: 6 }, false],
    ["a datagram of three bytes does not pass", new Uint8Array(3), {}, false],
  ])(`in the filter for handshakes over ${name}, %s`, (_what, payload, fields, expected) => {
    const packet = ip(payload, fields);
    expect(passes(packet)).toBe(expected);
    expect(isWanted(packet)).toBe(expected);
  });
});

/** The message with `index` as its first index, in network order: the receiver's, or a handshake's sender's. */
function to(index: number, payload: Uint8Array): Uint8Array {
  new DataView(payload.buffer, payload.byteOffset).setUint32(4, index);
  return payload;
}

test("of recorded packets, those pass that parsePacket accepts", () => {
  const packets = readGolden("nflog.bin")
    .flatMap((datagram) => parseLogged(datagram))
    .map(({ packet }) => packet);
  expect(packets.map(passes)).toEqual(packets.map(isWanted));
  expect(packets.filter(passes)).toHaveLength(8);
});

/** Receiver indexes that a message may have; two have their high bit set. */
const INDEXES = [0x00000001, 0x7fffffff, 0x80000000, 0xdeadbeef];

const anyPacket = () => {
  const port = fc.oneof(fc.constantFrom(...PORTS), fc.constantFrom(51_822, 53, 0, 65_535));
  const payload = fc
    .record({
      type: fc.constantFrom(1, 2, 4, 4, 3, 0x0104),
      bytes: fc.constantFrom(32, 64, 92, 148, 1400),
      counter: fc.constantFrom(0, 0, 1, 2 ** 32, 2 ** 40),
      index: fc.constantFrom(...INDEXES, 0, 0x01000000, 0xffffffff),
    })
    // Each type has its right length: a filter that checks lengths would be twice as long,
    // and a wrong length only costs one packet that is parsed and dropped.
    .map(({ type, bytes, counter, index }) => {
      if (type === 4) return to(index, data(counter, bytes));
      return message(type, [0, 148, 92, 64][type] ?? bytes);
    });
  const fields = {
    sourcePort: port,
    destinationPort: port,
    protocol: fc.constantFrom(17, 17, 17, 17, 6, 132),
  };
  const packet = fc.oneof(
    fc
      .tuple(
        payload,
        fc.record({
          ...fields,
          options: fc.constantFrom(0, 0, 4, 40).map((length) => new Uint8Array(length)),
          fragmentOffset: fc.constantFrom(0, 0, 0, 1, 185),
          moreFragments: fc.boolean(),
        }),
      )
      .map(([content, each]) => ipv4(content, each)),
    fc.tuple(payload, fc.record(fields)).map(([content, each]) => ipv6(content, each)),
  );
  return packet;
};

test("the filter passes the packets that parsePacket accepts, for packets of every kind", () => {
  let wanted = 0;
  fc.assert(
    fc.property(anyPacket(), (each) => {
      if (isWanted(each)) wanted++;
      return passes(each) === isWanted(each);
    }),
    { numRuns: 5_000 },
  );
  expect(wanted).toBeGreaterThan(200);
});

test("the filter never passes random bytes that parsePacket rejects", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => !passes(bytes) || isWanted(bytes)),
    { numRuns: 2_000 },
  );
});

test("IPv6 with extension headers does not pass: the periodic scan finds those peers", () => {
  const packet = ipv6(initiation(), { extensions: [[60, new Uint8Array(8)]] });
  expect([isWanted(packet), passes(packet)]).toEqual([true, false]);
});

test("a filter for a hundred ports compiles, and packets to each of them pass", () => {
  const ports = Array.from({ length: 100 }, (_, i) => 51_820 + i);
  const long = compileExpression(handshakeExpression(ports)!);
  for (const destinationPort of ports) {
    expect(runProgram(long, ipv4(initiation(), { destinationPort }))).toBeGreaterThan(0);
    expect(runProgram(long, ipv6(initiation(), { destinationPort }))).toBeGreaterThan(0);
  }
  expect(runProgram(long, ipv4(initiation(), { destinationPort: 51_920 }))).toBe(0);
});

test("the filter for any port passes all packets that a filter for one port passes", () => {
  const any = compileExpression(handshakeExpression("any")!);
  fc.assert(
    fc.property(anyPacket(), (each) => {
      if (passes(each)) expect(runProgram(any, each)).toBeGreaterThan(0);
    }),
    { numRuns: 2_000 },
  );
  expect(runProgram(any, ipv4(initiation(), { destinationPort: 443 }))).toBeGreaterThan(0);
  expect(runProgram(any, ipv4(data(1), { destinationPort: 443 }))).toBe(0);
});

interface Header {
  /** The four bytes of the type, and the four bytes after them, in network order. */
  readonly type: number;
  readonly index: number;
  readonly isFirst: boolean;
}

/**
 * Reads the fields that the BPF programs read: UDP after an IPv4 header of any length, or directly after an IPv6
 * header. null: not UDP, or too short for a data message.
 */
function readHeader(packet: Uint8Array): Header | null {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const isIpv4 = packet[0]! >> 4 === 4;
  if (!isIpv4 && packet[0]! >> 4 !== 6) return null;
  if (packet[isIpv4 ? 9 : 6] !== 17) return null;
  const udp = isIpv4 ? (packet[0]! & 15) * 4 : 40;
  if (packet.length < udp + 8 + 16) return null;
  return {
    type: view.getUint32(udp + 8),
    index: view.getUint32(udp + 12),
    isFirst: view.getBigUint64(udp + 16) === 0n,
  };
}
const INITIATION = 0x01000000;
const RESPONSE = 0x02000000;
const DATA = 0x04000000;

/** linux/netfilter.h */
const HOOKS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;

interface LoggedFields {
  readonly hook?: number;
  readonly before?: readonly (readonly [type: number, value: Uint8Array])[];
}

/** A message as nfnetlink_log.c makes it: first the hook, then a few attributes, and last the packet. */
function logged(
  packet: Uint8Array,
  { hook = HOOKS.input, before = [] }: LoggedFields = {},
): Uint8Array {
  return encodeMessage({
    type: (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_PACKET,
    flags: 0,
    sequence: 0,
    header: Uint8Array.of(2, 0, 0, 1),
    attributes: [
      // struct nfulnl_msg_packet_hdr: the protocol, the hook, padding.
      [NFULA_PACKET_HDR, Uint8Array.of(0x08, 0x00, hook, 0)],
      ...before,
      [NFULA_PAYLOAD, packet],
    ],
  });
}

/** Put a payload into IPv4, IPv4 with short options, IPv4 with long options, and IPv6. */
const wraps = [
  (payload: Uint8Array, fields = {}) => ipv4(payload, fields),
  (payload: Uint8Array, fields = {}) => ipv4(payload, { ...fields, options: new Uint8Array(4) }),
  (payload: Uint8Array, fields = {}) => ipv4(payload, { ...fields, options: new Uint8Array(40) }),
  (payload: Uint8Array, fields = {}) => ipv6(payload, fields),
];

describe("the filter for sent messages", () => {
  const OUTGOING = 4;
  const program = sentFilter();

  test.each([
    ["a response passes", response(), true],
    ["first data passes", data(0), true],
    ["first data passes if it is not a keepalive", data(0, 1400), true],
    ["an initiation does not pass", initiation(), false],
    ["later data does not pass", data(1), false],
    ["data whose counter is 2 ** 32 does not pass", data(2 ** 32), false],
    ["a cookie reply does not pass", cookie(), false],
    ["a datagram of three bytes does not pass", new Uint8Array(3), false],
    ["a message whose reserved bytes are not zero does not pass", message(0x0102, 92), false],
  ])("in the filter for sent messages, %s", (_what, payload, expected) => {
    for (const wrap of wraps) {
      const packet = wrap(payload);
      expect(runProgram(program, packet, OUTGOING) > 0).toBe(expected);
      // Received packets could be forged. PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST.
      for (const incoming of [0, 1, 2, 3]) expect(runProgram(program, packet, incoming)).toBe(0);
      expect(runProgram(program, wrap(payload, { protocol: 6 }), OUTGOING)).toBe(0);
    }
  });

  test("the filter for sent messages passes only responses and first data, for packets of every kind", () => {
    let passed = 0;
    fc.assert(
      fc.property(anyPacket(), (packet) => {
        const found = readHeader(packet);
        const wanted =
          found !== null && (found.type === RESPONSE || (found.type === DATA && found.isFirst));
        if (wanted) passed++;
        return runProgram(program, packet, OUTGOING) > 0 === wanted;
      }),
      { numRuns: 5_000 },
    );
    expect(passed).toBeGreaterThan(200);
  });
});

describe("the filter for logged packets", () => {
  const program = handshakeFilter();
  const isPassed = (each: Uint8Array) => runProgram(program, each) > 0;

  /** Whether the program must drop the packet: it finds a UDP header in it, and no handshake message. */
  const isDropped = (packet: Uint8Array) => {
    const version = packet[0]! >> 4;
    if (version === 4 && packet[9] !== 17) return true;
    if (version !== 4 && (version !== 6 || packet[6] !== 17)) return false;
    const found = readHeader(packet);
    if (found === null) return true;
    return found.type === DATA ? !found.isFirst : ![INITIATION, RESPONSE].includes(found.type);
  };

  test.each([
    ["an initiation passes", initiation(), true],
    ["a response passes", response(), true],
    ["the first data passes", data(0, 1400), true],
    ["a cookie reply does not pass", cookie(), false],
    ["a datagram of three bytes does not pass", new Uint8Array(3), false],
    ["a datagram that is not WireGuard's does not pass", new Uint8Array(100).fill(7), false],
    ["later data does not pass", data(1, 1400), false],
    ["data whose counter is 2 ** 32 does not pass", data(2 ** 32), false],
    ["data that is cut off before its counter does not pass", data(0).subarray(0, 8), false],
  ])("in the filter for logged packets, %s", (_what, payload, expected) => {
    for (const wrap of wraps) {
      expect(isPassed(logged(wrap(payload)))).toBe(expected);
      const before = [[10, new Uint8Array(13)]] as const;
      expect(isPassed(logged(wrap(payload), { before }))).toBe(expected);
    }
  });

  test("the filter for logged packets passes the handshake messages among recorded packets", () => {
    const messages = readGolden("nflog.bin");
    const hasNone = (each: Uint8Array) =>
      parseLogged(each).every(({ packet }) => isDropped(packet));
    expect(messages.map(isPassed)).toEqual(messages.map((each) => !hasNone(each)));
    expect(messages.filter(isPassed).length).toBeGreaterThan(4);
  });

  test("of UDP packets, the filter for logged packets passes only handshake messages, for packets of every kind", () => {
    let dropped = 0;
    fc.assert(
      fc.property(anyPacket(), (packet) => {
        if (isDropped(packet)) dropped++;
        return isPassed(logged(packet)) === !isDropped(packet);
      }),
      { numRuns: 5_000 },
    );
    expect(dropped).toBeGreaterThan(200);
  });

  test("the filter for logged packets passes messages that it cannot parse, except other protocols over IPv4", () => {
    const none = { flags: 0, sequence: 0, header: new Uint8Array(4), attributes: [] };
    expect(isPassed(encodeMessage({ type: 1, ...none }))).toBe(true);
    expect(isPassed(logged(Uint8Array.of(0x00, 1, 2, 3)))).toBe(true);
    expect(isPassed(logged(ipv4(data(1), { protocol: 6 })))).toBe(false);
    expect(isPassed(logged(ipv6(data(1), { protocol: 58 })))).toBe(true);
  });
});

/** The bytes that each kind of socket gets for a received packet. */
const sockets = [
  ["tap", (packet: Uint8Array) => packet],
  ["nflog", (packet: Uint8Array) => logged(packet)],
] as const;

describe.each(sockets)("the filter by index for a socket of kind %s", (socket, encode) => {
  const selecting = (indexes: readonly number[]) => {
    const program = indexFilter(indexes, socket);
    return (packet: Uint8Array) => runProgram(program, encode(packet)) > 0;
  };
  const [own, high] = [0x01020304, 0xfeedbeef];

  test.each([
    ["first data to one of the indexes passes", to(own, data(0)), true],
    ["first data to one with the high bit passes", to(high, data(0, 1400)), true],
    ["first data to another index does not pass", to(0x01020305, data(0)), false],
    ["first data to the index in reverse byte order does not pass", to(0x04030201, data(0)), false],
    ["later data to the index does not pass", to(own, data(1)), false],
    ["data whose counter is 2 ** 32 does not pass", to(own, data(2 ** 32)), false],
    ["an initiation from the index does not pass", to(own, initiation()), false],
    ["a response from the index does not pass", to(own, response()), false],
    ["a cookie reply to the index does not pass", to(own, cookie()), false],
    [
      "a message whose reserved bytes are not zero does not pass",
      to(own, message(0x0104, 32)),
      false,
    ],
    ["data that is cut off in its counter does not pass", to(own, data(0)).subarray(0, 12), false],
    ["a datagram of three bytes does not pass", new Uint8Array(3), false],
  ])(`in the filter by index for ${socket}, %s`, (_what, payload, expected) => {
    const isPassed = selecting([7, own, high, 9]);
    for (const wrap of wraps) {
      expect(isPassed(wrap(payload))).toBe(expected);
      expect(isPassed(wrap(payload, { destinationPort: 9 }))).toBe(expected);
      expect(isPassed(wrap(payload, { protocol: 6 }))).toBe(false);
    }
  });

  test(`the filter by index for ${socket} does not pass a packet that is not IP`, () => {
    const packet = ipv4(to(own, data(0)));
    packet[0] = 0x55;
    expect(selecting([own])(packet)).toBe(false);
    expect(selecting([own])(Uint8Array.of(0x45))).toBe(false);
  });

  test(`the filter by index for ${socket} does not pass IPv6 with extension headers`, () => {
    const packet = ipv6(to(own, data(0)), { extensions: [[60, new Uint8Array(8)]] });
    expect(selecting([own])(packet)).toBe(false);
  });

  test(`the filter by index for ${socket} without any index passes no received packet`, () => {
    fc.assert(
      fc.property(anyPacket(), (packet) => !selecting([])(packet)),
      { numRuns: 1_000 },
    );
  });

  test(`the filter by many indexes for ${socket} passes data to each of them, and no data to another index`, () => {
    const indexes = Array.from({ length: 250 }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 0);
    for (const count of [1, SELECTED_MAX, 250]) {
      const some = indexes.slice(0, count);
      const isPassed = selecting(some);
      for (const index of some) expect(isPassed(ipv4(to(index, data(0))))).toBe(true);
      for (const index of [0xffffffff, 1, 0x80000000]) {
        expect(isPassed(ipv6(to(index, data(0))))).toBe(false);
      }
    }
  });

  test(`indexFilter for ${socket} throws a RangeError if there are more indexes than a BPF jump can skip`, () => {
    const indexes = Array.from({ length: 300 }, (_, i) => i);
    expect(() => indexFilter(indexes, socket)).toThrow(RangeError);
  });

  test(`the filter by index for ${socket} passes only first data to one of its indexes, for packets of every kind`, () => {
    let passed = 0;
    fc.assert(
      fc.property(anyPacket(), fc.subarray(INDEXES), (packet, indexes) => {
        const found = readHeader(packet);
        const wanted =
          found !== null && found.type === DATA && found.isFirst && indexes.includes(found.index);
        if (wanted) passed++;
        return selecting(indexes)(packet) === wanted;
      }),
      // About 2 % of the packets are wanted.
      { numRuns: 20_000 },
    );
    expect(passed).toBeGreaterThan(100);
  });
});

describe("the filter by index for logged packets", () => {
  const payloads = [response(), initiation(), data(0), data(1), new Uint8Array(3)];

  test.each(["output", "postrouting"] as const)(
    "in the hook %s, the filter by index passes all packets",
    (name) => {
      for (const indexes of [[], [5], [0xffffffff]]) {
        const program = indexFilter(indexes, "nflog");
        for (const packet of wraps.flatMap((wrap) => payloads.map((payload) => wrap(payload)))) {
          expect(runProgram(program, logged(packet, { hook: HOOKS[name] }))).toBeGreaterThan(0);
        }
      }
    },
  );

  test.each(["prerouting", "input", "forward"] as const)(
    "in the hook %s, the filter by index passes only first data to an index",
    (name) => {
      const program = indexFilter([5], "nflog");
      const isPassed = (packet: Uint8Array) =>
        runProgram(program, logged(packet, { hook: HOOKS[name] })) > 0;
      for (const wrap of wraps) {
        for (const payload of payloads) expect(isPassed(wrap(payload))).toBe(false);
        expect(isPassed(wrap(to(5, data(0))))).toBe(true);
      }
    },
  );

  test("the filter by index does not pass a message without a packet", () => {
    const program = indexFilter([5], "nflog");
    const type = (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_PACKET;
    const packetHeader = [NFULA_PACKET_HDR, Uint8Array.of(8, 0, HOOKS.input, 0)] as const;
    for (const attributes of [[], [packetHeader]]) {
      const none = { type, flags: 0, sequence: 0, header: new Uint8Array(4), attributes };
      expect(runProgram(program, encodeMessage(none))).toBe(0);
    }
  });
});

describe("the kernel of this machine", () => {
  /** Any socket does: the kernel checks a program when it is attached. socket(7) */
  function attach(...programs: readonly Uint8Array[]): void {
    const descriptor = libc().socket(AF_INET, SOCK_DGRAM, 0);
    if (descriptor < 0) throw new Error(`socket: errno ${errno()}`);
    try {
      for (const program of programs) attachFilter(descriptor, program);
    } finally {
      libc().close(descriptor);
    }
  }
  const indexes = (count: number) => Array.from({ length: count }, (_, i) => 0xffff_ff00 - i);

  test.each([
    ["the filter for logged handshakes", handshakeFilter()],
    ["the filter for handshakes", handshakes],
    ["the filter for sent messages", sentFilter()],
    ...sockets.flatMap(([socket]) =>
      [0, 1, SELECTED_MAX, 250].map(
        (count) =>
          [
            `the filter by ${count} indexes for a socket of kind ${socket}`,
            indexFilter(indexes(count), socket),
          ] as const,
      ),
    ),
  ])("the kernel accepts %s", (_what, program) => {
    expect(() => attach(program)).not.toThrow();
  });

  test("the kernel accepts a thousand filters in turn on one socket, and frees the memory of each previous one", () => {
    const many = Array.from({ length: 1000 }, (_, i) =>
      i % 2 === 0 ? indexFilter(indexes(SELECTED_MAX), "nflog") : handshakeFilter(),
    );
    expect(() => attach(...many)).not.toThrow();
  });

  test("the kernel refuses a program that jumps past its end", () => {
    const wrong = handshakeFilter().slice(0, -16);
    expect(() => attach(wrong)).toThrow("EINVAL");
  });
});

test("without ports there is no filter expression", () => {
  expect(handshakeExpression([])).toBeNull();
});
