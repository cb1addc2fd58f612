/** Names of endpoints from reverse DNS: the cache, the limits, time-outs, untrusted names. */

import { beforeEach, describe, expect, test } from "bun:test";

import { EndpointNames } from "../../src/names/endpoint-names.ts";
import { HandClock } from "../support/clock.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60_000;

/** A lookup that the fake resolver received. */
interface Lookup {
  readonly address: string;
  readonly atMs: number;
  readonly signal: AbortSignal;
  readonly answer: (names: readonly string[]) => void;
  readonly fail: (error: Error) => void;
}

let clock: HandClock;
let names: EndpointNames;
let lookups: Lookup[];
/** The answer of the fake resolver to each lookup; null: a test answers, or it never does. */
let reply: ((address: string) => readonly string[]) | null;

beforeEach(() => {
  clock = new HandClock();
  lookups = [];
  reply = () => ["host.example.net"];
  names = new EndpointNames({
    clock,
    lookUp(address, signal) {
      const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
      const atMs = clock.now().monotonicMs;
      lookups.push({ address, atMs, signal, answer: resolve, fail: reject });
      return reply === null ? promise : Promise.resolve(reply(address));
    },
  });
  names.setEnabled(true);
});

function nameOf(address = "192.0.2.1"): string | null {
  return names.nameOf({ address, port: 40_000, scopeId: 0 });
}

/** Advances the clock in steps, with the answers of the resolver between them. */
async function pass(ms = 0, steps = 1): Promise<void> {
  await settle();
  for (let step = 0; step < steps; step++) {
    clock.advance(ms / steps);
    await settle();
  }
}

/** Runs the pending callbacks of promises. */
async function settle(): Promise<void> {
  for (let round = 0; round < 10; round++) await Promise.resolve();
}

function addresses(): string[] {
  return lookups.map(({ address }) => address);
}

/** `count` different addresses. */
function many(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `198.18.${n >> 8}.${n & 255}`);
}

describe("EndpointNames", () => {
  test("the first call returns null and asks no resolver itself, a later one has the name", async () => {
    expect(nameOf()).toBeNull();
    expect(lookups).toEqual([]);
    await pass();
    expect(addresses()).toEqual(["192.0.2.1"]);
    expect(nameOf()).toBe("host.example.net");
    expect(names.nameOf({ address: "192.0.2.1", port: 1, scopeId: 0 })).toBe("host.example.net");
    expect(lookups).toHaveLength(1);
    expect(clock.waiting).toBe(0);
  });

  test("nothing is looked up initially, and after it is switched off", async () => {
    const off = new EndpointNames({ clock, lookUp: () => Promise.reject(new Error("called")) });
    expect(off.nameOf({ address: "192.0.2.1", port: 1, scopeId: 0 })).toBeNull();
    expect(clock.waiting).toBe(0);

    reply = null;
    for (const address of many(20)) nameOf(address);
    await pass(300, 3);
    expect(lookups).toHaveLength(4);
    names.setEnabled(false);
    expect(lookups.map(({ signal }) => signal.aborted)).toEqual([true, true, true, true]);
    expect(clock.waiting).toBe(0);
    lookups[0]!.answer(["late.example.net"]);
    await pass(MINUTE_MS);
    expect(nameOf(many(1)[0])).toBeNull();
    expect(lookups).toHaveLength(4);
  });

  test("after it is switched off and on again, old names and late answers are not used", async () => {
    nameOf("192.0.2.2");
    await pass();
    reply = null;
    nameOf();
    await pass(100);
    names.setEnabled(false);
    names.setEnabled(true);
    expect([nameOf(), nameOf("192.0.2.2")]).toEqual([null, null]);
    await pass(200, 2);
    expect(addresses()).toEqual(["192.0.2.2", "192.0.2.1", "192.0.2.1", "192.0.2.2"]);
    lookups[1]!.answer(["old.example.net"]);
    await pass();
    expect(nameOf()).toBeNull();
    lookups[2]!.answer(["new.example.net"]);
    await pass();
    expect(nameOf()).toBe("new.example.net");
  });

  test("a name is valid for an hour, and renewed before if it is still requested", async () => {
    nameOf();
    await pass();
    await pass(54 * MINUTE_MS);
    expect(nameOf()).toBe("host.example.net");
    expect(lookups).toHaveLength(1);
    await pass(2 * MINUTE_MS);
    reply = () => ["other.example.net"];
    expect(nameOf()).toBe("host.example.net");
    await pass();
    expect(nameOf()).toBe("other.example.net");
    expect(lookups).toHaveLength(2);
    // No request for an hour.
    await pass(60 * MINUTE_MS);
    expect(lookups).toHaveLength(2);
    expect(nameOf()).toBeNull();
  });

  test("setting the wall clock does not change how long a name is valid", async () => {
    nameOf();
    await pass();
    clock.jump(365 * 24 * 60 * MINUTE_MS);
    expect(nameOf()).toBe("host.example.net");
    await pass(MINUTE_MS);
    expect(lookups).toHaveLength(1);
  });

  const failures: readonly (readonly [string, (lookup: Lookup) => void])[] = [
    ["has no name", ({ answer }) => answer([])],
    ["has only an empty name", ({ answer }) => answer(["", ".", "\u202e"])],
    ["cannot be looked up", ({ fail }) => fail(new Error("ENOTFOUND"))],
  ];
  test.each(failures)("an address that %s is looked up again after 10 minutes", async (_, end) => {
    reply = null;
    nameOf();
    await pass();
    end(lookups[0]!);
    await pass(10 * MINUTE_MS - 1);
    expect(nameOf()).toBeNull();
    await pass();
    expect(lookups).toHaveLength(1);
    await pass(1);
    nameOf();
    await pass();
    expect(lookups).toHaveLength(2);
  });

  test("a resolver that throws at once is a failed lookup", async () => {
    reply = () => {
      throw new Error("ENOTIMP");
    };
    nameOf();
    await pass();
    expect(nameOf()).toBeNull();
    expect(lookups).toHaveLength(1);
    reply = () => ["host.example.net"];
    await pass(10 * MINUTE_MS);
    nameOf();
    await pass();
    expect(nameOf()).toBe("host.example.net");
  });

  test("a lookup without an answer ends after 2 seconds; its late answer or error has no effect", async () => {
    reply = null;
    nameOf("192.0.2.1");
    nameOf("192.0.2.2");
    await pass(100);
    await pass(2 * SECOND_MS - 101);
    expect(lookups.map(({ signal }) => signal.aborted)).toEqual([false, false]);
    await pass(101);
    expect(lookups.map(({ signal }) => signal.aborted)).toEqual([true, true]);
    lookups[0]!.answer(["late.example.net"]);
    lookups[1]!.fail(new Error("ECANCELLED"));
    await pass(MINUTE_MS);
    expect([nameOf("192.0.2.1"), nameOf("192.0.2.2")]).toEqual([null, null]);
    expect(lookups).toHaveLength(2);
  });

  test("at most ten lookups start in a second, and one for each address", async () => {
    const asked = many(25);
    for (const address of [...asked, ...asked]) nameOf(address);
    await pass(SECOND_MS - 1, 1000);
    expect(lookups).toHaveLength(10);
    await pass(2 * SECOND_MS, 2000);
    expect(addresses()).toEqual(asked);
    const gaps = lookups.slice(1).map(({ atMs }, n) => atMs - lookups[n]!.atMs);
    expect(Math.min(...gaps)).toBeGreaterThan(99);
  });

  test("at most four lookups run at once", async () => {
    reply = null;
    const asked = many(6);
    for (const address of asked) nameOf(address);
    await pass(SECOND_MS, 10);
    expect(lookups).toHaveLength(4);
    lookups[2]!.answer(["host.example.net"]);
    await pass();
    expect(addresses()).toEqual(asked.slice(0, 5));
    // The first one ends by its time limit.
    await pass(SECOND_MS);
    await pass();
    expect(addresses()).toEqual(asked);
  });

  test("at most 1000 addresses wait; the others are looked up when they are requested again", async () => {
    const asked = many(1001);
    for (const address of asked) nameOf(address);
    for (let minute = 0; minute < 2; minute++) {
      await pass(59 * SECOND_MS, 590);
      for (const address of asked.slice(0, 1000)) nameOf(address);
    }
    expect(lookups).toHaveLength(1000);
    nameOf(asked[1000]);
    await pass(SECOND_MS);
    expect(addresses()).toEqual(asked);
  });

  test("an address without a request for a minute is not looked up any more", async () => {
    reply = null;
    const asked = many(200);
    for (const address of asked) nameOf(address);
    await pass(50 * SECOND_MS, 500);
    const before = lookups.length;
    expect(before).toBeLessThan(110);
    nameOf(asked[199]);
    await pass(11 * SECOND_MS, 110);
    expect(lookups.length).toBeLessThan(before + 25);
    expect(addresses().at(-1)).toBe(asked[199]!);
    await pass(MINUTE_MS, 10);
    expect(addresses().at(-1)).toBe(asked[199]!);
    expect(clock.waiting).toBe(0);
  });

  test("at most 10,000 answers are kept; the oldest is dropped", async () => {
    const asked = many(10_001);
    // One every 100 ms takes 17 minutes.
    for (const address of asked) {
      nameOf(address);
      await pass(100);
    }
    expect(lookups).toHaveLength(10_001);
    expect(asked.slice(1).filter((address) => nameOf(address) === null)).toEqual([]);
    expect(nameOf(asked[0])).toBeNull();
  });

  test.each([
    ["a dot at the end", "host.example.net.", "host.example.net"],
    ["control characters", "a\u001b[31mb\r\nc\0", "a [31mb c"],
    ["a bidirectional override", "\u202egnp.example\u2066", "gnp.example"],
    ["invisible characters", "a\u200bb\ufeff", "ab"],
    ["half of a surrogate pair", "a\ud800", "a\ufffd"],
    ["too many characters", "x".repeat(300), `${"x".repeat(127)}\u2026`],
    ["HTML", "<b>&amp;", "<b>&amp;"],
  ])("a name with %s is sanitized like the name of a peer", async (_, given, shown) => {
    reply = () => [given];
    nameOf();
    await pass();
    expect(nameOf()).toBe(shown);
  });

  test("of several names, the first one that is not empty is used", async () => {
    reply = () => ["\u200b", "a.example", "b.example"];
    nameOf();
    await pass();
    expect(nameOf()).toBe("a.example");
  });

  test.each([
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "169.254.1.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "64:ff9b::a00:1",
    "100::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
  ])("%s is not looked up, because it is not a public address", async (address) => {
    expect(nameOf(address)).toBeNull();
    await pass(SECOND_MS);
    expect(lookups).toEqual([]);
  });

  test.each([
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.0.1",
    "100.128.0.1",
    "169.253.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "192.167.0.1",
    "223.255.255.255",
    "22.0.0.1",
    "25.0.0.1",
    "2001:db8::1",
    "2a02::1",
    "3fff::1",
  ])("%s is looked up", async (address) => {
    nameOf(address);
    await pass();
    expect(addresses()).toEqual([address]);
  });
});
