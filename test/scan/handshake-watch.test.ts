/** The handshake watch against a played kernel, under a clock that the tests move. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { MessageType } from "../../src/base/wireguard.ts";
import type { Datagram } from "../../src/capture/packet.ts";
import {
  AFTER_ATTEMPT,
  AFTER_COMPLETED,
  EXPECTED_MAX,
  SELECTED_MAX,
  UNANNOUNCED,
} from "../../src/scan/expected-handshakes.ts";
import { OVERLOAD_HINTS, PROBE_EVERY_MS, PROBE_MS } from "../../src/scan/guarded-mode.ts";
import { HandshakeWatch, SCAN_BUCKET } from "../../src/scan/handshake-watch.ts";

const PORT = 51_820;

/** A gateway: its kernel completes handshakes, and the watch learns of them by scans alone. */
class Gateway {
  /** When scans were taken, and of which ports. */
  readonly scans: { atMs: number; ports: readonly number[] | "all" }[] = [];
  /** When handshakes were completed, and those of which a scan has told, by address, port and port here. */
  readonly completed = new Map<string, number>();
  readonly #found = new Map<string, number>();
  readonly foundAt = new Map<string, number>();
  nowMs = 1_000_000;
  readonly startMs = this.nowMs;
  /** What a scan takes of a processor. */
  costMs = 0.5;
  spentMs = 0;
  /** Whether the tap on sent packets may be opened. */
  mayTap = true;
  #isGuarded = false;
  readonly watch = new HandshakeWatch({
    handshakeAtMs: (address, port, destinationPort) =>
      this.#found.get(`${address} ${port} ${destinationPort}`) ?? null,
  });

  get times(): number[] {
    return this.scans.map(({ atMs }) => atMs - this.startMs);
  }

  /** What the driver does with each packet. */
  receive(datagram: Datagram | null): void {
    const { selection } = this.watch;
    const isSelected =
      selection === null || (datagram?.isFirstData === true && selection.includes(datagram.index));
    if (isSelected) this.watch.onReceived(datagram, this.nowMs);
    this.#follow();
  }

  send(datagram: Datagram): void {
    if (this.isSentRead) this.watch.onSent(datagram, this.nowMs);
  }

  /** By firewall rules, or by the tap that is open in guarded mode. */
  rulesLogSent = false;
  get isSentRead(): boolean {
    return this.rulesLogSent || (this.watch.isGuarded && this.mayTap);
  }

  complete(place: Datagram): void {
    this.completed.set(placeOf(place), this.nowMs);
  }

  /** Time passes, with the scans that are due. */
  pass(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const nextMs = this.watch.nextMs(this.nowMs);
      if (nextMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, nextMs);
      this.#scan();
      this.#follow();
    }
    this.nowMs = Math.max(this.nowMs, endMs);
  }

  #scan(): void {
    const ports = this.watch.advance(this.nowMs);
    if (ports === null) return;
    this.scans.push({ atMs: this.nowMs, ports: ports === "all" ? "all" : [...ports] });
    for (const [place, atMs] of this.completed) {
      if (ports !== "all" && !ports.has(Number(place.split(" ")[2]))) continue;
      if (this.#found.get(place) !== atMs) this.foundAt.set(place, this.nowMs);
      this.#found.set(place, atMs);
    }
    this.nowMs += this.costMs;
    this.spentMs += this.costMs;
    this.watch.onScanned(this.costMs, this.nowMs);
  }

  #follow(): void {
    if (this.watch.isGuarded === this.#isGuarded) return;
    this.#isGuarded = this.watch.isGuarded;
    this.watch.onSentCapture(this.#isGuarded && this.isSentRead);
  }
}

const placeOf = ({ sourceAddress, sourcePort, destinationPort }: Datagram) =>
  `${sourceAddress} ${sourcePort} ${destinationPort}`;

function datagram(type: Datagram["type"], index: number, fields: Partial<Datagram> = {}): Datagram {
  return {
    sourceAddress: "192.0.2.1",
    sourcePort: 5000,
    destinationPort: PORT,
    type,
    isFirstData: type === MessageType.data,
    index,
    isOwnIndex: type !== MessageType.initiation,
    ...fields,
  };
}
const initiation = (index: number, fields: Partial<Datagram> = {}) =>
  datagram(MessageType.initiation, index, fields);
const response = (index: number, fields: Partial<Datagram> = {}) =>
  datagram(MessageType.response, index, fields);
const data = (index: number, fields: Partial<Datagram> = {}) =>
  datagram(MessageType.data, index, fields);
const from = (number: number): Partial<Datagram> => ({
  sourceAddress: `198.51.${number >> 8}.${number & 255}`,
});

/** Into guarded mode, by packets that nobody needs. */
function overload(gateway: Gateway): void {
  for (let n = 0; n <= OVERLOAD_HINTS; n++) gateway.receive(data(0x7000_0000 + n, from(n)));
  expect(gateway.watch.isGuarded).toBe(true);
}

describe("hint mode", () => {
  test("the packet that completes a handshake causes a scan at once, which is the only one", () => {
    const gateway = new Gateway();
    gateway.receive(initiation(1));
    gateway.pass(40);
    gateway.complete(data(2));
    gateway.receive(data(2));
    gateway.pass(20_000);
    expect(gateway.scans).toEqual([{ atMs: gateway.startMs + 40, ports: [PORT] }]);
  });

  test("a handshake that the kernel has not completed yet is found by the next scan", () => {
    const gateway = new Gateway();
    gateway.receive(data(2));
    gateway.pass(2);
    gateway.complete(data(2));
    gateway.pass(20_000);
    expect(gateway.times).toEqual([0, 4]);
  });

  test("first data that completes no handshake causes as many scans as its schedule has", () => {
    const gateway = new Gateway();
    gateway.receive(data(2));
    gateway.pass(20_000);
    expect(gateway.times).toEqual([...AFTER_COMPLETED]);
    gateway.receive(data(2));
    gateway.pass(20_000);
    expect(gateway.scans).toHaveLength(2 * AFTER_COMPLETED.length);
  });

  test("a handshake whose completing packet is lost is found a second after the initiation", () => {
    const gateway = new Gateway();
    gateway.receive(initiation(1));
    gateway.pass(300);
    gateway.complete(initiation(1));
    gateway.pass(20_000);
    expect(gateway.times).toEqual([1000]);
  });

  test("an initiation that no handshake follows causes two scans", () => {
    const gateway = new Gateway();
    gateway.receive(initiation(1));
    gateway.pass(20_000);
    expect(gateway.times).toEqual(AFTER_ATTEMPT.slice(1));
  });

  test("the peer's response to a handshake of this machine causes a scan", () => {
    const gateway = new Gateway();
    gateway.receive(response(3));
    gateway.complete(response(3));
    gateway.pass(20_000);
    expect(gateway.times).toEqual([0]);
  });

  test("initiations cause no scan if firewall rules log sent responses", () => {
    const gateway = new Gateway();
    gateway.rulesLogSent = true;
    gateway.send(response(9, from(9)));
    gateway.pass(20_000);
    const before = gateway.scans.length;
    gateway.receive(initiation(1));
    gateway.pass(20_000);
    expect(gateway.scans).toHaveLength(before);
  });

  test("if firewall rules log sent responses, a handshake whose completing packet is lost is found after a second", () => {
    const gateway = new Gateway();
    gateway.rulesLogSent = true;
    gateway.send(response(2));
    gateway.pass(10);
    gateway.complete(data(2));
    gateway.pass(20_000);
    expect(gateway.times).toEqual([1000]);
  });

  test("few scans find many peers that connect at once", () => {
    const gateway = new Gateway();
    for (let n = 0; n < 50; n++) {
      gateway.complete(data(n, from(n)));
      gateway.receive(data(n, from(n)));
    }
    gateway.pass(20_000);
    expect(gateway.scans).toHaveLength(1);
    expect(gateway.foundAt.size).toBe(50);
  });

  test("peers behind one address and port at two devices are found independently of each other", () => {
    const gateway = new Gateway();
    gateway.receive(data(1));
    gateway.receive(data(2, { destinationPort: 51_821 }));
    gateway.complete(data(1));
    gateway.pass(1);
    expect(gateway.scans[0]!.ports).toEqual([PORT, 51_821]);
    gateway.complete(data(2, { destinationPort: 51_821 }));
    gateway.pass(20_000);
    expect(gateway.scans.slice(1)).toEqual([{ atMs: gateway.startMs + 4, ports: [51_821] }]);
  });

  test.each([
    ["data of a running session", data(5, { isFirstData: false })],
    ["a cookie", datagram(MessageType.cookie, 5)],
    ["what is no WireGuard message", null],
  ])("%s causes no scan", (_what, packet) => {
    const gateway = new Gateway();
    gateway.receive(packet);
    gateway.pass(20_000);
    expect(gateway.scans).toEqual([]);
  });
});

describe("a connected peer", () => {
  function connected(): Gateway {
    const gateway = new Gateway();
    gateway.complete(data(2));
    gateway.receive(data(2));
    gateway.pass(10);
    expect(gateway.scans).toHaveLength(1);
    return gateway;
  }

  test("a connected peer that renews its keys causes no scan, in hint mode and in guarded mode", () => {
    const gateway = connected();
    gateway.pass(120_000);
    gateway.receive(initiation(11));
    gateway.receive(data(12));
    gateway.pass(20_000);
    expect(gateway.scans).toHaveLength(1);
    overload(gateway);
    gateway.send(response(13));
    expect(gateway.watch.selection).toEqual([]);
    gateway.pass(3000);
    expect(gateway.scans.slice(1).every(({ ports }) => ports === "all")).toBe(true);
  });

  test("a handshake of a connected peer long before a rekey is due causes a scan, because it may be another peer's", () => {
    const gateway = connected();
    gateway.pass(30_000);
    gateway.complete(data(12));
    gateway.receive(data(12));
    gateway.pass(20_000);
    expect(gateway.scans).toHaveLength(2);
  });
});

describe("lost packets", () => {
  test("lost packets cause scans of all devices, at once and for packets that arrive later", () => {
    const gateway = new Gateway();
    gateway.watch.onPacketsLost(gateway.nowMs);
    gateway.pass(20_000);
    expect(gateway.scans.every(({ ports }) => ports === "all")).toBe(true);
    expect(gateway.times).toEqual([...AFTER_COMPLETED]);
  });

  test("packets that are lost every 10 ms cause no more scans than one series of scans at a time", () => {
    const gateway = new Gateway();
    for (let ms = 0; ms < 15_000; ms += 10) {
      gateway.watch.onPacketsLost(gateway.nowMs);
      gateway.pass(10);
    }
    expect(gateway.scans.length).toBeLessThanOrEqual(11 * AFTER_COMPLETED.length);
  });
});

describe("the start and the end of guarded mode", () => {
  test("too many hints in a tenth of a second begin guarded mode, with scans for handshakes that were not completed yet", () => {
    const gateway = new Gateway();
    overload(gateway);
    expect(gateway.watch.selection).toEqual([]);
    gateway.pass(PROBE_EVERY_MS - 1);
    expect(gateway.scans.every(({ ports }) => ports === "all")).toBe(true);
    expect(gateway.times.slice(0, AFTER_COMPLETED.length)).toEqual([...AFTER_COMPLETED]);
    const rest = gateway.times.slice(AFTER_COMPLETED.length);
    expect(rest).toHaveLength(Math.floor((PROBE_EVERY_MS - 1500) / UNANNOUNCED[0]!));
  });

  test("more hints than the bucket allows scans for begin guarded mode", () => {
    const gateway = new Gateway();
    gateway.costMs = 3;
    for (let n = 0; n < 2000 && !gateway.watch.isGuarded; n++) {
      gateway.receive(data(n, from(n)));
      gateway.pass(5);
    }
    expect(gateway.watch.isGuarded).toBe(true);
    const { share, burstMs } = SCAN_BUCKET;
    const passedMs = gateway.nowMs - gateway.startMs;
    expect(gateway.spentMs).toBeLessThan(burstMs + share * passedMs + 2 * gateway.costMs);
  });

  test("a hint begins guarded mode if announced handshakes fill the table", () => {
    const gateway = new Gateway();
    gateway.rulesLogSent = true;
    for (let n = 0; n < EXPECTED_MAX; n++) gateway.send(response(n, from(n)));
    expect(gateway.watch.isGuarded).toBe(false);
    gateway.receive(data(EXPECTED_MAX, from(EXPECTED_MAX)));
    expect(gateway.watch.isGuarded).toBe(true);
  });

  test("peers that connect one after the other do not begin guarded mode, however long a scan takes", () => {
    const gateway = new Gateway();
    gateway.costMs = 10;
    for (let n = 0; n < 200; n++) {
      gateway.receive(initiation(n, from(n)));
      gateway.pass(5);
      gateway.complete(data(n, from(n)));
      gateway.receive(data(n, from(n)));
      gateway.pass(150);
    }
    expect(gateway.watch.isGuarded).toBe(false);
    expect(gateway.scans).toHaveLength(200);
  });

  test("renewals of a thousand connected peers within ten seconds do not begin guarded mode", () => {
    const gateway = new Gateway();
    const peers = Array.from({ length: 1000 }, (_, n) => from(n));
    for (const [n, place] of peers.entries()) {
      gateway.complete(data(n, place));
      gateway.receive(data(n, place));
      gateway.pass(20);
    }
    gateway.pass(110_000);
    for (const [n, place] of peers.entries()) {
      gateway.receive(initiation(n, place));
      gateway.receive(data(5000 + n, place));
      gateway.pass(10);
    }
    expect(gateway.watch.isGuarded).toBe(false);
  });

  test("a probe ends guarded mode if there are no more hints", () => {
    const gateway = new Gateway();
    overload(gateway);
    gateway.pass(PROBE_EVERY_MS + 1);
    expect(gateway.watch.selection).toBeNull();
    expect(gateway.watch.isGuarded).toBe(true);
    gateway.pass(PROBE_MS);
    expect(gateway.watch.isGuarded).toBe(false);
    expect(gateway.watch.isFlooded).toBe(false);
    gateway.pass(2000);
    expect(gateway.watch.nextMs(gateway.nowMs)).toBe(Infinity);
  });

  test("a probe that reads too many hints reports a flood, ends early and causes no scan", () => {
    const gateway = new Gateway();
    overload(gateway);
    gateway.pass(PROBE_EVERY_MS + 1);
    const before = gateway.scans.length;
    for (let n = 0; n < 50; n++) gateway.receive(data(n, from(n)));
    expect(gateway.watch.selection).toEqual([]);
    expect(gateway.watch.isFlooded).toBe(true);
    gateway.pass(1);
    expect(gateway.scans).toHaveLength(before);
    gateway.pass(PROBE_EVERY_MS + PROBE_MS);
    expect(gateway.watch.isGuarded).toBe(false);
    expect(gateway.watch.isFlooded).toBe(false);
  });
});

describe("guarded mode", () => {
  function guarded(options: Partial<Pick<Gateway, "mayTap">> = {}): Gateway {
    const gateway = Object.assign(new Gateway(), options);
    overload(gateway);
    // A scan of all devices has just been taken.
    gateway.pass(AFTER_COMPLETED.at(-1)! + 10);
    gateway.scans.length = 0;
    return gateway;
  }

  test("in guarded mode, a sent response announces a handshake, and the packet that completes it causes a scan at once", () => {
    const gateway = guarded();
    gateway.send(response(2));
    expect(gateway.watch.selection).toEqual([2]);
    gateway.pass(4);
    gateway.complete(data(2));
    gateway.receive(data(2));
    const atMs = gateway.nowMs;
    gateway.pass(1500);
    expect(gateway.scans).toEqual([{ atMs, ports: [PORT] }]);
  });

  test("in guarded mode, a completing packet that arrives before the kernel selects it is found by the first retry", () => {
    const gateway = guarded();
    gateway.complete(data(2));
    gateway.send(response(2));
    const sentMs = gateway.nowMs;
    gateway.pass(1500);
    expect(gateway.scans.map(({ atMs }) => atMs - sentMs)).toEqual([AFTER_ATTEMPT[0]!]);
  });

  test("in guarded mode, sent first data announces a session that this machine begins", () => {
    const gateway = guarded();
    gateway.complete(data(7));
    gateway.send(data(7, { isOwnIndex: false }));
    gateway.pass(1500);
    expect(gateway.scans).toHaveLength(1);
  });

  test("in guarded mode, forged packets cause no scan, and one scan every ten seconds finds peers that are not announced", () => {
    const gateway = guarded();
    gateway.complete(data(1, { destinationPort: 443 }));
    for (let ms = 0; ms < UNANNOUNCED[0]!; ms++) {
      gateway.receive(ms % 2 === 0 ? data(ms, from(ms)) : initiation(ms, from(ms)));
      gateway.pass(1);
    }
    expect(gateway.scans).toHaveLength(1);
    expect(gateway.foundAt.size).toBe(1);
  });

  test("in guarded mode, the newest indexes that a program can hold are selected, and all handshakes are found", () => {
    const gateway = guarded();
    for (let n = 0; n < 2 * EXPECTED_MAX; n++) {
      gateway.send(response(n, from(n)));
      gateway.complete(data(n, from(n)));
    }
    expect(gateway.watch.selection).toHaveLength(SELECTED_MAX);
    gateway.pass(2000);
    expect(gateway.foundAt.size).toBe(2 * EXPECTED_MAX);
  });

  test("in guarded mode without a tap and without rules, all devices are scanned as often as the bucket allows", () => {
    const gateway = guarded({ mayTap: false });
    gateway.pass(4000);
    const every = gateway.scans.map(({ atMs }, n) => atMs - (gateway.scans[n - 1]?.atMs ?? atMs));
    expect(gateway.scans.length).toBeGreaterThan(10);
    expect(every.slice(1).every((ms) => ms >= 250 && ms < 300)).toBe(true);
    gateway.pass(PROBE_EVERY_MS);
    expect(gateway.watch.isGuarded).toBe(false);
    gateway.pass(2000);
    const before = gateway.scans.length;
    gateway.pass(60_000);
    expect(gateway.scans).toHaveLength(before);
  });
});

/** What happens at a gateway, in the order of time: milliseconds since what was before. */
type Step =
  | {
      readonly pauseMs: number;
      readonly type: "handshake";
      readonly roundTripMs: number;
      readonly isLost: boolean;
    }
  | {
      readonly pauseMs: number;
      readonly type: "forged";
      readonly count: number;
      readonly kind: number;
    }
  | { readonly pauseMs: number; readonly type: "lost" };

const pauseMs = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 15_000 }));
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    pauseMs,
    type: fc.constant("handshake" as const),
    roundTripMs: fc.constantFrom(0, 1, 2, 40, 300),
    isLost: fc.boolean(),
  }),
  fc.record({
    pauseMs,
    type: fc.constant("forged" as const),
    count: fc.constantFrom(1, 3, 30, 300),
    kind: fc.nat(2),
  }),
  fc.record({ pauseMs, type: fc.constant("lost" as const) }),
);

const KINDS = [initiation, response, data] as const;

/** Plays the steps; how long after its end each handshake was found, null: not at all. */
function play(gateway: Gateway, steps: readonly Step[]): { delays: (number | null)[] } {
  const ends: { atMs: number; act: () => void }[] = [];
  const places: string[] = [];
  let peers = 0;
  const passTo = (endMs: number) => {
    for (;;) {
      ends.sort((a, b) => a.atMs - b.atMs);
      const next = ends[0];
      if (next === undefined || next.atMs > endMs) break;
      ends.shift();
      gateway.pass(Math.max(0, next.atMs - gateway.nowMs));
      next.act();
    }
    gateway.pass(Math.max(0, endMs - gateway.nowMs));
  };
  let random = 0x8000_0000;
  for (const step of steps) {
    passTo(gateway.nowMs + step.pauseMs);
    switch (step.type) {
      case "lost":
        gateway.watch.onPacketsLost(gateway.nowMs);
        break;
      case "forged":
        for (let n = 0; n < step.count; n++) {
          gateway.receive(KINDS[step.kind]!(random++, from(random & 0xffff)));
          passTo(gateway.nowMs + 0.2);
        }
        break;
      case "handshake": {
        const place = { sourceAddress: "192.0.2.1", sourcePort: 1024 + peers };
        const index = 1000 + peers++;
        gateway.receive(initiation(index, place));
        gateway.send(response(index, place));
        ends.push({
          atMs: gateway.nowMs + step.roundTripMs,
          act: () => {
            const last = data(index, place);
            places.push(placeOf(last));
            gateway.complete(last);
            if (!step.isLost) gateway.receive(last);
          },
        });
      }
    }
  }
  passTo(gateway.nowMs + 30_000);
  const delays = places.map((place) => {
    const foundMs = gateway.foundAt.get(place);
    return foundMs === undefined ? null : foundMs - gateway.completed.get(place)!;
  });
  return { delays };
}

/** A scan takes half a millisecond here, so that the bucket makes nobody wait for long. */
const LATE_MS = 100;

describe.each([
  ["with a tap for sent packets", { mayTap: true, rulesLogSent: false }],
  ["with rules that log sent packets", { mayTap: false, rulesLogSent: true }],
  ["without a tap or rules", { mayTap: false, rulesLogSent: false }],
])("the watch %s, with any packets", (name, options) => {
  test(`${name}, each completed handshake is found within its schedule, whatever packets arrive`, () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 40 }), (steps) => {
        const { delays } = play(Object.assign(new Gateway(), options), steps);
        for (const delay of delays) {
          expect(delay).not.toBeNull();
          // Lost in the moment in which guarded mode begins: the last scan of all devices finds it.
          expect(delay).toBeLessThanOrEqual(AFTER_COMPLETED.at(-1)! + LATE_MS);
        }
      }),
      { numRuns: 300 },
    );
  });

  test(`${name}, forged packets alone cause no more scans than the bucket allows, and the scans end`, () => {
    fc.assert(
      fc.property(
        fc.array(anyStep, { maxLength: 40 }),
        fc.constantFrom(0.2, 2.5, 20),
        (steps, costMs) => {
          const gateway = Object.assign(new Gateway(), { ...options, costMs });
          play(
            gateway,
            steps.filter(({ type }) => type === "forged"),
          );
          const { share, burstMs, overdraftMs } = SCAN_BUCKET;
          const passedMs = gateway.nowMs - gateway.startMs;
          const mostMs = burstMs + overdraftMs + share * passedMs + costMs;
          expect(gateway.spentMs).toBeLessThanOrEqual(mostMs);
          gateway.pass(60_000);
          expect(gateway.watch.nextMs(gateway.nowMs)).toBe(Infinity);
        },
      ),
      { numRuns: 300 },
    );
  });
});
