/**
 * What the machine interface and the page read: all that they know of the rest of the program. app.ts
 * makes the real one, tests make others.
 */

import type { Monitor } from "../capture/capture.ts";
import type { Clock } from "../clock.ts";
import type { Counters } from "../counters.ts";
import type { Rates } from "../rates.ts";
import type { Placed, Store } from "../store/store.ts";
import type { Session } from "../tracker.ts";
import type { Device, Peer, PublicKey } from "../wireguard.ts";
import type { SettingsView } from "./settings.ts";

/** The part of the store that is read. */
export type Archive = Pick<
  Store,
  | "problem"
  | "isInMemory"
  | "events"
  | "eventPlaces"
  | "pastPeers"
  | "sessions"
  | "traffic"
  | "waiting"
  | "queues"
  | "deadLetters"
  | "deadCounts"
>;

/** How a target of the settings stands. */
export interface TargetState {
  readonly key: string;
  /** Safe to show: `webhook https://hooks.example.net/...`. */
  readonly label: string;
  readonly waiting: number;
  /** It said that it is gone for good. */
  readonly isStopped: boolean;
  /** Failed attempts since the last success. */
  readonly failures: number;
  /** Why the newest attempt failed; empty: it succeeded, or there was none. */
  readonly reason: string;
}

/** What wakes the running program. */
export interface WakeUpState {
  readonly monitor: Monitor;
  /** The NFLOG group; null: another monitor. */
  readonly group: number | null;
  /** The capture interface, or `any`; null: another monitor. */
  readonly interface: string | null;
  /** Why `--monitor auto` chose it; null: the settings name the monitor. */
  readonly reason: string | null;
  /** What keeps packets from waking wgmon, with the remedy; null: nothing that is known. */
  readonly problem: string | null;
}

export interface LookReport {
  readonly tookMs: number;
  /** What could not be read. */
  readonly problems: string[];
}

export interface Source {
  readonly version: string;
  readonly clock: Clock;
  readonly startedAtMs: number;
  readonly store: Archive;
  readonly counters: Counters;
  /** To be called before anything is read: times that were taken before the clock was set are moved. */
  readClock(): void;
  /** The gateway's name. */
  host(): string;
  wakeUp(): WakeUpState;
  /** Those in force, without secrets. */
  settings(): SettingsView;
  /** As the last look found them. */
  devices(): readonly Device[];
  /** How many peers it has, and how many of them are connected, as far as known without a look. */
  counts(device: string): { readonly peers: number; readonly connected: number };
  /**
   * The device's peers, connected or not; made when asked for. None when it is gone.
   *
   * @throws SystemError, ParseError when it cannot be asked: see `isUnreadable` of errors.ts.
   */
  peers(device: string): Iterable<Peer>;
  /** null: the peer is not connected. */
  session(device: string, publicKey: PublicKey): Session | null;
  /** How fast a connected peer receives and sends; null: nobody knows yet. */
  rates(device: string, publicKey: PublicKey): Rates | null;
  /** null: it has none. */
  nameOf(publicKey: PublicKey, device: string): string | null;
  /** From the settings. */
  tagsOf(publicKey: PublicKey): readonly string[];
  targets(): readonly TargetState[];
  /** Tells of events, in order, when they are in the store. The answer ends it. */
  subscribe(listener: (placed: readonly Placed[]) => void): () => void;
  /** Looks at all devices now. */
  look(): Promise<LookReport>;
}
