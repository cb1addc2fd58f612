/**
 * Measures a scrape of 10,000 peers: the response time, and for how long it blocks the event loop. The client is a
 * separate process (curl).
 */

import { systemClock } from "../../src/base/clock.ts";
import { type Naming, namings } from "../../src/http/metrics.ts";
import { HttpServer } from "../../src/http/server.ts";
import { loadPage } from "../../src/page/load-page.ts";
import { device, peer } from "../support/peers.ts";
import { FakeSource, keyOf } from "../support/source.ts";
import { figure, type Note } from "./figures.ts";
import { StallTimer } from "./stalls.ts";

const ROUNDS = 21;
const PEERS = 10_000;

export async function metrics(note: Note): Promise<void> {
  const source = await FakeSource.make();
  const peers = Array.from({ length: PEERS }, (_, n) =>
    peer({
      publicKey: keyOf(n),
      endpoint: `198.51.${n >> 8}.${n & 255}:51820`,
      allowedIps: [`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}/32`],
      lastHandshakeMs: 1_767_225_600_000 - n * 1000,
      rxBytes: n * 1e6,
      txBytes: n * 3e6,
    }),
  );
  source.found.set("wg0", { device: device(), peers });
  for (const [n, each] of peers.entries()) {
    source.names.set(each.publicKey, `peer-${n}`);
    if (n % 2 === 0) source.connect("wg0", each);
  }

  let wanted: readonly Naming[] = [];
  const log = { debug() {}, info() {}, warn: console.warn, error: console.error };
  const server = await HttpServer.start({
    loadPage,
    source,
    settings: () => ({
      listen: { address: "127.0.0.1", port: 0 },
      listenTokens: [],
      listenTls: null,
      metrics: wanted,
    }),
    runtimeDir: null,
    clock: systemClock,
    log,
  });

  using timer = new StallTimer();

  for (const names of [[], ["mdlayher"], ["mindflavor"], namings] as const) {
    wanted = names;
    const times: number[] = [];
    const stalls: number[] = [];
    // The first round is a warm-up and is not counted.
    for (let round = 0; round <= ROUNDS; round++) {
      timer.restart();
      const url = `${server.url!.origin}/metrics`;
      const curl = Bun.spawn(["curl", "-s", "-o", "/dev/null", "-w", "%{time_total}", url]);
      const seconds = Number(await curl.stdout.text());
      if (round === 0) continue;
      times.push(seconds * 1000);
      stalls.push(timer.worstMs);
    }
    const what = `scrape of ${PEERS} peers, names ${["wgmon", ...names].join(", ")}`;
    note(figure(what, "ms", times, { atMost: 100 }));
    note(figure(`${what}: the loop is held up for`, "ms", stalls));
  }
}
