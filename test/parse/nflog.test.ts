/** The packets in a datagram of an NFLOG group. */

import { expect, test } from "bun:test";

import { parseLogged } from "../../src/capture/nflog.ts";
import { ParseError } from "../../src/errors.ts";
import { encodeMessage, u32 } from "../../src/kernel/netlink.ts";
import { done } from "../support/answers.ts";
import { readGolden } from "../support/golden.ts";

/** NFULNL_MSG_PACKET of subsystem NFNL_SUBSYS_ULOG. */
const PACKET = 0x0400;

function logged(payload: Uint8Array, type = PACKET): Uint8Array {
  const header = Uint8Array.of(2, 0, 0, 7);
  const mark = [2, u32(1)] as const;
  return encodeMessage({ type, flags: 0, sequence: 0, header, attributes: [mark, [9, payload]] });
}

test("recorded packets are cut off at the snaplen of the rule", () => {
  const lengths = readGolden("nflog.bin").map((datagram) =>
    parseLogged(datagram).map(({ length }) => length),
  );
  // Only IPv4 with a response of 92 bytes stays below 128.
  const [other, ...rest] = lengths;
  expect(other).toEqual([41]);
  expect(rest.map((each) => each.join())).toEqual([
    "128",
    "128",
    "128",
    "128",
    "128",
    "128",
    "120",
    "128",
    "128",
    "128",
    "128",
    "128",
  ]);
});

test("several packets in one datagram are all read, without their padding", () => {
  const datagram = Buffer.concat([logged(Uint8Array.of(1, 2, 3)), logged(Uint8Array.of(4))]);
  expect(parseLogged(datagram)).toEqual([Buffer.of(1, 2, 3), Buffer.of(4)]);
});

test("other messages, and a packet without payload, are stepped over", () => {
  const config = logged(Uint8Array.of(1), 0x0401);
  const empty = encodeMessage({
    type: PACKET,
    flags: 0,
    sequence: 0,
    header: new Uint8Array(4),
    attributes: [],
  });
  expect(parseLogged(Buffer.concat([config, done(), empty]))).toEqual([]);
  expect(parseLogged(new Uint8Array())).toEqual([]);
});

test("a message without its header is a ParseError", () => {
  const short = encodeMessage({
    type: PACKET,
    flags: 0,
    sequence: 0,
    header: new Uint8Array(),
    attributes: [],
  });
  expect(() => parseLogged(short)).toThrow(new ParseError("NFULNL_MSG_PACKET: 16 bytes"));
});

test("an attribute that says more than there is is a ParseError", () => {
  const datagram = logged(Uint8Array.of(1, 2, 3, 4));
  new DataView(datagram.buffer).setUint16(28, 200, true);
  expect(() => parseLogged(datagram)).toThrow(ParseError);
});
