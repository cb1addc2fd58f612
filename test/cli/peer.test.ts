/** `wgmon peer`, with the API of a fake read model: how it finds the peer, and what it prints. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import { findPeer } from "../../src/cli/find-peer.ts";
import { printPeer } from "../../src/cli/peer.ts";
import { coloured } from "../../src/cli/text.ts";
import type { PeerRequest } from "../../src/config/command-requests.ts";
import { asked, printed } from "../support/api-reader.ts";
import { anEvent } from "../support/events.ts";
import { ALICE, BOB, device, peer } from "../support/peers.ts";
import { FakeSource, keyOf } from "../support/source.ts";

const LAPTOP = keyOf(3);
const OFFICE = keyOf(4);
const REMOVED = keyOf(5);
const HOUR_MS = 3_600_000;

let source: FakeSource;

beforeEach(async () => {
  source = await FakeSource.make();
  source.clock.advance(48 * HOUR_MS);
  const { wallMs } = source.clock.now();
  const alice = peer({
    publicKey: ALICE,
    allowedIps: ["10.0.0.2/32", "fd00::2/128"],
    endpoint: "198.51.100.7:40001",
    lastHandshakeMs: wallMs - 90_000,
    rxBytes: 814 * 2 ** 20,
    txBytes: 89 * 2 ** 20,
    persistentKeepaliveSeconds: 25,
  });
  const bob = peer({
    publicKey: BOB,
    allowedIps: ["10.0.0.3/32"],
    endpoint: "[2001:db8::7]:40002",
  });
  const laptop = peer({ publicKey: LAPTOP, allowedIps: ["10.0.0.4/32"], endpoint: null });
  const office = peer({
    publicKey: OFFICE,
    allowedIps: ["10.0.0.0/24", "192.168.7.0/24"],
    endpoint: null,
  });
  source.found.set("wg0", { device: device(), peers: [alice, bob, laptop] });
  source.found.set("wg1", {
    device: device({ name: "wg1", index: 4, listenPort: 0 }),
    peers: [office],
  });
  source.names.set(ALICE, "alice");
  source.names.set(BOB, "bob's phone");
  source.names.set(LAPTOP, "bob's laptop");
  source.names.set(OFFICE, "Office Lyon");
  source.tags.set(ALICE, ["staff"]);
  const ended = [
    {
      device: "wg0",
      publicKey: ALICE,
      startedAtMs: wallMs - 24 * HOUR_MS,
      endedAtMs: wallMs - 18 * HOUR_MS,
      durationMs: 6 * HOUR_MS,
      reason: "idle" as const,
      endpoint: "198.51.100.7:40001",
      rxBytes: 2048,
      txBytes: 10,
      roams: 0,
      peer: alice,
    },
  ];
  source.store.record({ events: [], sessions: [], ended, devices: null }, 0);
  source.connect("wg0", alice, {
    startedAtMs: wallMs - HOUR_MS,
    lastActivity: { wallMs: wallMs - 3000, monotonicMs: 0 },
    rxBytes: 50 * 2 ** 20,
    roams: 2,
  });
  source.speeds.set(ALICE, { rxBytesPerSecond: 12_345, txBytesPerSecond: 6 });
  source.record([
    anEvent("peer.connected", { peer: alice, name: "alice" }),
    {
      ...anEvent("peer.connected", { peer: peer({ publicKey: REMOVED }), name: "carol" }),
      id: `evt_${"c".repeat(32)}`,
    },
  ]);
});

afterEach(() => source.store[Symbol.dispose]());

const request = (word: string, fields: Partial<PeerRequest> = {}): PeerRequest => ({
  word,
  limit: 5,
  json: false,
  requestedDevices: [],
  ...fields,
});

const options = (word: string, fields: Partial<PeerRequest> = {}) => ({
  ...printed(),
  request: request(word, fields),
  devices: [] as string[],
  nowMs: source.clock.now().wallMs,
});

describe("a peer is found", () => {
  test.each<[string, string, string]>([
    ["its name", "alice", ALICE],
    ["its name in other case", "ALICE", ALICE],
    ["a part of its name that no other has", "phone", BOB],
    ["its key", BOB, BOB],
    ["the first characters of its key", BOB.slice(0, 8), BOB],
    ["its key as status shows it", `${BOB.slice(0, 8)}…`, BOB],
    ["a tunnel address", "10.0.0.2", ALICE],
    ["another form of a tunnel address", "fd00:0:0::2", ALICE],
    ["an address that only its prefix contains", "10.0.0.77", OFFICE],
    ["a prefix", "192.168.7.0/24", OFFICE],
    ["its endpoint", "198.51.100.7:40001", ALICE],
    ["the address of its endpoint", "2001:db8::7", BOB],
  ])("by %s", async (_, word, key) => {
    const found = await findPeer(asked(source), word, []);
    expect(found).toMatchObject({ type: "present", peer: { publicKey: key } });
  });

  test("also if it was removed and is still in the store", async () => {
    const found = await findPeer(asked(source), "carol", []);
    expect(found).toEqual({ type: "removed", publicKey: REMOVED });
  });

  test.each<[string, string, string[]]>([
    ['there is no peer "alcie"; did you mean alice?', "alcie", []],
    [
      `"bob's" names 2 peers: bob's laptop (wg0, 10.0.0.4) and bob's phone (wg0, 10.0.0.3)`,
      "bob's",
      [],
    ],
    ['there is no peer "172.16.0.1"', "172.16.0.1", []],
    ['"Office Lyon" is a peer of wg1, not of wg0', "Office Lyon", ["wg0"]],
  ])("or the error is: %s", (message, word, devices) => {
    expect(findPeer(asked(source), word, devices)).rejects.toThrow(message);
  });

  test("or the error says that several removed peers had the name, or that a long word names no peer", async () => {
    source.record(
      [10, 11].map((n) => ({
        ...anEvent("peer.connected", { peer: peer({ publicKey: keyOf(n) }), name: "dave" }),
        id: `evt_${n.toString(16).padStart(32, "d")}`,
      })),
    );
    const problemOf = async (word: string) =>
      await findPeer(asked(source), word, []).catch((error: unknown) => String(error));
    const both = await problemOf("dave");
    expect(both).toContain('"dave" names 2 removed peers: ');
    expect(both).toContain(keyOf(10));
    expect(both).toContain(keyOf(11));
    expect(await problemOf("x".repeat(150))).toContain("there is no peer");
  });

  test("on the device of the flag, if several devices have it", async () => {
    const wg1 = source.found.get("wg1")!;
    source.found.set("wg1", { ...wg1, peers: [...wg1.peers, peer({ publicKey: BOB })] });
    expect(findPeer(asked(source), BOB, [])).rejects.toThrow(
      "names 2 peers: bob's phone (wg0, 10.0.0.3) and bob's phone (wg1, 10.0.0.2)",
    );
    const found = await findPeer(asked(source), BOB, ["wg1"]);
    expect(found).toMatchObject({ peer: { device: "wg1" } });
  });
});

describe("prints", () => {
  test("a connected peer on one screen", async () => {
    const output = options("alice");
    await printPeer(asked(source), output);
    // Times are in local time, which depends on the machine.
    const text = output.text().replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, "2026-11-22 16:19:04");
    expect(`\n${text}`).toMatchInlineSnapshot(`
      "
      alice: connected for 1h

        Public key         AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=
        Tags               staff
        Device             wg0, port 51820
        Tunnel addresses   10.0.0.2, fd00::2
        Endpoint           198.51.100.7:40001
        Keepalive          every 25 s
        Connected since    2026-11-22 16:19:04
        Last handshake     2026-11-22 16:19:04, 1m 30s ago
        Last activity      2026-11-22 16:19:04, 3s ago
        Uptime             24 h: 5.6 %, 7 d: 5.6 %, 30 d: 5.6 % (recorded for 18h)

        TRAFFIC                FROM PEER     TO PEER
        now                     12 KiB/s       6 B/s
        this session, 2 roams     50 MiB         0 B
        since it was added       814 MiB      89 MiB

      Last sessions
        STARTED              LASTED   END   FROM PEER  TO PEER  ENDPOINT
        2026-11-22 16:19:04  1h       open     50 MiB      0 B  198.51.100.7:40001
        2026-11-22 16:19:04  6h       idle    2.0 KiB     10 B  198.51.100.7:40001

      Last events
        2026-11-22 16:19:04  alice (wg0) connected from 198.51.100.7:40001
      "
    `);
  });

  test("the name that reverse DNS has for the endpoint, as a text without control characters", async () => {
    source.endpointNames.set("198.51.100.7", "host\u001b[2J\u202e.example.net");
    const output = options("alice");
    await printPeer(asked(source), output);
    expect(output.text()).toContain(
      "Endpoint           198.51.100.7:40001\n  Reverse DNS        host [2J.example.net\n",
    );
  });

  test("a peer that never connected", async () => {
    const output = options("laptop");
    await printPeer(asked(source), output);
    expect(output.lines()[0]).toBe("bob's laptop: never");
    expect(output.text()).toContain("Endpoint           none yet\n");
    expect(output.text()).toContain("Last handshake     never\n");
    expect(output.text()).toContain("Last sessions\n  none\n");
  });

  test("a peer that was removed, with its sessions and events", async () => {
    const output = options("carol");
    await printPeer(asked(source), output);
    expect(output.lines()[0]).toBe("carol: removed");
    expect(output.text()).toMatch(/Last events\n {2}\S+ \S+ {2}carol \(wg0\) connected/);
  });

  test("as JSON what the API returns, with the events", async () => {
    const output = options("alice", { json: true, limit: 1 });
    await printPeer(asked(source), output);
    expect(output.lines()).toHaveLength(1);
    expect(JSON.parse(output.text())).toMatchObject({
      publicKey: ALICE,
      state: "connected",
      allowedIps: ["10.0.0.2/32", "fd00::2/128"],
      session: { roams: 2 },
      uptime: { "24h": { fraction: expect.any(Number) as number } },
      sessions: [{ endedAt: null }],
      events: [{ type: "peer.connected" }],
    });
  });

  test("at most as many columns as the terminal has, with colours and without control characters", async () => {
    source.names.set(ALICE, "al\u001b[2Jice");
    const output = { ...options("10.0.0.2"), maxWidth: 60, paint: coloured };
    await printPeer(asked(source), output);
    expect(output.text()).not.toContain("\u001b[2J");
    expect(output.lines()[0]).toContain("\u001b[32mconnected\u001b[0m for 1h");
    const sessions = output
      .lines()
      .slice(output.lines().findIndex((line) => /sessions/.test(line)));
    for (const line of sessions.slice(0, 4)) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(60);
  });
});
