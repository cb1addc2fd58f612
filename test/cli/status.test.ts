/** `wgmon status`, with the API of a fake read model. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import { printStatus } from "../../src/cli/status.ts";
import { coloured } from "../../src/cli/text.ts";
import type { PeerView } from "../../src/http/schemas.ts";
import { asked, printed } from "../support/api-reader.ts";
import { ALICE, BOB, device, peer } from "../support/peers.ts";
import { FakeSource, keyOf } from "../support/source.ts";

let source: FakeSource;

beforeEach(async () => {
  source = await FakeSource.make();
  const { wallMs } = source.clock.now();
  const alice = peer({
    publicKey: ALICE,
    allowedIps: ["10.0.0.2/32", "fd00::2/128"],
    lastHandshakeMs: wallMs - 90_000,
    rxBytes: 3_500_000,
  });
  const bob = peer({
    publicKey: BOB,
    endpoint: "[2001:db8::7]:40002",
    allowedIps: ["10.0.0.3/32"],
    lastHandshakeMs: wallMs - 3_600_000,
    txBytes: 700,
  });
  const never = peer({ publicKey: keyOf(3), endpoint: null, allowedIps: [] });
  source.found.set("wg0", { device: device(), peers: [never, bob, alice] });
  source.found.set("wg1", { device: device({ name: "wg1", index: 4, listenPort: 0 }), peers: [] });
  source.names.set(ALICE, "al\u001b[2Jice");
  source.connect("wg0", alice, {
    startedAtMs: wallMs - 7_200_000,
    lastActivity: { wallMs: wallMs - 3000, monotonicMs: 0 },
    roams: 2,
  });
  source.speeds.set(ALICE, { rxBytesPerSecond: 12_345, txBytesPerSecond: 6 });
});

afterEach(() => source.store[Symbol.dispose]());

const options = () => ({
  ...printed(),
  search: null,
  json: false,
  devices: [] as string[],
  requestedDevices: [] as string[],
  nowMs: source.clock.now().wallMs,
  isRunning: true,
});

test("wgmon status prints for each peer whether it is connected, since when, and its traffic", async () => {
  const output = options();
  await printStatus(asked(source), output);
  expect(output.lines()).toEqual([
    "gw1: wgmon 0.0.0, up 0s",
    "woken by bpf on all interfaces (no firewall rule logs to NFLOG group 1)",
    "",
    "wg0, port 51820: 1 of 3 peers connected",
    "PEER          STATE         ADDRESS      SINCE    SEEN        ENDPOINT               FROM PEER/S   TO PEER/S  FROM PEER   TO PEER  ROAMS",
    "al [2Jice     connected     10.0.0.2 +1  2h       3s ago      192.0.2.1:51820           12 KiB/s       6 B/s    3.3 MiB       0 B      2",
    "BBBBBBBB…     disconnected  10.0.0.3              1h ago      [2001:db8::7]:40002                                   0 B     700 B",
    "AAAAAwAA…     never                                                                                                 0 B       0 B",
    "",
    "wg1, no port: 0 of 0 peers connected",
  ]);
});

test("wgmon status fits the width of a terminal, and has colours", async () => {
  const output = { ...options(), maxWidth: 60, paint: coloured };
  await printStatus(asked(source), output);
  const lines = output.lines();
  for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(60);
  expect(lines).toContain(
    "al [2Jice     \u001b[32mconnected   \u001b[0m  2h       3s ago         12 KiB/s",
  );
});

test("wgmon status --json prints a line for each peer, as the API returns it", async () => {
  const output = { ...options(), json: true };
  const answers = asked(source);
  await printStatus(answers, output);
  const { items } = await answers.get<{ items: { publicKey: string }[] }>("/v1/peers");
  const found = output.lines().map((line) => JSON.parse(line) as { publicKey: string });
  expect(found.map(({ publicKey }) => publicKey)).toEqual([ALICE, BOB, keyOf(3)]);
  expect(found).toEqual(
    [ALICE, BOB, keyOf(3)].map((key) => items.find((peer) => peer.publicKey === key)!),
  );
});

test("wgmon status sorts peers by what they show last, then by name and key, in whatever order the device lists them", async () => {
  const { wallMs } = source.clock.now();
  const gone = { lastHandshakeMs: wallMs - 3_600_000 };
  const peers = [
    peer({ publicKey: keyOf(1) }),
    peer({ publicKey: keyOf(2) }),
    peer({ publicKey: keyOf(3) }),
    peer({ publicKey: keyOf(4), ...gone }),
    peer({ publicKey: keyOf(5), ...gone }),
  ];
  for (const [number, name] of [
    [2, "nas"],
    [3, "carol"],
    [4, "zoe"],
    [5, "Dave"],
  ] as const) {
    source.names.set(keyOf(number), name);
  }
  for (const order of [
    [0, 1, 2, 3, 4],
    [4, 3, 2, 1, 0],
    [2, 4, 0, 3, 1],
  ]) {
    source.found.set("wg0", { device: device(), peers: order.map((index) => peers[index]!) });
    const output = { ...options(), devices: ["wg0"] };
    await printStatus(asked(source), output);
    const shown = output.lines().slice(-5);
    expect(shown.map((line) => line.split(" ")[0])).toEqual([
      "Dave",
      "zoe",
      "carol",
      "nas",
      "AAAAAQAA…",
    ]);
  }
});

test("wgmon status prints only the selected devices, and reports one that does not exist", async () => {
  const output = { ...options(), devices: ["wg1"] };
  await printStatus(asked(source), output);
  expect(output.text()).not.toContain("wg0");
  const later = { ...options(), devices: ["wg1", "wg7"] };
  await printStatus(asked(source), later);
  expect(later.lines()).toContain("there is no device wg7 at present");
  expect(later.text()).toContain("wg1, no port");
});

test.each([
  ["al", ALICE],
  ["10.0.0.3", BOB],
  ["fd00::2", ALICE],
  ["2001:db8::7", BOB],
  [BOB.slice(0, 8), BOB],
])("wgmon status prints only the peer that matches %s, and its device", async (search, key) => {
  const output = { ...options(), search };
  await printStatus(asked(source), output);
  expect(output.lines()).toEqual([
    "wg0, port 51820: 1 of 3 peers connected",
    expect.stringMatching(/^PEER +STATE/) as string,
    expect.stringContaining(key === ALICE ? "10.0.0.2 +1" : "10.0.0.3") as string,
  ]);
  const found = { ...options(), search, json: true };
  await printStatus(asked(source), found);
  expect(found.lines().map((line) => (JSON.parse(line) as PeerView).publicKey)).toEqual([key]);
});

test("wgmon status suggests a name if no peer matches", async () => {
  source.names.set(ALICE, "alice");
  const printing = printStatus(asked(source), { ...options(), search: "alcie" });
  expect(printing).rejects.toThrow('there is no peer "alcie"; did you mean alice?');
});

test("wgmon status prints each of 2,500 peers once", async () => {
  const peers = Array.from({ length: 2500 }, (_, n) => peer({ publicKey: keyOf(n) }));
  source.found.set("wg0", { device: device(), peers });
  const output = { ...options(), json: true, devices: ["wg0"] };
  const answers = asked(source);
  await printStatus(answers, output);
  const keys = output.lines().map((line) => (JSON.parse(line) as { publicKey: string }).publicKey);
  expect(keys.toSorted()).toEqual(peers.map(({ publicKey }) => publicKey as string).toSorted());
  expect(answers.paths.filter((path) => path.startsWith("/v1/peers"))).toHaveLength(3);
});
