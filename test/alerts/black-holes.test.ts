/**
 * Rules of kind no-return-traffic over simulated links, packet by packet: with 5 % loss each way and round trips of 800 ms
 * no link is a black hole, whatever it sends and whenever the ticks come; a steady link that becomes one is reported in time.
 */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { type Rule, ruleOf } from "../../src/alerts/rule.ts";
import { randomOf } from "../support/alert-day.ts";
import { AlertStory } from "../support/alert-story.ts";

const RUNS = Number(process.env["WGMON_TEST_ALERT_RUNS"] ?? 300);
const TICK_MS = 10_000;
const LOSS = 0.05;
const ROUND_TRIP_MS = 800;
const LENGTH_MS = 15 * 60_000;

const rule = ruleOf("no-return-traffic", "holes", { peers: ["*"] });

interface Link {
  readonly seed: number;
  readonly packetsPerSecond: number;
  readonly bytes: number;
  readonly answerBytes: number;
  /** When the first tick comes. */
  readonly phaseMs: number;
  /** Scans between the ticks, as other peers cause them. */
  readonly extraScansPerTick: number;
}

const link: fc.Arbitrary<Link> = fc.record({
  seed: fc.nat(),
  packetsPerSecond: fc.constantFrom(3, 5, 20),
  bytes: fc.constantFrom(128, 160, 1452),
  answerBytes: fc.constantFrom(96, 128, 1452),
  phaseMs: fc.nat(TICK_MS),
  extraScansPerTick: fc.constantFrom(0, 0, 0.3, 2),
});

/** A packet that the gateway sends. */
interface Packet {
  readonly atMs: number;
  readonly bytes: number;
}

/** Sends packets at random times, as long as `isActive`. */
function steady(
  { packetsPerSecond, bytes }: Link,
  random: () => number,
  isActive: (atMs: number) => boolean = () => true,
): Packet[] {
  const packets: Packet[] = [];
  for (let atMs = 0; atMs < LENGTH_MS; atMs += (2000 * random()) / packetsPerSecond) {
    if (isActive(atMs)) packets.push({ atMs, bytes });
  }
  return packets;
}

/** Just before a tick, so that the answers come after it. */
function* edges({ phaseMs }: Link): Iterable<number> {
  for (let atMs = phaseMs; atMs < LENGTH_MS; atMs += TICK_MS) yield atMs;
}

function burst(tickMs: number, bytes: number, count: number, random: () => number): Packet[] {
  return Array.from({ length: count }, () => ({
    atMs: tickMs - ROUND_TRIP_MS * random(),
    bytes,
  }));
}

/** Plays the link. From `holeAtMs` on no answer arrives. */
function play(
  { answerBytes, phaseMs, extraScansPerTick }: Link,
  packets: readonly Packet[],
  random: () => number,
  { holeAtMs = Infinity, judging = rule }: { holeAtMs?: number; judging?: Rule } = {},
): { readonly told: string[]; readonly firedAtMs: number | null } {
  const isLost = () => random() < LOSS;
  const answers: Packet[] = [];
  /** When WireGuard of the peer sends a keep-alive, because it received data and sent none. */
  let keepaliveAtMs = Infinity;
  let isSecond = true;
  for (const { atMs, bytes } of packets.toSorted((a, b) => a.atMs - b.atMs)) {
    const arrivesAtMs = atMs + ROUND_TRIP_MS / 2;
    if (keepaliveAtMs <= arrivesAtMs) {
      if (!isLost()) answers.push({ atMs: keepaliveAtMs + ROUND_TRIP_MS / 2, bytes: 32 });
      keepaliveAtMs = Infinity;
    }
    if (isLost()) continue;
    // Of large packets, every second one is confirmed, as by TCP.
    if (bytes > 1000) isSecond = !isSecond;
    if (bytes > 1000 && !isSecond) {
      keepaliveAtMs = Math.min(keepaliveAtMs, arrivesAtMs + 10_000);
      continue;
    }
    keepaliveAtMs = Infinity;
    if (!isLost()) answers.push({ atMs: atMs + ROUND_TRIP_MS, bytes: answerBytes });
  }
  const scans = Array.from({ length: LENGTH_MS / TICK_MS }, (_, tick) => phaseMs + tick * TICK_MS);
  for (let count = 0; count < (extraScansPerTick * LENGTH_MS) / TICK_MS; count++) {
    scans.push(Math.floor(random() * LENGTH_MS));
  }
  scans.sort((a, b) => a - b);
  const sum = (list: readonly Packet[], fromMs: number, toMs: number) =>
    list
      .filter(({ atMs }) => fromMs < atMs && atMs <= toMs && (list === packets || atMs < holeAtMs))
      .reduce((bytes, each) => bytes + each.bytes, 0);

  const story = new AlertStory([judging]).connect("berlin");
  const beginMs = story.nowMs;
  let beforeMs = 0;
  let handshakeAtMs = 0;
  for (const scanAtMs of scans) {
    story.wait((beginMs + scanAtMs - story.nowMs) / 1000);
    // New keys need both directions.
    if (scanAtMs < holeAtMs && scanAtMs - handshakeAtMs > 110_000) {
      story.handshake("berlin");
      handshakeAtMs = scanAtMs;
    }
    const [rx, tx] = [sum(answers, beforeMs, scanAtMs), sum(packets, beforeMs, scanAtMs)];
    story.scan(rx + tx > 0 ? { berlin: [rx, tx] } : {});
    beforeMs = scanAtMs;
    const told = story.told();
    if (told.length > 0) return { told, firedAtMs: scanAtMs };
  }
  return { told: [], firedAtMs: null };
}

test("no steady link is a black hole, with bursts of any size at the end of ticks", () => {
  fc.assert(
    fc.property(link, fc.constantFrom(0, 0.1, 1, 5), (given, burstTicks) => {
      const random = randomOf(given.seed);
      const packets = steady(given, random);
      const perTick = given.packetsPerSecond * 10 * burstTicks;
      for (const tickMs of edges(given)) {
        if (random() < 0.3) packets.push(...burst(tickMs, given.bytes, perTick, random));
      }
      expect(play(given, packets, random).told).toEqual([]);
    }),
    { numRuns: RUNS },
  );
});

test("a link that pauses for up to 20 s is no black hole, with bursts of a quarter of its usual bytes at the end of ticks", () => {
  fc.assert(
    fc.property(link, fc.integer({ min: 1, max: 20 }), (given, pauseSeconds) => {
      const random = randomOf(given.seed);
      const pauses = Array.from({ length: 5 }, () => random() * LENGTH_MS);
      const isPause = (atMs: number) =>
        pauses.some((fromMs) => fromMs <= atMs && atMs < fromMs + 1000 * pauseSeconds);
      const packets = steady(given, random, (atMs) => !isPause(atMs));
      const count = Math.floor((given.packetsPerSecond * 10) / 4);
      for (const tickMs of edges(given)) {
        if (isPause(tickMs)) packets.push(...burst(tickMs, given.bytes, count, random));
      }
      expect(play(given, packets, random).told).toEqual([]);
    }),
    { numRuns: RUNS },
  );
});

test("a link that is polled every ten seconds or so, just before the tick, is no black hole", () => {
  fc.assert(
    fc.property(link, fc.integer({ min: 9000, max: 11_000 }), (given, periodMs) => {
      const random = randomOf(given.seed);
      const packets: Packet[] = [];
      for (let atMs = given.phaseMs; atMs < LENGTH_MS; atMs += periodMs) {
        packets.push(...burst(atMs, 128, 10, random));
      }
      expect(play(given, packets, random).told).toEqual([]);
    }),
    { numRuns: RUNS },
  );
});

test("with `for` of 25 s, a link whose only traffic is large bursts every ten seconds or so is no black hole", () => {
  fc.assert(
    fc.property(link, fc.integer({ min: 9000, max: 11_000 }), (given, periodMs) => {
      const random = randomOf(given.seed);
      const packets: Packet[] = [];
      for (let atMs = given.phaseMs; atMs < LENGTH_MS; atMs += periodMs) {
        packets.push(...burst(atMs, given.bytes, 40, random));
      }
      const judging = { ...rule, forMs: 25_000 };
      expect(play(given, packets, random, { judging }).told).toEqual([]);
    }),
    { numRuns: RUNS },
  );
});

test("a steady link that becomes a black hole is reported within 20 s, at whatever time between two ticks", () => {
  fc.assert(
    fc.property(link, fc.nat(TICK_MS - 1), (given, afterTickMs) => {
      const random = randomOf(given.seed);
      const packets = steady(given, random);
      const holeAtMs = given.phaseMs + 30 * TICK_MS + afterTickMs;
      const { told, firedAtMs } = play(given, packets, random, { holeAtMs });
      expect(told).toHaveLength(1);
      expect(firedAtMs! - holeAtMs).toBeLessThanOrEqual(20_000);
    }),
    { numRuns: RUNS },
  );
});
