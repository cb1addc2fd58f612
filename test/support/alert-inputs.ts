/** Arbitrary rules and inputs of the alert engine, for properties. */

import fc from "fast-check";

import type { Input } from "../../src/alerts/input.ts";
import { type Rule, ruleOf } from "../../src/alerts/rule.ts";
import { parseInterval } from "../../src/alerts/times.ts";
import { keyOf } from "./alert-story.ts";
import { mustEndpoint } from "./peers.ts";

const NAMES = ["alice", "bob", "carol", "dave"];
const ENDPOINTS = ["192.0.2.1:1000", "198.51.100.1:2000", "203.0.113.9:3000"];

const office = parseInterval("mon-fri 08:00-18:00 Europe/Berlin");
if (typeof office === "string") throw new Error(office);
const dailyQuota = { unit: "day", zone: "Europe/Berlin" } as const;

const ruleVariants: readonly Rule[] = [
  ruleOf("down", "down-now", { forMs: 0, waitMs: 0 }),
  ruleOf("down", "down", { repeatMs: 3_600_000, resolveAfterMs: 60_000 }),
  ruleOf("down", "down-everywhere", { everywhere: true, waitMs: 0, resolveAfterMs: 60_000 }),
  ruleOf("down", "down-alice", { everywhere: true, peers: ["alice"], forMs: 0 }),
  ruleOf("down", "down-office", { times: [office], devices: ["wg0"] }),
  ruleOf("flapping", "flapping", { disconnects: 2, withinMs: 1_800_000 }),
  ruleOf("no-return-traffic", "holes", { tags: ["site"], steadyForMs: 0 }),
  ruleOf("shared-key", "copies", { turns: 2 }),
  ruleOf("traffic", "quota", {
    quota: { bytes: 100_000, period: dailyQuota, percents: [50, 100] },
  }),
  ruleOf("traffic", "rate", { rate: { bytesPerSecond: 100, overMs: 60_000 }, waitMs: 30_000 }),
  ruleOf("hours", "hours", { allowed: [office] }),
  ruleOf("place", "place", { allowed: ["DE"], unseen: "country" }),
  ruleOf("unused", "unused", { days: 1 }),
  ruleOf("unused", "unused-everywhere", { days: 1, everywhere: true }),
  ruleOf("changed", "changed"),
  ruleOf("handshakes", "handshakes", { messages: 5, peers: ["a*"] }),
  ruleOf("target", "target"),
];

export const someRules = fc.subarray([...ruleVariants], { minLength: 1 });

const device = fc.constantFrom("wg0", "wg1");
const name = fc.constantFrom(...NAMES);
const endpoint = fc.constantFrom(...ENDPOINTS);
const named = name.map((text) => ({
  publicKey: keyOf(text),
  name: text,
  tags: text === "alice" ? ["site"] : [],
}));
/** Some time before the input. */
const ago = fc.constantFrom(0, 10_000, 70_000, 180_000);

interface Step {
  /** Time since the previous step. */
  readonly afterMs: number;
  readonly make: (nowMs: number) => Input;
}

const maker: fc.Arbitrary<Step["make"]> = fc.oneof(
  fc
    .record({ device, peer: named, endpoint, ago })
    .map(({ ago: agoMs, ...rest }): Step["make"] => (nowMs) => ({
      type: "connected",
      ...rest,
      handshakeAtMs: nowMs - agoMs,
      startedAtMs: nowMs,
    })),
  fc
    .record({ device, peer: named, endpoint, ago: fc.option(ago) })
    .map(({ ago: agoMs, ...rest }): Step["make"] => (nowMs) => ({
      type: "roamed",
      ...rest,
      handshakeAtMs: agoMs === null ? null : nowMs - agoMs,
    })),
  fc
    .record({
      device,
      peer: named,
      ago,
      reason: fc.constantFrom(
        "idle" as const,
        "idle" as const,
        "peer-removed" as const,
        "device-removed" as const,
      ),
    })
    .map(({ ago: agoMs, ...rest }): Step["make"] => (nowMs) => ({
      type: "disconnected",
      ...rest,
      endedAtMs: nowMs - agoMs,
    })),
  fc
    .record({ device, present: fc.boolean() })
    .map((values): Step["make"] => () => ({ type: "device", ...values })),
  fc
    .record({
      device,
      peers: fc.uniqueArray(
        fc.record({
          publicKey: name.map(keyOf),
          rxBytes: fc.constantFrom(0, 148, 600, 5000, 50_000),
          txBytes: fc.constantFrom(0, 32, 700, 9000),
          endpoint: fc.option(endpoint.map(mustEndpoint)),
          ago: fc.option(ago),
        }),
        { selector: ({ publicKey }) => publicKey },
      ),
    })
    .map(({ device: on, peers }): Step["make"] => (nowMs) => ({
      type: "scan",
      device: on,
      peers: peers.map(({ ago: agoMs, ...peer }) => ({
        ...peer,
        lastHandshakeMs: agoMs === null ? null : nowMs - agoMs,
      })),
    })),
  fc
    .record({
      device,
      peers: fc.uniqueArray(
        fc.record({ peer: named, ips: fc.constantFrom([], ["10.0.0.2/32"]), rename: fc.boolean() }),
        { selector: ({ peer }) => peer.publicKey },
      ),
      complete: fc.boolean(),
    })
    .map(({ device: on, peers, complete }): Step["make"] => () => ({
      type: "peers",
      device: on,
      peers: peers.map(({ peer, ips, rename }) => ({
        ...peer,
        name: rename ? `x-${peer.name}` : peer.name,
        allowedIps: ips,
        persistentKeepaliveSeconds: 0,
        lastHandshakeMs: null,
      })),
      removed: [],
      complete,
    })),
  fc.option(device).map((on): Step["make"] => () => ({ type: "scan-failed", device: on })),
  fc
    .record({
      device,
      messages: fc.nat(9),
      publicKeys: fc.array(name.map(keyOf), { maxLength: 2 }),
    })
    .map((values): Step["make"] => () => ({
      type: "unknown-handshakes",
      ...values,
      mac1: "valid",
      network: null,
    })),
  fc
    .record({
      target: fc.constantFrom("pager", "mail box"),
      state: fc.constantFrom("ok" as const, "failing" as const, "stopped" as const),
    })
    .map((values): Step["make"] => (nowMs) => ({ type: "target", ...values, sinceMs: nowMs })),
  fc
    .record({ id: fc.constantFrom("s1", "s2"), peer: fc.constantFrom("a*", "*"), hours: fc.nat(3) })
    .map(({ id, peer, hours }): Step["make"] => (nowMs) => ({
      type: "silence",
      silence: {
        id,
        matchers: [{ field: "peer", pattern: peer }],
        startMs: nowMs,
        endMs: nowMs + hours * 3_600_000,
        comment: "",
        createdBy: "",
      },
    })),
  fc.constant((): Input => ({ type: "devices-forgotten", prefix: "wg1" })),
  fc.constantFrom("s1", "s2").map((id): Step["make"] => () => ({ type: "silence-expired", id })),
  ago.map((agoMs): Step["make"] => (nowMs) => ({
    type: "away",
    fromMs: nowMs - agoMs,
    reason: "suspended",
  })),
);

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    afterMs: fc.constantFrom(
      0,
      1000,
      5000,
      10_000,
      10_000,
      30_000,
      90_000,
      400_000,
      7_200_000,
      90_000_000,
    ),
    make: maker,
  }),
  { maxLength: 60 },
);

/** Inputs with their times, in their order, without ticks and steps of the clock. */
export function someInputs(startMs: number): fc.Arbitrary<{ atMs: number; input: Input }[]> {
  return steps.map((list) => {
    let nowMs = startMs;
    let beforeMs = startMs;
    return list.map(({ afterMs, make }) => {
      beforeMs = nowMs;
      nowMs += afterMs;
      const input = make(nowMs);
      // wgmon was not away before the previous input.
      const isAway = input.type === "away" && input.fromMs < beforeMs;
      return { atMs: nowMs, input: isAway ? { ...input, fromMs: beforeMs } : input };
    });
  });
}
