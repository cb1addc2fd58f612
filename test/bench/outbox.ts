/**
 * Measures the outbox: events written to disk per second, events delivered to a local receiver per second, and memory.
 * The store is in the folder for temporary files; set TMPDIR to choose the disk.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { json } from "../../src/channels/formats/json.ts";
import { parseSecrets } from "../../src/channels/signature.ts";
import { createWebhook } from "../../src/channels/webhook.ts";
import { Outbox } from "../../src/delivery/outbox.ts";
import { eventOf } from "../../src/events/event.ts";
import { createLog } from "../../src/platform/log.ts";
import { Store } from "../../src/store/store.ts";
import { peer } from "../support/peers.ts";
import { privateMb } from "../support/usage.ts";
import { figure, type Note } from "./figures.ts";

const EVENTS = 10_000;
/** Numbers of events in one scan. */
const SCAN_EVENTS = [1, 10, 100];
const RECEIVER = "--receiver";

/** A webhook receiver that responds immediately; runs in a separate process. */
function receive(): void {
  let count = 0;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      await request.text();
      count++;
      if (count % EVENTS === 0) console.log("all");
      return new Response(null, { status: 204 });
    },
  });
  console.log(server.url.href);
}

function event(n: number) {
  const atMs = Date.now();
  const session = { startedAtMs: atMs, rxBytes: n, txBytes: n, roams: 0 };
  const id = `evt_${Bun.randomUUIDv7().replaceAll("-", "")}`;
  return eventOf(
    { type: "peer.connected", atMs, device: "wg0", peer: peer(), session, initial: false },
    { id, host: "gw1", name: `peer ${n}` },
  );
}

async function readLines(stream: ReadableStream<Uint8Array>, onLine: (line: string) => void) {
  const decoder = new TextDecoder();
  let incomplete = "";
  for await (const chunk of stream) {
    const lines = (incomplete + decoder.decode(chunk, { stream: true })).split("\n");
    incomplete = lines.pop()!;
    for (const line of lines) onLine(line);
  }
}

export async function outbox(note: Note): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "wgmon-bench-"));
  const child = Bun.spawn([process.execPath, import.meta.path, RECEIVER], { stdout: "pipe" });
  const url = Promise.withResolvers<string>();
  let all = Promise.withResolvers<void>();
  void readLines(child.stdout, (line) => (line === "all" ? all.resolve() : url.resolve(line)));
  try {
    const log = createLog({ format: "text", level: "warn" });
    const secret = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
    const secrets = parseSecrets(secret);
    if (!("value" in secrets)) throw new Error("no secret");
    const channel = createWebhook({
      url: await url.promise,
      format: json,
      secrets: secrets.value,
      label: "webhook",
      version: "bench",
      clock: systemClock,
    });
    const target = { key: "bench", channel, accepts: () => true, digestMs: 0 };
    for (const scan of SCAN_EVENTS) {
      const directory = join(folder, String(scan));
      const store = await Store.open({ directory, clock: systemClock, log });
      const deliveries = new Outbox({ store, clock: systemClock, log });
      const startMs = performance.now();
      for (let n = 0; n < EVENTS; n += scan) {
        const events = Array.from({ length: scan }, (_, index) => ({
          event: event(n + index),
          targets: ["bench"],
        }));
        store.record({ events, sessions: [], ended: [], devices: null }, Date.now());
      }
      const writtenMs = performance.now() - startMs;

      all = Promise.withResolvers();
      const memory = [privateMb(process.pid)];
      const sampler = setInterval(() => memory.push(privateMb(process.pid)), 250);
      const sendMs = performance.now();
      deliveries.setTargets([target]);
      await all.promise;
      const sentMs = performance.now() - sendMs;
      clearInterval(sampler);
      await deliveries.drain(1000);
      store[Symbol.dispose]();
      const what = `${EVENTS} events, ${scan} in a scan`;
      note(figure(`${what}: written`, "/s", (EVENTS / writtenMs) * 1000));
      note(figure(`${what}: delivered`, "/s", (EVENTS / sentMs) * 1000));
      note(figure(`${what}: private memory meanwhile`, "MB", Math.max(...memory)));
    }
  } finally {
    child.kill();
    await rm(folder, { recursive: true });
  }
}

if (import.meta.main && process.argv.includes(RECEIVER)) receive();
