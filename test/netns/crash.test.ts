/**
 * wgmon is killed many times at random moments while peers connect, roam and disconnect and a webhook receiver
 * sometimes fails: no event is lost, repeated without need, out of order or wrongly signed, and no secret is shown.
 * WGMON_TEST_KILLS=500 kills it more often, WGMON_TEST_BINARY tests another binary.
 */

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Webhook } from "standardwebhooks";

import type { Event } from "../../src/events/event-schema.ts";
import { FakeUapiDevice } from "../support/fake-uapi-device.ts";
import { needs } from "../support/kernel.ts";
import { type Answer, type Received, Receiver } from "../support/receiver.ts";
import { startWgmon } from "../support/wgmon.ts";

const KILLS = Number(process.env["WGMON_TEST_KILLS"] ?? 50);
const NAME = "wgcrash";
/** The binary under test; default: ./wgmon. */
const BINARY = process.env["WGMON_TEST_BINARY"];
const OPTIONS = BINARY === undefined ? {} : { binary: BINARY };
/** A process is killed at the latest this long after it is ready. Startup time is added, since it varies. */
const LIFE_MS = 700;
const PLANTED = "pl4nt3d-s3cr3t";
const SECRET = `whsec_${Buffer.from("crash".repeat(6)).toString("base64")}`;

const tools = needs("own namespaces");

test.skipIf(tools.missing)(
  tools.title(`no event is lost if wgmon is killed ${KILLS} times under load`),
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "wgmon-crash-"));
    try {
      await using device = await FakeUapiDevice.create(NAME);
      device.onQuery = () => device.changeAtRandom();
      let isOver = false;
      using receiver = new Receiver();
      const checker = new RequestChecker();
      receiver.answer = (request) => {
        const answer = isOver ? { status: 200 } : randomAnswer();
        checker.received(request, answer);
        // Keeps memory bounded.
        receiver.requests.length = 0;
        return answer;
      };
      const secretFile = join(folder, "secret");
      await Bun.write(secretFile, `${SECRET}\n`);
      const args = ["--monitor", "poll", "--tick", "100ms", "--device", NAME];
      args.push("--state-dir", join(folder, "state"), "--webhook-secret-file", secretFile);
      const webhookFile = join(folder, "webhooks");
      await Bun.write(
        webhookFile,
        receiver.url(`/${PLANTED}?token=${PLANTED}`).replace("//", `//u:${PLANTED}@`),
      );
      args.push("--webhook-file", webhookFile, "--webhook-format", "json", "--log-level", "debug");
      const outputs = new Map<string, string>();

      let startMs = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        const beganMs = performance.now();
        await using wgmon = startWgmon(args, OPTIONS);
        // Startup time is measured again in every tenth run.
        if (kill % 10 === 0) {
          await wgmon.ready;
          startMs = performance.now() - beganMs;
        }
        await Bun.sleep(Math.random() * (startMs + LIFE_MS));
        if (kill === 0) outputs.set("ps", await commandLine(wgmon.pid));
        await wgmon.stop("SIGKILL");
        outputs.set(`log of run ${kill}`, wgmon.logText);
      }
      device.onQuery = () => {};
      isOver = true;
      await using wgmon = startWgmon(args, OPTIONS);
      await wgmon.ready;
      // The first scans write all events that were still missing.
      let scans = 0;
      await wgmon.waitForLog(
        ({ msg, reason }) => msg === "scan" && reason === "tick" && ++scans > 2,
      );
      const stored = storedEvents(join(folder, "state", "wgmon.db"));
      await receiver.waitFor(() => checker.delivered.size >= stored.length).catch(() => {});
      await wgmon.stop();
      const figures = checker.figures(stored);
      outputs.set("log of the last run", wgmon.logText);
      for (const command of [
        ["outbox", "--json"],
        ["outbox"],
        ["test-webhook"],
        ["outbox", "retri"],
      ]) {
        outputs.set(command.join(" "), await outputOf([...command, ...args]));
      }
      for (const name of await readdir(join(folder, "state"))) {
        outputs.set(name, await Bun.file(join(folder, "state", name)).text());
      }
      console.log(`crash test: ${JSON.stringify({ events: stored.length, ...figures })}`);
      expect(figures).toMatchObject({
        lost: 0,
        gaps: 0,
        outOfOrder: 0,
        wrongSignatures: 0,
        changedBodies: 0,
      });
      for (const line of wgmon.log) if (line.level === "error") console.error(JSON.stringify(line));
      // The names of the outputs that contain a secret from the webhook's URL or the secret file.
      expect(leaksIn(outputs)).toEqual([]);
      // Otherwise there was no load.
      expect(stored.length).toBeGreaterThan(KILLS * 5);
      expect(figures.requests).toBeGreaterThan(stored.length);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);

/** Mostly 200: after each failure wgmon waits, so that frequent failures would leave no time for deliveries. */
function randomAnswer(): Answer {
  const chance = Math.random();
  if (chance < 0.01) return { status: 429, headers: { "retry-after": "1" } };
  if (chance < 0.03) return { status: 500 };
  if (chance < 0.035) return "hang";
  if (chance < 0.045) return "reset";
  return { status: 200 };
}

/** Checks each request on arrival, because signatures expire. */
class RequestChecker {
  readonly #webhook = new Webhook(SECRET);
  readonly #bodies = new Map<string, string>();
  /** Events by id, in the order in which the receiver first accepted them. */
  readonly delivered = new Map<string, Event>();
  requests = 0;
  /** Requests for an event that the receiver had already accepted. */
  repeats = 0;
  wrongSignatures = 0;
  changedBodies = 0;

  received({ headers, body, event }: Received, answer: Answer): void {
    this.requests++;
    try {
      this.#webhook.verify(body, Object.fromEntries(headers));
    } catch {
      this.wrongSignatures++;
    }
    const id = headers.get("webhook-id")!;
    if ((this.#bodies.get(id) ?? body) !== body) this.changedBodies++;
    this.#bodies.set(id, body);
    if (this.delivered.has(id)) this.repeats++;
    else if (typeof answer === "object" && answer.status === 200) this.delivered.set(id, event!);
  }

  figures(stored: readonly Event[]) {
    const { requests, repeats, wrongSignatures, changedBodies } = this;
    const delivered = [...this.delivered.values()];
    const lost = stored.filter(({ id }) => !this.delivered.has(id)).length;
    const outOfOrder = delivered.filter(({ id }, index) => stored[index]?.id !== id).length;
    const counts = { requests, repeats, wrongSignatures, changedBodies, lost, outOfOrder };
    return { ...counts, gaps: gaps(delivered) };
  }
}

/**
 * Counts events that do not follow from the peer's previous event: an event between them is missing. Each event of a
 * peer must start from the endpoint of its previous event: connected, roamed, disconnected.
 */
function gaps(events: readonly Event[]): number {
  const endpoints = new Map<string, string | null>();
  let count = 0;
  for (const event of events) {
    if (!("session" in event.data)) continue;
    const { publicKey, endpoint } = event.data.peer;
    const before = endpoints.get(publicKey) ?? null;
    if (event.type === "peer.connected") {
      if (before !== null) count++;
      endpoints.set(publicKey, endpoint);
    } else if (event.type === "peer.roamed") {
      if (before !== event.data.previousEndpoint) count++;
      endpoints.set(publicKey, endpoint);
    } else {
      if (before !== endpoint) count++;
      endpoints.set(publicKey, null);
    }
  }
  return count;
}

async function commandLine(pid: number): Promise<string> {
  return await Bun.file(`/proc/${pid}/cmdline`).text();
}

/** Standard output and error of a command of wgmon. */
async function outputOf(args: readonly string[]): Promise<string> {
  const program = BINARY ?? join(import.meta.dir, "../../wgmon");
  const child = Bun.spawn([program, ...args], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return stdout + stderr;
}

/** Names of the outputs that contain a secret, as it is or in another encoding. */
function leaksIn(outputs: ReadonlyMap<string, string>): string[] {
  const key = SECRET.slice("whsec_".length);
  const raw = Buffer.from(key, "base64");
  const secrets = [PLANTED, btoa(`u:${PLANTED}`), key, raw.toString("hex"), raw.toString("latin1")];
  return [...outputs].flatMap(([name, text]) =>
    secrets.some((secret) => text.includes(secret)) ? [name] : [],
  );
}

function storedEvents(path: string): Event[] {
  using database = new Database(path);
  return database
    .query<{ body: string }, []>("SELECT body FROM events ORDER BY seq")
    .all()
    .map(({ body }) => JSON.parse(body) as Event);
}
