/**
 * Decides which peers are connected. Deterministic: it takes scans and times and returns changes; it has no clock, no
 * timers and no I/O. It keeps a session for each connected peer, identified by device and public key. Of other peers it
 * keeps only what a return needs.
 */

import { type ClockStep, moved } from "../base/wall-clock.ts";
import {
  type Device,
  type DeviceScan,
  type Endpoint,
  growth,
  INITIATION_BYTES,
  type Instant,
  isSameHandshake,
  type Peer,
  type PeerChange,
  type PublicKey,
  REJECT_AFTER_MS,
  REKEY_AFTER_MS,
  sameEndpoint,
  type Scan,
} from "../base/wireguard.ts";
import type { Change, DisconnectReason, SessionSummary } from "./change.ts";

/** The settings that the tracker needs. */
export interface TrackerOptions {
  /** A peer is disconnected after this time without activity. */
  idleTimeoutMs(publicKey: PublicKey): number;
  /** A peer that returns within this time stays connected. 0: report every disconnect at once. */
  readonly holdMs: number;
  /** Whether peers that are connected at the very first scan are reported. */
  readonly announceExisting: boolean;
}

/** A connected peer. */
export interface Session {
  readonly device: string;
  /** The peer at its latest change. */
  readonly peer: Peer;
  readonly startedAtMs: number;
  readonly startedMonotonicMs: number;
  /** The endpoint at the latest proof of activity. A mere handshake attempt may change the kernel's endpoint. */
  readonly endpoint: Endpoint | null;
  readonly handshakeAt: Instant;
  readonly lastActivity: Instant;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly roams: number;
  /** When and why the peer or its device was removed, while the report is held back; null: present. */
  readonly ending: { readonly reason: DisconnectReason; readonly sinceMs: number } | null;
}

/** A session as it is saved. All times are wall clock. */
export interface SavedSession extends Omit<
  Session,
  "startedMonotonicMs" | "handshakeAt" | "lastActivity" | "ending"
> {
  readonly handshakeAtMs: number;
  readonly lastActivityMs: number;
  /** Start of its idle time, see `#unseenSign`. */
  readonly silentSinceMs: number;
  readonly ending: { readonly reason: DisconnectReason; readonly sinceMs: number } | null;
}

/** The state at the end of the previous run. */
export interface RestoredState {
  readonly devices: readonly Device[];
  readonly sessions: readonly SavedSession[];
  /** The counters of peers at the recent end of their session. Their old handshake must not start a new session. */
  readonly ended: readonly (TransferCounters & {
    readonly device: string;
    readonly publicKey: PublicKey;
  })[];
}

/** The values by which two scans of a peer are compared. */
type TransferCounters = Pick<Peer, "lastHandshakeMs" | "rxBytes" | "txBytes">;

type SessionKey = string;

/**
 * A data message has 32 bytes plus its content padded to 16 (or to the MTU, 1280 or more), so growth by one, two or
 * three times 148 bytes can only be initiations. Four initiations are as long as one possible data message, and take
 * longer.
 */
const ATTEMPTS_MAX = 3;
/** Minimum time between initiations: REKEY_TIMEOUT, messages.h. */
const ATTEMPT_MS = 5000;

/** The two clocks drift apart by milliseconds; a larger difference means that the wall clock was set. */
const CLOCK_SET_MS = 2000;

const NEVER: Instant = { wallMs: 0, monotonicMs: 0 };
const NONE: ReadonlySet<string> = new Set();

export class Tracker {
  #options: TrackerOptions;
  readonly #devices = new Map<string, Device>();
  /** Devices of the previous run that have not been scanned yet. */
  readonly #notScannedYet = new Set<string>();
  /** Time of the last scan of each device. */
  readonly #deviceScanned = new Map<string, Instant>();
  readonly #ended = new Map<SessionKey, TransferCounters>();
  readonly #sessions = new Map<SessionKey, Session>();
  /**
   * Peers that were disconnected as idle while the keys of their handshake are still valid: they can return without a
   * new handshake.
   */
  readonly #silent = new Map<SessionKey, Pick<Session, "device" | "handshakeAt">>();
  /** The latest session by device, outer address and port. */
  readonly #byEndpoint = new Map<string, SessionKey>();
  #started = false;

  /**
   * @param earlier the previous run's state. Its sessions continue and are not announced again; the first scans report
   *   what changed since. null: this is the first run.
   */
  constructor(rules: TrackerOptions, earlier: RestoredState | null = null, now: Instant = NEVER) {
    this.#options = rules;
    if (earlier === null) return;
    this.#started = true;
    for (const device of earlier.devices) {
      this.#devices.set(device.name, device);
      this.#notScannedYet.add(device.name);
    }
    for (const session of earlier.sessions) this.#put(restored(session, now));
    for (const { device, publicKey, ...counters } of earlier.ended) {
      const key = sessionKey(device, publicKey);
      this.#ended.set(key, counters);
      const { lastHandshakeMs } = counters;
      // Only the last session of a peer matters; a peer with a current session needs none.
      if (lastHandshakeMs === null || this.#sessions.has(key)) continue;
      // `#end` adds only idle peers. Here the reason does not matter: a peer that was removed, alone or with its
      // device, has no handshake when it is added again, and its next handshake starts a session anyway. Until the old
      // keys expire, the only effect is that its device is scanned at each tick.
      this.#silent.set(key, { device, handshakeAt: earlierInstant(lastHandshakeMs, now) });
    }
  }

  get sessions(): Iterable<Session> {
    return this.#sessions.values();
  }

  session(device: string, publicKey: PublicKey): Session | null {
    return this.#sessions.get(sessionKey(device, publicKey)) ?? null;
  }

  get connected(): number {
    return this.#sessions.size;
  }

  /**
   * The devices that a tick must scan: those with a connected peer, or with one that can return without a handshake.
   * Any other peer can only connect by a handshake.
   */
  get tickedDevices(): ReadonlySet<string> {
    const names = new Set<string>();
    for (const { device } of this.#sessions.values()) names.add(device);
    for (const { device } of this.#silent.values()) names.add(device);
    return names;
  }

  /** Whether a tick has devices to scan. */
  get needsTick(): boolean {
    return this.#sessions.size > 0 || this.#silent.size > 0;
  }

  setOptions(rules: TrackerOptions): void {
    this.#options = rules;
  }

  /** Moves the remembered wall-clock times. The kernel's times stay, because the next scan is compared with them. */
  clockSet(step: ClockStep): void {
    const at = (instant: Instant): Instant => ({ ...instant, wallMs: moved(step, instant.wallMs) });
    for (const [key, session] of this.#sessions) {
      this.#sessions.set(key, {
        ...session,
        startedAtMs: moved(step, session.startedAtMs),
        handshakeAt: at(session.handshakeAt),
        lastActivity: at(session.lastActivity),
      });
    }
  }

  /**
   * Returns when the session last heard from this address and port made its keys, on the monotonic clock; null if no
   * session matches. Considers devices that listen on `listenPort`, or all devices if none does, because a firewall may
   * redirect the port. The scope of a link-local address is ignored.
   */
  handshakeAtMs(address: string, port: number, listenPort: number): number | null {
    const devices = [...this.#devices.values()];
    const listening = devices.filter((device) => device.listenPort === listenPort);
    let latestMs: number | null = null;
    for (const { name } of listening.length > 0 ? listening : devices) {
      const key = this.#byEndpoint.get(endpointKey(name, { address, port }));
      const session = key === undefined ? undefined : this.#sessions.get(key);
      if (session === undefined) continue;
      latestMs = Math.max(latestMs ?? -Infinity, session.handshakeAt.monotonicMs);
    }
    return latestMs;
  }

  /** Processes a scan taken at `now`: first its results, then expired sessions. */
  observe(scan: Scan, now: Instant): Change[] {
    const changes: Change[] = [];
    for (const device of scan.removed) this.#deviceRemoved(device, now, changes);
    for (const deviceScan of scan.devices) this.#deviceSeen(deviceScan, now, changes);
    this.#started = true;
    this.#expire(now, changes, new Set(scan.devices.map(({ device }) => device.name)));
    return changes;
  }

  /** Sets which devices exist. Devices of the previous run that are missing were removed. */
  reconcileDevices(present: ReadonlySet<string>, now: Instant): Change[] {
    const changes: Change[] = [];
    for (const name of this.#notScannedYet) {
      if (!present.has(name)) this.#deviceRemoved(this.#devices.get(name)!, now, changes);
    }
    return changes;
  }

  /**
   * Returns the next deadline of a session, later than `afterMs`, on the monotonic clock; null if no deadline follows.
   */
  nextDeadlineMs(afterMs = -Infinity): number | null {
    let next: number | null = null;
    for (const session of this.#sessions.values()) {
      if (this.#notScannedYet.has(session.device)) continue;
      const deadline = this.#deadlineMs(session);
      if (deadline > afterMs && (next === null || deadline < next)) next = deadline;
    }
    return next;
  }

  #deviceSeen(scan: DeviceScan, now: Instant, changes: Change[]): void {
    const { device } = scan;
    const before = this.#devices.get(device.name);
    // Deleted and created again between two scans.
    if (before !== undefined && before.index !== device.index) {
      this.#deviceRemoved(before, now, changes);
    }
    if (!this.#devices.has(device.name) && this.#started) {
      const { name, listenPort } = device;
      changes.push({ type: "device.added", atMs: now.wallMs, device: name, listenPort });
    }
    this.#devices.set(device.name, device);
    for (const publicKey of scan.removed) {
      const key = sessionKey(device.name, publicKey);
      this.#scheduleEnd(key, "peer-removed", now);
      this.#silent.delete(key);
    }
    if (this.#notScannedYet.has(device.name)) this.#reconcileRestored(scan, now, changes);
    for (const change of scan.changed) {
      const session = this.#sessions.get(sessionKey(device.name, change.peer.publicKey));
      if (session === undefined) this.#peerSeen(device.name, change, now, changes);
      else this.#sessionSeen(session, change.peer, now, changes);
    }
    this.#notScannedYet.delete(device.name);
    this.#deviceScanned.set(device.name, now);
  }

  /** Handles the first scan of a device of the previous run: ends the sessions that did not last until now. */
  #reconcileRestored({ device, changed }: DeviceScan, now: Instant, changes: Change[]): void {
    const peers = new Map(changed.map(({ peer }) => [peer.publicKey, peer]));
    for (const [key, session] of this.#sessions) {
      if (session.device !== device.name) continue;
      const peer = peers.get(session.peer.publicKey);
      if (peer === undefined) {
        this.#scheduleEnd(key, "peer-removed", now);
      } else if (
        session.ending === null &&
        (peer.rxBytes < session.peer.rxBytes || peer.txBytes < session.peer.txBytes)
      ) {
        // Counters only fall when the peer was added again.
        this.#end(key, session, "peer-removed", now, changes);
      } else if (
        peer.lastHandshakeMs !== null &&
        this.#isNewHandshake(device.name, session.peer.lastHandshakeMs, peer, now)
      ) {
        const handshakeAt = earlierInstant(peer.lastHandshakeMs, now);
        if (now.monotonicMs - handshakeAt.monotonicMs < REJECT_AFTER_MS) continue;
        // It made new keys since, which have expired too. This handshake is the latest known activity.
        const rxBytes = session.rxBytes + growth(session.peer.rxBytes, peer.rxBytes);
        const txBytes = session.txBytes + growth(session.peer.txBytes, peer.txBytes);
        this.#put({ ...session, peer, handshakeAt, lastActivity: handshakeAt, rxBytes, txBytes });
      }
    }
  }

  #deviceRemoved(device: Device, now: Instant, changes: Change[]): void {
    const { name, listenPort } = device;
    if (!this.#devices.delete(name)) return;
    this.#notScannedYet.delete(name);
    this.#deviceScanned.delete(name);
    for (const [key, session] of this.#sessions) {
      if (session.device === name) this.#scheduleEnd(key, "device-removed", now);
    }
    for (const [key, silent] of this.#silent) {
      if (silent.device === name) this.#silent.delete(key);
    }
    // Report peer disconnects before the device removal.
    this.#expire(now, changes, NONE);
    changes.push({ type: "device.removed", atMs: now.wallMs, device: name, listenPort });
  }

  /** Handles a peer without a session. Only a completed handshake, or data under its keys, starts one. */
  #peerSeen(device: string, change: PeerChange, now: Instant, changes: Change[]): void {
    const { peer } = change;
    if (peer.lastHandshakeMs === null) return;
    const isFirstScan = this.#notScannedYet.has(device);
    const key = sessionKey(device, peer.publicKey);
    const before = change.before ?? (isFirstScan ? this.#ended.get(key) : null) ?? null;
    const ageMs = now.wallMs - peer.lastHandshakeMs;
    const isNew =
      before === null
        ? ageMs >= 0 && ageMs < REJECT_AFTER_MS
        : this.#isNewHandshake(device, before.lastHandshakeMs, peer, now);
    const silent = this.#silent.get(key);
    const isHeard =
      before !== null &&
      silent !== undefined &&
      areKeysValid(silent, now) &&
      this.#isActivity(device, before, peer, now);
    if (!isNew && !isHeard) return;

    const handshakeAt =
      isNew || silent === undefined
        ? handshakeInstant(peer.lastHandshakeMs, now)
        : silent.handshakeAt;
    const lastActivity = isNew ? this.#activityWhileUnseen(peer.publicKey, handshakeAt, now) : now;
    // The counters of a peer added since the last scan started from zero; at the first scan this is unknown.
    const isAdded = before === null && this.#started && !isFirstScan;
    const counted = before ?? (isAdded ? { rxBytes: 0, txBytes: 0 } : peer);
    const session: Session = {
      device,
      peer,
      startedAtMs: lastActivity.wallMs,
      startedMonotonicMs: earlierInstant(lastActivity.wallMs, now).monotonicMs,
      endpoint: peer.endpoint,
      handshakeAt,
      lastActivity,
      rxBytes: growth(counted.rxBytes, peer.rxBytes),
      txBytes: growth(counted.txBytes, peer.txBytes),
      roams: 0,
      ending: null,
    };
    this.#put(session);
    const initial = !this.#started;
    if (initial && !this.#options.announceExisting) return;
    changes.push({
      type: "peer.connected",
      atMs: lastActivity.wallMs,
      device,
      peer,
      session: summary(session),
      initial,
    });
  }

  /**
   * The time of the peer's last activity before this scan is unknown, so its idle time starts now. To limit the error,
   * the idle timeout ends no later than the handshake's keys expire; an idle timeout longer than REJECT_AFTER_MS counts
   * from the handshake.
   */
  #activityWhileUnseen(publicKey: PublicKey, handshakeAt: Instant, now: Instant): Instant {
    const spareMs = Math.max(0, REJECT_AFTER_MS - this.#options.idleTimeoutMs(publicKey));
    const monotonicMs = Math.min(now.monotonicMs, handshakeAt.monotonicMs + spareMs);
    return { wallMs: handshakeAt.wallMs, monotonicMs };
  }

  #sessionSeen(before: Session, peer: Peer, now: Instant, changes: Change[]): void {
    const isNewHandshake = this.#isNewHandshake(
      before.device,
      before.peer.lastHandshakeMs,
      peer,
      now,
    );
    const handshakeAt = isNewHandshake
      ? handshakeInstant(peer.lastHandshakeMs!, now)
      : before.handshakeAt;
    if (isNewHandshake && this.#isAfterEnd(before, handshakeAt)) {
      const { device } = before;
      const reason = before.ending?.reason ?? "idle";
      this.#end(sessionKey(device, peer.publicKey), before, reason, now, changes);
      this.#peerSeen(device, { peer, before: before.peer }, now, changes);
      return;
    }
    const keysAreValid = areKeysValid(before, now) && peer.lastHandshakeMs !== null;
    const isAlive =
      isNewHandshake || (keysAreValid && this.#isActivity(before.device, before.peer, peer, now));
    const counted = {
      ...before,
      peer,
      rxBytes: before.rxBytes + growth(before.peer.rxBytes, peer.rxBytes),
      txBytes: before.txBytes + growth(before.peer.txBytes, peer.txBytes),
    };
    if (!isAlive) {
      this.#put(counted);
      return;
    }
    const previousEndpoint = before.endpoint;
    const hasRoamed =
      previousEndpoint !== null &&
      peer.endpoint !== null &&
      !sameEndpoint(previousEndpoint, peer.endpoint);
    const session: Session = {
      ...counted,
      endpoint: peer.endpoint ?? previousEndpoint,
      handshakeAt,
      lastActivity: now,
      roams: before.roams + (hasRoamed ? 1 : 0),
      ending: null,
    };
    this.#put(session);
    if (!hasRoamed) return;
    changes.push({
      type: "peer.roamed",
      atMs: now.wallMs,
      device: session.device,
      peer,
      session: summary(session),
      previousEndpoint,
    });
  }

  /**
   * Whether the handshake starts another session: it was made after the session's deadline, and it is not a renewal,
   * because keys in use are renewed after REKEY_AFTER_MS and not before. So the peer, or its device here, had lost its
   * keys. A later handshake proves nothing: wgmon was not running to see those in between.
   */
  #isAfterEnd(session: Session, handshakeAt: Instant): boolean {
    const isRenewal = handshakeAt.monotonicMs - session.handshakeAt.monotonicMs >= REKEY_AFTER_MS;
    return !isRenewal && handshakeAt.monotonicMs >= this.#deadlineMs(session);
  }

  /**
   * Whether the peer has completed a handshake since the previous scan.
   *
   * @param beforeMs the time of its latest handshake in that scan; null: it had none.
   */
  #isNewHandshake(device: string, beforeMs: number | null, peer: Peer, now: Instant): boolean {
    const scanned = this.#deviceScanned.get(device) ?? now;
    const clockSetMs = now.wallMs - scanned.wallMs - (now.monotonicMs - scanned.monotonicMs);
    return (
      peer.lastHandshakeMs !== null && !isSameHandshake(beforeMs, peer.lastHandshakeMs, clockSetMs)
    );
  }

  /**
   * Whether the peer sent data. Handshake attempts do not count: anyone with the peer's private key can send them
   * without completing a handshake.
   */
  #isActivity(
    device: string,
    before: TransferCounters,
    after: TransferCounters,
    now: Instant,
  ): boolean {
    const bytes = growth(before.rxBytes, after.rxBytes);
    const attempts = bytes / INITIATION_BYTES;
    // Any number of attempts may have been made before our first scan.
    const sinceMs = now.monotonicMs - (this.#deviceScanned.get(device)?.monotonicMs ?? -Infinity);
    const most = Math.max(ATTEMPTS_MAX, Math.floor(sinceMs / ATTEMPT_MS) + 1);
    return bytes > 0 && !(Number.isInteger(attempts) && attempts <= most);
  }

  #scheduleEnd(key: SessionKey, reason: DisconnectReason, now: Instant): void {
    const session = this.#sessions.get(key);
    if (session === undefined || session.ending !== null) return;
    this.#put({ ...session, ending: { reason, sinceMs: now.monotonicMs } });
  }

  /**
   * Ends the sessions whose idle time, or whose hold after a removal, is over.
   *
   * @param scanned names of the scanned devices. Peers of other devices may have been active, because wgmon was stopped
   *   for a while or could not scan them.
   */
  #expire(now: Instant, changes: Change[], scanned: ReadonlySet<string>): void {
    for (const [key, session] of this.#sessions) {
      const { device, ending } = session;
      if (ending === null ? !scanned.has(device) : this.#notScannedYet.has(device)) continue;
      if (now.monotonicMs < this.#deadlineMs(session)) continue;
      this.#end(key, session, ending?.reason ?? "idle", now, changes);
    }
    for (const [key, silent] of this.#silent) {
      if (!areKeysValid(silent, now)) this.#silent.delete(key);
    }
  }

  #end(
    key: SessionKey,
    session: Session,
    reason: DisconnectReason,
    now: Instant,
    changes: Change[],
  ): void {
    this.#sessions.delete(key);
    if (reason === "idle") this.#silent.set(key, session);
    if (session.endpoint !== null) {
      const place = endpointKey(session.device, session.endpoint);
      if (this.#byEndpoint.get(place) === key) this.#byEndpoint.delete(place);
    }
    changes.push({
      type: "peer.disconnected",
      atMs: now.wallMs,
      device: session.device,
      // The endpoint at the latest proof of activity.
      peer: { ...session.peer, endpoint: session.endpoint },
      session: summary(session),
      endedAtMs: session.lastActivity.wallMs,
      durationMs: durationMs(session),
      reason,
    });
  }

  #deadlineMs({ ending, lastActivity, peer }: Session): number {
    const { holdMs } = this.#options;
    const idleMs = lastActivity.monotonicMs + this.#options.idleTimeoutMs(peer.publicKey) + holdMs;
    return ending === null ? idleMs : Math.min(idleMs, ending.sinceMs + holdMs);
  }

  #put(session: Session): void {
    const key = sessionKey(session.device, session.peer.publicKey);
    const before = this.#sessions.get(key)?.endpoint ?? null;
    this.#sessions.set(key, session);
    this.#silent.delete(key);
    const { endpoint } = session;
    if (before !== null && !sameEndpoint(before, endpoint)) {
      const place = endpointKey(session.device, before);
      if (this.#byEndpoint.get(place) === key) this.#byEndpoint.delete(place);
    }
    if (endpoint !== null) this.#byEndpoint.set(endpointKey(session.device, endpoint), key);
  }
}

/** Whether data can still be received under the keys of the handshake. */
function areKeysValid({ handshakeAt }: Pick<Session, "handshakeAt">, now: Instant): boolean {
  return now.monotonicMs - handshakeAt.monotonicMs < REJECT_AFTER_MS;
}

/**
 * The time of a handshake on both clocks. The kernel reports wall-clock time; if that jumped since, the handshake
 * counts as made at the time of the scan.
 */
function handshakeInstant(lastHandshakeMs: number, now: Instant): Instant {
  const ageMs = now.wallMs - lastHandshakeMs;
  if (ageMs < 0 || ageMs >= REJECT_AFTER_MS) return now;
  return { wallMs: lastHandshakeMs, monotonicMs: now.monotonicMs - ageMs };
}

/** Converts a wall-clock time of the previous run. */
function earlierInstant(wallMs: number, now: Instant): Instant {
  return { wallMs, monotonicMs: now.monotonicMs - Math.max(0, now.wallMs - wallMs) };
}

function restored(saved: SavedSession, now: Instant): Session {
  const { handshakeAtMs, lastActivityMs, silentSinceMs, ending, ...session } = saved;
  return {
    ...session,
    startedMonotonicMs: earlierInstant(session.startedAtMs, now).monotonicMs,
    handshakeAt: earlierInstant(handshakeAtMs, now),
    lastActivity: { ...earlierInstant(silentSinceMs, now), wallMs: lastActivityMs },
    ending:
      ending === null
        ? null
        : { ...ending, sinceMs: earlierInstant(ending.sinceMs, now).monotonicMs },
  };
}

/** Returns the session in the form that the next run needs to continue it. */
export function saved(session: Session, now: Instant): SavedSession {
  const { startedMonotonicMs: _, handshakeAt, lastActivity, ending, ...rest } = session;
  const wallMs = (monotonicMs: number) => now.wallMs - (now.monotonicMs - monotonicMs);
  return {
    ...rest,
    handshakeAtMs: wallMs(handshakeAt.monotonicMs),
    lastActivityMs: lastActivity.wallMs,
    silentSinceMs: wallMs(lastActivity.monotonicMs),
    ending: ending === null ? null : { ...ending, sinceMs: wallMs(ending.sinceMs) },
  };
}

/** Moves the times of a saved session. */
export function movedSession(session: SavedSession, step: ClockStep): SavedSession {
  const { startedAtMs, handshakeAtMs, lastActivityMs, silentSinceMs, ending } = session;
  return {
    ...session,
    startedAtMs: moved(step, startedAtMs),
    handshakeAtMs: moved(step, handshakeAtMs),
    lastActivityMs: moved(step, lastActivityMs),
    silentSinceMs: moved(step, silentSinceMs),
    ending: ending === null ? null : { ...ending, sinceMs: moved(step, ending.sinceMs) },
  };
}

/** The duration on the wall clock, as in events, unless the wall clock was set in between. */
function durationMs({ startedAtMs, startedMonotonicMs, lastActivity }: Session): number {
  const wallMs = lastActivity.wallMs - startedAtMs;
  const monotonicMs = lastActivity.monotonicMs - startedMonotonicMs;
  // If start and last activity are the same moment, only the wall clock has that moment's exact time.
  const wasSet = wallMs !== 0 && Math.abs(wallMs - monotonicMs) > CLOCK_SET_MS;
  return Math.max(0, wasSet ? monotonicMs : wallMs);
}

function summary({ startedAtMs, rxBytes, txBytes, roams }: Session): SessionSummary {
  return { startedAtMs, rxBytes, txBytes, roams };
}

function sessionKey(device: string, publicKey: PublicKey): SessionKey {
  return `${device} ${publicKey}`;
}

function endpointKey(
  device: string,
  { address, port }: Pick<Endpoint, "address" | "port">,
): string {
  return `${device} ${address} ${port}`;
}
