/** The default capture filter, compiled by libpcap and run on packets made by hand. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { handshakeFilter } from "../../src/capture/filter.ts";
import { parseLogged } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { ParseError } from "../../src/errors.ts";
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

test("it wants what parsePacket wants, for packets of every kind", () => {
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
  let wanted = 0;
  fc.assert(
    fc.property(packet, (each) => {
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

test("without a port there is nothing to filter for", () => {
  expect(handshakeFilter([])).toBeNull();
});
