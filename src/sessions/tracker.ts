/**
 * Decides which peers are connected. Deterministic: it takes scans and times and returns changes; it has no clock, no
 * timers and no I/O. It keeps a session for each connected peer, identified by device and public key. Of other peers it
 * keeps only what is needed to recognize their return.
 */

import type { ClockStep } from "../base/wall-clock.ts";
import {
  type Device,
  type DeviceScan,
  growth,
  type Instant,
  type Peer,
  type PeerChange,
  type PublicKey,
  REJECT_AFTER_MS,
  sameEndpoint,
  type Scan,
} from "../base/wireguard.ts";
import type { Change, DisconnectReason } from "./change.ts";
import {
  areKeysValid,
  assumedActivity,
  handshakeInstant,
  isActivity,
  isNewHandshake,
  startsNewSession,
  withTraffic,
} from "./liveness.ts";
import { type SessionKey, sessionKey, SessionTable } from "./session-table.ts";
import {
  disconnected,
  pastInstant,
  restored,
  type RestoredState,
  type Session,
  summary,
  type TransferCounters,
} from "./session.ts";

/** The settings that the tracker needs. */
export interface TrackerOptions {
  /** A peer is disconnected after this time without activity. */
  idleTimeoutMs(publicKey: PublicKey): number;
  /** A peer that returns within this time stays connected. 0: report every disconnect at once. */
  readonly holdMs: number;
  /** Whether peers that are connected at the very first scan are reported. */
  readonly announceExisting: boolean;
}

const NEVER: Instant = { wallMs: 0, monotonicMs: 0 };
const NO_DEVICES: ReadonlySet<string> = new Set();

export class Tracker {
  #options: TrackerOptions;
  readonly #devices = new Map<string, Device>();
  /** Devices of the previous run that have not been scanned yet. */
  readonly #notScannedYet = new Set<string>();
  /** Time of the last scan of each device. */
  readonly #deviceScanned = new Map<string, Instant>();
  /** Counters of peers at the end of recent sessions of the previous run. */
  readonly #ended = new Map<SessionKey, TransferCounters>();
  readonly #sessions = new SessionTable();
  /** Whether an earlier scan exists, in this run or in the previous one. */
  #started = false;

  /**
   * @param previous the previous run's state. Its sessions continue and are not reported again; the first scans report
   *   what changed since. null: this is the first run.
   */
  constructor(options: TrackerOptions, previous: RestoredState | null = null, now = NEVER) {
    this.#options = options;
    if (previous === null) return;
    this.#started = true;
    for (const device of previous.devices) {
      this.#devices.set(device.name, device);
      this.#notScannedYet.add(device.name);
    }
    for (const session of previous.sessions) this.#sessions.put(restored(session, now));
    for (const { device, publicKey, ...counters } of previous.ended) {
      const key = sessionKey(device, publicKey);
      this.#ended.set(key, counters);
      const { lastHandshakeMs } = counters;
      // A connected peer is not silent.
      if (lastHandshakeMs === null || this.#sessions.has(key)) continue;
      // `#end` adds only idle peers. Here the reason does not matter: a peer that was removed, alone or with its
      // device, has no handshake when it is added again, and its next handshake starts a session anyway. Until the old
      // keys expire, the only effect is that its device is scanned at each tick.
      this.#sessions.silent.set(key, { device, handshakeAt: pastInstant(lastHandshakeMs, now) });
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
    return this.#sessions.devices;
  }

  /** Whether a tick has devices to scan. */
  get needsTick(): boolean {
    return this.#sessions.size > 0 || this.#sessions.silent.size > 0;
  }

  setOptions(options: TrackerOptions): void {
    this.#options = options;
  }

  /** Moves the sessions' wall-clock times. The kernel's times stay, because the next scan is compared with them. */
  clockSet(step: ClockStep): void {
    this.#sessions.clockSet(step);
  }

  /**
   * Returns the monotonic time of the latest handshake of the session whose endpoint is this address and port; null if
   * no session matches. Considers devices that listen on `listenPort`, or all devices if none does, because a firewall
   * may redirect the port. The scope of a link-local address is ignored.
   */
  handshakeAtMs(address: string, port: number, listenPort: number): number | null {
    const devices = [...this.#devices.values()];
    const listening = devices.filter((device) => device.listenPort === listenPort);
    let latestMs: number | null = null;
    for (const { name } of listening.length > 0 ? listening : devices) {
      const session = this.#sessions.at(name, { address, port });
      if (session === undefined) continue;
      latestMs = Math.max(latestMs ?? -Infinity, session.handshakeAt.monotonicMs);
    }
    return latestMs;
  }

  /** Processes a scan taken at `now`: first its results, then expired sessions. */
  observe(scan: Scan, now: Instant): Change[] {
    const changes: Change[] = [];
    for (const device of scan.removed) this.#removeDevice(device, now, changes);
    for (const deviceScan of scan.devices) this.#handleDevice(deviceScan, now, changes);
    this.#started = true;
    this.#expire(now, changes, new Set(scan.devices.map(({ device }) => device.name)));
    for (const name of this.#notScannedYet) {
      // A device of the previous run that was removed meanwhile.
      const isRemoved = scan.present?.has(name) === false;
      if (isRemoved) this.#removeDevice(this.#devices.get(name)!, now, changes);
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

  #handleDevice(scan: DeviceScan, now: Instant, changes: Change[]): void {
    const { device } = scan;
    const before = this.#devices.get(device.name);
    // Deleted and created again between two scans.
    if (before !== undefined && before.index !== device.index) {
      this.#removeDevice(before, now, changes);
    }
    if (!this.#devices.has(device.name) && this.#started) {
      const { name, listenPort } = device;
      changes.push({ type: "device.added", atMs: now.wallMs, device: name, listenPort });
    }
    this.#devices.set(device.name, device);
    for (const publicKey of scan.removed) {
      const key = sessionKey(device.name, publicKey);
      this.#scheduleEnd(key, "peer-removed", now);
      this.#sessions.silent.delete(key);
    }
    if (this.#notScannedYet.has(device.name)) this.#reconcileRestored(scan, now, changes);
    for (const change of scan.changed) {
      const session = this.#sessions.get(sessionKey(device.name, change.peer.publicKey));
      if (session === undefined) this.#handlePeer(device.name, change, now, changes);
      else this.#handleSession(session, change.peer, now, changes);
    }
    this.#notScannedYet.delete(device.name);
    this.#deviceScanned.set(device.name, now);
  }

  /** Handles the first scan of a device of the previous run: ends the sessions that did not last until now. */
  #reconcileRestored({ device, changed }: DeviceScan, now: Instant, changes: Change[]): void {
    const peers = new Map(changed.map(({ peer }) => [peer.publicKey, peer]));
    for (const [key, session] of this.#sessions.entries()) {
      if (session.device !== device.name) continue;
      const peer = peers.get(session.peer.publicKey);
      if (peer === undefined) {
        this.#scheduleEnd(key, "peer-removed", now);
      } else if (
        session.ending === null &&
        (peer.rxBytes < session.peer.rxBytes || peer.txBytes < session.peer.txBytes)
      ) {
        // Counters decrease only if the peer was removed and added again.
        this.#end(key, session, "peer-removed", now, changes);
      } else if (
        peer.lastHandshakeMs !== null &&
        this.#isNewHandshake(device.name, session.peer, peer, now)
      ) {
        const handshakeAt = pastInstant(peer.lastHandshakeMs, now);
        if (now.monotonicMs - handshakeAt.monotonicMs < REJECT_AFTER_MS) continue;
        // The keys of the new handshake have expired, too. This handshake is the latest known activity.
        this.#sessions.put({
          ...withTraffic(session, peer),
          handshakeAt,
          lastActivity: handshakeAt,
        });
      }
    }
  }

  #removeDevice(device: Device, now: Instant, changes: Change[]): void {
    const { name, listenPort } = device;
    if (!this.#devices.delete(name)) return;
    this.#notScannedYet.delete(name);
    this.#deviceScanned.delete(name);
    for (const [key, session] of this.#sessions.entries()) {
      if (session.device === name) this.#scheduleEnd(key, "device-removed", now);
    }
    for (const [key, silent] of this.#sessions.silent) {
      if (silent.device === name) this.#sessions.silent.delete(key);
    }
    // Report peer disconnects before the device removal.
    this.#expire(now, changes, NO_DEVICES);
    changes.push({ type: "device.removed", atMs: now.wallMs, device: name, listenPort });
  }

  /** Handles a peer without a session. Only a completed handshake, or data sent with its keys, starts one. */
  #handlePeer(device: string, change: PeerChange, now: Instant, changes: Change[]): void {
    const { peer } = change;
    if (peer.lastHandshakeMs === null) return;
    const isFirstScan = this.#notScannedYet.has(device);
    const key = sessionKey(device, peer.publicKey);
    const before = change.before ?? (isFirstScan ? this.#ended.get(key) : null) ?? null;
    const ageMs = now.wallMs - peer.lastHandshakeMs;
    const isNew =
      before === null
        ? ageMs >= 0 && ageMs < REJECT_AFTER_MS
        : this.#isNewHandshake(device, before, peer, now);
    const silent = this.#sessions.silent.get(key);
    const hasSentData =
      before !== null &&
      silent !== undefined &&
      areKeysValid(silent, now) &&
      isActivity(before, peer, this.#sinceScanMs(device, now));
    if (!isNew && !hasSentData) return;

    const handshakeAt =
      isNew || silent === undefined
        ? handshakeInstant(peer.lastHandshakeMs, now)
        : silent.handshakeAt;
    const lastActivity = isNew
      ? assumedActivity(handshakeAt, this.#options.idleTimeoutMs(peer.publicKey), now)
      : now;
    // The counters of a peer added since the last scan started at zero. At a device's first scan this is unknown.
    const isAdded = before === null && this.#started && !isFirstScan;
    const baseline = before ?? (isAdded ? { rxBytes: 0, txBytes: 0 } : peer);
    const session: Session = {
      device,
      peer,
      startedAtMs: lastActivity.wallMs,
      startedMonotonicMs: pastInstant(lastActivity.wallMs, now).monotonicMs,
      endpoint: peer.endpoint,
      handshakeAt,
      lastActivity,
      rxBytes: growth(baseline.rxBytes, peer.rxBytes),
      txBytes: growth(baseline.txBytes, peer.txBytes),
      roams: 0,
      ending: null,
    };
    this.#sessions.put(session);
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

  #handleSession(before: Session, peer: Peer, now: Instant, changes: Change[]): void {
    const isNewHandshake = this.#isNewHandshake(before.device, before.peer, peer, now);
    const handshakeAt = isNewHandshake
      ? handshakeInstant(peer.lastHandshakeMs!, now)
      : before.handshakeAt;
    if (isNewHandshake && startsNewSession(before, handshakeAt, this.#deadlineMs(before))) {
      const { device } = before;
      const reason = before.ending?.reason ?? "idle";
      this.#end(sessionKey(device, peer.publicKey), before, reason, now, changes);
      this.#handlePeer(device, { peer, before: before.peer }, now, changes);
      return;
    }
    const keysAreValid = areKeysValid(before, now) && peer.lastHandshakeMs !== null;
    const isAlive =
      isNewHandshake ||
      (keysAreValid && isActivity(before.peer, peer, this.#sinceScanMs(before.device, now)));
    if (!isAlive) {
      this.#sessions.put(withTraffic(before, peer));
      return;
    }
    const previousEndpoint = before.endpoint;
    const hasRoamed =
      previousEndpoint !== null &&
      peer.endpoint !== null &&
      !sameEndpoint(previousEndpoint, peer.endpoint);
    const session: Session = {
      ...withTraffic(before, peer),
      endpoint: peer.endpoint ?? previousEndpoint,
      handshakeAt,
      lastActivity: now,
      roams: before.roams + (hasRoamed ? 1 : 0),
      ending: null,
    };
    this.#sessions.put(session);
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

  #isNewHandshake(device: string, before: TransferCounters, peer: Peer, now: Instant): boolean {
    const scanned = this.#deviceScanned.get(device) ?? now;
    return isNewHandshake(before.lastHandshakeMs, peer, scanned, now);
  }

  /** The time since the last scan of the device; Infinity before the first. */
  #sinceScanMs(device: string, now: Instant): number {
    return now.monotonicMs - (this.#deviceScanned.get(device)?.monotonicMs ?? -Infinity);
  }

  #scheduleEnd(key: SessionKey, reason: DisconnectReason, now: Instant): void {
    const session = this.#sessions.get(key);
    if (session === undefined || session.ending !== null) return;
    this.#sessions.put({ ...session, ending: { reason, sinceMs: now.monotonicMs } });
  }

  /**
   * Ends the sessions whose deadline has passed.
   *
   * @param scanned names of the devices in this scan. Peers of other devices may have been active since their last scan.
   */
  #expire(now: Instant, changes: Change[], scanned: ReadonlySet<string>): void {
    for (const [key, session] of this.#sessions.entries()) {
      const { device, ending } = session;
      if (ending === null ? !scanned.has(device) : this.#notScannedYet.has(device)) continue;
      if (now.monotonicMs < this.#deadlineMs(session)) continue;
      this.#end(key, session, ending?.reason ?? "idle", now, changes);
    }
    for (const [key, silent] of this.#sessions.silent) {
      if (!areKeysValid(silent, now)) this.#sessions.silent.delete(key);
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
    if (reason === "idle") this.#sessions.silent.set(key, session);
    changes.push(disconnected(session, reason, now));
  }

  #deadlineMs({ ending, lastActivity, peer }: Session): number {
    const { holdMs } = this.#options;
    const idleMs = lastActivity.monotonicMs + this.#options.idleTimeoutMs(peer.publicKey) + holdMs;
    return ending === null ? idleMs : Math.min(idleMs, ending.sinceMs + holdMs);
  }
}
