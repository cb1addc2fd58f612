/**
 * From many packets to few looks. A packet is a hint that anybody can forge: it may cause a bounded
 * number of looks at the kernel, which share a fixed part of one core, and nothing else.
 */

import type { Datagram } from "./capture/packet.ts";
import type { Clock } from "./clock.ts";
import { MessageType, REKEY_AFTER_MS } from "./wireguard.ts";

/** When to look for somebody, and how much haste that is. */
interface Ladder {
  /** In milliseconds from then on that it was armed. */
  readonly stepsMs: readonly number[];
  /** So many looks are likely to find a peer that has just connected. */
  readonly urgentSteps: number;
}

const HANDSHAKE_STEPS_MS = [0, 3, 12, 50, 250];
/**
 * After a packet that ends a handshake. WireGuard takes the packet in after we were told of it, but
 * within a fraction of a millisecond, in which we get no further than to asking; the second look is for a
 * handshake that the kernel was not yet done with, the later ones for a busy machine.
 */
const HANDSHAKE: Ladder = { stepsMs: HANDSHAKE_STEPS_MS, urgentSteps: 2 };
/** The same without haste: in a flood, where our own answers announce who comes. */
const HINT: Ladder = { stepsMs: HANDSHAKE_STEPS_MS, urgentSteps: 0 };
/** After an initiation: it only says that someone tries, and the packet that ends it may be missed. */
const ATTEMPT: Ladder = { stepsMs: [250, 1000, 3000], urgentSteps: 0 };
/**
 * After our own WireGuard has answered an initiation: the peer's next packet ends the handshake, a round
 * trip later, and is not read itself. Each pause is about as long as all before it: so late is the report
 * at most.
 */
const ANSWER: Ladder = { stepsMs: [4, 12, 25, 50, 100, 200, 400, 1000], urgentSteps: Infinity };
/** After packets were missed: now, and for those that are on their way, or are thrown away in a flood. */
const MISSED: Ladder = { stepsMs: [0, 50, 100, 150], urgentSteps: Infinity };
/** The same where our own answers announce who comes. */
const ANNOUNCED: Ladder = { stepsMs: [0], urgentSteps: 0 };

/** Sources that are waited for; more at once is a flood, in which the looks go on without them. */
const PENDING_MAX = 1024;
/** Of these, initiations: they wait for seconds without a look, and must leave room for what is urgent. */
const ATTEMPTS_MAX = 512;
/** Besides these, initiations that our own WireGuard has answered: they cannot be forged. */
const ANSWERS_MAX = 1024;
/** Sources of data packets that turned out to be nobody's. */
const STRANGERS_MAX = 4096;

/**
 * A session makes new keys 120 s after the old ones; a handshake from its own place 20 s before that
 * or later is no news and is left to the next tick.
 */
const RENEWAL_DUE_MS = REKEY_AFTER_MS - 20_000;

/** Looks that are likely to find somebody may take this share of one core ... */
const LOOK_SHARE = 0.025;
/** ... of which each takes this, besides what is measured: waking up, timers, garbage. */
const LOOK_OVERHEAD_MS = 0.5;
/** ... and this much time at once, before they have to wait for their share. */
const LOOK_BURST_MS = 80;
/**
 * The same for looks that seldom find anybody, and of which forged packets can cause many: again at who
 * was not there at the first two, at who has only tried, and at all in a flood in which our own answers
 * announce who comes. What they leave is the others' as well.
 */
const AGAIN_SHARE = 0.005;
const AGAIN_BURST_MS = 20;
/**
 * Packets that cannot be read, or looks that cannot keep up with them, are a flood, and for so long after
 * it our own answers are listened to instead: a packet is no reason for haste then.
 */
const FLOOD_MS = 10_000;
const LISTEN_MS = 250;

/** The handshake may be stamped a little before we hear of the packet that ends it. */
const CLOCK_SLACK_MS = 100;

export interface TriggerOptions {
  readonly clock: Clock;
  /** Looks at the devices that listen on the ports, null: at all; resolves with the milliseconds of a processor that it took. */
  look(ports: ReadonlySet<number> | null): Promise<number>;
  /**
   * When the session made its keys that was last heard from this place, with the device that listens
   * to the destination port; null: there is none.
   */
  handshakeAtMs(address: string, port: number, destinationPort: number): number | null;
  /** Goes on telling `answered` for a while, or begins to; whether it does so already, and of all. */
  listen(): boolean;
}

/** Looks that are still to be taken. */
interface Climb {
  readonly ladder: Ladder;
  readonly armedAtMs: number;
  /** The next one. */
  step: number;
}

/** A source that was heard and is waited for. */
interface Pending extends Climb {
  readonly address: string;
  readonly port: number;
  readonly destinationPort: number;
  /** A handshake must be newer than the packet; for data any session there will do. */
  readonly awaits: "handshake" | "session";
}

export class Trigger {
  readonly #options: TriggerOptions;
  readonly #pending = new Map<string, Pending>();
  #attempts = 0;
  #answers = 0;
  readonly #strangers = new Set<string>();
  /** Packets were missed, whoever sent them; null: none. */
  #missed: Climb | null = null;
  readonly #budget = new Budget(LOOK_SHARE, LOOK_BURST_MS);
  readonly #againBudget = new Budget(AGAIN_SHARE, AGAIN_BURST_MS);
  /** When the first of all that is waited for is due, and the first that is urgent. */
  #dueAtMs = Infinity;
  #urgentAtMs = Infinity;
  #cancel: (() => void) | null = null;
  #timerAtMs = Infinity;
  #floodUntilMs = -Infinity;
  #listenedAtMs = -Infinity;
  #isListening = false;
  #isLooking = false;
  #stopped = false;

  constructor(options: TriggerOptions) {
    this.#options = options;
  }

  /** A WireGuard message was captured. */
  seen(datagram: Datagram): void {
    const { type, isFirstData, sourceAddress, sourcePort, destinationPort } = datagram;
    if (type === MessageType.cookie) return;
    const { monotonicMs } = this.#options.clock.now();
    const handshakeAtMs = this.#options.handshakeAtMs(sourceAddress, sourcePort, destinationPort);
    const isData = type === MessageType.data && !isFirstData;
    if (handshakeAtMs !== null) {
      // Data of a session that is known: the usual case, which must cost nothing.
      if (isData || monotonicMs - handshakeAtMs > RENEWAL_DUE_MS) return;
    }

    const key = keyOf(datagram);
    if (isData && this.#strangers.has(key)) return;
    const isAttempt = type === MessageType.initiation;
    const waiting = this.#pending.get(key);
    const isAnswered = waiting?.ladder === ANSWER;
    if (waiting !== undefined && !isOver(waiting) && !this.#isSettled(waiting)) {
      // Its looks are under way; only the packet that ends a handshake says that it is time now.
      const isFirst = isAnswered || waiting.ladder === ATTEMPT;
      if (isAttempt || isData || !isFirst) return;
    }
    if (isAttempt && this.#attempts >= ATTEMPTS_MAX) return;
    if (waiting === undefined && this.#pending.size - this.#answers >= PENDING_MAX) {
      // Those that are waited for may all be at another port.
      if (!isAttempt) this.flooded();
      return;
    }
    const awaits = isData ? "session" : "handshake";
    if (isAttempt) this.#add(datagram, { awaits, ladder: ATTEMPT });
    else if (!isAnswered && this.#isAnnounced()) this.#add(datagram, { awaits, ladder: HINT });
    else {
      if (this.#budget.waitMs(monotonicMs) > 0) this.#floodUntilMs = monotonicMs + FLOOD_MS;
      this.#add(datagram, { awaits, ladder: HANDSHAKE });
    }
  }

  /**
   * Our own WireGuard has answered an initiation, or sent the first data of a session, as it does at once
   * when it has begun the handshake. `sent` is as if it came from the peer.
   */
  answered(sent: Datagram): void {
    const { sourceAddress, sourcePort, destinationPort, isFirstData } = sent;
    const { monotonicMs } = this.#options.clock.now();
    const handshakeAtMs = this.#options.handshakeAtMs(sourceAddress, sourcePort, destinationPort);
    const isKnown = handshakeAtMs !== null;
    if (isKnown && (isFirstData || monotonicMs - handshakeAtMs > RENEWAL_DUE_MS)) return;
    if (!this.#pending.has(keyOf(sent)) && this.#answers >= ANSWERS_MAX) this.missed();
    else this.#add(sent, { awaits: "handshake", ladder: ANSWER });
  }

  /** Packets came that nobody has read. While looks for the last ones are under way, they do for these. */
  missed(): void {
    this.#miss(MISSED);
  }

  /** The same in a flood, in which handshakes are told by `answered` as soon as that can be. */
  flooded(): void {
    this.#floodUntilMs = this.#options.clock.now().monotonicMs + FLOOD_MS;
    this.#miss(this.#isAnnounced() ? ANNOUNCED : MISSED);
  }

  /** Gives strangers another chance: the peer at that place may have connected meanwhile. */
  forgetStrangers(): void {
    this.#strangers.clear();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
    this.#pending.clear();
    this.#attempts = this.#answers = 0;
    this.#missed = null;
  }

  #miss(ladder: Ladder): void {
    const waiting = this.#missed;
    if (waiting !== null && (ladder === ANNOUNCED || isUrgent(waiting))) return;
    this.#missed = { ladder, armedAtMs: this.#options.clock.now().monotonicMs, step: 0 };
    this.#schedule(this.#missed);
  }

  #add(datagram: Datagram, kind: Pick<Pending, "awaits" | "ladder">): void {
    const { sourceAddress: address, sourcePort: port, destinationPort } = datagram;
    const armedAtMs = this.#options.clock.now().monotonicMs;
    const pending = { address, port, destinationPort, armedAtMs, step: 0, ...kind };
    const key = keyOf(datagram);
    const before = this.#pending.get(key);
    if (before !== undefined) this.#forget(key, before);
    this.#pending.set(key, pending);
    this.#count(pending, 1);
    this.#schedule(pending);
  }

  /** Looks when it is due, or earlier for something else. */
  #schedule(waiting: Climb): void {
    this.#note(waiting);
    this.#setTimer();
  }

  #note(waiting: Climb): void {
    const atMs = dueMs(waiting);
    this.#dueAtMs = Math.min(this.#dueAtMs, atMs);
    if (isUrgent(waiting)) this.#urgentAtMs = Math.min(this.#urgentAtMs, atMs);
  }

  #setTimer(): void {
    if (this.#isLooking || this.#stopped || this.#dueAtMs === Infinity) return;
    const { monotonicMs } = this.#options.clock.now();
    const waitMs = this.#budget.waitMs(monotonicMs);
    const urgentAtMs = Math.max(this.#urgentAtMs, monotonicMs + waitMs);
    const anyAtMs = Math.max(this.#dueAtMs, monotonicMs + this.#againBudget.waitMs(monotonicMs));
    const atMs = Math.min(urgentAtMs, anyAtMs);
    if (atMs >= this.#timerAtMs) return;
    this.#cancel?.();
    this.#timerAtMs = atMs;
    this.#cancel = this.#options.clock.after(atMs - monotonicMs, () => {
      this.#cancel = null;
      this.#timerAtMs = Infinity;
      void this.#lookForDue({ urgent: urgentAtMs <= anyAtMs });
    });
  }

  /** @param options.urgent for what is urgent, and out of the budget for that. */
  async #lookForDue({ urgent }: { readonly urgent: boolean }): Promise<void> {
    const { clock } = this.#options;
    const startMs = clock.now().monotonicMs;
    const budget = urgent ? this.#budget : this.#againBudget;
    const due = this.#due(startMs);
    const missed = this.#missedDue(startMs, { urgent });
    // The rest comes along where that costs nothing.
    const wanted = urgent ? due.filter(([, pending]) => isUrgent(pending)) : due;
    const ports = new Set(wanted.map(([, { destinationPort }]) => destinationPort));
    // Before it: what comes during the look is not what it is for.
    if (missed !== null) this.#climbMissed(missed, startMs);
    for (const [, pending] of due) {
      if (missed !== null || ports.has(pending.destinationPort)) climb(pending, startMs);
    }
    if (wanted.length > 0 || missed !== null) {
      this.#isLooking = true;
      const beforeMs = clock.now().monotonicMs - startMs;
      const costMs = await this.#options.look(missed === null ? ports : null);
      this.#isLooking = false;
      budget.spend(beforeMs + costMs + LOOK_OVERHEAD_MS, clock.now().monotonicMs);
    }

    const settleMs = clock.now().monotonicMs;
    for (const [key, pending] of due) {
      // Another packet from there is waited for by now.
      if (this.#pending.get(key) !== pending) continue;
      const isSettled = this.#isSettled(pending);
      if (!isSettled && !isOver(pending)) continue;
      this.#forget(key, pending);
      const isStranger = !isSettled && pending.awaits === "session";
      if (isStranger && this.#strangers.size < STRANGERS_MAX) this.#strangers.add(key);
    }
    this.#dueAtMs = this.#urgentAtMs = Infinity;
    if (this.#missed !== null) this.#note(this.#missed);
    for (const pending of this.#pending.values()) this.#note(pending);
    const nowMs = clock.now().monotonicMs;
    budget.spend(nowMs - settleMs, nowMs);
    this.#setTimer();
  }

  #climbMissed(missed: Climb, lookedAtMs: number): void {
    climb(missed, lookedAtMs);
    if (isOver(missed)) this.#missed = null;
  }

  /** null: not yet, or what is urgent must not pay for it. */
  #missedDue(nowMs: number, { urgent }: { readonly urgent: boolean }): Climb | null {
    const missed = this.#missed;
    if (missed === null || dueMs(missed) > nowMs || (urgent && !isUrgent(missed))) return null;
    return missed;
  }

  /** Those that are due, without those that a look for others has settled meanwhile. */
  #due(nowMs: number): [string, Pending][] {
    const due: [string, Pending][] = [];
    for (const entry of this.#pending) {
      if (dueMs(entry[1]) > nowMs) continue;
      if (this.#isSettled(entry[1])) this.#forget(...entry);
      else due.push(entry);
    }
    return due;
  }

  /** Whether there is a flood, and `answered` tells of all who come. */
  #isAnnounced(): boolean {
    const { monotonicMs } = this.#options.clock.now();
    if (monotonicMs >= this.#floodUntilMs) return false;
    if (monotonicMs - this.#listenedAtMs >= LISTEN_MS) {
      this.#listenedAtMs = monotonicMs;
      const wasListening = this.#isListening;
      this.#isListening = this.#options.listen();
      // Who came since it was asked last may not have been announced.
      if (wasListening && !this.#isListening) this.missed();
    }
    return this.#isListening;
  }

  #forget(key: string, pending: Pending): void {
    this.#pending.delete(key);
    this.#count(pending, -1);
  }

  #count({ ladder }: Pending, by: 1 | -1): void {
    if (ladder === ATTEMPT) this.#attempts += by;
    if (ladder === ANSWER) this.#answers += by;
  }

  #isSettled({ address, port, destinationPort, armedAtMs, awaits }: Pending): boolean {
    const handshakeAtMs = this.#options.handshakeAtMs(address, port, destinationPort);
    if (handshakeAtMs === null) return false;
    return awaits === "session" || handshakeAtMs >= armedAtMs - CLOCK_SLACK_MS;
  }
}

/** A late look stands for all the steps that it is later than. */
function climb(waiting: Climb, lookedAtMs: number): void {
  while (!isOver(waiting) && dueMs(waiting) <= lookedAtMs) waiting.step++;
}

/** Whether all its looks were taken; the last one may be under way. */
function isOver({ ladder, step }: Climb): boolean {
  return step === ladder.stepsMs.length;
}

function isUrgent({ ladder, step }: Climb): boolean {
  return step < ladder.urgentSteps;
}

function keyOf({ sourceAddress, sourcePort, destinationPort }: Datagram): string {
  return `${sourceAddress} ${sourcePort} ${destinationPort}`;
}

function dueMs({ ladder, armedAtMs, step }: Climb): number {
  return armedAtMs + (ladder.stepsMs[step] ?? Infinity);
}

/** Time for looks: it fills at a fixed share of the time that passes, up to the burst. */
class Budget {
  readonly #share: number;
  readonly #burstMs: number;
  #leftMs: number;
  #atMs = 0;

  constructor(share: number, burstMs: number) {
    this.#share = share;
    this.#burstMs = this.#leftMs = burstMs;
  }

  spend(costMs: number, nowMs: number): void {
    this.#fill(nowMs);
    this.#leftMs -= costMs;
  }

  /** How long until a look may be taken. */
  waitMs(nowMs: number): number {
    this.#fill(nowMs);
    return Math.max(0, -this.#leftMs) / this.#share;
  }

  #fill(nowMs: number): void {
    this.#leftMs = Math.min(this.#burstMs, this.#leftMs + (nowMs - this.#atMs) * this.#share);
    this.#atMs = nowMs;
  }
}
