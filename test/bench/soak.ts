/**
 * The soak test: peers connect, roam and disconnect, and each step waits for its event. An event that does not arrive
 * is lost; an event that no step waits for is unexpected. Memory is sampled meanwhile and must not grow.
 */

import type { Event } from "../../src/events/event-schema.ts";
import { Receiver } from "../support/receiver.ts";
import { privateMb } from "../support/usage.ts";
import { figure, median, type Note, series } from "./figures.ts";
import type { RemotePeer } from "./gateways/gateway.ts";
import { paced } from "./pace.ts";
import { cpuOf, type GatewayKind, installRules, openGateway, startWarm } from "./subject.ts";

/** Connects per second. */
const RATE = 10;
const PEERS = 150;
const IDLE_TIMEOUT_SECONDS = 5;
/** Ticks detect roams and removed peers. */
const TICK_SECONDS = 1;
/** An event that takes longer counts as lost. */
const PATIENCE_MS = 20_000;
/** Maximum of the random pause before a peer's next step. */
const PAUSE_MS = 2000;
const SAMPLES = 60;
/** Number of memory samples in the figure. */
const SHOWN = 12;
/** The heap size normally varies by this much. */
const GROWTH_MB = 3;

type EventType = Event["type"];

export async function soak(note: Note, kind: GatewayKind, durationMs: number): Promise<void> {
  await using gateway = await openGateway(kind);
  const visitors = (await gateway.addPeers(PEERS)).map((peer) => new Visitor(peer));
  const byKey = new Map(visitors.map((visitor) => [visitor.publicKey, visitor]));
  await using _rules = await installRules("printed", gateway);
  using receiver = new Receiver();
  let unexpected = 0;
  receiver.answer = ({ event }) => {
    // Keeps memory bounded.
    receiver.requests.length = 0;
    const visitor =
      event !== null && "session" in event.data ? byKey.get(event.data.peer.publicKey) : undefined;
    if (visitor === undefined || !visitor.received(event!)) {
      unexpected++;
      console.error(`unexpected event: ${JSON.stringify(event)}`);
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
      // Moves the visitor to the end: those that have rested longest are first.
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
  note(figure("events that nobody had caused", "", unexpected, exactly(0)));
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

/** A peer that connects and disconnects repeatedly. */
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

  /** One cycle: connects, perhaps roams, and disconnects by silence or by removal from the device. */
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

  /** Ends the wait for this event. Returns whether the visitor waits for it. */
  received({ type }: Event): boolean {
    if (this.#awaited?.type !== type) return false;
    this.#awaited.resolve(performance.timeOrigin + performance.now());
    this.#awaited = null;
    return true;
  }

  /** Runs `act` and waits for its event. Resolves with the event's arrival, wall clock in ms; null if it is lost. */
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
      console.error(`${type} of ${this.publicKey} was not received`);
    }
    return atMs;
  }
}

async function pause(): Promise<void> {
  await Bun.sleep(Math.random() * PAUSE_MS);
}
