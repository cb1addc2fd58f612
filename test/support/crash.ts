/**
 * The crash test: kills wgmon again and again at random moments while peers connect, roam and go, and a
 * webhook's receiver answers well and badly. Then counts what was lost, repeated, out of order or
 * wrongly signed. In a network namespace of its own, as root:
 * `unshare --net bun test/support/crash.ts 500`. Prints JSON. For test/e2e/crash.test.ts.
 */

import { Database } from "bun:sqlite";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { $ } from "bun";
import { Webhook } from "standardwebhooks";

import type { Event } from "../../src/contract.ts";
import { FakeDevice } from "./fakedevice.ts";
import { type Answer, Receiver } from "./receiver.ts";
import { startWgmon } from "./wgmon.ts";

/** No other test's: the folder of their sockets is the same in all namespaces. */
const NAME = "wgtest-crash";
/** Another build to crash; left out: ./wgmon. */
const BINARY = process.env["WGMON_TEST_BINARY"];
const OPTIONS = BINARY === undefined ? {} : { binary: BINARY };
/** Longest life of a process; the first milliseconds are those of its start. */
const LIFE_MS = 800;
const SECRET = `whsec_${Buffer.from("crash".repeat(6)).toString("base64")}`;

export interface Figures {
  readonly kills: number;
  readonly events: number;
  readonly requests: number;
  /** Requests with an id that was answered well before. */
  readonly repeats: number;
  readonly lost: number;
  readonly wrongSignatures: number;
  readonly outOfOrder: number;
  /** Events that do not go on from the peer's event before: something between them is missing. */
  readonly gaps: number;
  readonly changedBodies: number;
}

/** Rarely bad: after each failure wgmon pauses for a part of its life. */
function badOrGood(): Answer {
  const chance = Math.random();
  if (chance < 0.01) return { status: 429, headers: { "retry-after": "1" } };
  if (chance < 0.03) return { status: 500 };
  if (chance < 0.035) return "hang";
  if (chance < 0.045) return "reset";
  return { status: 200 };
}

/** Events in the order in which they were first answered well. */
function judge(receiver: Receiver, answers: readonly Answer[], stored: readonly Event[]) {
  const webhook = new Webhook(SECRET);
  const seen = new Map<string, string>();
  const delivered: Event[] = [];
  const answered = new Set<string>();
  let [repeats, wrongSignatures, changedBodies] = [0, 0, 0];
  for (const [index, { headers, body, event }] of receiver.requests.entries()) {
    try {
      webhook.verify(body, Object.fromEntries(headers));
    } catch {
      wrongSignatures++;
    }
    const id = headers.get("webhook-id")!;
    if ((seen.get(id) ?? body) !== body) changedBodies++;
    seen.set(id, body);
    if (answered.has(id)) repeats++;
    const answer = answers[index];
    if (typeof answer !== "object" || answer.status !== 200 || answered.has(id)) continue;
    answered.add(id);
    delivered.push(event!);
  }
  const lost = stored.filter(({ id }) => !answered.has(id)).length;
  const outOfOrder = delivered.filter(({ id }, index) => stored[index]?.id !== id).length;
  return { repeats, wrongSignatures, changedBodies, lost, outOfOrder, gaps: gaps(delivered) };
}

/** Each peer's events must be a chain: connected, roamed from where it was, disconnected there. */
function gaps(events: readonly Event[]): number {
  const endpoints = new Map<string, string | null>();
  let count = 0;
  for (const event of events) {
    if (!("peer" in event.data)) continue;
    const { publicKey, endpoint } = event.data.peer;
    const before = endpoints.get(publicKey) ?? null;
    switch (event.type) {
      case "peer.connected":
        if (before !== null) count++;
        endpoints.set(publicKey, endpoint);
        break;
      case "peer.roamed":
        if (before !== event.data.previousEndpoint) count++;
        endpoints.set(publicKey, endpoint);
        break;
      case "peer.disconnected":
      case "device.added":
      case "device.removed":
        if (before !== endpoint) count++;
        endpoints.set(publicKey, null);
    }
  }
  return count;
}

async function crash(kills: number): Promise<Figures> {
  await $`ip link set lo up`.quiet();
  const folder = await mkdtemp(join(tmpdir(), "wgmon-crash-"));
  try {
    await using device = await FakeDevice.create(NAME);
    using receiver = new Receiver();
    const answers: Answer[] = [];
    receiver.answer = () => {
      const answer = device.isFrozen ? { status: 200 } : badOrGood();
      answers.push(answer);
      return answer;
    };
    const secretFile = join(folder, "secret");
    await Bun.write(secretFile, `${SECRET}\n`);
    const args = ["--monitor", "poll", "--tick", "100ms", "--device", NAME];
    args.push("--state-dir", join(folder, "state"), "--webhook-secret-file", secretFile);
    args.push("--webhook", receiver.url(), "--webhook-format", "json", "--log-level", "debug");

    for (let kill = 0; kill < kills; kill++) {
      await using wgmon = startWgmon(args, OPTIONS);
      await Bun.sleep(Math.random() * LIFE_MS);
      await wgmon.stop("SIGKILL");
    }
    device.isFrozen = true;
    await using wgmon = startWgmon(args, OPTIONS);
    await wgmon.ready;
    // All that was still to be told is written by the first looks.
    await Bun.sleep(500);
    const stored = storedEvents(join(folder, "state", "wgmon.db"));
    const isDelivered = () => {
      const ids = new Set(
        receiver.requests.flatMap(({ event }, index) => {
          const answer = answers[index];
          return typeof answer === "object" && answer.status === 200 ? [event?.id] : [];
        }),
      );
      return stored.every(({ id }) => ids.has(id));
    };
    await receiver.waitFor(isDelivered, 120_000).catch(() => {});
    await wgmon.stop();
    const figures = judge(receiver, answers, stored);
    const complaints = wgmon.log.filter(({ level }) => level === "error");
    for (const complaint of complaints) console.error(JSON.stringify(complaint));
    return { kills, events: stored.length, requests: receiver.requests.length, ...figures };
  } finally {
    await rm(folder, { recursive: true });
  }
}

function storedEvents(path: string): Event[] {
  using database = new Database(path);
  return database
    .query<{ body: string }, []>("SELECT body FROM events ORDER BY seq")
    .all()
    .map(({ body }) => JSON.parse(body) as Event);
}

if (import.meta.main) {
  console.log(JSON.stringify(await crash(Number(process.argv[2] ?? 50))));
  process.exit(0);
}
