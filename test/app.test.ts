/** All stages together, with fake inputs: names, mute peers, failed scans, floods, steps of the clock. */

import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { App } from "../src/app.ts";
import { SystemError } from "../src/base/errors.ts";
import type { PublicKey } from "../src/base/wireguard.ts";
import type { Monitor } from "../src/capture/capture.ts";
import type { Settings } from "../src/config/config.ts";
import type { DeliveryResult, Message, Target } from "../src/delivery/target.ts";
import { describeEvent } from "../src/events/event.ts";
import { FirewallManager } from "../src/firewall/firewall-manager.ts";
import type { Nft } from "../src/firewall/nft.ts";
import { DaemonReadModel } from "../src/http/daemon-read-model.ts";
import { exposition } from "../src/http/metrics.ts";
import { viewPeer, viewSession, viewStatus } from "../src/http/view.ts";
import type { ScanResult, ScanScope } from "../src/kernel/devices.ts";
import type { PlaceFiles } from "../src/names/places.ts";
import type { Fields } from "../src/platform/log.ts";
import type { InputHandler, Inputs } from "../src/scan/inputs.ts";
import { Store } from "../src/store/store.ts";
import type { EventQuery } from "../src/store/stored-events.ts";
import type { SessionQuery } from "../src/store/stored-sessions.ts";
import { HandClock } from "./support/clock.ts";
import { ipv4, response } from "./support/packets.ts";
import { ALICE, BOB, device, peer, ScanMaker } from "./support/peers.ts";
import { run } from "./support/settings.ts";

const WG0 = device();

let folder: string;
let clock: HandClock;
let startMs: number;
let scanMaker: ScanMaker;
/** The app's handler of captured packets. */
let handler: InputHandler;
let app: App | null = null;
let sent: Message[];
let logged: { message: string; fields: Fields }[];
let warned: string[];
/** The scan of the fake devices, except the first one. */
let scan: (scope: ScanScope) => Promise<ScanResult>;
let port: number;
/** The handler of sampled packets; null: opening the sample fails with EPERM. */
let sampled: ((packet: Uint8Array) => void) | null;
/** The addresses that were looked up. */
let lookedUp: string[];
/** What the reader of MMDB files was given. */
let placesRead: { readonly paths: readonly string[]; readonly before: PlaceFiles }[];
/** The result of all delivery attempts. */
let verdict: DeliveryResult;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "wgmon-app-"));
  mkdirSync(join(folder, "state"));
  clock = new HandClock();
  startMs = clock.now().wallMs;
  scanMaker = new ScanMaker();
  sent = [];
  placesRead = [];
  logged = [];
  warned = [];
  scan = () => Promise.resolve(found());
  port = WG0.listenPort;
  verdict = { type: "delivered" };
  sampled = null;
  lookedUp = [];
});

afterEach(async () => {
  await app?.stop();
  rmSync(folder, { recursive: true });
});

/** Settings from the text of a settings file, with names from `folder`. */
function settings(toml = "", monitor = "poll"): Settings {
  const names = `names = ${JSON.stringify(`${folder}/%i.conf`)}\nmonitor = "${monitor}"\n`;
  return run([], { toml: `${names}${toml}` }).settings;
}

function connectedPeers() {
  const lastHandshakeMs = startMs - 1000;
  return [ALICE, BOB].map((publicKey) => peer({ publicKey, lastHandshakeMs }));
}

/** A scan in which Alice and Bob have connected just before the start and sent nothing since. */
function found(): ScanResult {
  return { ...scanMaker.scan([WG0, connectedPeers()]), present: new Set([WG0.name]), problems: [] };
}

const oldest: EventQuery = {
  order: "oldest",
  from: null,
  limit: 1000,
  type: null,
  publicKey: null,
  sinceMs: null,
};
const openSessions: SessionQuery = {
  device: null,
  publicKey: null,
  sinceMs: null,
  isOpen: true,
  from: null,
  limit: 1000,
};

function metricsOf(source: DaemonReadModel): string {
  const { chunks } = exposition(source, { namings: [], accept: "" });
  return Iterator.from(chunks).toArray().join("");
}

/** Starts an app whose first scan finds Alice and Bob. */
async function start(
  given: string | Settings,
  rules: FirewallManager | null = null,
  monitor: Monitor = "poll",
): Promise<App> {
  const log = () => {};
  const say = (message: string, fields: Fields = {}) => void logged.push({ message, fields });
  const warn = (message: string) => {
    warned.push(message);
    say(message);
  };
  const store = await Store.open({
    directory: join(folder, "state"),
    clock,
    log: { debug: log, info: log, warn: log, error: log },
  });
  const inputs = {
    devices: {
      get lastScanned() {
        return [{ ...WG0, listenPort: port }];
      },
      count: () => 2,
      needsNewDump: () => false,
      peers: () => connectedPeers(),
      scan: (scope: ScanScope) => scan(scope),
      [Symbol.dispose]() {},
    },
    capture: { setPorts() {}, select() {} },
    openSentTap: () => null,
    openSample(onPacket: (packet: Uint8Array) => void) {
      if (sampled === null) throw new SystemError("open a packet socket", "EPERM");
      sampled = onPacket;
      return Promise.resolve({ setPorts() {}, close() {} });
    },
    wakeUp: { monitor, reason: null },
    checkWakeUp: () => Promise.resolve([]),
    firstScan: found(),
    start(given: InputHandler) {
      handler = given;
    },
    close() {},
  } as unknown as Inputs;
  const target: Target = {
    key: "target",
    channel: {
      name: "target",
      attempt(message) {
        sent.push(message);
        return Promise.resolve(verdict);
      },
    },
    accepts: () => true,
    digestMs: 0,
  };
  app = new App(typeof given === "string" ? settings(given, monitor) : given, {
    clock,
    machine: clock,
    log: { debug: log, info: say, warn, error: say },
    inputs,
    store,
    firewall: rules,
    makeTargets: () => [target],
    reverseLookup(address) {
      lookedUp.push(address);
      return Promise.resolve(["host.example.net"]);
    },
    readPlaces(paths, before) {
      placesRead.push({ paths, before });
      return Promise.resolve({ lookup: () => null, problems: [] });
    },
  });
  app.start();
  await settled();
  return app;
}

/** Lets all pending promise callbacks run. */
async function settled(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
}

test("endpoints are looked up only while the setting is on and a client requests them", async () => {
  const running = await start("");
  const source = new DaemonReadModel("1.2.3", running.stages);
  const view = async () => {
    const names = () =>
      source.peers("wg0").map((each) => viewPeer(source, "wg0", each).endpointName);
    names();
    await pass(1000, 100);
    return names();
  };
  expect(await view()).toEqual([null, null]);
  running.reload(settings("resolve_endpoints = true"));
  await pass(10_000, 1000);
  expect(lookedUp).toEqual([]);
  expect(await view()).toEqual(["host.example.net", "host.example.net"]);
  expect(lookedUp).toEqual(["192.0.2.1"]);
  running.reload(settings(""));
  expect(await view()).toEqual([null, null]);
  expect(lookedUp).toEqual(["192.0.2.1"]);
  expect(JSON.stringify([sent, logged])).not.toContain("host.example");
});

test("names come from the device's file, tags from the settings, and both are in the event and the log", async () => {
  writeFileSync(join(folder, "wg0.conf"), `[Peer]\n# ada\nPublicKey = ${ALICE}\n`);
  await start(`[peers."${ALICE}"]\ntags = ["phone", "family"]\n[peers."${BOB}"]\nname = "bob"`);
  const sentEvents = sent.flatMap(({ events }) => events);
  const peers = sentEvents.flatMap(({ data }) => ("session" in data ? data.peer : []));
  expect(peers.map(({ name, tags }) => [name, tags])).toEqual([
    ["ada", ["phone", "family"]],
    ["bob", []],
  ]);
  const lines = logged.filter(({ fields }) => fields["event"] === "peer.connected");
  expect(lines.map(({ message, fields }) => [message, fields["name"], fields["tags"]])).toEqual([
    [
      "ada (wg0) connected from 192.0.2.1:51820 already when wgmon started",
      "ada",
      ["phone", "family"],
    ],
    ["bob (wg0) connected from 192.0.2.1:51820 already when wgmon started", "bob", undefined],
  ]);
});

test("events of a mute peer are logged and not sent to targets", async () => {
  await start(`[peers."${ALICE}"]\nname = "ada"\nmute = true`);
  const texts = sent.flatMap(({ events }) => events).map((event) => describeEvent(event));
  expect(texts.filter((text) => text.includes("connected"))).toEqual([
    `${BOB} (wg0) connected from 192.0.2.1:51820 already when wgmon started`,
  ]);
  expect(logged.map(({ message }) => message)).toContain(
    "ada (wg0) connected from 192.0.2.1:51820 already when wgmon started",
  );
});

test("a filter that matches no peer causes a warning at start and at reload, not at each scan", async () => {
  writeFileSync(join(folder, "wg0.conf"), `# alice\n[Peer]\nPublicKey = ${ALICE}\n`);
  const filter = (name: string) => `[[target]]\nurl = "https://a.example"\npeers = ["${name}"]`;
  const running = await start(filter("alcie"));
  const warning = 'no peer is called "alcie" now; did you mean alice? (target 1)';
  expect(warned).toEqual([warning]);
  clock.advance(120_000);
  await settled();
  expect(warned).toEqual([warning]);
  running.reload(settings(filter("alcie")));
  expect(warned).toEqual([warning, warning]);
  expect(running.unmatched).toEqual([warning]);
  running.reload(settings(filter("alice")));
  expect(running.unmatched).toEqual([]);
  expect(warned).toEqual([warning, warning]);
});

test("a log line of a peer without a name shows the beginning of its key, and the field has the whole key", async () => {
  await start("");
  const line = logged.find(({ message }) =>
    message.startsWith(`${BOB.slice(0, 8)}… (wg0) connected`),
  );
  expect(line?.fields).toMatchObject({ publicKey: BOB, name: null });
  expect(logged.map(({ message }) => message).join("\n")).not.toContain(BOB);
});

test("a reload reads the MMDB files again, and passes what is used if one is damaged now", async () => {
  const running = await start("");
  running.reload(settings('places = ["/etc/places.mmdb"]'));
  await settled();
  running.reload(settings(""));
  await settled();
  expect(placesRead).toMatchObject([
    { paths: ["/etc/places.mmdb"], before: { problems: [] } },
    // Without files, the places of the last ones are not used any more.
    { paths: [], before: { problems: [] } },
  ]);
});

test("a reload applies changed names and mute settings", async () => {
  const running = await start(`[peers."${ALICE}"]\nmute = true`);
  writeFileSync(join(folder, "wg0.conf"), `[Peer]\n# ada\nPublicKey = ${ALICE}\n`);
  running.reload(settings(`idle_timeout = "10s"\n[peers."${BOB}"]\nmute = true`));
  sent = [];
  for (let second = 0; second < 300; second += 10) {
    clock.advance(10_000);
    await settled();
  }
  expect(sent.flatMap(({ events }) => events).map((event) => describeEvent(event))).toEqual([
    "ada (wg0) disconnected after 0s",
  ]);
});

/** Advances the clock in steps; after each step, waits for the promise callbacks. */
async function pass(ms: number, stepMs: number): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
    clock.advance(stepMs);
    await settled();
  }
}

test("an address that stays open after a reload keeps its tokens, or gets the new ones", async () => {
  const listening = (address: string, ...listenTokens: string[]): Settings => ({
    ...settings(),
    listen: { address, port: 9587 },
    listenTokens,
  });
  const running = await start(listening("0.0.0.0", "old"));
  const listen = { address: "0.0.0.0", port: 9587 };
  for (const given of [listening("127.0.0.1"), settings()]) {
    expect(running.reload(given)).toMatchObject({ listen, listenTokens: ["old"] });
  }
  const given = listening("0.0.0.0", "new");
  expect(running.reload(given)).toMatchObject({ listen, listenTokens: ["new"] });
});

test("failed scans end no session, are repeated at each tick, and are logged once", async () => {
  await start(`tick = "1s"\nidle_timeout = "10s"\nreconcile = 0`);
  // The warm-up is over.
  await pass(1000, 25);
  logged = [];
  let count = 0;
  const problem = new SystemError("scan wg0", "EMFILE");
  scan = () => {
    count++;
    return Promise.resolve({ devices: [], removed: [], present: null, problems: [problem] });
  };
  await pass(30_000, 50);
  expect(count).toBeGreaterThan(25);
  expect(count).toBeLessThanOrEqual(31);
  expect(logged.map(({ message }) => message)).toEqual(["scan wg0: EMFILE"]);

  scan = () => Promise.resolve(found());
  await pass(2000, 50);
  const messages = logged.map(({ message }) => message);
  expect(messages).toContain("all devices can be scanned again");
  expect(messages.filter((message) => message.includes("disconnected"))).toHaveLength(2);
  expect(messages).toHaveLength(4);
});

test("a reconcile scan replaces the scan of the tick", async () => {
  await start(`tick = "10s"\nidle_timeout = "1h"\nreconcile = "60s"`);
  await pass(70_000, 50);
  let count = 0;
  scan = () => {
    count++;
    return Promise.resolve(found());
  };
  await pass(600_000, 500);
  expect(count).toBe(60);
});

test.each([
  ["no packet at all", null, true],
  ["packets to another port", 1234, true],
  ["packets to its port", WG0.listenPort, false],
])(
  "a peer that only a reconcile scan finds causes a hint in the log, or not, after %s",
  async (_, heard, isHinted) => {
    const carol = `${"C".repeat(42)}I=` as PublicKey;
    await start(`tick = "1h"\nreconcile = "60s"`, null, "nflog");
    if (heard !== null) handler.packetReceived(ipv4(response(), { destinationPort: heard }));
    await pass(30_000, 50);
    scan = () => {
      const lastHandshakeMs = clock.now().wallMs;
      const connected = [ALICE, BOB, carol].map((publicKey) =>
        peer({ publicKey, lastHandshakeMs }),
      );
      return Promise.resolve({ ...found(), ...scanMaker.scan([WG0, connected]) });
    };
    logged = [];
    await pass(200_000, 1000);
    const hints = logged.filter(({ message: text }) =>
      text.includes("no packet of its handshake was captured"),
    );
    expect(hints).toHaveLength(isHinted ? 1 : 0);
  },
);

test.each<[Monitor, string, number]>([
  ["poll", "10s", 10_000],
  ["nflog", "10s", 10_000],
  ["bpf", "3s", 3000],
])(
  "a peer that returns with valid keys while no peer is connected is reported at the next tick (%s, %s)",
  async (monitor, tick, tickMs) => {
    const given = `tick = "${tick}"\nidle_timeout = "20s"\nreconcile = 0\n`;
    await start(given, null, monitor);
    const sentTypes = () =>
      sent
        .splice(0)
        .flatMap(({ events }) => events)
        .map(({ type }) => type);
    await pass(30_000, 50);
    expect(sentTypes().filter((type) => type === "peer.disconnected")).toHaveLength(2);
    await pass(60_000, 50);
    expect(sentTypes()).toEqual([]);

    const scans: ScanScope[] = [];
    const lastHandshakeMs = startMs - 1000;
    const back = [
      peer({ lastHandshakeMs, rxBytes: 96 }),
      peer({ publicKey: BOB, lastHandshakeMs }),
    ];
    scan = (scope: ScanScope) => {
      scans.push(scope);
      const present = new Set([WG0.name]);
      return Promise.resolve({ ...scanMaker.scan([WG0, back]), present, problems: [] });
    };
    const beforeMs = clock.now().monotonicMs;
    while (sent.length === 0) await pass(50, 50);
    expect(clock.now().monotonicMs - beforeMs).toBeLessThanOrEqual(tickMs + 100);
    expect(sentTypes()).toEqual(["peer.connected"]);
    // Only the device that has the peers is scanned.
    expect(scans).toEqual([monitor === "poll" ? "list" : new Set([WG0.name])]);
    expect(warned).toEqual([]);

    // The keys of both peers have expired and no peer is connected: no scans at ticks.
    await pass(180_000, 50);
    expect(sentTypes()).toEqual(["peer.disconnected"]);
    scans.length = 0;
    await pass(60_000, 50);
    expect(scans.length === 0).toBe(monitor !== "poll");
  },
);

test("a reason for lost packets is logged once while it lasts, and again each time it returns", async () => {
  await start("");
  const messages = () => logged.splice(0).map(({ message: text }) => text);
  messages();
  for (let attempt = 0; attempt < 20; attempt++) {
    handler.packetsLost("the group reports EMFILE");
    await pass(250, 250);
  }
  expect(messages()).toEqual(["the group reports EMFILE; scanning all devices"]);
  handler.packetsLost("eth0 went down");
  handler.packetsLost("the group reports EMFILE");
  await pass(1000, 1000);
  handler.packetsLost("the group reports EMFILE");
  expect(messages()).toEqual([
    "eth0 went down; scanning all devices",
    "the group reports EMFILE; scanning all devices",
    "the group reports EMFILE; scanning all devices",
  ]);
});

test("a long flood causes one warning, and a log line when it is over; short bursts cause neither", async () => {
  await start("");
  const lines = () => logged.splice(0).filter(({ message: text }) => text.includes("flood"));
  /** More packets at once than are processed. */
  const burst = () => {
    for (let n = 0; n < 200; n++) handler.packetReceived(ipv4(response()));
  };
  for (let again = 0; again < 3; again++) {
    burst();
    await pass(11_000, 50);
    expect(lines()).toEqual([]);
  }
  for (let passedMs = 0; passedMs < 60_000; passedMs += 50) {
    burst();
    await pass(50, 50);
  }
  expect(warned.splice(0).filter((text) => text.startsWith("packet flood"))).toHaveLength(1);
  expect(lines()).toHaveLength(1);
  await pass(11_000, 50);
  expect(lines().map(({ message: text }) => text)).toEqual(["packet flood is over"]);
});

test("handshake.unknown counts packets of the sample, or packets that wake wgmon if the sample is not permitted", async () => {
  const attempts = () =>
    sent.flatMap(({ events }) => events).filter(({ type }) => type === "handshake.unknown");
  const attempt = ipv4(response(), { sourcePort: 4321 });
  sampled = null;
  const running = await start(`report_unknown = true`);
  await settled();
  handler.packetReceived(attempt);
  await pass(120_000, 1000);
  expect(attempts()).toHaveLength(1);
  expect(warned).toContain(
    "handshake.unknown counts only packets that wake wgmon: open a packet socket: EPERM",
  );
  await running.stop();
  app = null;

  sampled = () => {};
  await start(`report_unknown = true`);
  await settled();
  handler.packetReceived(attempt);
  await pass(120_000, 1000);
  expect(attempts()).toHaveLength(1);
  sampled(attempt);
  await pass(120_000, 1000);
  expect(attempts()).toHaveLength(2);
});

test("the result of a scan that is still running when wgmon stops is ignored", async () => {
  const running = await start(`tick = "1s"`);
  const { promise, resolve } = Promise.withResolvers<ScanResult>();
  scan = () => promise;
  await pass(2000, 1000);
  await running.stop();
  app = null;
  logged = [];
  resolve({ ...scanMaker.scan(), present: null, problems: [] });
  await settled();
  expect(logged).toEqual([]);
});

test("managed firewall rules follow the ports, are checked also without reconcile scans, and are removed at the stop", async () => {
  const ran: string[] = [];
  const nft: Nft = (operation) => {
    ran.push(operation);
    return Promise.resolve();
  };
  const log = { info() {}, warn() {} };
  const rules = new FirewallManager({ group: 1, clock, log, nft });
  const running = await start(`tick = "30s"\nreconcile = "0s"`, rules);
  expect(ran.splice(0)).toEqual(["load table inet wgmon"]);
  await pass(65_000, 1000);
  expect(ran.splice(0)).toEqual(["list table inet wgmon"]);
  port = 1234;
  await pass(30_000, 1000);
  expect(ran.splice(0)).toEqual(["load table inet wgmon"]);
  await running.stop();
  app = null;
  expect(ran).toEqual(["remove table inet wgmon"]);
});

const HOUR_MS = 3_600_000;
for (const [what, bootMs, stepMs] of [
  ["from 1970 to today", 120_000, Date.UTC(2026, 10, 29) - 120_000],
  ["by a day", Date.UTC(2026, 10, 29), 24 * HOUR_MS],
  ["back by a day", Date.UTC(2026, 10, 29), -24 * HOUR_MS],
  ["by ten seconds", Date.UTC(2026, 10, 29), 10_000],
] as const) {
  test(`a clock that is set ${what} changes no duration and deletes nothing`, async () => {
    clock = new HandClock(bootMs);
    startMs = bootMs;
    verdict = { type: "retry", reason: "503", afterMs: null };
    const running = await start(`tick = "1s"\nidle_timeout = "200s"\nreconcile = 0\nkeep = "2d"`);
    await pass(60_000, 1000);
    const source = new DaemonReadModel("1.2.3", running.stages);
    const before = running.stages.store.events.query(oldest).length;
    clock.jump(stepMs);
    // The first request after the step, before any scan.
    source.readClock();
    const nowMs = clock.now().wallMs;
    for (let turn = 0; turn < 2; turn++) {
      expect(nowMs - Date.parse(viewStatus(source).startedAt)).toBe(60_000);
      for (const row of source.store.sessions.query(openSessions)) {
        expect(viewSession(source, row).durationMs).toBe(61_000);
      }
      const [alice] = [...source.peers("wg0")];
      const { session, lastHandshakeAt } = viewPeer(source, "wg0", alice!);
      expect(nowMs - Date.parse(session!.startedAt)).toBe(61_000);
      expect(nowMs - Date.parse(session!.lastSeenAt)).toBe(61_000);
      // The kernel's handshake time is adjusted only if it is impossible with the new clock.
      if (Math.abs(stepMs) >= HOUR_MS) expect(nowMs - Date.parse(lastHandshakeAt!)).toBe(61_000);
      const metrics = metricsOf(source);
      expect(metrics).toContain(`wgmon_outbox_oldest_age_seconds{target="target"} 60\n`);
      expect(metrics).toContain(`wgmon_start_time_seconds ${(nowMs - 60_000) / 1000}\n`);
      expect(metrics).toContain(`public_key="${ALICE}"} ${(nowMs - 61_000) / 1000}\n`);
    }
    expect(logged.filter(({ message }) => message.startsWith("the clock was set"))).toHaveLength(1);
    // Retention runs, and the sessions end.
    await pass(140_000, 1000);
    const ended = source.store.sessions.query({ ...openSessions, isOpen: false });
    expect(ended.map(({ durationMs }) => durationMs)).toEqual([0, 0]);
    expect(ended.map(({ startedAtMs }) => startedAtMs)).toEqual([nowMs - 61_000, nowMs - 61_000]);
    expect(running.stages.store.events.query(oldest)).toHaveLength(before + 2);
  });
}

test("the first start does not report a clock step", async () => {
  clock = new HandClock(Date.UTC(2026, 10, 29));
  await start(`reconcile = 0`);
  expect(logged.filter(({ message }) => message.startsWith("the clock was set"))).toEqual([]);
});

test("a clock that is set while wgmon is stopped changes no duration either", async () => {
  clock = new HandClock(120_000);
  startMs = 120_000;
  verdict = { type: "retry", reason: "503", afterMs: null };
  await start(`tick = "1s"\nreconcile = 0`);
  await pass(30_000, 1000);
  await app!.stop();
  clock.jump(Date.UTC(2026, 10, 29) - 120_000);
  scanMaker = new ScanMaker();
  const steps = () => logged.filter(({ message }) => message.startsWith("the clock was set"));
  expect(steps()).toEqual([]);
  const running = await start(`tick = "1s"\nreconcile = 0`);
  expect(steps().map(({ message }) => message)).toEqual([
    "the clock was set forward by 20785d 23h; earlier times were adjusted",
  ]);
  await pass(30_000, 1000);
  const source = new DaemonReadModel("1.2.3", running.stages);
  const rows = source.store.sessions.query(openSessions);
  expect(rows.map((row) => viewSession(source, row).durationMs)).toEqual([61_000, 61_000]);
  const metrics = metricsOf(source);
  expect(metrics).toContain(`wgmon_outbox_oldest_age_seconds{target="target"} 60\n`);
  const types = running.stages.store.events.query(oldest).map(({ event }) => event.type);
  expect(types.filter((type) => type === "peer.connected")).toHaveLength(2);
});

describe("while there is a viewer", () => {
  /** Bytes that Alice has sent. */
  let rxBytes: number;
  /** The devices of each scan, except the warm-up. */
  let scans: ScanScope[];
  let source: DaemonReadModel;

  async function startTalking(given = 'tick = "10s"\nidle_timeout = "20s"\nreconcile = 0') {
    const running = await start(given, null, "nflog");
    source = new DaemonReadModel("1.2.3", running.stages);
    await pass(1000, 25);
    rxBytes = 0;
    scans = [];
    scan = (scope: ScanScope) => {
      scans.push(scope);
      const lastHandshakeMs = startMs - 1000;
      const now = [
        peer({ publicKey: ALICE, lastHandshakeMs, rxBytes }),
        peer({ publicKey: BOB, lastHandshakeMs }),
      ];
      const present = scope === "list" ? new Set([WG0.name]) : null;
      return Promise.resolve({ ...scanMaker.scan([WG0, now]), present, problems: [] });
    };
    return running;
  }

  /** Alice sends 96 kB in each second. */
  async function talk(seconds: number): Promise<void> {
    for (let passedMs = 0; passedMs < seconds * 1000; passedMs += 20) {
      rxBytes += 1920;
      await pass(20, 20);
    }
  }

  const rateOf = (key: PublicKey) => source.rates("wg0", key)?.rxBytesPerSecond ?? null;
  const seenMs = (key: PublicKey) =>
    clock.now().wallMs - source.session("wg0", key)!.lastActivity.wallMs;
  const scansFor = (reason: string) =>
    Number(
      new RegExp(`scans_total\\{reason="${reason}"\\} (\\d+)`).exec(metricsOf(source))?.[1] ?? 0,
    );

  test("rates and the last activity are at most a second old, and the scans have a reason of their own", async () => {
    await startTalking();
    const leave = source.addViewer();
    await talk(3);
    for (let second = 0; second < 6; second++) {
      await talk(1);
      expect(rateOf(ALICE)).toBe(96_000);
      expect(rateOf(BOB)).toBe(0);
      expect(seenMs(ALICE)).toBeLessThanOrEqual(1020);
    }
    expect(scansFor("viewer")).toBe(10);
    expect(scansFor("packet")).toBe(0);
    // The list of the devices is not read again.
    for (const scope of scans) expect(scope).toEqual(new Set(["wg0"]));

    const { waiting } = clock;
    leave();
    expect(clock.waiting).toBe(waiting - 1);
    scans = [];
    await talk(30);
    expect(scansFor("viewer")).toBe(10);
    // The ticks.
    expect(scans).toHaveLength(3);
  });

  test("a program that repeats its request is served like a page, and a single request causes no scan", async () => {
    await startTalking();
    source.countersRequested("/v1/peers");
    await talk(5);
    expect(scansFor("viewer")).toBe(0);
    for (let second = 0; second < 4; second++) {
      source.countersRequested("/v1/peers");
      await talk(1);
    }
    expect(rateOf(ALICE)).toBe(96_000);
    await talk(3);
    const before = scansFor("viewer");
    await talk(30);
    expect(scansFor("viewer")).toBe(before);
  });

  test("the events are the same as without a viewer, and nothing is written to the store for a scan", async () => {
    const stories = [];
    for (const isWatched of [false, true]) {
      const running = await startTalking();
      const from = sent.length;
      const leave = isWatched ? source.addViewer() : () => {};
      const { store } = running.stages;
      const writes = spyOn(store, "record");
      await talk(15);
      expect(writes).not.toHaveBeenCalled();
      writes.mockRestore();
      await pass(40_000, 50);
      leave();
      const events = sent.slice(from).flatMap((message) => message.events);
      stories.push(
        events.map((event) => describeEvent(event)).map((text) => text.replace(/after .*/, "")),
      );
      await running.stop();
      app = null;
      rmSync(join(folder, "state"), { recursive: true });
      mkdirSync(join(folder, "state"));
      scan = () => Promise.resolve(found());
      scanMaker = new ScanMaker();
      startMs = clock.now().wallMs;
    }
    expect(stories[0]!.filter((text) => text.includes("disconnected"))).toHaveLength(2);
    expect(stories[1]!.toSorted()).toEqual(stories[0]!.toSorted());
  });

  test("a scan for a packet is not later than without viewers", async () => {
    await startTalking();
    source.addViewer();
    await talk(5);
    const before = scansFor("packet");
    handler.packetReceived(ipv4(response(), { destinationPort: WG0.listenPort }));
    await pass(1, 1);
    expect(scansFor("packet")).toBe(before + 1);
  });
});
