/** Drives the alert engine in tests: a story of inputs with times, and the notices as texts. */

import type { AlertView, Notice } from "../../src/alerts/alert.ts";
import { AlertEngine, type AlertEngineOptions } from "../../src/alerts/engine.ts";
import type { ConfiguredPeer, Input } from "../../src/alerts/input.ts";
import type { Place } from "../../src/alerts/kinds/kind.ts";
import type { Rule } from "../../src/alerts/rule.ts";
import type { Endpoint, PublicKey } from "../../src/base/wireguard.ts";
import type { DisconnectReason } from "../../src/sessions/change.ts";
import { mustEndpoint } from "./peers.ts";

/** Monday, 5 January 2026, 00:00 UTC. */
export const MONDAY = Date.UTC(2026, 0, 5);

const PLACES: Readonly<Record<string, Place>> = {
  "192.0.2.1": { country: "DE", asn: 3320, organization: "Telekom" },
  "192.0.2.2": { country: "DE", asn: 64500, organization: null },
  "198.51.100.1": { country: "FR", asn: 3215, organization: "Orange" },
};

/** A public key made of a name. */
export function keyOf(name: string): PublicKey {
  return `${name.replace(/[^A-Za-z0-9]/g, "").padEnd(42, "z")}A=` as PublicKey;
}

interface PeerOptions {
  readonly device?: string;
  readonly tags?: readonly string[];
}

interface Counters {
  rxBytes: number;
  txBytes: number;
  endpoint: Endpoint;
  lastHandshakeMs: number | null;
}

export class AlertStory {
  engine: AlertEngine;
  readonly notices: Notice[] = [];
  /** All inputs with their times, to play them again. */
  readonly inputs: { readonly atMs: number; readonly input: Input }[] = [];
  readonly #options: AlertEngineOptions;
  readonly #peers = new Map<string, PeerOptions & Counters>();
  #nowMs: number;

  constructor(rules: readonly Rule[], startMs = MONDAY) {
    this.#options = { rules, lookup: (address) => PLACES[address] ?? null };
    this.engine = new AlertEngine(this.#options);
    this.#nowMs = startMs;
    this.input({ type: "tick" });
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  input(input: Input): this {
    this.inputs.push({ atMs: this.#nowMs, input });
    this.notices.push(...this.engine.advance(input, this.#nowMs));
    return this;
  }

  /** Lets time pass: seconds, or `5m`, `2h`, `3d`. The engine gets a tick every ten seconds while it has deadlines. */
  wait(time: number | string): this {
    const untilMs = this.#nowMs + milliseconds(time);
    for (;;) {
      const dueMs = this.engine.nextDeadlineMs;
      if (dueMs === null || dueMs > untilMs) break;
      this.#nowMs = Math.min(
        untilMs,
        Math.max(this.#nowMs + 1, Math.ceil(dueMs / 10_000) * 10_000),
      );
      this.input({ type: "tick" });
    }
    this.#nowMs = untilMs;
    return this;
  }

  /** Sets the time without ticks, as if the machine was suspended. */
  jump(time: number | string): this {
    this.#nowMs += milliseconds(time);
    return this;
  }

  /** Saves the state as JSON, and continues with a new engine. */
  restart(rules = this.#options.rules): this {
    const rows = JSON.parse(JSON.stringify([...this.engine.save()])) as [string, string][];
    this.engine = new AlertEngine({ ...this.#options, rules, saved: new Map(rows) });
    return this;
  }

  add(name: string, options: PeerOptions = {}): this {
    this.#peer(name, options);
    return this;
  }

  connect(
    name: string,
    endpoint = "192.0.2.1:51820",
    handshakeAtMs: number | null = this.#nowMs,
    startedAgoSeconds = 0,
  ): this {
    const counters = this.#peer(name);
    counters.endpoint = mustEndpoint(endpoint);
    counters.lastHandshakeMs = handshakeAtMs;
    const { device, peer } = this.#named(name);
    const startedAtMs = this.#nowMs - 1000 * startedAgoSeconds;
    return this.input({ type: "connected", device, peer, endpoint, handshakeAtMs, startedAtMs });
  }

  roam(name: string, endpoint: string, handshakeAtMs: number | null = null): this {
    const counters = this.#peer(name);
    counters.endpoint = mustEndpoint(endpoint);
    const handshake = handshakeAtMs ?? counters.lastHandshakeMs;
    counters.lastHandshakeMs = handshake;
    return this.input({ type: "roamed", ...this.#named(name), endpoint, handshakeAtMs: handshake });
  }

  /** @param silent for how long it had been silent, in seconds. */
  disconnect(
    name: string,
    reason: DisconnectReason = "idle",
    silent = reason === "idle" ? 180 : 0,
  ): this {
    const endedAtMs = this.#nowMs - silent * 1000;
    return this.input({ type: "disconnected", ...this.#named(name), endedAtMs, reason });
  }

  /** A scan in which these peers had received and sent so many bytes more. */
  scan(
    traffic: Readonly<Record<string, readonly [rx: number, tx: number]>> = {},
    device = "wg0",
  ): this {
    const peers = Object.entries(traffic).map(([name, [rx, tx]]) => {
      const counters = this.#peer(name);
      counters.rxBytes += rx;
      counters.txBytes += tx;
      const { rxBytes, txBytes, endpoint, lastHandshakeMs } = counters;
      return { publicKey: keyOf(name), rxBytes, txBytes, endpoint, lastHandshakeMs };
    });
    return this.input({ type: "scan", device, peers });
  }

  /** A completed handshake, which scans then show. */
  handshake(name: string): this {
    this.#peer(name).lastHandshakeMs = this.#nowMs;
    return this;
  }

  /** The configured peers of the device are exactly these. */
  configured(
    peers: Readonly<Record<string, readonly string[]>>,
    device = "wg0",
    counters?: ConfiguredPeer["counters"],
  ): this {
    return this.input({
      type: "peers",
      device,
      peers: Object.entries(peers).map(([name, allowedIps]) => ({
        publicKey: keyOf(name),
        name,
        tags: this.#peer(name).tags ?? [],
        allowedIps,
        persistentKeepaliveSeconds: 0,
        lastHandshakeMs: null,
        ...(counters === undefined ? {} : { counters }),
      })),
      removed: [],
      complete: true,
    });
  }

  /** Returns the notices since the last call: type, rule and sentence; those that were held back with the reason. */
  told(): string[] {
    return this.notices.splice(0).map(textOf);
  }

  /** Like `told`, without what was held back. */
  sent(): string[] {
    return this.notices.splice(0).filter(isSent).map(textOf);
  }

  alerts(): readonly AlertView[] {
    return this.engine.alerts();
  }

  #named(name: string) {
    const { tags = [], device = "wg0" } = this.#peer(name);
    return { device, peer: { publicKey: keyOf(name), name, tags } };
  }

  #peer(name: string, options: PeerOptions = {}): PeerOptions & Counters {
    const known = this.#peers.get(name);
    if (known !== undefined) return known;
    const endpoint = mustEndpoint("192.0.2.1:51820");
    const created = { ...options, rxBytes: 0, txBytes: 0, endpoint, lastHandshakeMs: null };
    this.#peers.set(name, created);
    return created;
  }
}

export function isSent({ heldBack, dryRun }: Notice): boolean {
  return heldBack === null && !dryRun;
}

export function textOf({ type, rule, sentence, heldBack, dryRun }: Notice): string {
  const held = heldBack === null ? "" : ` [held back: ${heldBack.type}]`;
  return `${type} ${rule}: ${sentence}${held}${dryRun ? " [dry run]" : ""}`;
}

function milliseconds(time: number | string): number {
  if (typeof time === "number") return time * 1000;
  const [, count, unit] = /^(\d+)([smhd])$/.exec(time) ?? [];
  const seconds = { s: 1, m: 60, h: 3600, d: 86_400 }[unit as "s"];
  return Number(count) * seconds * 1000;
}
