/**
 * A simulated day of a gateway with 100 peers, for the alert engine: sites, laptops and phones, with loss, long round
 * trips, roams, sleep, and planted faults. The kernel's counters and handshakes are simulated in steps of a tick; the real
 * tracker decides who is connected. Everything follows from the seed.
 */

import type { Notice } from "../../src/alerts/alert.ts";
import { AlertEngine } from "../../src/alerts/engine.ts";
import { type ConfiguredPeer, type Input, inputOfChange } from "../../src/alerts/input.ts";
import type { Rule } from "../../src/alerts/rule.ts";
import type { Instant, Peer, PeerChange } from "../../src/base/wireguard.ts";
import { Tracker } from "../../src/sessions/tracker.ts";
import { keyOf } from "./alert-story.ts";
import { device, mustEndpoint } from "./peers.ts";

const TICK_MS = 10_000;
export const HOUR_MS = 3_600_000;
/** Share of packets that are lost, each way. */
const LOSS = 0.05;
/** Answers to packets of the last part of a tick arrive in the next one. */
const ROUND_TRIP_MS = 800;

/**
 * Both machines that share a key are in use, and send at least every 40 s. If one of them sends nothing for two minutes,
 * the other looks like the only one.
 */
const COPY_PAUSE_TICKS = 3;

export type Role = "site" | "quiet-site" | "laptop" | "phone";

/** A random number generator that a seed determines (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

class SimulatedPeer {
  readonly name: string;
  readonly role: Role;
  readonly #random: () => number;
  rxBytes = 0;
  txBytes = 0;
  handshakeMs: number | null = null;
  endpoint: string;
  allowedIps: readonly string[];
  /** Ticks until it wakes up, or falls asleep. */
  #ticksLeft = 0;
  isAwake = false;
  /** Ticks since it fell asleep, in which others still send to it. */
  #asleepTicks = 0;
  #handshakeMonotonicMs = -Infinity;
  #keepaliveMs: number;
  /** Faults. */
  isCutOff = false;
  hasNoWayBack = false;
  /** A second machine with the same key, at this endpoint. */
  copyAt: string | null = null;
  #copyPauseTicks = 0;

  constructor(name: string, role: Role, index: number, random: () => number) {
    this.name = name;
    this.role = role;
    this.#random = random;
    this.endpoint = `192.0.2.${index + 1}:51820`;
    this.allowedIps = [`10.0.0.${index + 2}/32`];
    this.#keepaliveMs = random() * 25_000;
    this.#ticksLeft = Math.floor(random() * 60);
    if (role === "site" || role === "quiet-site") this.isAwake = true;
  }

  /** Lets one tick pass. @param hourOfDay of the gateway's day, for office hours. */
  tick({ monotonicMs, wallMs }: Instant, hourOfDay: number): void {
    this.#sleepOrWake(hourOfDay);
    const reaches = this.isAwake && !this.isCutOff;
    const packets = this.#packets();
    const keysLive = monotonicMs - this.#handshakeMonotonicMs < 180_000;
    if (reaches && !this.hasNoWayBack) {
      const isDue = monotonicMs - this.#handshakeMonotonicMs >= 120_000;
      const wants = packets > 0 || this.#isKeepaliveDue() || !keysLive;
      if (isDue && wants) this.#handshake(monotonicMs, wallMs);
    }
    if (this.copyAt !== null) this.#takeTurn(monotonicMs, wallMs);
    const hasKeys = monotonicMs - this.#handshakeMonotonicMs < 180_000;
    if (!hasKeys && !keysLive) return;
    // What the gateway sends does not depend on what arrives.
    if (packets > 0) this.txBytes += packets * 160;
    if (!reaches || this.hasNoWayBack) return;
    this.#keepaliveMs -= TICK_MS;
    if (this.#keepaliveMs <= 0) {
      this.#keepaliveMs += 25_000;
      if (!this.#isLost()) this.rxBytes += 32;
    }
    for (let packet = 0; packet < packets; packet++) {
      // Lost on the way there, or back; or its answer is still on the way.
      const isLate = this.#random() < ROUND_TRIP_MS / TICK_MS;
      if (!this.#isLost() && !this.#isLost() && !isLate) this.rxBytes += 128;
    }
  }

  #isLost(): boolean {
    return this.#random() < LOSS;
  }

  #isKeepaliveDue(): boolean {
    return this.#keepaliveMs <= TICK_MS;
  }

  /** Packets that the gateway sends to the peer in this tick. */
  #packets(): number {
    const random = this.#random;
    switch (this.role) {
      case "site":
        return 10 + Math.floor(random() * 30);
      case "quiet-site":
        // A ping every 30 s or so.
        return random() < 1 / 3 ? 1 : 0;
      case "laptop":
      case "phone":
        if (this.isAwake) return Math.floor(random() * 20);
        // TCP repeats what the sleeping peer does not confirm, more and more rarely.
        this.#asleepTicks++;
        return this.#asleepTicks < 6 ? Math.ceil(4 / this.#asleepTicks) : 0;
    }
  }

  #sleepOrWake(hourOfDay: number): void {
    if (this.role === "site" || this.role === "quiet-site") return;
    const random = this.#random;
    if (this.role === "laptop") {
      const isWork = (hourOfDay >= 8 && hourOfDay < 12) || (hourOfDay >= 13 && hourOfDay < 17);
      if (isWork === this.isAwake) return;
      // Users are not punctual.
      if (random() < 0.99) return;
      this.#setAwake(isWork);
      return;
    }
    if (this.#ticksLeft-- > 0) return;
    this.#setAwake(!this.isAwake);
    this.#ticksLeft = this.isAwake
      ? 3 + Math.floor(random() * 30)
      : 30 + Math.floor(random() * 300);
    if (this.isAwake && random() < 0.4) this.roam();
  }

  #setAwake(isAwake: boolean): void {
    this.isAwake = isAwake;
    this.#asleepTicks = 0;
  }

  /** Moves to another network, or back to the first one. */
  roam(): void {
    const [network, host] = [Math.floor(this.#random() * 3), this.endpoint.split(/[.:]/)[3]!];
    const prefix = ["192.0.2", "198.51.100", "203.0.113"][network];
    this.endpoint = `${prefix}.${host}:${network === 0 ? 51820 : 1000 + Math.floor(this.#random() * 60_000)}`;
  }

  #handshake(monotonicMs: number, wallMs: number): void {
    // Two attempts in a tick, three packets each.
    for (let attempt = 0; attempt < 2; attempt++) {
      if (this.#isLost()) continue;
      this.rxBytes += 148;
      this.txBytes += 92;
      if (this.#isLost() || this.#isLost()) continue;
      this.rxBytes += 32;
      this.#handshakeMonotonicMs = monotonicMs;
      this.handshakeMs = wallMs;
      return;
    }
  }

  /** Both machines use the key: each needs new keys after the other had its turn. */
  #takeTurn(monotonicMs: number, wallMs: number): void {
    if (this.#random() < 0.4 && this.#copyPauseTicks++ < COPY_PAUSE_TICKS) return;
    this.#copyPauseTicks = 0;
    [this.endpoint, this.copyAt] = [this.copyAt!, this.endpoint];
    this.#handshake(monotonicMs, wallMs);
    this.rxBytes += 128;
  }
}

/** A fault, and which alert it must cause. */
export interface Fault {
  readonly what: string;
  readonly rule: string;
  /** Names of the peers. */
  readonly peers: readonly string[];
  readonly fromMs: number;
  /** After the end of the fault, its alert may still fire for a while. */
  readonly untilMs: number;
  /** It must be reported within this time. */
  readonly boundMs: number;
}

export class SimulatedDay {
  readonly peers: SimulatedPeer[] = [];
  readonly notices: { readonly monotonicMs: number; readonly notice: Notice }[] = [];
  readonly faults: Fault[] = [];
  readonly random: () => number;
  monotonicMs = 0;
  engine: AlertEngine;
  readonly #rules: readonly Rule[];
  readonly #startMs: number;
  #tracker = new Tracker({ idleTimeoutMs: () => 180_000, holdMs: 0, announceExisting: true });
  #offsetMs = 0;
  readonly #before = new Map<string, Peer>();
  #actions: { readonly atMs: number; readonly run: () => void }[] = [];

  constructor(rules: readonly Rule[], seed: number, startMs: number) {
    this.random = randomOf(seed);
    this.#rules = rules;
    this.#startMs = startMs;
    this.engine = new AlertEngine({ rules });
    const roles: Role[] = [];
    for (let index = 0; index < 100; index++) {
      roles.push(index < 15 ? "site" : index < 30 ? "quiet-site" : index < 60 ? "laptop" : "phone");
    }
    for (const [index, role] of roles.entries()) {
      this.peers.push(new SimulatedPeer(`${role}-${index}`, role, index, this.random));
    }
  }

  get now(): Instant {
    const { monotonicMs } = this;
    return { wallMs: this.#startMs + this.#offsetMs + monotonicMs, monotonicMs };
  }

  /** Runs an action at a time of the day. */
  at(ms: number, run: () => void): void {
    this.#actions.push({ atMs: ms, run });
  }

  /** Passes time without scans, as in a suspension of the machine or without wgmon. The peers go on. */
  absent(ms: number, reason: "suspended" | "not-running"): void {
    const fromMs = this.now.wallMs;
    for (let passed = 0; passed < ms; passed += TICK_MS) this.#live();
    if (reason === "not-running") this.restart();
    this.#advance({ type: "away", fromMs, reason });
  }

  /** Saves the state as JSON, and continues with a new engine. */
  restart(): void {
    const rows = JSON.parse(JSON.stringify([...this.engine.save()])) as [string, string][];
    this.engine = new AlertEngine({ rules: this.#rules, saved: new Map(rows) });
  }

  setClock(ms: number): void {
    this.#offsetMs += ms;
    const step = {
      ms,
      fromMs: this.#startMs - 1000,
      toMs: this.now.wallMs - ms + 60_000,
      unsureFromMs: null,
    };
    this.#tracker.clockSet(step);
    this.#advance({ type: "clock", step });
  }

  /** Passes the list of peers, as after a change of settings. */
  configure(): void {
    const peers: ConfiguredPeer[] = this.peers.map(({ name, role, allowedIps }) => ({
      publicKey: keyOf(name),
      name,
      tags: [role],
      allowedIps,
      persistentKeepaliveSeconds: 0,
      lastHandshakeMs: null,
    }));
    this.#advance({ type: "peers", device: "wg0", peers, removed: [], complete: true });
  }

  run(untilMs: number): void {
    this.configure();
    while (this.monotonicMs < untilMs) {
      for (const { run } of this.#actions.filter(({ atMs }) => atMs <= this.monotonicMs)) run();
      this.#actions = this.#actions.filter(({ atMs }) => atMs > this.monotonicMs);
      this.#live();
      this.#scan();
    }
  }

  #live(): void {
    this.monotonicMs += TICK_MS;
    const hourOfDay = this.monotonicMs / HOUR_MS;
    for (const peer of this.peers) peer.tick(this.now, hourOfDay);
  }

  #scan(): void {
    const changed: PeerChange[] = [];
    for (const { name, rxBytes, txBytes, handshakeMs, endpoint, allowedIps } of this.peers) {
      const publicKey = keyOf(name);
      const before = this.#before.get(name);
      const isSame =
        before !== undefined &&
        before.rxBytes === rxBytes &&
        before.txBytes === txBytes &&
        before.lastHandshakeMs === handshakeMs;
      if (isSame) continue;
      // Only authenticated data moves the endpoint.
      const place =
        before !== undefined && before.rxBytes === rxBytes
          ? before.endpoint
          : mustEndpoint(endpoint);
      const peer: Peer = {
        publicKey,
        endpoint: place,
        allowedIps,
        lastHandshakeMs: handshakeMs,
        rxBytes,
        txBytes,
        persistentKeepaliveSeconds: 0,
      };
      changed.push({ peer, before: before ?? null });
      this.#before.set(name, peer);
    }
    const scan = {
      devices: [{ device: device(), changed, removed: [] }],
      removed: [],
      present: null,
    };
    const changes = this.#tracker.observe(scan, this.now);
    const names = new Map(this.peers.map((peer) => [keyOf(peer.name), peer]));
    const inputs = changes.map((change) => {
      const peer = "peer" in change ? names.get(change.peer.publicKey) : undefined;
      return inputOfChange(change, {
        name: peer?.name ?? null,
        tags: peer === undefined ? [] : [peer.role],
      });
    });
    this.#advance(...inputs, {
      type: "scan",
      device: "wg0",
      peers: changed.map(({ peer }) => peer),
    });
  }

  #advance(...inputs: readonly Input[]): void {
    const { monotonicMs } = this;
    for (const notice of this.engine.advance(inputs, this.now.wallMs)) {
      this.notices.push({ monotonicMs, notice });
    }
  }
}
