/**
 * Peers come and go, and each of their events is waited for: what does not come is lost, what nobody
 * waits for was invented. Memory is sampled all the time: it must not grow.
 */

import type { Event } from "../../src/events/event-schema.ts";
import type { RemotePeer } from "../support/gateway.ts";
import { Receiver } from "../support/receiver.ts";
import { privateMb } from "../support/usage.ts";
import { figure, median, type Note, series } from "./figures.ts";
import { paced } from "./pace.ts";
import { cpuOf, type GatewayKind, installRules, openGateway, startWarm } from "./subject.ts";

/** Connects a second. */
const RATE = 10;
const PEERS = 150;
const IDLE_TIMEOUT_SECONDS = 5;
/** A roam, and a peer that is taken away, are noticed at a tick. */
const TICK_SECONDS = 1;
/** After that an event is lost. */
const PATIENCE_MS = 20_000;
/** How long a peer does nothing before its next step, at random up to this. */
const PAUSE_MS = 2000;
const SAMPLES = 60;
const SHOWN = 12;
/** A heap grows and shrinks by this much without end. */
const GROWTH_MB = 3;

type EventType = Event["type"];

export async function soak(note: Note, kind: GatewayKind, durationMs: number): Promise<void> {
  await using gateway = await openGateway(kind);
  const visitors = (await gateway.addPeers(PEERS)).map((peer) => new Visitor(peer));
  const byKey = new Map(visitors.map((visitor) => [visitor.publicKey, visitor]));
  await using _rules = await installRules("printed", gateway);
  using receiver = new Receiver();
  let invented = 0;
  receiver.answer = ({ event }) => {
    // Or there would be many.
    receiver.requests.length = 0;
    const visitor =
      event !== null && "peer" in event.data ? byKey.get(event.data.peer.publicKey) : undefined;
    if (visitor === undefined || !visitor.told(event!)) {
      invented++;
      console.error(`nobody waits for ${JSON.stringify(event)}`);
    }
    return { status: 204 };
  };
  const times = ["--idle-timeout", `${IDLE_TIMEOUT_SECONDS}s`, "--tick", `${TICK_SECONDS}s`];
  const args = ["--monitor", "nflog", ...times, "--webhook", receiver.url()];
  await using wgmon = await startWarm(...args);

  const memory: number[] = [];
  const sample = () => void memory.push(privateMb(wgmon.pid));
  const sampler = setInterval(sample, durationMs / SAMPLES);
  const lives = new Set<Promise<void>>();
  let skipped = 0;
  const count = Math.round((RATE * durationMs) / 1000);
  const cpu = await cpuOf(wgmon.pid, async () => {
    await paced({ count, perSecond: RATE }, () => {
      const visitor = visitors.find(({ isResting }) => isResting);
      if (visitor === undefined) {
        skipped++;
        return;
      }
      // Those who have rested longest come first.
      visitors.push(...visitors.splice(visitors.indexOf(visitor), 1));
      const life = visitor.live().finally(() => lives.delete(life));
      lives.add(life);
    });
    clearInterval(sampler);
    await Promise.all(lives);
  });

  const total = (value: (visitor: Visitor) => number) =>
    visitors.reduce((sum, visitor) => sum + value(visitor), 0);
  const expected = total((visitor) => visitor.expected);
  const lost = total((visitor) => visitor.lost);
  const exactly = (number: number) => ({ atLeast: number, atMost: number });
  const seconds = durationMs / 1000;
  note(
    figure(`peers coming and going for ${seconds} s, a second`, "/s", (count - skipped) / seconds),
  );
  note(figure("events that were due", "", expected));
  note(figure("events that were lost", "", lost, exactly(0)));
  note(figure("events that nobody had caused", "", invented, exactly(0)));
  const latencies = visitors.flatMap((visitor) => visitor.latenciesMs).toSorted((a, b) => a - b);
  const rank = (share: number) => latencies[Math.floor(share * (latencies.length - 1))] ?? NaN;
  const ranks = [0, 0.5, 0.99, 1].map(rank);
  note(series("first data to webhook: least, median, 99 %, most", "ms", ranks));
  note(figure("share of one core", "%", (100 * cpu) / seconds));
  const shown = memory.filter((_, index) => index % Math.ceil(memory.length / SHOWN) === 0);
  note(series("private memory, from start to end", "MB", shown));
  const third = Math.floor(memory.length / 3);
  const growth = median(memory.slice(-third)) - median(memory.slice(third, -third));
  note(
    figure("private memory, last third more than middle third", "MB", growth, {
      atMost: GROWTH_MB,
    }),
  );
}

class Visitor {
  readonly #peer: RemotePeer;
  #awaited: { readonly type: EventType; readonly resolve: (atMs: number) => void } | null = null;
  isResting = true;
  expected = 0;
  lost = 0;
  readonly latenciesMs: number[] = [];

  constructor(peer: RemotePeer) {
    this.#peer = peer;
  }

  get publicKey(): string {
    return this.#peer.publicKey;
  }

  /** Comes, stays for a while, perhaps roams, and goes, by silence or by being taken away. */
  async live(): Promise<void> {
    this.isResting = false;
    let connectedAtMs = NaN;
    const reportedAtMs = await this.#expect("peer.connected", async () => {
      connectedAtMs = await this.#peer.connect();
    });
    if (reportedAtMs !== null) this.latenciesMs.push(reportedAtMs - connectedAtMs);
    await pause();
    if (Math.random() < 0.3) await this.#expect("peer.roamed", () => this.#peer.roam());
    await pause();
    if (Math.random() < 0.5) {
      await this.#expect("peer.disconnected", () => this.#peer.remove());
      await this.#peer.restore();
    } else {
      await this.#expect("peer.disconnected", async () => {});
    }
    this.isResting = true;
  }

  /** Whether it waits for this event. */
  told({ type }: Event): boolean {
    if (this.#awaited?.type !== type) return false;
    this.#awaited.resolve(performance.timeOrigin + performance.now());
    this.#awaited = null;
    return true;
  }

  /** When the event came that the action causes, on the wall clock; null: it did not. */
  async #expect(type: EventType, act: () => Promise<unknown>): Promise<number | null> {
    this.expected++;
    const { promise, resolve } = Promise.withResolvers<number | null>();
    this.#awaited = { type, resolve };
    await act();
    const timer = setTimeout(() => resolve(null), PATIENCE_MS);
    const atMs = await promise;
    clearTimeout(timer);
    if (atMs === null) {
      this.lost++;
      this.#awaited = null;
      console.error(`${type} of ${this.publicKey} did not come`);
    }
    return atMs;
  }
}

async function pause(): Promise<void> {
  await Bun.sleep(Math.random() * PAUSE_MS);
}
