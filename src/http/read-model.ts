/**
 * The interface through which the HTTP API and the page read the rest of the program. It is their only access.
 * app.ts creates the implementation, tests create others.
 */

import type { Clock } from "../base/clock.ts";
import type { Device, Endpoint, Peer, PublicKey } from "../base/wireguard.ts";
import type { Monitor } from "../capture/capture.ts";
import type { Session } from "../sessions/session.ts";
import type { Metrics } from "../stats/counters.ts";
import type { Rates } from "../stats/rates.ts";
import type { AlertRows } from "../store/alert-rows.ts";
import type { GatewayRows } from "../store/gateway-rows.ts";
import type { OutboxRows } from "../store/outbox-rows.ts";
import type { Store } from "../store/store.ts";
import type { StoredEvent, StoredEvents } from "../store/stored-events.ts";
import type { StoredSessions } from "../store/stored-sessions.ts";
import type { TrafficRows } from "../store/traffic-rows.ts";
import type { AlertModel } from "./alert-model.ts";
import type { FleetModel } from "./fleet-model.ts";
import type { SettingsView } from "./settings-view.ts";

/** The part of the store that the HTTP API and the page read. */
export interface StoreReader extends Pick<Store, "problem" | "isInMemory"> {
  readonly events: Pick<StoredEvents, "query" | "countByType" | "sequenceRange" | "pastPeers">;
  readonly sessions: Pick<StoredSessions, "query" | "uptime">;
  readonly traffic: Pick<TrafficRows, "range" | "top">;
  readonly totals: Pick<GatewayRows, "range">;
  readonly outbox: Pick<OutboxRows, "waiting" | "queues" | "deadLetters" | "deadCounts">;
  readonly alerts: Pick<AlertRows, "query" | "find" | "notices" | "accepted">;
}

/** State of a target in the settings. */
export interface TargetState {
  readonly key: string;
  /** Safe to show: `webhook https://hooks.example.net/...`. */
  readonly label: string;
  readonly waiting: number;
  /** Delivery has stopped, because the target responded that it no longer exists (410). */
  readonly isStopped: boolean;
  /** Failed attempts since the last success. */
  readonly failures: number;
  /** Why the latest attempt failed; empty if it succeeded or there was no attempt. */
  readonly reason: string;
  /** How far the hub has the events; omitted: the target is not the hub. */
  readonly hub?: HubProgress;
}

/** Sequence numbers of one epoch: see fleet/messages.ts. */
interface HubProgress {
  readonly epoch: string;
  /** The last number that the store has used. */
  readonly last: number;
  readonly sent: number;
  readonly confirmed: number;
  /** The time of the oldest event that was not sent; null: all were sent. */
  readonly oldestAtMs: number | null;
  /** The time of the oldest event that the hub has not confirmed; null: it has confirmed all. */
  readonly unconfirmedAtMs: number | null;
  /** The clock of this gateway minus that of the hub; null: the hub has not answered yet. */
  readonly clockOffsetMs: number | null;
  /** When a pause after a failure ends; 0: no pause is running. */
  readonly nextAtMs: number;
}

/** What wakes the running program. */
export interface WakeUpState {
  readonly monitor: Monitor;
  /** The NFLOG group; null for other monitors. */
  readonly group: number | null;
  /** The capture interface, or `any`; null for other monitors. */
  readonly interface: string | null;
  /** Why `--monitor auto` chose the monitor; null if the settings name it. */
  readonly reason: string | null;
  /** Why packets do not wake wgmon, and the fix; null if no problem is known. */
  readonly problem: string | null;
}

export interface ScanReport {
  readonly tookMs: number;
  /** Errors of the devices that could not be read. */
  readonly problems: string[];
}

export interface ReadModel {
  readonly version: string;
  readonly clock: Clock;
  readonly startedAtMs: number;
  readonly store: StoreReader;
  readonly counters: Metrics;
  readonly alerts: AlertModel;
  /** The gateways; null: this is a gateway itself, not a hub. On a hub, a device is `GATEWAY/DEVICE`. */
  readonly fleet: FleetModel | null;
  /** Processor time that the program's thread has used, in milliseconds. */
  processorMs(): number;
  /** Checks whether the wall clock was set, and corrects the recorded times. Call it before the other methods. */
  readClock(): void;
  /** The gateway's name. */
  host(): string;
  /** null on a hub. */
  wakeUp(): WakeUpState | null;
  /** The current settings, without secrets. */
  settings(): SettingsView;
  /** The devices of the last scan. */
  devices(): readonly Device[];
  /** How many peers a device has, and how many of them are connected, as of the last scan. */
  counts(device: string): { readonly peers: number; readonly connected: number };
  /**
   * The device's peers, connected or not; empty if the device no longer exists. Reads a kernel device again.
   *
   * @throws SystemError, ParseError if the device cannot be read: see `isUnreadable` in errors.ts.
   */
  peers(device: string): Iterable<Peer>;
  /**
   * Changes when anything about the device's peers may have changed: their list, sessions, names, tags and rates. null:
   * the program does not know, so the peers must be read each time.
   */
  peersVersion(device: string): string | null;
  /** null if the peer is not connected, or if its state is unknown: see `isObserved` in fleet-model.ts. */
  session(device: string, publicKey: PublicKey): Session | null;
  /** Transfer rates of a connected peer; null until they are known. */
  rates(device: string, publicKey: PublicKey): Rates | null;
  /** null if the peer has no name. */
  nameOf(publicKey: PublicKey, device: string): string | null;
  /**
   * The name that reverse DNS has for the endpoint's address, sanitized, not verified; null if none is known now. A call
   * may cause a lookup for later calls, so call it only for endpoints that are shown.
   */
  endpointName(endpoint: Endpoint): string | null;
  /** Tags of a peer in the settings of its gateway. */
  tagsOf(publicKey: PublicKey, device: string): readonly string[];
  targets(): readonly TargetState[];
  /** Calls the listener with events, in order, after they are stored. Returns a function that unsubscribes. */
  subscribe(listener: (events: readonly StoredEvent[]) => void): () => void;
  /** Keeps counters and rates up to date, by a scan about every second, until the returned function is called. */
  addViewer(): () => void;
  /** A program has requested counters or rates. While it repeats this URL, they are kept up to date for it. */
  countersRequested(url: string): void;
  /** Scans all devices now. */
  scan(): Promise<ScanReport>;
}
