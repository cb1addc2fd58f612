/**
 * The handshakes that may complete or have completed: where each is expected, and when the next scan for it is due.
 * Pure: times are arguments, in milliseconds of the monotonic clock.
 */

import type { Datagram } from "../capture/packet.ts";

/** When to scan until the handshake is found, in milliseconds after the event that caused the scans. */
export type RetrySchedule = readonly number[];

/**
 * After an initiation or our response: fallback scans, in case the completing packet arrived before its index was
 * selected, or was lost. Hint mode selects nothing, so it skips the first scan.
 */
export const AFTER_ATTEMPT: RetrySchedule = [5, 1000, 4000];
/** After the packet that completes the handshake. WireGuard processes the packet shortly after its capture. */
export const AFTER_COMPLETED: RetrySchedule = [0, 4, 30, 300, 1500];
/** After guarded mode: for handshakes that completed during the probe that ended it. */
const AFTER_GUARDED: RetrySchedule = [0, 300];
/**
 * Guarded mode: when all devices are scanned next, for peers whose handshakes are not announced, such as peers that are
 * redirected to the port. The delay is shorter if no handshake is announced, because sent packets are not captured.
 */
export const UNANNOUNCED: RetrySchedule = [10_000];
const ALL_UNANNOUNCED: RetrySchedule = [250];

const schedules = {
  attempt: AFTER_ATTEMPT,
  completed: AFTER_COMPLETED,
  // Of handshakes at any place only.
  "guarded-ended": AFTER_GUARDED,
  unannounced: UNANNOUNCED,
  "all-unannounced": ALL_UNANNOUNCED,
} satisfies Record<string, RetrySchedule>;

/** What is known of a handshake. It decides when to scan for it. */
export type Stage = keyof typeof schedules;

/** Maximum number of expected handshakes. */
export const EXPECTED_MAX = 1024;
/** Maximum number of indexes by which the kernel selects: a BPF jump reaches 255 instructions. */
export const SELECTED_MAX = 200;

/** WireGuard's time of a handshake may be slightly before the time when its completing packet is read. */
const CLOCK_SLACK_MS = 100;

/** The address and port of a peer, and the port to which it sends. */
export type Place = Pick<Datagram, "sourceAddress" | "sourcePort" | "destinationPort">;

export interface Expected {
  /** null if packets were not read: the handshake may be at any place, so all devices are scanned. */
  readonly place: Place | null;
  /** Whether our own WireGuard has answered the initiation, which cannot be forged. */
  readonly isAnnounced: boolean;
  readonly stage: Stage;
  readonly sinceMs: number;
  /** Index of the next scan in the schedule of the stage. */
  step: number;
}

/**
 * ANY is the key of `place: null`. Other keys are handshake indexes; PEERS_CHOICE is added to an index that the peer
 * chose.
 */
const ANY = -1;
const PEERS_CHOICE = 2 ** 32;

export class ExpectedHandshakes {
  readonly #byKey = new Map<number, Expected>();
  /** When the session at this place made its keys; null if there is no session. */
  readonly #handshakeAtMs: (place: Place) => number | null;

  constructor(handshakeAtMs: (place: Place) => number | null) {
    this.#handshakeAtMs = handshakeAtMs;
  }

  get isFull(): boolean {
    return this.#byKey.size >= EXPECTED_MAX;
  }

  get all(): Iterable<Expected> {
    return this.#byKey.values();
  }

  /** @param datagram null for a handshake at any place. */
  get(datagram: Datagram | null): Expected | undefined {
    return this.#byKey.get(keyOf(datagram));
  }

  add(
    datagram: Datagram | null,
    expected: Pick<Expected, "isAnnounced" | "stage" | "sinceMs"> & { readonly step?: number },
  ): void {
    this.#byKey.set(keyOf(datagram), { step: 0, place: datagram, ...expected });
  }

  /** The handshakes for which a scan is due. One that other scans have found is removed instead. */
  takeDue(nowMs: number): readonly Expected[] {
    const due = [...this.#byKey].filter(([, expected]) => dueMs(expected) <= nowMs);
    const missing = due.filter(([key, expected]) => {
      const isFound = this.#isFound(expected);
      if (isFound) this.#byKey.delete(key);
      return !isFound;
    });
    return missing.map(([, expected]) => expected);
  }

  /** Removes and returns the handshakes that were found, and removes those whose schedule is over. */
  takeFound(): readonly Expected[] {
    const found: Expected[] = [];
    for (const [key, expected] of this.#byKey) {
      const isFound = this.#isFound(expected);
      if (isFound) found.push(expected);
      if (isFound || dueMs(expected) === Infinity) this.#byKey.delete(key);
    }
    return found;
  }

  /** Removes those that only packets which can be forged announced. */
  removeHints(): void {
    for (const [key, { isAnnounced }] of this.#byKey) if (!isAnnounced) this.#byKey.delete(key);
  }

  /** The newest indexes that our own WireGuard chose for handshakes that are not complete; at most SELECTED_MAX. */
  announcedIndexes(): readonly number[] {
    const waiting = [...this.#byKey].filter(
      ([key, { isAnnounced, stage }]) => isAnnounced && stage === "attempt" && key < PEERS_CHOICE,
    );
    return waiting.slice(-SELECTED_MAX).map(([key]) => key);
  }

  #isFound({ place, sinceMs }: Expected): boolean {
    const foundMs = place === null ? null : this.#handshakeAtMs(place);
    return foundMs !== null && foundMs >= sinceMs - CLOCK_SLACK_MS;
  }
}

/** When its next scan is due; Infinity if none is left. */
export function dueMs({ stage, sinceMs, step }: Expected): number {
  return sinceMs + (schedules[stage][step] ?? Infinity);
}

function keyOf(datagram: Datagram | null): number {
  if (datagram === null) return ANY;
  return datagram.isOwnIndex ? datagram.index : PEERS_CHOICE + datagram.index;
}
