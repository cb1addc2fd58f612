/** The packets in a datagram of an NFLOG group. */

import { expect, test } from "bun:test";

import { ParseError } from "../../src/base/errors.ts";
import { parseLogged } from "../../src/capture/nflog.ts";
import { encodeMessage, u32 } from "../../src/kernel/netlink.ts";
import { NFULA_PACKET_HDR } from "../../src/platform/constants.ts";
import { done } from "../support/answers.ts";
import { readGolden } from "../support/golden.ts";

/** NFULNL_MSG_PACKET of subsystem NFNL_SUBSYS_ULOG. */
const PACKET = 0x0400;

interface Fields {
  readonly type?: number;
  /** NF_INET_*, linux/netfilter.h; null: the message has no packet header. */
  readonly hook?: number | null;
}

function logged(payload: Uint8Array, { type = PACKET, hook = null }: Fields = {}): Uint8Array {
  const header = Uint8Array.of(2, 0, 0, 7);
  const mark = [2, u32(1)] as const;
  // struct nfulnl_msg_packet_hdr: the protocol in network order, the hook, padding.
  const packetHeader =
    hook === null ? [] : [[NFULA_PACKET_HDR, Uint8Array.of(8, 0, hook, 0)] as const];
  const attributes = [...packetHeader, mark, [9, payload] as const];
  return encodeMessage({ type, flags: 0, sequence: 0, header, attributes });
}

test("recorded packets are cut off at the snaplen of the rule", () => {
  const lengths = readGolden("nflog.bin").map((datagram) =>
    parseLogged(datagram).map(({ packet }) => packet.length),
  );
  // Only the response of 92 bytes over IPv4 is shorter than 128.
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

test("all packets of one datagram are read, without their padding", () => {
  const datagram = Buffer.concat([logged(Uint8Array.of(1, 2, 3)), logged(Uint8Array.of(4))]);
  expect(parseLogged(datagram)).toEqual([
    { packet: Buffer.of(1, 2, 3), isSent: false },
    { packet: Buffer.of(4), isSent: false },
  ]);
});

test.each([
  ["prerouting", 0, false],
  ["input", 1, false],
  ["forward", 2, false],
  ["output", 3, true],
  ["postrouting", 4, true],
  ["ingress", 5, false],
] as const)(
  "isSent is set for a packet that was logged in the hook %s only if the packet leaves",
  (_name, hook, isSent) => {
    expect(parseLogged(logged(Uint8Array.of(1), { hook }))).toEqual([
      { packet: Buffer.of(1), isSent },
    ]);
  },
);

test("isSent follows the hook of each packet of a datagram", () => {
  const hooks = [3, null, 1, 4];
  const datagram = Buffer.concat(hooks.map((hook) => logged(Uint8Array.of(1), { hook })));
  expect(parseLogged(datagram).map(({ isSent }) => isSent)).toEqual([true, false, false, true]);
});

test("no recorded packet is a sent one", () => {
  const packets = readGolden("nflog.bin").flatMap((datagram) => parseLogged(datagram));
  expect(packets.filter(({ isSent }) => isSent)).toEqual([]);
});

test("a packet header that is cut off before its hook is ignored", () => {
  const datagram = encodeMessage({
    type: PACKET,
    flags: 0,
    sequence: 0,
    header: new Uint8Array(4),
    attributes: [
      [NFULA_PACKET_HDR, Uint8Array.of(8, 0)],
      [9, Uint8Array.of(1)],
    ],
  });
  // The padding, at the place of the hook, has the number of the hook output.
  datagram[26] = 3;
  expect(parseLogged(datagram)).toEqual([{ packet: Buffer.of(1), isSent: false }]);
});

test("other messages, and a packet without payload, are skipped", () => {
  const config = logged(Uint8Array.of(1), { type: 0x0401 });
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

test("an attribute that is longer than its message is a ParseError", () => {
  const datagram = logged(Uint8Array.of(1, 2, 3, 4));
  new DataView(datagram.buffer).setUint16(28, 200, true);
  expect(() => parseLogged(datagram)).toThrow(ParseError);
});
