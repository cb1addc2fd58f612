/**
 * What the gateways reported last: their devices, peers and sessions; more than 400 lines because all of it shares the
 * same maps.
 * On a hub it takes the place of the kernel. It is in memory; after a start of the hub, each gateway is asked for all of
 * its peers, and until then the sessions of the previous run are kept. A gateway's device is named `GATEWAY/DEVICE`. All
 * times are in the hub's clock, except those of `storedSessions`. No I/O, no clock of its own.
 */

import { areEqual } from "../base/text.ts";
import { type ClockStep, moved } from "../base/wall-clock.ts";
import {
  type Device,
  type DeviceScan,
  type Instant,
  type Peer,
  type PeerChange,
  type PublicKey,
} from "../base/wireguard.ts";
import type { Event } from "../events/event-schema.ts";
import { fleetDevice, gatewayName, splitDevice } from "../fleet/gateway-name.ts";
import type { PeerReport, StateMessage } from "../fleet/messages.ts";
import type { GatewayCondition, GatewayState } from "../http/fleet-model.ts";
import type { ScanResult } from "../kernel/devices.ts";
import { sessionKey } from "../sessions/session-table.ts";
import {
  movedSession,
  pastInstant,
  restored,
  type SavedSession,
  type Session,
} from "../sessions/session.ts";
import { FleetSessions } from "./fleet-sessions.ts";
import { isOther, peerOfEvent, peerOfReport } from "./reported-peer.ts";

export type { GatewayCondition };

/** A gateway, for the API, the page and the commands. */
export interface GatewayView extends GatewayState {
  /** Since when the hub lacks an event that the gateway has, by the hub's clock; null: it lacks none. */
  readonly behindSinceMs: number | null;
}

/** What is saved of a gateway, so that the view is complete after a restart of the hub. */
export interface SavedGateway {
  readonly host: string;
  readonly program: string;
  readonly startedAtMs: number;
  readonly seenMs: number;
  readonly clockOffsetMs: number;
  /** The offset by which times are converted: see `OFFSET_MIN_MS`. */
  readonly appliedOffsetMs: number;
}

/** The result of a state message. */
export interface AppliedState {
  /** Whether the gateway must report all of its peers next. */
  readonly wantsAllPeers: boolean;
  /** What the message says, as if the hub had scanned the gateway's devices; null: the message is older than the last one. */
  readonly scan: ScanResult | null;
  /** Whether devices were added or removed, or have another port or key. */
  readonly haveDevicesChanged: boolean;
  /** Whether all peers of the gateway are known since this message. */
  readonly isListed: boolean;
  /** Sessions that were known and that the gateway does not have any more; an event may still report their end. */
  readonly ended: readonly Session[];
  /** Sessions that have another start, because the gateway's clock was set: as they were, and as they are now. */
  readonly restarted: readonly { readonly before: Session; readonly session: Session }[];
}

/** A known device of a gateway. */
interface KnownDevice {
  device: Device;
  problem: string | null;
  readonly peers: Map<PublicKey, KnownPeer>;
}

/** What a message says about sessions: see `AppliedState`. */
interface Found {
  readonly ended: Session[];
  readonly restarted: AppliedState["restarted"][number][];
}

interface KnownPeer {
  readonly peer: Peer;
  readonly name: string | null;
  readonly tags: readonly string[];
}

interface Gateway {
  readonly name: string;
  condition: GatewayCondition;
  sinceMs: number;
  saved: SavedGateway | null;
  epoch: string | null;
  lastSeq: number | null;
  confirmedSeq: number | null;
  /** An event that the hub lacked at this time; null: it lacked none. */
  behind: { readonly seq: number; readonly atMs: number } | null;
  /** The latest measurements of the offset. */
  offsets: number[];
  /** How much the applied offset changed last. */
  offsetChangeMs: number;
  /** The gateway's start and the order of the last message, by its own clock; null: none since the hub started. */
  last: { readonly startedAtMs: number; readonly order: number; readonly nowMs: number } | null;
  /** Whether all peers are known. */
  isComplete: boolean;
  /** Whether the last answer asked for all peers. */
  wasAsked: boolean;
  /** The peers of a complete list that is longer than one message, as far as it was received. */
  listing: Set<string> | null;
  /** By the name on the gateway. */
  readonly devices: Map<string, KnownDevice>;
  /** When sessions ended by an event, in the gateway's clock: a state message may be older than the event. */
  readonly endedAtMs: Map<string, number>;
}

/**
 * A smaller difference of the clocks is not corrected: it contains the time that a message takes, and times that are
 * converted would differ from those in the events.
 */
const OFFSET_MIN_MS = 2000;
/** The offset is the largest of so many measurements, because the time that a message takes makes it smaller. */
const MEASUREMENTS = 8;

export class FleetState {
  readonly #gateways = new Map<string, Gateway>();
  readonly #sessions = new FleetSessions();
  /** By gateway: see `version`. */
  readonly #versions = new Map<string, number>();

  /** Of two hubs, which one works; see hub-lease.ts. */
  role = (): { readonly isActive: boolean; readonly active: string | null } => ({
    isActive: true,
    active: null,
  });

  // ---- What the API, the page and the alerts read ----

  /** The enrolled gateways, by name. */
  gateways(): readonly GatewayView[] {
    return [...this.#gateways.values()]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((gateway) => this.#view(gateway));
  }

  /** null: not enrolled. */
  gateway(name: string): GatewayView | null {
    const gateway = this.#gateways.get(name);
    return gateway === undefined ? null : this.#view(gateway);
  }

  /** The devices of all gateways, by gateway and name; their index is 0. */
  devices(): readonly Device[] {
    return [...this.#gateways.values()]
      .flatMap(({ devices }) => [...devices.values()].map(({ device }) => device))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  counts(device: string): { readonly peers: number; readonly connected: number } {
    let connected = 0;
    for (const session of this.#sessions.of(splitDevice(device).gateway ?? "")) {
      if (session.device === device) connected++;
    }
    return { peers: this.#deviceOf(device)?.peers.size ?? 0, connected };
  }

  /** The number of a device's peers; 0 if the device is unknown. */
  peerCount(device: string): number {
    return this.#deviceOf(device)?.peers.size ?? 0;
  }

  /** `waiting` if the gateway is not enrolled. */
  condition(name: string): GatewayCondition {
    return this.#gateways.get(name)?.condition ?? "waiting";
  }

  /** Why the gateway could not read the device; null if it could, or if the device is unknown. */
  problem(device: string): string | null {
    return this.#deviceOf(device)?.problem ?? null;
  }

  /** Empty if the device is unknown. If the gateway is lost, these are the peers that it reported last. */
  peers(device: string): readonly Peer[] {
    const peers = this.#deviceOf(device)?.peers.values() ?? [];
    return Array.from(peers, ({ peer }) => peer);
  }

  /** null: not connected, or it is unknown whether it is. If the gateway is lost, this is the session that it reported last. */
  session(device: string, publicKey: PublicKey): Session | null {
    return this.#sessions.get(sessionKey(device, publicKey)) ?? null;
  }

  /** All sessions, also those of gateways that are lost. May change during the iteration. */
  get sessions(): Iterable<Session> {
    return this.#sessions.values();
  }

  /** The name and the tags that a peer has on its gateway. */
  naming(
    publicKey: PublicKey,
    device: string,
  ): { readonly name: string | null; readonly tags: readonly string[] } {
    const known = this.#deviceOf(device)?.peers.get(publicKey);
    return { name: known?.name ?? null, tags: known?.tags ?? [] };
  }

  /** Changes when anything about the peers of a gateway may have changed. */
  version(gateway: string): number {
    return this.#versions.get(gateway) ?? 0;
  }

  /** Whether the gateway reports now. If not, the state of its peers is unknown; they are not disconnected. */
  isObserved(device: string): boolean {
    const gateway = this.#gateways.get(splitDevice(device).gateway ?? "");
    return gateway?.condition === "up";
  }

  // ---- What the hub changes ----

  /**
   * Adds an enrolled gateway, in the condition `waiting`.
   *
   * @param saved what the previous run of the hub knew; null: it never reported.
   */
  add(name: string, saved: SavedGateway | null, now: Instant): void {
    if (this.#gateways.has(name)) return;
    this.#gateways.set(name, {
      name,
      condition: "waiting",
      sinceMs: now.wallMs,
      saved,
      epoch: null,
      lastSeq: null,
      confirmedSeq: null,
      behind: null,
      offsets: [],
      offsetChangeMs: 0,
      last: null,
      isComplete: false,
      wasAsked: false,
      listing: null,
      devices: new Map(),
      endedAtMs: new Map(),
    });
  }

  /** Removes a gateway. Returns its sessions, which the caller ends. */
  remove(name: string): Session[] {
    this.#gateways.delete(name);
    return this.#endAll(this.#sessions.of(name));
  }

  /** Sessions of the previous run of the hub, in the gateways' clocks. Those of gateways that are not enrolled are left out. */
  restoreSessions(sessions: readonly SavedSession[], now: Instant): void {
    for (const session of sessions) {
      const gateway = this.#gateways.get(splitDevice(session.device).gateway ?? "");
      if (gateway === undefined) continue;
      this.#sessions.put(shifted(restored(session, now), -appliedOffset(gateway)));
    }
  }

  setCondition(name: string, condition: GatewayCondition, atMs: number): void {
    const gateway = this.#gateways.get(name);
    if (gateway === undefined || gateway.condition === condition) return;
    this.#changed(name);
    gateway.condition = condition;
    gateway.sinceMs = atMs;
  }

  /** How far the hub has the events of the gateway's current epoch. */
  setProgress(name: string, epoch: string, confirmedSeq: number): void {
    const gateway = this.#gateways.get(name);
    if (gateway === undefined) return;
    if (gateway.epoch !== epoch) {
      gateway.lastSeq = null;
      gateway.behind = null;
    }
    gateway.epoch = epoch;
    gateway.confirmedSeq = confirmedSeq;
    gateway.lastSeq = Math.max(gateway.lastSeq ?? 0, confirmedSeq);
  }

  /** Applies a state message of a gateway. */
  applyState(name: string, message: StateMessage, now: Instant): AppliedState {
    const gateway = this.#gateways.get(name)!;
    const { startedAtMs, order, nowMs } = message;
    const isSameRun = gateway.last?.startedAtMs === startedAtMs;
    // A complete list that the hub asked for is taken in any order: the gateway may have begun to count again.
    const isExpected = gateway.wasAsked && message.isComplete;
    if (isSameRun && order <= gateway.last!.order && !isExpected) {
      gateway.wasAsked = true;
      const none = {
        scan: null,
        haveDevicesChanged: false,
        isListed: false,
        ended: [],
        restarted: [],
      };
      return { wantsAllPeers: true, ...none };
    }
    if (!isSameRun) {
      gateway.endedAtMs.clear();
      gateway.listing = null;
      gateway.isComplete = false;
    }
    this.#changed(name);
    gateway.last = { startedAtMs, order, nowMs };
    this.#measure(gateway, message, now);
    gateway.lastSeq = message.last;
    noteBehind(gateway, now.wallMs);

    // The beginning of a list is the gateway's first message, or the one after the hub asked for it.
    const isBeginning = order === 1 || gateway.wasAsked;
    if (!message.isComplete) gateway.listing = null;
    else if (gateway.listing === null && isBeginning) gateway.listing = new Set();

    const { removed, haveDevicesChanged } = this.#applyDevices(gateway, message);
    const ended: Session[] = [];
    const restarted: AppliedState["restarted"][number][] = [];
    for (const device of removed) {
      const known = this.#sessions.of(name).filter((session) => session.device === device.name);
      ended.push(...this.#endAll(known));
    }
    const scans = this.#applyPeers(gateway, message, now, { ended, restarted });
    let isListed = false;
    if (gateway.listing !== null && !message.hasMore) {
      isListed = true;
      this.#removeUnlisted(gateway, gateway.listing, scans, ended);
      gateway.listing = null;
      gateway.isComplete = true;
    }
    const failed = message.devices.filter(({ problem }) => problem !== null);
    gateway.wasAsked = !gateway.isComplete && gateway.listing === null;
    return {
      wantsAllPeers: gateway.wasAsked,
      scan: {
        devices: [...scans.values()],
        removed,
        present: null,
        problems: [],
        failed: failed.map((each) => fleetDevice(name, each.name)),
      },
      haveDevicesChanged,
      isListed,
      ended,
      restarted,
    };
  }

  /**
   * Applies an event, so that a change is visible before the next state message. An event that the last state message
   * already includes changes nothing.
   */
  applyEvent(name: string, event: Event, now: Instant): void {
    const gateway = this.#gateways.get(name);
    if (gateway === undefined || gateway.last === null) return;
    const timestampMs = Date.parse(event.timestamp);
    if (timestampMs <= gateway.last.nowMs) return;
    this.#changed(name);
    if (event.type === "peer.disconnected") {
      const { device, peer } = event.data;
      const key = sessionKey(fleetDevice(name, device), peer.publicKey as PublicKey);
      this.#sessions.delete(key);
      gateway.endedAtMs.set(key, timestampMs);
      return;
    }
    if (event.type !== "peer.connected" && event.type !== "peer.roamed") return;
    const { session } = event.data;
    gateway.endedAtMs.delete(
      sessionKey(fleetDevice(name, event.data.device), event.data.peer.publicKey as PublicKey),
    );
    const offsetMs = appliedOffset(gateway);
    const atMs = Math.min(timestampMs - offsetMs, now.wallMs);
    const startedAtMs = Date.parse(session.startedAt) - offsetMs;
    const device = fleetDevice(name, event.data.device);
    const reported = peerOfEvent(event.data.peer);
    const known = this.#deviceOf(device)?.peers.get(reported.publicKey)?.peer;
    this.#sessions.put({
      device,
      peer: known === undefined ? reported : { ...known, endpoint: reported.endpoint },
      startedAtMs,
      startedMonotonicMs: pastInstant(startedAtMs, now).monotonicMs,
      endpoint: reported.endpoint,
      handshakeAt: pastInstant(atMs, now),
      lastActivity: pastInstant(atMs, now),
      rxBytes: session.rxBytes,
      txBytes: session.txBytes,
      roams: session.roams,
      ending: null,
    });
  }

  /** The sessions in the gateways' clocks, as in the events. By these, rows in the store are identified. */
  *storedSessions(): Iterable<Session> {
    for (const session of this.#sessions.values()) {
      yield this.inGatewayTime(splitDevice(session.device).gateway ?? "", session);
    }
  }

  /** A session as in `storedSessions`; null as for `session`. */
  storedSession(device: string, publicKey: PublicKey): Session | null {
    const session = this.session(device, publicKey);
    return session && this.inGatewayTime(splitDevice(device).gateway ?? "", session);
  }

  /** Converts the times of a session to the gateway's clock. */
  inGatewayTime(name: string, session: Session): Session {
    const gateway = this.#gateways.get(name);
    return gateway === undefined ? session : shifted(session, appliedOffset(gateway));
  }

  /** Converts a time of a gateway's clock to the hub's. */
  hubTime(name: string, ms: number): number {
    const gateway = this.#gateways.get(name);
    return gateway === undefined ? ms : ms - appliedOffset(gateway);
  }

  /** What is to be saved of a gateway; null: it never reported. */
  saved(name: string): SavedGateway | null {
    return this.#gateways.get(name)?.saved ?? null;
  }

  /** Moves the times after the hub's clock was set. */
  clockSet(step: ClockStep): void {
    this.#sessions.clockSet(step);
    for (const gateway of this.#gateways.values()) {
      this.#changed(gateway.name);
      gateway.sinceMs = moved(step, gateway.sinceMs);
      gateway.offsets = [];
      if (gateway.saved === null) continue;
      const { seenMs, appliedOffsetMs, clockOffsetMs } = gateway.saved;
      gateway.saved = {
        ...gateway.saved,
        seenMs: moved(step, seenMs),
        // The next message measures it again. Until then `storedSessions` has the same times as before.
        clockOffsetMs: clockOffsetMs - step.ms,
        appliedOffsetMs: appliedOffsetMs - step.ms,
      };
    }
  }

  // ----

  #changed(name: string): void {
    this.#versions.set(name, this.version(name) + 1);
  }

  #view(gateway: Gateway): GatewayView {
    const { name, condition, sinceMs, saved, epoch, lastSeq, confirmedSeq, devices } = gateway;
    let peers = 0;
    for (const device of devices.values()) peers += device.peers.size;
    return {
      name,
      host: saved?.host ?? null,
      program: saved?.program ?? null,
      condition,
      sinceMs,
      seenMs: saved?.seenMs ?? null,
      startedAtMs: saved?.startedAtMs ?? null,
      clockOffsetMs: saved?.clockOffsetMs ?? null,
      epoch,
      lastSeq,
      behindSinceMs: isCaughtUp(gateway) ? null : (gateway.behind?.atMs ?? null),
      confirmedSeq,
      devices: devices.size,
      peers,
      connected: this.#sessions.countOf(name),
    };
  }

  #deviceOf(name: string): KnownDevice | undefined {
    const { gateway, device } = splitDevice(name);
    return this.#gateways.get(gateway ?? "")?.devices.get(device);
  }

  #endAll(ended: Session[]): Session[] {
    for (const { device, peer } of ended) this.#sessions.delete(sessionKey(device, peer.publicKey));
    return ended;
  }

  /** Measures the offset of the clocks, and converts the known sessions if it has changed. */
  #measure(gateway: Gateway, message: StateMessage, now: Instant): void {
    const measured = Math.round(message.nowMs - now.wallMs);
    const latest = gateway.offsets.at(-1) ?? measured;
    // The clock was set.
    if (Math.abs(measured - latest) > OFFSET_MIN_MS) {
      gateway.offsets = [];
      gateway.endedAtMs.clear();
    }
    gateway.offsets = [...gateway.offsets, measured].slice(-MEASUREMENTS);
    const clockOffsetMs = Math.max(...gateway.offsets);
    const before = appliedOffset(gateway);
    const wanted = Math.abs(clockOffsetMs) > OFFSET_MIN_MS ? clockOffsetMs : 0;
    const appliedOffsetMs = Math.abs(wanted - before) > OFFSET_MIN_MS ? wanted : before;
    gateway.saved = {
      // A gateway may not say that it is another one: its host is in the list of targets for Prometheus.
      host: gatewayName(message.host) === gateway.name ? message.host : gateway.name,
      program: message.program,
      startedAtMs: Math.floor(message.startedAtMs) - appliedOffsetMs,
      seenMs: now.wallMs,
      clockOffsetMs,
      appliedOffsetMs,
    };
    if (appliedOffsetMs === before) return;
    gateway.offsetChangeMs = appliedOffsetMs - before;
    for (const session of this.#sessions.of(gateway.name)) {
      this.#sessions.put(shifted(session, before - appliedOffsetMs));
    }
  }

  #applyDevices(
    gateway: Gateway,
    { devices }: StateMessage,
  ): { readonly removed: Device[]; readonly haveDevicesChanged: boolean } {
    const removed: Device[] = [];
    let haveDevicesChanged = false;
    const present = new Set(devices.map(({ name }) => name));
    for (const [name, { device }] of gateway.devices) {
      if (present.has(name)) continue;
      gateway.devices.delete(name);
      removed.push(device);
      haveDevicesChanged = true;
    }
    for (const { name, listenPort, publicKey, problem } of devices) {
      const device: Device = {
        name: fleetDevice(gateway.name, name),
        index: 0,
        listenPort,
        publicKey: publicKey as PublicKey | null,
      };
      const known = gateway.devices.get(name);
      if (known === undefined) {
        gateway.devices.set(name, { device, problem, peers: new Map() });
        haveDevicesChanged = true;
        continue;
      }
      const before = known.device;
      if (before.listenPort !== listenPort || before.publicKey !== publicKey) {
        haveDevicesChanged = true;
        known.device = device;
      }
      known.problem = problem;
    }
    return { removed, haveDevicesChanged };
  }

  /** Applies the reported peers. Adds the sessions that ended, or have another start, to `found`; returns the scan of each device. */
  #applyPeers(
    gateway: Gateway,
    { peers, removed, devices }: StateMessage,
    now: Instant,
    found: Found,
  ): Map<string, DeviceScan & { changed: PeerChange[]; removed: PublicKey[] }> {
    const scans = new Map<string, DeviceScan & { changed: PeerChange[]; removed: PublicKey[] }>();
    for (const { name, problem } of devices) {
      const { device } = gateway.devices.get(name)!;
      if (problem === null) scans.set(name, { device, changed: [], removed: [] });
    }
    for (const each of removed) {
      const publicKey = each.publicKey as PublicKey;
      gateway.endedAtMs.delete(sessionKey(fleetDevice(gateway.name, each.device), publicKey));
      if (gateway.devices.get(each.device)?.peers.delete(publicKey) !== true) continue;
      scans.get(each.device)?.removed.push(publicKey);
      this.#end(fleetDevice(gateway.name, each.device), publicKey, found.ended);
    }
    for (const report of peers) {
      const known = gateway.devices.get(report.device);
      if (known === undefined) continue;
      const publicKey = report.publicKey as PublicKey;
      gateway.listing?.add(`${report.device} ${publicKey}`);
      const peer = peerOfReport(report, appliedOffset(gateway));
      const before = known.peers.get(publicKey) ?? null;
      known.peers.set(publicKey, {
        peer,
        name: report.name,
        tags: before !== null && areEqual(before.tags, report.tags) ? before.tags : report.tags,
      });
      if (isOther(before?.peer ?? null, peer)) {
        scans.get(report.device)?.changed.push({ peer, before: before?.peer ?? null });
      }
      this.#applySession(gateway, report, peer, now, found);
    }
    return scans;
  }

  #applySession(
    gateway: Gateway,
    { device, session }: PeerReport,
    peer: Peer,
    now: Instant,
    { ended, restarted }: Found,
  ): void {
    const name = fleetDevice(gateway.name, device);
    const before = this.session(name, peer.publicKey);
    if (session === null) {
      this.#end(name, peer.publicKey, ended);
      return;
    }
    const key = sessionKey(name, peer.publicKey);
    if ((gateway.endedAtMs.get(key) ?? -Infinity) >= (gateway.last?.nowMs ?? 0)) return;
    gateway.endedAtMs.delete(key);
    const offsetMs = appliedOffset(gateway);
    // Whole milliseconds, as in events.
    const startedAtMs = Math.floor(session.startedAtMs) - offsetMs;
    const lastActivityMs = Math.min(session.lastActivityMs - offsetMs, now.wallMs);
    const current: Session = {
      device: name,
      peer,
      startedAtMs,
      startedMonotonicMs: pastInstant(startedAtMs, now).monotonicMs,
      endpoint: peer.endpoint,
      handshakeAt: pastInstant(peer.lastHandshakeMs ?? lastActivityMs, now),
      lastActivity: pastInstant(lastActivityMs, now),
      rxBytes: session.rxBytes,
      txBytes: session.txBytes,
      roams: session.roams,
      ending: null,
    };
    this.#sessions.put(current);
    if (before === null || before.startedAtMs === startedAtMs) return;
    // A gateway whose clock is set moves the starts of its sessions. Here they were moved the other way.
    const movedMs = startedAtMs - before.startedAtMs - gateway.offsetChangeMs;
    const isSame = gateway.offsetChangeMs !== 0 && Math.abs(movedMs) <= OFFSET_MIN_MS;
    if (isSame) restarted.push({ before, session: current });
    else ended.push(before);
  }

  #end(device: string, publicKey: PublicKey, ended: Session[]): void {
    const session = this.session(device, publicKey);
    if (session === null) return;
    this.#sessions.delete(sessionKey(device, publicKey));
    ended.push(session);
  }

  /** Removes the peers and sessions that a complete list does not have. */
  #removeUnlisted(
    gateway: Gateway,
    listed: ReadonlySet<string>,
    scans: ReadonlyMap<string, { readonly removed: PublicKey[] }>,
    ended: Session[],
  ): void {
    for (const [name, { peers }] of gateway.devices) {
      for (const publicKey of peers.keys()) {
        if (listed.has(`${name} ${publicKey}`)) continue;
        peers.delete(publicKey);
        scans.get(name)?.removed.push(publicKey);
      }
    }
    // Sessions of the previous run may be of peers, or of devices, that do not exist any more.
    for (const session of this.#sessions.of(gateway.name)) {
      const { device } = splitDevice(session.device);
      if (listed.has(`${device} ${session.peer.publicKey}`)) continue;
      this.#end(session.device, session.peer.publicKey, ended);
    }
  }
}

function appliedOffset({ saved }: Gateway): number {
  return saved?.appliedOffsetMs ?? 0;
}

/** The session with its wall-clock times moved. */
function shifted(session: Session, ms: number): Session {
  if (ms === 0) return session;
  const everything = { ms, fromMs: -Infinity, toMs: Infinity, unsureFromMs: null };
  return movedSession(session, everything);
}

/** Whether the hub has the event that it lacked. It may lack newer ones, which are on their way. */
function isCaughtUp({ behind, confirmedSeq }: Gateway): boolean {
  return behind === null || (confirmedSeq ?? 0) >= behind.seq;
}

/** The gateway has reported how many events it has. */
function noteBehind(gateway: Gateway, atMs: number): void {
  if (!isCaughtUp(gateway)) return;
  const { lastSeq, confirmedSeq } = gateway;
  const isBehind = lastSeq !== null && lastSeq > (confirmedSeq ?? 0);
  gateway.behind = isBehind ? { seq: lastSeq, atMs } : null;
}
