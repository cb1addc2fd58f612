/** Handshakes that no peer completes: who is told of, who is not, and what a flood can do. */

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

/** A gateway where the test says who has a session, and whose key a message was made for. */
class Scene {
  readonly clock = new HandClock();
  readonly reports: UnknownHandshakesChange[] = [];
  /** When each message was checked. */
  readonly checks: number[] = [];
  readonly sessions = new Set<string>();
  devices: readonly Device[] = [WG0, WG1];
  readonly unknown = new UnknownHandshakes({
    clock: this.clock,
    deviceAt: (port) => this.devices.find(({ listenPort }) => listenPort === port) ?? null,
    handshakeAtMs: (address, port, listenPort) =>
      this.sessions.has(`${address} ${port} ${listenPort}`) ? 0 : null,
    hasValidMac1: (handshake) => {
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

  seen(fields: Partial<CapturedDatagram> = {}): this {
    this.unknown.seen(datagram(fields));
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

/** The n-th address in a network of its own. */
const far = (n: number) => `${10 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}.1`;

describe("who tries in vain", () => {
  test("is told of once a minute, with all attempts", () => {
    const scene = new Scene();
    const startMs = scene.clock.now().wallMs;
    for (let attempt = 0; attempt < 3; attempt++) scene.seen().pass(5_200);
    scene.pass(60_000);
    expect(scene.reports).toEqual([
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
    expect(scene.clock.waiting).toBe(0);
  });

  test("and goes on is told of each minute", () => {
    const scene = new Scene();
    for (let attempt = 0; attempt < 36; attempt++) scene.seen().pass(5_000);
    scene.pass(60_000);
    expect(scene.reports.map(({ packets }) => packets)).toEqual([12, 12, 12]);
  });

  test("just before the minute ends is told of in the next", () => {
    const scene = new Scene();
    scene.seen().pass(55_001);
    scene.seen({ sourceAddress: "192.0.2.1" }).pass(5_000);
    scene.pass(54_000);
    expect(scene.networks).toEqual(["198.51.100.0/24"]);
    scene.pass(6_000);
    expect(scene.networks).toEqual(["198.51.100.0/24", "192.0.2.0/24"]);
  });

  test("with all kinds of messages is told of by kind", () => {
    const scene = new Scene();
    scene.seen().seen({ type: MessageType.response });
    scene.seen({ type: MessageType.data, isFirstData: true, handshake: null });
    scene.pass(60_000);
    expect(scene.reports[0]).toMatchObject({
      packets: 3,
      messages: { initiation: 1, response: 1, data: 1 },
    });
  });

  test("is told of by network and device", () => {
    const scene = new Scene();
    scene.seen().seen({ sourceAddress: "198.51.100.8" });
    scene.seen({ destinationPort: 51_821 }).seen({ sourceAddress: "198.51.101.7" });
    scene.seen({ sourceAddress: "2001:db8:1:2::7" }).seen({ sourceAddress: "2001:db8:1:3::8" });
    scene.pass(60_000);
    expect(
      scene.reports.map(({ device: name, network, sources }) => [name, network, ...sources]),
    ).toEqual([
      ["wg0", "198.51.100.0/24", "198.51.100.7:40000", "198.51.100.8:40000"],
      ["wg0", "2001:db8:1::/48", "[2001:db8:1:2::7]:40000", "[2001:db8:1:3::8]:40000"],
      ["wg1", "198.51.100.0/24", "198.51.100.7:40000"],
      ["wg0", "198.51.101.0/24", "198.51.101.7:40000"],
    ]);
  });

  test("is told of in order, although the wall clock jumps", () => {
    const scene = new Scene();
    scene.seen().pass(5_000).clock.jump(-3_600_000);
    scene.seen().pass(60_000);
    const [{ firstAtMs, lastAtMs, atMs } = scene.reports[0]!] = scene.reports;
    expect([atMs - firstAtMs, atMs - lastAtMs]).toEqual([60_000, 55_000]);
  });
});

describe("nothing is told of", () => {
  test("a peer that authenticates", () => {
    const scene = new Scene().seen().pass(40).connect();
    scene.seen({ type: MessageType.data, isFirstData: true }).pass(200_000);
    expect(scene.reports).toEqual([]);
    expect(scene.clock.waiting).toBe(0);
  });

  test("a peer that authenticates at last, after attempts in the same minute", () => {
    const scene = new Scene();
    for (let attempt = 0; attempt < 11; attempt++) scene.seen().pass(5_400);
    scene.connect().pass(200_000);
    expect(scene.reports).toEqual([]);
  });

  test("a connected peer that makes new keys, or tries to", () => {
    const scene = new Scene().connect();
    for (let attempt = 0; attempt < 20; attempt++) {
      expect(scene.seen().clock.waiting).toBe(0);
      scene.pass(5_200);
    }
    scene.pass(200_000);
    expect(scene.reports).toEqual([]);
    expect(scene.checks).toEqual([]);
  });

  test("a peer whose session is over before the next sweep", () => {
    const scene = new Scene();
    const maker = new ScanMaker();
    scene.unknown.onScan(maker.scan([WG0, [peer({ endpoint: "192.0.2.1:1" })]]));
    scene.seen().connect();
    scene.unknown.onScan(maker.scan([WG0, [peer({ endpoint: "198.51.100.7:40000" })]]));
    scene.sessions.clear();
    scene.pass(200_000);
    expect(scene.reports).toEqual([]);
  });

  test.each<[string, Partial<CapturedDatagram>]>([
    ["data of a session", { type: MessageType.data }],
    ["a cookie", { type: MessageType.cookie }],
    ["what goes to a port without a device", { destinationPort: 51_822 }],
  ])("%s", (_what, fields) => {
    const scene = new Scene().seen(fields).pass(200_000);
    expect(scene.reports).toEqual([]);
    expect(scene.clock.waiting).toBe(0);
  });

  test("after stop", () => {
    const scene = new Scene().seen();
    scene.unknown.stop();
    scene.seen({ sourceAddress: "192.0.2.1" });
    expect(scene.pass(200_000).reports).toEqual([]);
  });

  test("a session with another device is none with this one", () => {
    const scene = new Scene().connect("198.51.100.7", 40_000, 51_821).seen().pass(60_000);
    expect(scene.reports).toHaveLength(1);
  });
});

describe("mac1", () => {
  const verdict = (...sent: Partial<CapturedDatagram>[]) => {
    const scene = new Scene();
    sent.forEach((fields, index) => scene.seen({ sourcePort: 1 + index, ...fields }));
    return scene.pass(60_000).reports[0]?.mac1;
  };

  test.each<[string, Partial<CapturedDatagram>[]]>([
    ["valid", [{ handshake: KNOWS_KEY }, { handshake: KNOWS_KEY }]],
    ["valid", [{ handshake: KNOWS_KEY }, { handshake: null }]],
    ["invalid", [{ handshake: DOES_NOT }, { handshake: null }]],
    ["mixed", [{ handshake: DOES_NOT }, { handshake: KNOWS_KEY }]],
    ["not-checked", [{ handshake: null }]],
  ])("is %s", (expected, sent) => {
    expect(verdict(...sent)).toBe(expected as "valid");
  });

  test("is not checked where the device's key is not known", () => {
    const scene = new Scene();
    scene.devices = [device({ publicKey: null })];
    expect(scene.seen().pass(60_000).reports[0]?.mac1).toBe("not-checked");
    expect(scene.checks).toEqual([]);
  });

  test("decides who of many senders is named", () => {
    const scene = new Scene();
    for (let port = 1; port <= 9; port++) {
      scene.seen({ sourcePort: port, handshake: port === 8 ? KNOWS_KEY : DOES_NOT });
    }
    scene.seen({ sourcePort: 10, handshake: null }).pass(60_000);
    const ports = scene.reports[0]?.sources.map((source) => source.split(":")[1]);
    expect(ports).toEqual(["8", "10", "1", "2", "3"]);
  });

  test("is checked once for each sender, and at most a hundred times a second", () => {
    const scene = new Scene();
    for (let n = 0; n < 350; n++)
      scene.seen({ sourceAddress: far(n) }).seen({ sourceAddress: far(n) });
    scene.pass(60_000);
    expect(scene.checks).toHaveLength(350);
    const perSecond = Map.groupBy(scene.checks, (atMs) => Math.floor(atMs / 1000));
    expect([...perSecond.values()].map(({ length }) => length)).toEqual([100, 100, 100, 50]);
  });

  test("is not checked for peers that authenticate", () => {
    const scene = new Scene().seen().pass(100).connect().pass(60_000);
    expect(scene.checks).toEqual([]);
  });
});

describe("a peer that the kernel knew", () => {
  const at = (fields: Partial<Peer>) =>
    ({ ...peer({ publicKey: BOB, endpoint: "198.51.100.7:40000" }), ...fields }) as Peer;
  const afterScan = (before: Partial<Peer>, now: Partial<Peer>, where = WG0) => {
    const scene = new Scene();
    const maker = new ScanMaker();
    maker.scan([where, [at({ endpoint: null, ...before })]]);
    scene.seen().pass(250);
    scene.unknown.onScan(maker.scan([where, [at(now)]]));
    return scene.pass(60_000).reports[0]?.peers.map(({ name }) => name);
  };

  test.each<[string, string[], Partial<Peer>, Partial<Peer>]>([
    ["is named if an attempt came in", ["bob"], {}, { rxBytes: 148 }],
    ["is named if several did", ["bob"], { rxBytes: 1000 }, { rxBytes: 1000 + 3 * 148 }],
    ["is not named if more than attempts came in", [], {}, { rxBytes: 148 + 32 }],
    ["is not named if nothing came in", [], {}, { txBytes: 148 }],
    ["is not named if it made keys", [], {}, { rxBytes: 148, lastHandshakeMs: 1 }],
    [
      "is named if its handshake is the same, reported some milliseconds apart",
      ["bob"],
      { lastHandshakeMs: 100_000 },
      { rxBytes: 148, lastHandshakeMs: 100_003 },
    ],
  ])("%s", (_what, expected, before, now) => {
    expect(afterScan(before, now)).toEqual(expected);
  });

  test("with another device is not named", () => {
    expect(afterScan({}, { rxBytes: 148 }, WG1)).toEqual([]);
  });
});

describe("in a flood", () => {
  test("from many networks, 60 are told of, and how many more there are", () => {
    const scene = new Scene();
    for (let n = 0; n < 5_000; n++) scene.seen({ sourceAddress: far(n), handshake: DOES_NOT });
    scene.pass(200_000);
    expect(scene.reports).toHaveLength(61);
    expect(scene.reports.at(-1)).toMatchObject({ network: null, networks: 940, packets: 940 });
    expect(scene.reports.at(-1)?.sources).toHaveLength(5);
  });

  test("each device has its own rest", () => {
    const scene = new Scene();
    for (let n = 0; n < 200; n++) {
      scene.seen({ sourceAddress: far(n), destinationPort: 51_820 + (n % 2) });
    }
    scene.pass(200_000);
    const rest = scene.reports.slice(60).map(({ device: name, networks }) => [name, networks]);
    expect(rest).toEqual([
      ["wg0", 70],
      ["wg1", 70],
    ]);
  });

  test("from one network, others are still told of", () => {
    const scene = new Scene();
    for (let n = 0; n < 60_000; n++) scene.seen({ sourcePort: n });
    scene.seen({ sourceAddress: "192.0.2.1" }).pass(200_000);
    expect(scene.reports).toMatchObject([
      { network: "198.51.100.0/24", packets: 64 },
      { network: "192.0.2.0/24", packets: 1 },
    ]);
  });

  test("who knows the key is told of before those who sent more", () => {
    const scene = new Scene();
    for (let n = 0; n < 300; n++) {
      const flood = { sourceAddress: far(n), handshake: DOES_NOT };
      scene.seen(flood).seen(flood).seen(flood);
    }
    scene.seen().pass(200_000);
    expect(scene.reports[0]).toMatchObject({ network: "198.51.100.0/24", mac1: "valid" });
  });

  test("sources in all networks together are bounded, and told of when their minute ends", () => {
    const scene = new Scene();
    for (let n = 0; n < 200; n++) {
      for (let port = 1; port <= 50; port++)
        scene.seen({ sourceAddress: far(n), sourcePort: port });
    }
    scene.pass(200_000);
    expect(scene.reports.reduce((sum, { packets }) => sum + packets, 0)).toBe(4096);
    expect(scene.clock.waiting).toBe(0);
  });

  test("that does not end, no minute has more than its share", () => {
    const scene = new Scene();
    const perMinute: number[] = [];
    for (let minute = 0, n = 0; minute < 3; minute++) {
      const before = scene.reports.length;
      for (let second = 0; second < 60; second++, scene.pass(1000)) {
        for (let count = 0; count < 200; count++) scene.seen({ sourceAddress: far(n++) });
      }
      perMinute.push(scene.reports.length - before);
    }
    expect(perMinute).toEqual([61, 61, 61]);
  });
});

test("whatever comes, each packet is told of once, or its sender has a session", () => {
  const sources = ["198.51.100.7", "198.51.100.8", "192.0.2.1", "2001:db8::1"];
  const step = fc.record({
    what: fc.constantFrom("initiation", "response", "connect"),
    sourceAddress: fc.constantFrom(...sources),
    waitMs: fc.oneof(fc.nat(500), fc.nat(20_000)),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const scene = new Scene();
      /** Who was not told of yet. */
      const open = new Map<string, { firstMs: number; packets: number }>();
      const connected = new Set<string>();
      scene.onReport = ({ network, packets, sources: names }) => {
        const due = [...open].filter(
          ([from, { firstMs }]) => networkOf(from) === network && scene.nowMs - firstMs >= 5000,
        );
        expect(names).toHaveLength(due.length);
        expect(packets).toBe(due.reduce((sum, [, each]) => sum + each.packets, 0));
        for (const [from] of due) open.delete(from);
      };
      for (const { what, sourceAddress, waitMs } of steps) {
        if (what === "connect") {
          scene.connect(sourceAddress);
          connected.add(sourceAddress);
          open.delete(sourceAddress);
        } else {
          scene.seen({ sourceAddress, type: MessageType[what as "initiation"] });
          const before = open.get(sourceAddress) ?? { firstMs: scene.nowMs, packets: 0 };
          if (!connected.has(sourceAddress)) {
            open.set(sourceAddress, { ...before, packets: before.packets + 1 });
          }
        }
        scene.pass(waitMs);
      }
      scene.pass(130_000);
      expect([...open]).toEqual([]);
      expect(scene.clock.waiting).toBe(0);
    }),
  );
});

describe("a network", () => {
  test.each([
    ["192.0.2.77", "192.0.2.0/24"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"],
    ["2001:db8::1", "2001:db8::/48"],
    ["2001:0:5::1", "2001:0:5::/48"],
    ["fe80::1", "fe80::/48"],
    ["::1", "::/48"],
    ["::", "::/48"],
  ])("of %s is %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  test("of IPv6 is the address without its last ten bytes", () => {
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

/** What wireguard-go sent to a device, with keys that were made for it and thrown away. */
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

/** What is captured of each packet: COPY_RANGE_BYTES in src/capture/nflog.ts. */
const COPIED = 192;

describe.each(Object.entries(real))("a real %s", (_name, { to, bytes }) => {
  const other = Object.values(real).find((each) => each.to !== to)!.to;

  test.each([
    ["IPv4", ipv4(bytes)],
    ["IPv4 with options", ipv4(bytes, { options: new Uint8Array(32) })],
    ["IPv6", ipv6(bytes)],
    ["IPv6 with options", ipv6(bytes, { extensions: [[0, new Uint8Array(8)]] })],
  ])("over %s, as it is captured, has the mac1 of its receiver only", (_ip, packet) => {
    const { handshake } = parsePacket(packet.subarray(0, COPIED))!;
    expect(hasValidMac1(handshake!, to)).toBe(true);
    expect(hasValidMac1(handshake!, other)).toBe(false);
  });

  test("has none any more when any byte is changed", () => {
    const handshake = bytes.subarray(0, -16);
    for (let i = 0; i < handshake.length; i++) {
      const changed = handshake.slice();
      changed[i]! ^= 0x10;
      expect(hasValidMac1(changed, to)).toBe(false);
    }
  });

  test("goes the whole way, from the packet to what is told", () => {
    const scene = new Scene();
    const found: UnknownHandshakesChange[] = [];
    const unknown = new UnknownHandshakes({
      clock: scene.clock,
      deviceAt: () => device({ publicKey: to }),
      handshakeAtMs: () => null,
      hasValidMac1,
      nameOf: () => null,
      report: (each) => found.push(...each),
    });
    unknown.seen(parsePacket(ipv4(bytes))!);
    scene.pass(60_000);
    expect(found).toMatchObject([{ network: "192.0.2.0/24", mac1: "valid" }]);
  });
});

test("of other messages, and of what was cut off, there is nothing to check", () => {
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

test("a rule with snaplen 128 leaves enough of no initiation", () => {
  const recorded = readGolden("nflog.bin").flatMap((each) => parseLogged(each));
  const types = recorded.flatMap(({ packet }) => {
    const captured = parsePacket(packet);
    return captured === null || captured.handshake === null ? [] : [captured.type];
  });
  expect(types).not.toContain(MessageType.initiation);
});
