/** Handshakes that no peer completes: which senders are reported, which are not, and the limits in a flood. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import {
  type Device,
  formatAddress,
  MessageType,
  type Peer,
  type PublicKey,
} from "../../src/base/wireguard.ts";
import { parseLogged } from "../../src/capture/nflog.ts";
import { type CapturedDatagram, parsePacket } from "../../src/capture/packet.ts";
import { hasValidMac1 } from "../../src/sessions/mac1.ts";
import {
  networkOf,
  UnknownHandshakes,
  type UnknownHandshakesChange,
} from "../../src/sessions/unknown-handshakes.ts";
import { HandClock } from "../support/clock.ts";
import { readGolden } from "../support/golden.ts";
import { cookie, data, initiation, ipv4, ipv6, response } from "../support/packets.ts";
import { ALICE, BOB, device, peer, ScanMaker } from "../support/peers.ts";

const WG0 = device({ publicKey: ALICE });
const WG1 = device({ name: "wg1", index: 4, listenPort: 51821, publicKey: BOB });

/** A gateway whose sessions and devices the test sets. The first byte of a handshake is 1 if its mac1 is valid. */
class Gateway {
  readonly clock = new HandClock();
  readonly reports: UnknownHandshakesChange[] = [];
  /** Times of the checks of a mac1. */
  readonly checks: number[] = [];
  readonly sessions = new Set<string>();
  devices: readonly Device[] = [WG0, WG1];
  readonly unknown = new UnknownHandshakes({
    clock: this.clock,
    deviceAt: (port) => this.devices.find(({ listenPort }) => listenPort === port) ?? null,
    handshakeAtMs: (address, port, listenPort) =>
      this.sessions.has(`${address} ${port} ${listenPort}`) ? 0 : null,
    mac1Check: () => (handshake) => {
      this.checks.push(this.nowMs);
      return handshake[0] === 1;
    },
    nameOf: (publicKey) => (publicKey === BOB ? "bob" : null),
    report: (found) => {
      this.reports.push(...found);
      for (const report of found) this.onReport(report);
    },
  });
  onReport = (_report: UnknownHandshakesChange) => {};

  get nowMs(): number {
    return this.clock.now().monotonicMs;
  }

  get networks(): (string | null)[] {
    return this.reports.map(({ network }) => network);
  }

  receive(fields: Partial<CapturedDatagram> = {}): this {
    this.unknown.onDatagram(datagram(fields));
    return this;
  }

  pass(ms: number): this {
    this.clock.advance(ms);
    return this;
  }

  connect(address = "198.51.100.7", port = 40_000, listenPort = 51_820): this {
    this.sessions.add(`${address} ${port} ${listenPort}`);
    return this;
  }
}

const KNOWS_KEY = Uint8Array.of(1);
const DOES_NOT = Uint8Array.of(0);

function datagram(fields: Partial<CapturedDatagram> = {}): CapturedDatagram {
  return {
    sourceAddress: "198.51.100.7",
    sourcePort: 40_000,
    destinationPort: 51_820,
    type: MessageType.initiation,
    isFirstData: false,
    index: 1,
    isOwnIndex: false,
    handshake: KNOWS_KEY,
    ...fields,
  };
}

/** The n-th address; each is in another network. */
const addressAt = (n: number) => `${10 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}.1`;

describe("a sender without a completed handshake", () => {
  test("a sender without a completed handshake is reported once a minute, with all attempts", () => {
    const gateway = new Gateway();
    const startMs = gateway.clock.now().wallMs;
    for (let attempt = 0; attempt < 3; attempt++) gateway.receive().pass(5_200);
    gateway.pass(60_000);
    expect(gateway.reports).toEqual([
      {
        type: "handshake.unknown",
        atMs: startMs + 60_000,
        device: "wg0",
        listenPort: 51_820,
        network: "198.51.100.0/24",
        networks: 1,
        sources: ["198.51.100.7:40000"],
        packets: 3,
        messages: { initiation: 3, response: 0, data: 0 },
        mac1: "valid",
        peers: [],
        firstAtMs: startMs,
        lastAtMs: startMs + 10_400,
      },
    ]);
    expect(gateway.clock.waiting).toBe(0);
  });

  test("a sender is reported each minute while it continues", () => {
    const gateway = new Gateway();
    for (let attempt = 0; attempt < 36; attempt++) gateway.receive().pass(5_000);
    gateway.pass(60_000);
    expect(gateway.reports.map(({ packets }) => packets)).toEqual([12, 12, 12]);
  });

  test("a sender is reported in the next minute if it starts just before the minute ends", () => {
    const gateway = new Gateway();
    gateway.receive().pass(55_001);
    gateway.receive({ sourceAddress: "192.0.2.1" }).pass(5_000);
    gateway.pass(54_000);
    expect(gateway.networks).toEqual(["198.51.100.0/24"]);
    gateway.pass(6_000);
    expect(gateway.networks).toEqual(["198.51.100.0/24", "192.0.2.0/24"]);
  });

  test("a sender is reported with the number of messages of each type", () => {
    const gateway = new Gateway();
    gateway.receive().receive({ type: MessageType.response });
    gateway.receive({ type: MessageType.data, isFirstData: true, handshake: null });
    gateway.pass(60_000);
    expect(gateway.reports[0]).toMatchObject({
      packets: 3,
      messages: { initiation: 1, response: 1, data: 1 },
    });
  });

  test("a sender is reported by network and device", () => {
    const gateway = new Gateway();
    gateway.receive().receive({ sourceAddress: "198.51.100.8" });
    gateway.receive({ destinationPort: 51_821 }).receive({ sourceAddress: "198.51.101.7" });
    gateway
      .receive({ sourceAddress: "2001:db8:1:2::7" })
      .receive({ sourceAddress: "2001:db8:1:3::8" });
    gateway.pass(60_000);
    expect(
      gateway.reports.map(({ device: name, network, sources }) => [name, network, ...sources]),
    ).toEqual([
      ["wg0", "198.51.100.0/24", "198.51.100.7:40000", "198.51.100.8:40000"],
      ["wg0", "2001:db8:1::/48", "[2001:db8:1:2::7]:40000", "[2001:db8:1:3::8]:40000"],
      ["wg1", "198.51.100.0/24", "198.51.100.7:40000"],
      ["wg0", "198.51.101.0/24", "198.51.101.7:40000"],
    ]);
  });

  test("a sender is reported with its times in order, even if the wall clock is set", () => {
    const gateway = new Gateway();
    gateway.receive().pass(5_000).clock.jump(-3_600_000);
    gateway.receive().pass(60_000);
    const [{ firstAtMs, lastAtMs, atMs } = gateway.reports[0]!] = gateway.reports;
    expect([atMs - firstAtMs, atMs - lastAtMs]).toEqual([60_000, 55_000]);
  });
});

describe("senders without a report", () => {
  test("a peer that completes its handshake is not reported", () => {
    const gateway = new Gateway().receive().pass(40).connect();
    gateway.receive({ type: MessageType.data, isFirstData: true }).pass(200_000);
    expect(gateway.reports).toEqual([]);
    expect(gateway.clock.waiting).toBe(0);
  });

  test("a peer that completes its handshake after several attempts in the same minute is not reported", () => {
    const gateway = new Gateway();
    for (let attempt = 0; attempt < 11; attempt++) gateway.receive().pass(5_400);
    gateway.connect().pass(200_000);
    expect(gateway.reports).toEqual([]);
  });

  test("a connected peer that renews its keys, or tries to, is not reported", () => {
    const gateway = new Gateway().connect();
    for (let attempt = 0; attempt < 20; attempt++) {
      expect(gateway.receive().clock.waiting).toBe(0);
      gateway.pass(5_200);
    }
    gateway.pass(200_000);
    expect(gateway.reports).toEqual([]);
    expect(gateway.checks).toEqual([]);
  });

  test("a peer whose session ends before the next report is not reported", () => {
    const gateway = new Gateway();
    const maker = new ScanMaker();
    gateway.unknown.onScan(maker.scan([WG0, [peer({ endpoint: "192.0.2.1:1" })]]));
    gateway.receive().connect();
    gateway.unknown.onScan(maker.scan([WG0, [peer({ endpoint: "198.51.100.7:40000" })]]));
    gateway.sessions.clear();
    gateway.pass(200_000);
    expect(gateway.reports).toEqual([]);
  });

  test.each<[string, Partial<CapturedDatagram>]>([
    ["data of a session", { type: MessageType.data }],
    ["a cookie reply", { type: MessageType.cookie }],
    ["a message to a port without a device", { destinationPort: 51_822 }],
  ])("nothing is reported for %s", (_what, fields) => {
    const gateway = new Gateway().receive(fields).pass(200_000);
    expect(gateway.reports).toEqual([]);
    expect(gateway.clock.waiting).toBe(0);
  });

  test("nothing is reported after stop", () => {
    const gateway = new Gateway().receive();
    gateway.unknown.stop();
    gateway.receive({ sourceAddress: "192.0.2.1" });
    expect(gateway.pass(200_000).reports).toEqual([]);
  });

  test("a sender with a session is not reported for the same device, and is for another one", () => {
    const gateway = new Gateway().connect("198.51.100.7", 40_000, 51_821).receive().pass(60_000);
    expect(gateway.reports).toHaveLength(1);
  });
});

describe("mac1", () => {
  const verdict = (...sent: Partial<CapturedDatagram>[]) => {
    const gateway = new Gateway();
    sent.forEach((fields, index) => gateway.receive({ sourcePort: 1 + index, ...fields }));
    return gateway.pass(60_000).reports[0]?.mac1;
  };

  test.each<[string, Partial<CapturedDatagram>[]]>([
    ["valid", [{ handshake: KNOWS_KEY }, { handshake: KNOWS_KEY }]],
    ["valid", [{ handshake: KNOWS_KEY }, { handshake: null }]],
    ["invalid", [{ handshake: DOES_NOT }, { handshake: null }]],
    ["mixed", [{ handshake: DOES_NOT }, { handshake: KNOWS_KEY }]],
    ["not-checked", [{ handshake: null }]],
  ])("a report says that mac1 is %s", (expected, sent) => {
    expect(verdict(...sent)).toBe(expected as "valid");
  });

  test("mac1 is not checked if the device's key is unknown", () => {
    const gateway = new Gateway();
    gateway.devices = [device({ publicKey: null })];
    expect(gateway.receive().pass(60_000).reports[0]?.mac1).toBe("not-checked");
    expect(gateway.checks).toEqual([]);
  });

  test("mac1 decides which of many senders are named", () => {
    const gateway = new Gateway();
    for (let port = 1; port <= 9; port++) {
      gateway.receive({ sourcePort: port, handshake: port === 8 ? KNOWS_KEY : DOES_NOT });
    }
    gateway.receive({ sourcePort: 10, handshake: null }).pass(60_000);
    const ports = gateway.reports[0]?.sources.map((source) => source.split(":")[1]);
    expect(ports).toEqual(["8", "10", "1", "2", "3"]);
  });

  test("mac1 is checked once per sender, and at most a hundred times per second", () => {
    const gateway = new Gateway();
    for (let n = 0; n < 350; n++)
      gateway.receive({ sourceAddress: addressAt(n) }).receive({ sourceAddress: addressAt(n) });
    gateway.pass(60_000);
    expect(gateway.checks).toHaveLength(350);
    const perSecond = Map.groupBy(gateway.checks, (atMs) => Math.floor(atMs / 1000));
    expect([...perSecond.values()].map(({ length }) => length)).toEqual([100, 100, 100, 50]);
  });

  test("mac1 is not checked for peers that complete their handshake", () => {
    const gateway = new Gateway().receive().pass(100).connect().pass(60_000);
    expect(gateway.checks).toEqual([]);
  });
});

describe("the peer in a report", () => {
  const at = (fields: Partial<Peer>) =>
    ({ ...peer({ publicKey: BOB, endpoint: "198.51.100.7:40000" }), ...fields }) as Peer;
  const afterScan = (before: Partial<Peer>, now: Partial<Peer>, where = WG0) => {
    const gateway = new Gateway();
    const maker = new ScanMaker();
    maker.scan([where, [at({ endpoint: null, ...before })]]);
    gateway.receive().pass(250);
    gateway.unknown.onScan(maker.scan([where, [at(now)]]));
    return gateway.pass(60_000).reports[0]?.peers.map(({ name }) => name);
  };

  test.each<[string, string[], Partial<Peer>, Partial<Peer>]>([
    ["is named if it received an attempt", ["bob"], {}, { rxBytes: 148 }],
    [
      "is named if it received several attempts",
      ["bob"],
      { rxBytes: 1000 },
      { rxBytes: 1000 + 3 * 148 },
    ],
    ["is not named if it received more than attempts", [], {}, { rxBytes: 148 + 32 }],
    ["is not named if it received nothing", [], {}, { txBytes: 148 }],
    ["is not named if it completed a handshake", [], {}, { rxBytes: 148, lastHandshakeMs: 1 }],
    [
      "is named if its handshake time differs only by milliseconds",
      ["bob"],
      { lastHandshakeMs: 100_000 },
      { rxBytes: 148, lastHandshakeMs: 100_003 },
    ],
  ])("a peer of the device %s", (_what, expected, before, now) => {
    expect(afterScan(before, now)).toEqual(expected);
  });

  test("a peer is not named in a report if it is on another device", () => {
    expect(afterScan({}, { rxBytes: 148 }, WG1)).toEqual([]);
  });
});

describe("a flood of senders", () => {
  test("in a flood from many networks, 60 networks are reported, and the number of the others", () => {
    const gateway = new Gateway();
    for (let n = 0; n < 5_000; n++)
      gateway.receive({ sourceAddress: addressAt(n), handshake: DOES_NOT });
    gateway.pass(200_000);
    expect(gateway.reports).toHaveLength(61);
    expect(gateway.reports.at(-1)).toMatchObject({ network: null, networks: 940, packets: 940 });
    expect(gateway.reports.at(-1)?.sources).toHaveLength(5);
  });

  test("in a flood, each device has its own number of other networks", () => {
    const gateway = new Gateway();
    for (let n = 0; n < 200; n++) {
      gateway.receive({ sourceAddress: addressAt(n), destinationPort: 51_820 + (n % 2) });
    }
    gateway.pass(200_000);
    const rest = gateway.reports.slice(60).map(({ device: name, networks }) => [name, networks]);
    expect(rest).toEqual([
      ["wg0", 70],
      ["wg1", 70],
    ]);
  });

  test("in a flood from one network, other networks are still reported", () => {
    const gateway = new Gateway();
    for (let n = 0; n < 60_000; n++) gateway.receive({ sourcePort: n });
    gateway.receive({ sourceAddress: "192.0.2.1" }).pass(200_000);
    expect(gateway.reports).toMatchObject([
      { network: "198.51.100.0/24", packets: 64 },
      { network: "192.0.2.0/24", packets: 1 },
    ]);
  });

  test("in a flood, a sender that knows the key is reported before senders of more packets", () => {
    const gateway = new Gateway();
    for (let n = 0; n < 300; n++) {
      const flood = { sourceAddress: addressAt(n), handshake: DOES_NOT };
      gateway.receive(flood).receive(flood).receive(flood);
    }
    gateway.receive().pass(200_000);
    expect(gateway.reports[0]).toMatchObject({ network: "198.51.100.0/24", mac1: "valid" });
  });

  test("in a flood, the total number of sources is limited, and they are reported when their minute ends", () => {
    const gateway = new Gateway();
    for (let n = 0; n < 200; n++) {
      for (let port = 1; port <= 50; port++)
        gateway.receive({ sourceAddress: addressAt(n), sourcePort: port });
    }
    gateway.pass(200_000);
    expect(gateway.reports.reduce((sum, { packets }) => sum + packets, 0)).toBe(4096);
    expect(gateway.clock.waiting).toBe(0);
  });

  test("in a flood that does not end, the number of reports per minute is limited", () => {
    const gateway = new Gateway();
    const perMinute: number[] = [];
    for (let minute = 0, n = 0; minute < 3; minute++) {
      const before = gateway.reports.length;
      for (let second = 0; second < 60; second++, gateway.pass(1000)) {
        for (let count = 0; count < 200; count++)
          gateway.receive({ sourceAddress: addressAt(n++) });
      }
      perMinute.push(gateway.reports.length - before);
    }
    expect(perMinute).toEqual([61, 61, 61]);
  });
});

test("each of any packets is reported once unless its sender has a session", () => {
  const sources = ["198.51.100.7", "198.51.100.8", "192.0.2.1", "2001:db8::1"];
  const step = fc.record({
    what: fc.constantFrom("initiation", "response", "connect"),
    sourceAddress: fc.constantFrom(...sources),
    waitMs: fc.oneof(fc.nat(500), fc.nat(20_000)),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const gateway = new Gateway();
      /** Senders that were not reported yet. */
      const pending = new Map<string, { firstMs: number; packets: number }>();
      const connected = new Set<string>();
      gateway.onReport = ({ network, packets, sources: names }) => {
        const due = [...pending].filter(
          ([from, { firstMs }]) => networkOf(from) === network && gateway.nowMs - firstMs >= 5000,
        );
        expect(names).toHaveLength(due.length);
        expect(packets).toBe(due.reduce((sum, [, each]) => sum + each.packets, 0));
        for (const [from] of due) pending.delete(from);
      };
      for (const { what, sourceAddress, waitMs } of steps) {
        if (what === "connect") {
          gateway.connect(sourceAddress);
          connected.add(sourceAddress);
          pending.delete(sourceAddress);
        } else {
          gateway.receive({ sourceAddress, type: MessageType[what as "initiation"] });
          const before = pending.get(sourceAddress) ?? { firstMs: gateway.nowMs, packets: 0 };
          if (!connected.has(sourceAddress)) {
            pending.set(sourceAddress, { ...before, packets: before.packets + 1 });
          }
        }
        gateway.pass(waitMs);
      }
      gateway.pass(130_000);
      expect([...pending]).toEqual([]);
      expect(gateway.clock.waiting).toBe(0);
    }),
  );
});

describe("networkOf", () => {
  test.each([
    ["192.0.2.77", "192.0.2.0/24"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"],
    ["2001:db8::1", "2001:db8::/48"],
    ["2001:0:5::1", "2001:0:5::/48"],
    ["fe80::1", "fe80::/48"],
    ["::1", "::/48"],
    ["::", "::/48"],
  ])("the network of %s is %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  test("the network of IPv6 is the address without its last ten bytes", () => {
    const sparse = fc.array(fc.oneof(fc.constant(0), fc.nat(255)), {
      minLength: 16,
      maxLength: 16,
    });
    fc.assert(
      fc.property(sparse, (numbers) => {
        const address = formatAddress(Uint8Array.from(numbers), 0, 16);
        fc.pre(address.includes(":"));
        const masked = Uint8Array.from(numbers, (byte, i) => (i < 6 ? byte : 0));
        expect(networkOf(address)).toBe(`${formatAddress(masked, 0, 16)}/48`);
      }),
    );
  });
});

/** Messages that wireguard-go sent to a device, with keys that were made for this recording and then deleted. */
const real = {
  initiation: {
    to: "tZflM5ttf04VQxH/X/0SHFZq6qBFesHnruPBle7jOgU=" as PublicKey,
    bytes: Uint8Array.fromHex(
      "0100000010276731f7545e993eee8f5e6e6e1f12a9b84234b430762f8fa4b34187570c56f954d672b6c2527985bd6d14" +
        "cfe88ff3abdfb493ab79bc9239d625aaab929813b255f8e92e2cb039cf6930932dfb6fd7c4fd53fa28286ab44b0dfdc4" +
        "1e1f10241d60950d9855c452ec001ba8358df863ff1440958015d64e1ad9e150f15babd3000000000000000000000000" +
        "00000000",
    ),
  },
  response: {
    to: "kBTJUqA7Cmsk56yEZV7K3qjD8zFksSM0Jds0K47F/n0=" as PublicKey,
    bytes: Uint8Array.fromHex(
      "02000000d1c5676d102767314c492bffc3d82346eaec893a85f0e633d294651f86dc337b154fdd7d0d12326a41d30698" +
        "6039cf590884dbfa6c877cff04153c422686044986393d982389858200000000000000000000000000000000",
    ),
  },
};

/** Captured bytes of each packet: COPY_RANGE_BYTES in src/capture/nflog.ts. */
const COPIED = 192;

describe.each(Object.entries(real))("a recorded %s", (name, { to, bytes }) => {
  const other = Object.values(real).find((each) => each.to !== to)!.to;

  test.each([
    ["IPv4", ipv4(bytes)],
    ["IPv4 with options", ipv4(bytes, { options: new Uint8Array(32) })],
    ["IPv6", ipv6(bytes)],
    ["IPv6 with options", ipv6(bytes, { extensions: [[0, new Uint8Array(8)]] })],
  ])(
    `a recorded ${name} over %s, as it is captured, has a valid mac1 only for its receiver`,
    (_ip, packet) => {
      const { handshake } = parsePacket(packet.subarray(0, COPIED))!;
      expect(hasValidMac1(handshake!, to)).toBe(true);
      expect(hasValidMac1(handshake!, other)).toBe(false);
    },
  );

  test(`a recorded ${name} has no valid mac1 after a change of any byte`, () => {
    const handshake = bytes.subarray(0, -16);
    for (let i = 0; i < handshake.length; i++) {
      const changed = handshake.slice();
      changed[i]! ^= 0x10;
      expect(hasValidMac1(changed, to)).toBe(false);
    }
  });

  test(`a recorded ${name} is reported after parsing, with a valid mac1`, () => {
    const gateway = new Gateway();
    const found: UnknownHandshakesChange[] = [];
    const unknown = new UnknownHandshakes({
      clock: gateway.clock,
      deviceAt: () => device({ publicKey: to }),
      handshakeAtMs: () => null,
      mac1Check: () => hasValidMac1,
      nameOf: () => null,
      report: (each) => found.push(...each),
    });
    unknown.onDatagram(parsePacket(ipv4(bytes))!);
    gateway.pass(60_000);
    expect(found).toMatchObject([{ network: "192.0.2.0/24", mac1: "valid" }]);
  });
});

test("other messages and truncated ones have no handshake to check", () => {
  for (const ip of [ipv4, ipv6]) {
    const headers = ip === ipv4 ? 28 : 48;
    for (const payload of [cookie(), data(0)])
      expect(parsePacket(ip(payload))!.handshake).toBeNull();
    for (const [payload, bytes] of [
      [initiation(), 132],
      [response(), 76],
    ] as const) {
      const packet = ip(payload);
      expect(parsePacket(packet.subarray(0, headers + bytes))!.handshake).toHaveLength(bytes);
      expect(parsePacket(packet.subarray(0, headers + bytes - 1))!.handshake).toBeNull();
    }
  }
});

test("with snaplen 128, initiations are too short to check", () => {
  const recorded = readGolden("nflog.bin").flatMap((each) => parseLogged(each));
  const types = recorded.flatMap(({ packet }) => {
    const captured = parsePacket(packet);
    return captured === null || captured.handshake === null ? [] : [captured.type];
  });
  expect(types).not.toContain(MessageType.initiation);
});
