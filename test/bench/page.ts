/**
 * Measures the overview page with 10,000 peers: the response time, for how long it blocks the event loop, and the same
 * for the updates of an open page. The client is a separate process (curl). Also measures the memory of the binary
 * while page, API and metrics are in use.
 */

import { systemClock } from "../../src/base/clock.ts";
import { type Peer, urlKey } from "../../src/base/wireguard.ts";
import { HttpServer } from "../../src/http/server.ts";
import { loadPage } from "../../src/page/load-page.ts";
import type { EndedSession } from "../../src/store/stored-sessions.ts";
import { device, peer } from "../support/peers.ts";
import { FakeSource, keyOf } from "../support/source.ts";
import { privateMb } from "../support/usage.ts";
import { figure, type Note } from "./figures.ts";
import { StallTimer } from "./stalls.ts";
import { MODES, openGateway, startWarm } from "./subject.ts";

const ROUNDS = 21;
const PEERS = 10_000;
const SLOTS = 288;
/** Number of peers with a day of traffic: more than fit on the first page. */
const BUSY = 300;
const OPEN_PAGE_MS = 20_000;
const WARM_PAGE_MS = 10_000;
const PORT = 9587;
const FEW = 10;
/** After this time, Bun has collected garbage. */
const CALM_MS = 75_000;

export async function page(note: Note): Promise<void> {
  await many(note);
  await memory(note);
}

async function many(note: Note): Promise<void> {
  const source = await FakeSource.make();
  const clock = systemClock;
  // The page measures with the source's clock what an update costs, and updates less often accordingly.
  Object.assign(source.clock, systemClock);
  const { wallMs } = source.clock.now();
  const peers = Array.from({ length: PEERS }, (_, n) =>
    peer({
      publicKey: keyOf(n),
      endpoint: `198.51.${n >> 8}.${n & 255}:51820`,
      allowedIps: [`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}/32`],
      lastHandshakeMs: wallMs - n * 1000,
      rxBytes: n * 1e6,
      txBytes: n * 3e6,
    }),
  );
  source.found.set("wg0", { device: device(), peers });
  for (const [n, each] of peers.entries()) {
    source.names.set(each.publicKey, `peer-${String(n).padStart(5, "0")}`);
    if (n % 2 === 0) source.connect("wg0", each);
  }
  for (let slot = 0; slot < SLOTS; slot++) {
    const rows = peers.slice(0, BUSY).map(({ publicKey }, n) => ({
      device: "wg0",
      publicKey,
      rxBytes: n * slot,
      txBytes: slot,
    }));
    source.store.traffic.add(rows, wallMs - slot * 300_000);
  }
  const [first] = peers;
  for (let hour = 25; hour < 30 * 24; hour++) {
    const atMs = wallMs - hour * 3_600_000;
    const sums = { device: "wg0", publicKey: first!.publicKey, rxBytes: hour * 1e5, txBytes: 1e6 };
    source.store.traffic.add([sums], atMs);
    source.store.totals.add({ rxBytes: 1e9, txBytes: 1e9, connected: hour }, atMs);
  }
  source.store.record(
    { events: [], sessions: [], ended: sessionsOf(first!, wallMs), devices: null },
    wallMs,
  );
  const server = await HttpServer.start({
    loadPage,
    source,
    settings: () => ({
      listen: { address: "127.0.0.1", port: 0 },
      listenTokens: [],
      listenTls: null,
      metrics: [],
    }),
    runtimeDir: null,
    clock,
    log: { debug() {}, info() {}, warn: console.warn, error: console.error },
  });

  using timer = new StallTimer();

  const { origin } = server.url!;
  for (const [what, path] of [
    ["first page", "/"],
    ["search", "/?q=198.51.10."],
    ["sorted by the last activity", "/?sort=lastSeenAt"],
    ["30 days of all peers", "/?range=30d"],
    ["30 days of one peer", `/peers/wg0/${urlKey(first!.publicKey)}?range=30d`],
    ["events of 7 days", "/events?range=7d"],
    ["sessions", "/sessions"],
  ] as const) {
    const times: number[] = [];
    const stalls: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      timer.restart();
      const curl = Bun.spawn([
        ..."curl -s -o /dev/null --compressed -w %{time_total}".split(" "),
        origin + path,
      ]);
      times.push(Number(await curl.stdout.text()) * 1000);
      stalls.push(timer.worstMs);
    }
    // The first request: the code is not compiled and the history is not loaded yet.
    if (path === "/") {
      note(figure(`${PEERS} peers: the very first page`, "ms", times[0]!, { atMost: 300 }));
      note(figure("the same: the loop is held up for", "ms", stalls[0]!));
    }
    const name = `${PEERS} peers: ${what}`;
    note(figure(name, "ms", times.slice(1), { atMost: path.startsWith("/peers/") ? 100 : 300 }));
    note(figure(`${name}: the loop is held up for`, "ms", stalls.slice(1)));
  }

  const openPage = Bun.spawn(["curl", "-sN", "-H", "Accept: text/event-stream", `${origin}/`]);
  // The first update, and the compilation of the code.
  await Bun.sleep(WARM_PAGE_MS);
  timer.restart();
  const open = await shareOf(OPEN_PAGE_MS);
  note(
    figure(`${PEERS} peers, a page is open: the loop is held up at most for`, "ms", timer.worstMs),
  );
  openPage.kill();
  await openPage.exited;
  await Bun.sleep(1000);
  const share = open - (await shareOf(OPEN_PAGE_MS));
  note(figure(`${PEERS} peers, a page is open: of one core`, "%", share, { atMost: 1 }));
  await server.stop();
}

/** Processor time of this process within the next `ms`, in percent of one core. */
async function shareOf(ms: number): Promise<number> {
  const before = process.cpuUsage();
  await Bun.sleep(ms);
  const { user, system } = process.cpuUsage(before);
  return ((user + system) / 1000 / ms) * 100;
}

/** Four sessions a day for a month. */
function sessionsOf(each: Peer, nowMs: number): EndedSession[] {
  return Array.from({ length: 120 }, (_, n) => {
    const startedAtMs = nowMs - (n + 1) * 6 * 3_600_000;
    const durationMs = 4 * 3_600_000;
    return {
      device: "wg0",
      publicKey: each.publicKey,
      startedAtMs,
      endedAtMs: startedAtMs + durationMs,
      durationMs,
      reason: "idle",
      endpoint: null,
      rxBytes: n * 1e6,
      txBytes: n * 1e6,
      roams: 0,
      peer: each,
    };
  });
}

async function memory(note: Note): Promise<void> {
  await using gateway = await openGateway("played");
  const clients = await gateway.addPeers(FEW);
  const args = MODES.bpf.args(gateway.port);
  await using wgmon = await startWarm(...args, "--listen", `127.0.0.1:${PORT}`);
  for (const each of clients) await each.connect();
  note(figure(`${FEW} peers, nothing asked: private memory`, "MB", privateMb(wgmon.pid)));
  const origin = `http://127.0.0.1:${PORT}`;
  const stream = await fetch(`${origin}/`, { headers: { accept: "text/event-stream" } });
  const reading = stream.body!.getReader();
  const paths = [
    "/",
    "/sessions",
    "/events",
    "/outbox",
    "/metrics",
    "/v1/peers",
    "/v1/openapi.json",
  ];
  for (let round = 0; round < ROUNDS; round++) {
    for (const path of paths) await (await fetch(origin + path)).text();
    await reading.read();
  }
  const used = `${FEW} peers, page, stream, API and metrics`;
  note(figure(`${used} in use: private memory`, "MB", privateMb(wgmon.pid)));
  await reading.cancel();
  await Bun.sleep(CALM_MS);
  note(figure(`${used}, used before: private memory`, "MB", privateMb(wgmon.pid), { atMost: 40 }));
}
