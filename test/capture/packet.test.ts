/** Parses IP packets: which are WireGuard messages, and from which sender. */

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

/** What parsePacket finds in a packet, in one line. */
function summary(packet: Uint8Array, way: "received" | "sent" = "received"): string {
  const datagram = parsePacket(packet, way);
  if (datagram === null) return "nothing";
  const { sourceAddress: address, sourcePort: port, destinationPort, type, isFirstData } = datagram;
  const source = formatEndpoint({ address, port, scopeId: 0 });
  return `${isFirstData ? "first " : ""}${NAMES[type]} from ${source} to ${destinationPort}`;
}

/** The packets that came in during four handshakes, two begun by the peers and two by the device. */
const recorded = () =>
  readGolden("nflog.bin").flatMap((datagram) => parseLogged(datagram).map(({ packet }) => packet));

test("the messages of recorded handshakes are recognised, in their order", () => {
  expect(recorded().map((packet) => summary(packet))).toEqual([
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

test("recorded messages have the index of their handshake", () => {
  const lines = recorded()
    .map((packet) => parsePacket(packet))
    .filter((datagram) => datagram !== null)
    .map(
      ({ index, isOwnIndex, sourcePort }) =>
        `${sourcePort} ${isOwnIndex ? "own" : "peer's"} ${hex(index)}`,
    );
  // Read from nflog.bin with xxd: after the type of each message, and in a response after the sender's index.
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

test("received messages of one recorded session all have the same index of this machine", () => {
  const datagrams = recorded().map((packet) => parsePacket(packet));
  for (const port of [40_001, 40_002, 40_003, 40_004]) {
    const own = datagrams.filter((each) => each?.sourcePort === port && each.isOwnIndex);
    // A session that the device began has a received response, too.
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
] as const)("parsePacket with %s", (name, ip, source) => {
  test.each([
    ["initiation", initiation()],
    ["response", response()],
    ["cookie", cookie()],
    ["first data", data(0)],
    ["data", data(1)],
    ["data", data(2 ** 32)],
  ])(`parsePacket recognises this packet of ${name}: %s`, (kind, payload) => {
    expect(summary(ip(payload))).toBe(`${kind} from ${source}:40000 to 51820`);
  });

  test(`parsePacket reports the other end as the source of a sent message in ${name}`, () => {
    const sent = ip(response(), {
      destination: source.replace(/[[\]]/g, ""),
      destinationPort: 5000,
    });
    expect(summary(sent, "sent")).toBe(`response from ${source}:5000 to 40000`);
  });

  /** Sender and receiver of a response, or the only index of another message, in network order. */
  const [first, second] = [0xf1020304, 0x05060708];
  test.each([
    // The message, then whose index is returned if it is received, and if it is sent.
    ["initiation", initiation(), [first, "peer's"], [first, "own"]],
    ["response", response(), [second, "own"], [first, "own"]],
    // A received cookie reply answers a message of this machine; a sent one answers a message of the peer.
    ["cookie", cookie(), [first, "own"], [first, "peer's"]],
    ["first data", data(0), [first, "own"], [first, "peer's"]],
    ["later data", data(1), [first, "own"], [first, "peer's"]],
  ] as const)(
    `parsePacket returns the index of the expected side in ${name} for this message: %s`,
    (_name, payload, received, sent) => {
      const view = new DataView(payload.buffer);
      view.setUint32(4, first);
      view.setUint32(8, payload[0] === 2 ? second : view.getUint32(8));
      const indexOf = (way: "received" | "sent") => {
        const { index, isOwnIndex } = parsePacket(ip(payload), way)!;
        return [index, isOwnIndex ? "own" : "peer's"];
      };
      expect(indexOf("received")).toEqual([...received]);
      expect(indexOf("sent")).toEqual([...sent]);
    },
  );

  test.each([
    ["an initiation with a wrong length", message(1, 147)],
    ["a response with a wrong length", message(2, 93)],
    ["a cookie reply with a wrong length", message(3, 65)],
    ["data that is shorter than a keepalive", message(4, 31)],
    ["a message of an unknown type", message(5, 148)],
    ["a message of type 0", message(0, 148)],
    ["a message whose reserved bytes are not zero", message(0x0101, 148)],
    ["an empty datagram", new Uint8Array()],
  ])(`parsePacket ignores %s in ${name}`, (_what, payload) => {
    expect(summary(ip(payload))).toBe("nothing");
  });

  test(`parsePacket recognises a packet of ${name} that is cut off after the WireGuard header`, () => {
    const cut = ip(data(0, 1400)).subarray(0, (ip === ipv4 ? 20 : 40) + 8 + 16);
    expect(summary(cut)).toBe(`first data from ${source}:40000 to 51820`);
  });

  test(`a packet of ${name} that is cut off within the WireGuard header is a ParseError`, () => {
    const cut = ip(data(0)).subarray(0, (ip === ipv4 ? 20 : 40) + 8 + 15);
    expect(() => summary(cut)).toThrow(
      new ParseError("WireGuard data header: truncated to 15 of 16 bytes"),
    );
    for (let length = 0; length < cut.length; length++) {
      expect(() => summary(cut.subarray(0, length))).toThrow(ParseError);
    }
  });

  test(`parsePacket ignores a packet of ${name} with another protocol`, () => {
    expect(summary(ip(initiation(), { protocol: 6 }))).toBe("nothing");
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

describe("parsePacket with the headers of IPv4", () => {
  test.each<[string, Ipv4Fields, string]>([
    ["options are skipped", { options: new Uint8Array(40) }, "initiation"],
    ["a first fragment has the headers and is recognised", { moreFragments: true }, "initiation"],
    ["a later fragment has no headers and is ignored", { fragmentOffset: 185 }, "nothing"],
  ])("in an IPv4 packet, %s", (_what, fields, expected) => {
    expect(summary(ipv4(initiation(), fields)).split(" ")[0]).toBe(expected);
  });

  test("an IPv4 header with a length of less than 20 bytes is a ParseError", () => {
    const packet = ipv4(initiation());
    packet[0] = 0x44;
    expect(() => summary(packet)).toThrow(
      new ParseError("IPv4 header: length 16 is less than 20 bytes"),
    );
  });
});

describe("parsePacket with the headers of IPv6", () => {
  const options = new Uint8Array(8);
  const fragment = (offset: number) =>
    Uint8Array.of(0, 0, offset >> 5, (offset << 3) & 0xff, 0, 0, 0, 1);

  test.each<[string, Ipv6Fields["extensions"] & object, string]>([
    [
      "hop-by-hop, routing and destination options are skipped",
      [
        [0, options],
        [43, options],
        [60, options],
      ],
      "initiation",
    ],
    [
      "longer options are skipped",
      [[60, Uint8Array.of(0, 2, ...new Uint8Array(22))]],
      "initiation",
    ],
    ["a first fragment has the headers and is recognised", [[44, fragment(0)]], "initiation"],
    ["a later fragment has no headers and is ignored", [[44, fragment(185)]], "nothing"],
    [
      "eight extension headers are skipped",
      Array.from({ length: 8 }, () => [60, options] as const),
      "initiation",
    ],
    [
      "a packet with nine extension headers is ignored",
      Array.from({ length: 9 }, () => [60, options] as const),
      "nothing",
    ],
    ["a packet with an unknown extension header is ignored", [[50, options]], "nothing"],
  ])("in an IPv6 packet, %s", (_what, extensions, expected) => {
    expect(summary(ipv6(initiation(), { extensions })).split(" ")[0]).toBe(expected);
  });

  test("an IPv4-mapped source is reported as IPv4", () => {
    expect(summary(ipv6(initiation(), { source: "::ffff:c000:201" }))).toContain("from 192.0.2.1:");
  });
});

test("a packet of another IP version is ignored", () => {
  expect(summary(Uint8Array.of(0x50))).toBe("nothing");
});
