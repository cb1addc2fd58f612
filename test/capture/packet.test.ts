/** IP packets: which are WireGuard's, and who sent them. */

import { describe, expect, test } from "bun:test";

import { ParseError } from "../../src/base/errors.ts";
import { formatEndpoint } from "../../src/base/wireguard.ts";
import { parseLogged } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { readGolden } from "../support/golden.ts";
import {
  cookie,
  data,
  initiation,
  ipv4,
  type Ipv4Fields,
  ipv6,
  type Ipv6Fields,
  message,
  response,
} from "../support/packets.ts";

const NAMES = ["", "initiation", "response", "cookie", "data"];

/** One line for a packet. */
function told(packet: Uint8Array, way: "received" | "sent" = "received"): string {
  const datagram = parsePacket(packet, way);
  if (datagram === null) return "nothing";
  const { sourceAddress: address, sourcePort: port, destinationPort, type, isFirstData } = datagram;
  const source = formatEndpoint({ address, port, scopeId: 0 });
  return `${isFirstData ? "first " : ""}${NAMES[type]} from ${source} to ${destinationPort}`;
}

/** The packets that came in during four handshakes, two begun by the peers and two by the device. */
const recorded = () =>
  readGolden("nflog.bin").flatMap((datagram) => parseLogged(datagram).map(({ packet }) => packet));

test("recorded handshakes are told, the way each went", () => {
  expect(recorded().map((packet) => told(packet))).toEqual([
    "nothing",
    "initiation from 198.51.100.2:40001 to 51820",
    "first data from 198.51.100.2:40001 to 51820",
    "data from 198.51.100.2:40001 to 51820",
    "initiation from [2001:db8:5::2]:40002 to 51820",
    "first data from [2001:db8:5::2]:40002 to 51820",
    "data from [2001:db8:5::2]:40002 to 51820",
    "response from 198.51.100.2:40003 to 51820",
    "first data from 198.51.100.2:40003 to 51820",
    "data from 198.51.100.2:40003 to 51820",
    "response from [2001:db8:5::2]:40004 to 51820",
    "first data from [2001:db8:5::2]:40004 to 51820",
    "data from [2001:db8:5::2]:40004 to 51820",
  ]);
});

test("recorded messages have the index that their handshake is known by", () => {
  const lines = recorded()
    .map((packet) => parsePacket(packet))
    .filter((datagram) => datagram !== null)
    .map(
      ({ index, isOwnIndex, sourcePort }) =>
        `${sourcePort} ${isOwnIndex ? "own" : "peer's"} ${hex(index)}`,
    );
  // Read off nflog.bin with xxd, behind the type of each message; of a response, behind its sender's index.
  expect(lines).toEqual([
    "40001 peer's ce96f5b7",
    "40001 own 092e0b5f",
    "40001 own 092e0b5f",
    "40002 peer's 085b9ee1",
    "40002 own 2e0137a1",
    "40002 own 2e0137a1",
    "40003 own 1251de76",
    "40003 own 1251de76",
    "40003 own 1251de76",
    "40004 own 07bca7b1",
    "40004 own 07bca7b1",
    "40004 own 07bca7b1",
  ]);
});

test("recorded messages of one session that come in have the same index of this machine's", () => {
  const datagrams = recorded().map((packet) => parsePacket(packet));
  for (const port of [40_001, 40_002, 40_003, 40_004]) {
    const own = datagrams.filter((each) => each?.sourcePort === port && each.isOwnIndex);
    // Of the sessions that the device began also the response.
    expect(own).toHaveLength(port < 40_003 ? 2 : 3);
    expect(new Set(own.map((each) => each!.index)).size).toBe(1);
  }
  const peers = datagrams.filter((each) => each?.isOwnIndex === false);
  expect(peers.map((each) => each!.type)).toEqual([1, 1]);
});

const hex = (index: number) => index.toString(16).padStart(8, "0");

describe.each([
  ["IPv4", ipv4, "192.0.2.1"],
  ["IPv6", ipv6, "[2001:db8::1]"],
] as const)("in %s", (_name, ip, source) => {
  test.each([
    ["initiation", initiation()],
    ["response", response()],
    ["cookie", cookie()],
    ["first data", data(0)],
    ["data", data(1)],
    ["data", data(2 ** 32)],
  ])("%s is told", (name, payload) => {
    expect(told(ip(payload))).toBe(`${name} from ${source}:40000 to 51820`);
  });

  test("one that we sent is told as if the other end had", () => {
    const sent = ip(response(), {
      destination: source.replace(/[[\]]/g, ""),
      destinationPort: 5000,
    });
    expect(told(sent, "sent")).toBe(`response from ${source}:5000 to 40000`);
  });

  /** Sender and receiver of a response, or the only index of another message, in network order. */
  const [first, second] = [0xf1020304, 0x05060708];
  test.each([
    // The type, whose index it is when it comes in, and when it leaves.
    ["initiation", initiation(), [first, "peer's"], [first, "own"]],
    ["response", response(), [second, "own"], [first, "own"]],
    // It answers a message that this machine sent; one that leaves answers the peer's.
    ["cookie", cookie(), [first, "own"], [first, "peer's"]],
    ["first data", data(0), [first, "own"], [first, "peer's"]],
    ["later data", data(1), [first, "own"], [first, "peer's"]],
  ] as const)("the index of %s is that of one side", (_name, payload, received, sent) => {
    const view = new DataView(payload.buffer);
    view.setUint32(4, first);
    view.setUint32(8, payload[0] === 2 ? second : view.getUint32(8));
    const indexOf = (way: "received" | "sent") => {
      const { index, isOwnIndex } = parsePacket(ip(payload), way)!;
      return [index, isOwnIndex ? "own" : "peer's"];
    };
    expect(indexOf("received")).toEqual([...received]);
    expect(indexOf("sent")).toEqual([...sent]);
  });

  test.each([
    ["no length of an initiation", message(1, 147)],
    ["no length of a response", message(2, 93)],
    ["no length of a cookie", message(3, 65)],
    ["shorter than a keepalive", message(4, 31)],
    ["of an unknown type", message(5, 148)],
    ["of type 0", message(0, 148)],
    ["with the three reserved bytes not zero", message(0x0101, 148)],
    ["empty", new Uint8Array()],
  ])("a datagram is nothing that is %s", (_what, payload) => {
    expect(told(ip(payload))).toBe("nothing");
  });

  test("a packet that was cut off behind the WireGuard header is told all the same", () => {
    const cut = ip(data(0, 1400)).subarray(0, (ip === ipv4 ? 20 : 40) + 8 + 16);
    expect(told(cut)).toBe(`first data from ${source}:40000 to 51820`);
  });

  test("a packet that was cut off before is a ParseError", () => {
    const cut = ip(data(0)).subarray(0, (ip === ipv4 ? 20 : 40) + 8 + 15);
    expect(() => told(cut)).toThrow(
      new ParseError("WireGuard data header: truncated to 15 of 16 bytes"),
    );
    for (let length = 0; length < cut.length; length++) {
      expect(() => told(cut.subarray(0, length))).toThrow(ParseError);
    }
  });

  test("another protocol is nothing", () => {
    expect(told(ip(initiation(), { protocol: 6 }))).toBe("nothing");
  });
});

test("a packet that is cut off before its index is a ParseError", () => {
  for (const [payload, end] of [
    [initiation(), 8],
    [response(), 12],
    [cookie(), 8],
  ] as const) {
    const packet = ipv4(payload);
    expect(parsePacket(packet.subarray(0, 28 + end))!.type).toBe(payload[0] as 1);
    expect(() => parsePacket(packet.subarray(0, 28 + end - 1))).toThrow(
      new ParseError("WireGuard index: truncated to 3 of 4 bytes"),
    );
  }
});

describe("IPv4", () => {
  test.each<[string, Ipv4Fields, string]>([
    ["options are stepped over", { options: new Uint8Array(40) }, "initiation"],
    ["a first fragment has the headers", { moreFragments: true }, "initiation"],
    ["a later fragment has none", { fragmentOffset: 185 }, "nothing"],
  ])("%s", (_what, fields, expected) => {
    expect(told(ipv4(initiation(), fields)).split(" ")[0]).toBe(expected);
  });

  test("a header that says less than 20 bytes is a ParseError", () => {
    const packet = ipv4(initiation());
    packet[0] = 0x44;
    expect(() => told(packet)).toThrow(
      new ParseError("IPv4 header: length 16 is less than 20 bytes"),
    );
  });
});

describe("IPv6", () => {
  const options = new Uint8Array(8);
  const fragment = (offset: number) =>
    Uint8Array.of(0, 0, offset >> 5, (offset << 3) & 0xff, 0, 0, 0, 1);

  test.each<[string, Ipv6Fields["extensions"] & object, string]>([
    [
      "hop-by-hop, routing and destination options are stepped over",
      [
        [0, options],
        [43, options],
        [60, options],
      ],
      "initiation",
    ],
    ["longer options too", [[60, Uint8Array.of(0, 2, ...new Uint8Array(22))]], "initiation"],
    ["a first fragment has the headers", [[44, fragment(0)]], "initiation"],
    ["a later fragment has none", [[44, fragment(185)]], "nothing"],
    [
      "eight extension headers are followed",
      Array.from({ length: 8 }, () => [60, options] as const),
      "initiation",
    ],
    [
      "nine are somebody playing",
      Array.from({ length: 9 }, () => [60, options] as const),
      "nothing",
    ],
    ["an unknown header is nothing", [[50, options]], "nothing"],
  ])("%s", (_what, extensions, expected) => {
    expect(told(ipv6(initiation(), { extensions })).split(" ")[0]).toBe(expected);
  });

  test("an IPv4-mapped source is IPv4", () => {
    expect(told(ipv6(initiation(), { source: "::ffff:c000:201" }))).toContain("from 192.0.2.1:");
  });
});

test("another version of IP is nothing", () => {
  expect(told(Uint8Array.of(0x50))).toBe("nothing");
});
