/** What the kernel is to pass: by libpcap and by our own program, run on packets made by hand. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { answerFilter, handshakeFilter, loggedFilter } from "../../src/capture/filter.ts";
import { parseLogged } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { ParseError } from "../../src/errors.ts";
import { encodeMessage } from "../../src/kernel/netlink.ts";
import { NFNL_SUBSYS_ULOG, NFULA_PAYLOAD, NFULNL_MSG_PACKET } from "../../src/kernel/uapi.ts";
import { compileExpression, runProgram } from "../support/bpf.ts";
import { readGolden } from "../support/golden.ts";
import { cookie, data, initiation, ipv4, ipv6, message, response } from "../support/packets.ts";

const PORTS = [51_820, 51_821];
const program = compileExpression(handshakeFilter(PORTS)!);
const passes = (packet: Uint8Array) => runProgram(program, packet) > 0;

/** Whether parsePacket holds it for a message that a look should follow. */
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
] as const)("%s:", (_name, ip) => {
  test.each([
    ["an initiation passes", initiation(), {}, true],
    ["a response passes", response(), {}, true],
    ["the first data passes", data(0), {}, true],
    ["the first data passes, when it is no keepalive", data(0, 1400), {}, true],
    ["to the other port too", initiation(), { destinationPort: 51_821 }, true],
    ["later data does not", data(1), {}, false],
    ["nor data whose counter has only its upper half", data(2 ** 32), {}, false],
    ["nor a cookie", cookie(), {}, false],
    ["nor what has reserved bytes", message(0x0101, 148), {}, false],
    ["nor what goes to another port", initiation(), { destinationPort: 53 }, false],
    [
      "nor what comes from the port",
      initiation(),
      { sourcePort: 51_820, destinationPort: 53 },
      false,
    ],
    ["nor TCP", initiation(), { protocol: 6 }, false],
    ["nor a datagram of three bytes", new Uint8Array(3), {}, false],
  ])("%s", (_what, payload, fields, expected) => {
    const packet = ip(payload, fields);
    expect(passes(packet)).toBe(expected);
    expect(isWanted(packet)).toBe(expected);
  });
});

test("recorded packets: what passes is what parsePacket wants", () => {
  const packets = readGolden("nflog.bin").flatMap((datagram) => parseLogged(datagram));
  expect(packets.map(passes)).toEqual(packets.map(isWanted));
  expect(packets.filter(passes)).toHaveLength(8);
});

const anyPacket = () => {
  const port = fc.oneof(fc.constantFrom(...PORTS), fc.constantFrom(51_822, 53, 0, 65_535));
  const payload = fc
    .record({
      type: fc.constantFrom(1, 2, 4, 4, 3, 0x0104),
      bytes: fc.constantFrom(32, 64, 92, 148, 1400),
      counter: fc.constantFrom(0, 0, 1, 2 ** 32, 2 ** 40),
    })
    // Only with the length that belongs to the type: a filter of lengths would be twice as long,
    // and a wrong length costs no more than a packet that is looked at and dropped.
    .map(({ type, bytes, counter }) => {
      if (type === 4) return data(counter, bytes);
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

test("it wants what parsePacket wants, for packets of every kind", () => {
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

test("it never passes random bytes that parsePacket would not look at", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => !passes(bytes) || isWanted(bytes)),
    { numRuns: 2_000 },
  );
});

test("IPv6 with extension headers is left to the periodic look", () => {
  const packet = ipv6(initiation(), { extensions: [[60, new Uint8Array(8)]] });
  expect([isWanted(packet), passes(packet)]).toEqual([true, false]);
});

test("a hundred ports still compile, and each passes", () => {
  const ports = Array.from({ length: 100 }, (_, i) => 51_820 + i);
  const long = compileExpression(handshakeFilter(ports)!);
  for (const destinationPort of ports) {
    expect(runProgram(long, ipv4(initiation(), { destinationPort }))).toBeGreaterThan(0);
    expect(runProgram(long, ipv6(initiation(), { destinationPort }))).toBeGreaterThan(0);
  }
  expect(runProgram(long, ipv4(initiation(), { destinationPort: 51_920 }))).toBe(0);
});

test("to any port, it passes what it would pass to each", () => {
  const any = compileExpression(handshakeFilter("any")!);
  fc.assert(
    fc.property(anyPacket(), (each) => {
      if (passes(each)) expect(runProgram(any, each)).toBeGreaterThan(0);
    }),
    { numRuns: 2_000 },
  );
  expect(runProgram(any, ipv4(initiation(), { destinationPort: 443 }))).toBeGreaterThan(0);
  expect(runProgram(any, ipv4(data(1), { destinationPort: 443 }))).toBe(0);
});

describe("in a flood, of what a tap sees,", () => {
  const OUTGOING = 4;
  const program = answerFilter([443, 51820]);
  const wrap = [
    (payload: Uint8Array, sourcePort = 443) => ipv4(payload, { sourcePort }),
    (payload: Uint8Array, sourcePort = 51820) =>
      ipv4(payload, { sourcePort, options: new Uint8Array(40) }),
    (payload: Uint8Array, sourcePort = 51820) => ipv6(payload, { sourcePort }),
  ];

  test.each([
    ["a response", response(), true],
    ["an initiation", initiation(), false],
    ["first data", data(0), true],
    ["later data", data(1), false],
    ["data 2 ** 32 messages later", data(2 ** 32), false],
    ["a cookie", cookie(), false],
    ["three bytes", new Uint8Array(3), false],
  ])("%s that this machine sends", (_what, payload, expected) => {
    for (const packet of wrap) {
      expect(runProgram(program, packet(payload), OUTGOING) > 0).toBe(expected);
      // Not of WireGuard here: a router passes on what others send.
      expect(runProgram(program, packet(payload, 51821), OUTGOING)).toBe(0);
      // From here it could be forged: to this host, to all, to some, to another host.
      for (const incoming of [0, 1, 2, 3]) {
        expect(runProgram(program, packet(payload), incoming)).toBe(0);
      }
    }
  });

  test("only what can be read as a response or first data passes", () => {
    const ofAll = answerFilter([40_000]);
    fc.assert(
      fc.property(anyPacket(), (packet) => {
        const isPassed = runProgram(ofAll, packet, OUTGOING) > 0;
        // Other lengths are for the parser; extension headers are not looked behind.
        if (isPassed) expect([2, 4]).toContain(typeAt(packet)!);
      }),
      { numRuns: 2_000 },
    );
    expect(runProgram(ofAll, ipv4(response()), OUTGOING)).toBeGreaterThan(0);
    expect(runProgram(ofAll, ipv4(response(), { protocol: 6 }), OUTGOING)).toBe(0);
  });

  /** The first byte of a UDP packet's content. */
  function typeAt(packet: Uint8Array): number | undefined {
    const isIpv4 = packet[0]! >> 4 === 4;
    return packet[(isIpv4 ? (packet[0]! & 15) * 4 : 40) + 8];
  }
});

describe("what NFLOG sends, when there is much of it:", () => {
  const program = loggedFilter();
  const isPassed = (message: Uint8Array) => runProgram(program, message) > 0;

  /** A message as nfnetlink_log.c makes it: a few attributes, and the packet as the last of them. */
  function logged(packet: Uint8Array, ...before: (readonly [number, Uint8Array])[]): Uint8Array {
    return encodeMessage({
      type: (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_PACKET,
      flags: 0,
      sequence: 0,
      header: Uint8Array.of(2, 0, 0, 1),
      attributes: [[1, new Uint8Array(4)], ...before, [NFULA_PAYLOAD, packet]],
    });
  }

  const isLaterData = (packet: Uint8Array) => {
    try {
      const datagram = parsePacket(packet);
      return datagram?.type === 4 && !datagram.isFirstData;
    } catch (error) {
      if (error instanceof ParseError) return false;
      throw error;
    }
  };

  test.each([
    ["an initiation", initiation(), true],
    ["a response", response(), true],
    ["the first data", data(0, 1400), true],
    ["later data", data(1, 1400), false],
    ["a counter with only its upper half", data(2 ** 32), false],
    ["a cookie", cookie(), true],
    ["three bytes", new Uint8Array(3), true],
    ["the beginning of data", data(0).subarray(0, 8), false],
  ])("%s", (_what, payload, expected) => {
    for (const options of [0, 4, 40]) {
      const packet = ipv4(payload, { options: new Uint8Array(options) });
      expect(isPassed(logged(packet))).toBe(expected);
    }
    expect(isPassed(logged(ipv6(payload), [10, new Uint8Array(13)]))).toBe(expected);
  });

  test("recorded packets: all but later data pass", () => {
    const messages = readGolden("nflog.bin");
    const isData = (message: Uint8Array) => parseLogged(message).every(isLaterData);
    expect(messages.map(isPassed)).toEqual(messages.map((message) => !isData(message)));
    expect(messages.filter(isData).length).toBeGreaterThan(0);
  });

  test("what a look should follow passes, later data does not, for packets of every kind", () => {
    fc.assert(
      fc.property(anyPacket(), (packet) => {
        if (isWanted(packet)) expect(isPassed(logged(packet))).toBe(true);
        if (isLaterData(packet)) expect(isPassed(logged(packet))).toBe(false);
      }),
      { numRuns: 3_000 },
    );
  });

  test("what it does not understand passes", () => {
    expect(
      isPassed(
        encodeMessage({
          type: 1,
          flags: 0,
          sequence: 0,
          header: new Uint8Array(4),
          attributes: [],
        }),
      ),
    ).toBe(true);
    expect(isPassed(logged(Uint8Array.of(0x00, 1, 2, 3)))).toBe(true);
  });
});

test("without a port there is nothing to filter for", () => {
  expect(handshakeFilter([])).toBeNull();
});
