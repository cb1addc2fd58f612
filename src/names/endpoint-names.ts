/**
 * The names that reverse DNS has for the addresses of endpoints, for the setting `resolve-endpoints`. `nameOf` never
 * waits: it returns what is known, and has the rest looked up for a later call. Only addresses that it was called with
 * are looked up. Everything is bounded: the answers, the queue, the lookups at once and per second, the time of each.
 */

import type { Clock } from "../base/clock.ts";
import { shortName } from "../base/text.ts";
import type { Endpoint } from "../base/wireguard.ts";

/** How long a name is used. */
const NAME_MS = 3_600_000;
/** A name that is still requested is looked up again after this time, so that a page shows it without a gap. */
const RENEW_MS = 3_300_000;
/** How long an address without a name, or whose lookup failed, is not looked up again. */
const NO_NAME_MS = 600_000;
/** Maximum number of answers; the oldest is dropped. */
const ANSWERS_MAX = 10_000;
/** Maximum number of addresses that wait for a lookup. Others wait for the next call with their address. */
const WAITING_MAX = 1000;
/** An address that was not requested for this time is not looked up: no client shows it any more. */
const REQUESTED_MS = 60_000;
const LOOKUPS_MAX = 4;
/** Minimum time between the starts of two lookups: at most ten in a second. */
const START_PAUSE_MS = 100;
/** Time limit of a lookup. */
const TIMEOUT_MS = 2000;

/** Returns the names of an address; rejects if it has none or the lookup fails. `signal` ends the lookup. */
export type ReverseLookup = (address: string, signal: AbortSignal) => Promise<readonly string[]>;

interface Options {
  readonly clock: Clock;
  readonly lookUp: ReverseLookup;
}

interface Answer {
  /** null: the address has no name, or the lookup failed. */
  readonly name: string | null;
  readonly renewMs: number;
  readonly untilMs: number;
}

export class EndpointNames implements Disposable {
  readonly #clock: Clock;
  readonly #lookUp: ReverseLookup;
  #isEnabled = false;
  /** By address, the oldest first. */
  readonly #answers = new Map<string, Answer>();
  /** When each address that waits for a lookup was last requested; the first one is next. */
  readonly #waiting = new Map<string, number>();
  /** Functions that end the lookups, by address. */
  readonly #running = new Map<string, () => void>();
  #nextStartMs = -Infinity;
  #cancelStart: (() => void) | null = null;

  constructor({ clock, lookUp }: Options) {
    this.#clock = clock;
    this.#lookUp = lookUp;
  }

  /** Allows lookups, or ends them and forgets all names. Initially they are not allowed. */
  setEnabled(isEnabled: boolean): void {
    this.#isEnabled = isEnabled;
    if (!isEnabled) this.#clear();
  }

  /**
   * Returns the name of the endpoint's address, sanitized like the names of peers; null if none is known now. The name
   * is what the owner of the address block says, and is not verified.
   */
  nameOf({ address }: Endpoint): string | null {
    if (!this.#isEnabled || !isPublicAddress(address)) return null;
    const nowMs = this.#nowMs();
    const answer = this.#answers.get(address);
    if (answer === undefined || nowMs >= answer.renewMs) this.#request(address, nowMs);
    return answer !== undefined && nowMs < answer.untilMs ? answer.name : null;
  }

  [Symbol.dispose](): void {
    this.setEnabled(false);
  }

  #clear(): void {
    this.#cancelStart?.();
    this.#cancelStart = null;
    this.#answers.clear();
    this.#waiting.clear();
    for (const end of this.#running.values()) end();
    this.#running.clear();
  }

  #request(address: string, nowMs: number): void {
    if (this.#running.has(address)) return;
    if (!this.#waiting.has(address) && this.#waiting.size >= WAITING_MAX) return;
    this.#waiting.set(address, nowMs);
    this.#scheduleStart();
  }

  /** Starts the next lookup when it is allowed; never at once, so that no caller of `nameOf` waits for the resolver. */
  #scheduleStart(): void {
    if (this.#cancelStart !== null || this.#waiting.size === 0) return;
    if (this.#running.size >= LOOKUPS_MAX) return;
    this.#cancelStart = this.#clock.after(this.#nextStartMs - this.#nowMs(), () => {
      this.#cancelStart = null;
      const address = this.#takeNext();
      if (address === null) return;
      this.#nextStartMs = this.#nowMs() + START_PAUSE_MS;
      void this.#find(address);
      this.#scheduleStart();
    });
  }

  /** Removes and returns the first address in the queue that is still requested; null if there is no such address. */
  #takeNext(): string | null {
    const nowMs = this.#nowMs();
    for (const [address, requestedMs] of this.#waiting) {
      this.#waiting.delete(address);
      if (nowMs - requestedMs < REQUESTED_MS) return address;
    }
    return null;
  }

  async #find(address: string): Promise<void> {
    const controller = new AbortController();
    const ended = Promise.withResolvers<readonly string[]>();
    const end = () => {
      cancelTimeout();
      controller.abort();
      ended.resolve([]);
    };
    const cancelTimeout = this.#clock.after(TIMEOUT_MS, end);
    this.#running.set(address, end);
    let names: readonly string[] = [];
    try {
      names = await Promise.race([this.#lookUp(address, controller.signal), ended.promise]);
    } catch {
      // No name, or no answer from the resolver: there is nothing that wgmon could do about it.
    }
    cancelTimeout();
    // Since the start of this lookup, all names were forgotten.
    if (this.#running.get(address) !== end) return;
    this.#running.delete(address);
    this.#store(address, names);
    this.#scheduleStart();
  }

  #store(address: string, names: readonly string[]): void {
    const name = names.map(cleanName).find((each) => each !== "") ?? null;
    const nowMs = this.#nowMs();
    this.#answers.delete(address);
    if (this.#answers.size >= ANSWERS_MAX) this.#answers.delete(this.#answers.keys().next().value!);
    this.#answers.set(address, {
      name,
      renewMs: nowMs + (name === null ? NO_NAME_MS : RENEW_MS),
      untilMs: nowMs + (name === null ? NO_NAME_MS : NAME_MS),
    });
  }

  #nowMs(): number {
    return this.#clock.now().monotonicMs;
  }
}

function cleanName(name: string): string {
  return shortName(name.replace(/\.$/, ""));
}

/** Networks that IANA's registry of special-purpose IPv4 addresses (RFC 6890) lists as not global, and multicast. */
const NOT_PUBLIC_IPV4 =
  /^(?:0|10|127|2(?:2[4-9]|[345]\d)|169\.254|172\.(?:1[6-9]|2\d|3[01])|192\.168|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\./;

/**
 * Whether the address may be looked up: IPv4 except private, shared, loopback, link-local, multicast and reserved
 * addresses; of IPv6 the global unicast addresses, 2000::/3. A resolver may pass a question about another address on to
 * servers outside of this network (RFC 6303), and their answer could not be right.
 */
function isPublicAddress(address: string): boolean {
  return address.includes(":") ? /^[23][\da-f]{3}:/.test(address) : !NOT_PUBLIC_IPV4.test(address);
}
