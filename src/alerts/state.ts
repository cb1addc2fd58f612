/**
 * The state of the alert engine: facts, alerts, groups, silences and deadlines; more than 400 lines because every change
 * of it must be noted here to be saved. It is saved as a table of rows, JSON by
 * key, so that a change costs the rows that it changed, not a copy of all.
 */

import { AlertTable } from "./alert-table.ts";
import { type Alert, subjectKey } from "./alert.ts";
import {
  type DeviceFacts,
  GRACE_MS,
  newPeer,
  newSample,
  type PeerFacts,
  type PeerSample,
  shiftTimes,
  type TargetFacts,
} from "./facts.ts";
import type { NamedPeer } from "./input.ts";
import type { RuleSet, Selection } from "./rule-set.ts";
import type { Severity } from "./rule.ts";
import type { Silence } from "./silences.ts";
import { Timers } from "./timers.ts";

/** The alerts of one rule and device, which are sent together. */
export interface Group {
  readonly rule: string;
  /** null: the alerts have no device, or the rule has one message for all devices. */
  readonly device: string | null;
  /** When its unsent alerts are due; null: there are none. */
  flushAtMs: number | null;
  /** When the next reminder is due; null: none. */
  remindAtMs: number | null;
  /** Since when it waits for all peers of the device to be silent; null: it does not. */
  waitsAtMs: number | null;
  /** How its notices are sent. Copied from the rule, because the alerts are resolved when the rule no longer exists. */
  severity: Severity;
  targets: readonly string[];
  dryRun: boolean;
}

/** A peer with its facts and the rules that select it. */
export interface PeerEntry {
  readonly key: string;
  readonly peer: PeerFacts;
  readonly sample: PeerSample;
  readonly device: DeviceFacts;
  selection: Selection;
  /** Number of alerts about it, pending ones included. */
  alerts: number;
}

/** Rows by key, as JSON; null: the row was deleted. */
export type Rows = ReadonlyMap<string, string | null>;

/** Fields that an earlier version did not save. */
const UNSAVED: Pick<Alert, "heldBack"> = { heldBack: null };

export class AlertState {
  readonly devices = new Map<string, DeviceFacts>();
  readonly targets = new Map<string, TargetFacts>();
  readonly silences = new Map<string, Silence>();
  readonly groups = new Map<string, Group>();
  readonly timers = new Timers();
  nowMs = 0;
  nextId = 1;
  #rulesText = "";
  readonly alerts = new AlertTable();
  /** The peers whose endpoint moved, and it is not decided yet who moved it. */
  readonly unexplainedMoves = new Set<PeerEntry>();
  /** By device and public key. */
  readonly #peers = new Map<string, Map<string, PeerEntry>>();
  /** The peers with a public key, on all devices. */
  readonly #byKey = new Map<string, PeerEntry[]>();
  #nextOrder = 1;
  /** Keys of the rows that changed; null: nothing is saved. */
  readonly #dirty: Set<string> | null;
  readonly #dirtySamples = new Set<PeerEntry>();
  /** Alerts whose rows changed, those that were deleted included. */
  readonly #dirtyAlertRows = new Set<Alert>();
  /** Alerts that fired and changed since, those that were deleted included. */
  readonly #dirtyAlerts = new Set<Alert>();

  /** @param isSaved whether changed rows are noted. */
  constructor({ isSaved }: { readonly isSaved: boolean }) {
    this.#dirty = isSaved ? new Set() : null;
  }

  /** The rules that the state was made with, as JSON. */
  get rulesText(): string {
    return this.#rulesText;
  }

  set rulesText(text: string) {
    this.#rulesText = text;
    this.#dirty?.add("rules");
  }

  peersOf(device: string): Iterable<PeerEntry> {
    return this.#peers.get(device)?.values() ?? [];
  }

  /** All peers, device by device, each in the order in which they were added. */
  *allPeers(): Iterable<PeerEntry> {
    for (const device of [...this.#peers.keys()].sort()) yield* this.#peers.get(device)!.values();
  }

  peer(device: string, publicKey: string): PeerEntry | null {
    return this.#peers.get(device)?.get(publicKey) ?? null;
  }

  /** The peers with this public key on all devices, in the order in which they were added. */
  peersWith(publicKey: string): readonly PeerEntry[] {
    return this.#byKey.get(publicKey) ?? [];
  }

  /** Finds or adds a peer. */
  ensurePeer(device: string, named: NamedPeer, rules: RuleSet): PeerEntry {
    const known = this.peer(device, named.publicKey);
    if (known !== null) return known;
    const facts = newPeer(device, named.publicKey, named, {
      nowMs: this.nowMs,
      order: this.#nextOrder++,
    });
    return this.#putPeer(facts, newSample(), rules);
  }

  deletePeer(entry: PeerEntry): void {
    const { peer, key } = entry;
    this.unexplainedMoves.delete(entry);
    // Else its row would be written again.
    this.#dirtySamples.delete(entry);
    this.#peers.get(peer.device)?.delete(peer.publicKey);
    const others = this.peersWith(peer.publicKey).filter((each) => each !== entry);
    if (others.length === 0) this.#byKey.delete(peer.publicKey);
    else this.#byKey.set(peer.publicKey, others);
    this.#dirty?.add(key);
    this.#dirty?.add(`sample ${key}`);
  }

  /** Deletes the devices whose names begin with `prefix`, and their peers, which it returns. */
  deleteDevices(prefix: string): PeerEntry[] {
    const names = [...this.devices.keys()].filter((name) => name.startsWith(prefix));
    const entries = names.flatMap((name) => [...this.peersOf(name)]);
    for (const entry of entries) this.deletePeer(entry);
    for (const name of names) {
      this.devices.delete(name);
      this.#peers.delete(name);
      this.#dirty?.add(`device ${name}`);
    }
    return entries;
  }

  ensureDevice(name: string): DeviceFacts {
    const known = this.devices.get(name);
    if (known !== undefined) return known;
    const device: DeviceFacts = {
      name,
      isPresent: true,
      removedAtMs: null,
      isListed: false,
      blind: null,
      watchedAtMs: this.nowMs,
      graceUntilAtMs: this.nowMs,
      scannedAtMs: null,
      heardAtMs: null,
      attempts: [],
    };
    this.devices.set(name, device);
    this.beginGrace(device);
    return device;
  }

  /** Begins the time in which the peers of the device need not have returned yet. */
  beginGrace(device: DeviceFacts): void {
    device.graceUntilAtMs = this.nowMs + GRACE_MS;
    this.setTimer(`grace ${device.name}`, device.graceUntilAtMs);
    this.markDevice(device);
  }

  addAlert(alert: Alert): void {
    this.alerts.add(alert);
    const entry = this.#entryOf(alert);
    if (entry !== null) entry.alerts++;
    this.markAlert(alert);
  }

  deleteAlert(alert: Alert): void {
    if (!this.alerts.delete(alert)) return;
    this.#noteAlert(alert);
    const entry = this.#entryOf(alert);
    if (entry !== null) entry.alerts--;
  }

  setTimer(key: string, dueMs: number): void {
    if (this.timers.set(key, dueMs)) this.#dirty?.add(`timer ${key}`);
  }

  deleteTimer(key: string): void {
    if (this.timers.delete(key)) this.#dirty?.add(`timer ${key}`);
  }

  takeTimer(nowMs: number): { readonly key: string; readonly dueMs: number } | null {
    const taken = this.timers.take(nowMs);
    if (taken !== null) this.#dirty?.add(`timer ${taken.key}`);
    return taken;
  }

  deleteGroup(key: string): void {
    if (this.groups.delete(key)) this.#dirty?.add(`group ${key}`);
  }

  /** Call this after each change of a peer's facts, so that its row is saved. The other methods `mark...` are alike. */
  markPeer(entry: PeerEntry): void {
    this.#dirty?.add(entry.key);
  }

  /** Also for a change of `seenAtMs`, which is saved with the sample. */
  markSample(entry: PeerEntry): void {
    if (this.#dirty !== null) this.#dirtySamples.add(entry);
  }

  /** Call this after each change of an alert. */
  markAlert(alert: Alert): void {
    this.alerts.changed(alert);
    this.#noteAlert(alert);
  }

  markDevice({ name }: DeviceFacts): void {
    this.#dirty?.add(`device ${name}`);
  }

  markTarget({ name }: TargetFacts): void {
    this.#dirty?.add(`target ${name}`);
  }

  markGroup(key: string): void {
    this.#dirty?.add(`group ${key}`);
  }

  markSilence(id: string): void {
    this.#dirty?.add(`silence ${id}`);
  }

  /** Whether alerts that fired have changed since the last call of `takeAlerts`. */
  get haveAlertsChanged(): boolean {
    return this.#dirtyAlerts.size > 0;
  }

  /** Returns the alerts that fired and changed since the last call, those that were deleted included. */
  takeAlerts(): Alert[] {
    const alerts = [...this.#dirtyAlerts];
    this.#dirtyAlerts.clear();
    return alerts;
  }

  /**
   * Returns the rows that changed since the last call.
   *
   * @param samplesMax maximum number of peers whose counters and cadence are returned. These change with each scan and
   *   need not be written with each event: after a crash, the next scan shows what was received and sent meanwhile. The
   *   others follow with later calls.
   */
  takeChanges(samplesMax: number): Rows {
    const changes = new Map<string, string | null>();
    const put = (key: string, row: unknown) =>
      changes.set(key, row === null ? null : JSON.stringify(row));
    for (const key of this.#dirty ?? []) put(key, this.#row(key));
    this.#dirty?.clear();
    for (const alert of this.#dirtyAlertRows) {
      const key = this.alerts.keyOf(alert);
      // Another alert may have the key of a deleted one.
      put(`alert ${key}`, this.alerts.get(key));
    }
    this.#dirtyAlertRows.clear();
    let samples = 0;
    for (const entry of this.#dirtySamples) {
      if (samples++ >= samplesMax) break;
      this.#dirtySamples.delete(entry);
      changes.set(entry.key, JSON.stringify(entry.peer));
      changes.set(`sample ${entry.key}`, JSON.stringify(entry.sample));
    }
    changes.set("engine", JSON.stringify({ nowMs: this.nowMs, nextId: this.nextId }));
    return changes;
  }

  /** Returns all rows. */
  save(): Rows {
    const rows = new Map<string, string>();
    const put = (key: string, value: unknown) => rows.set(key, JSON.stringify(value));
    put("engine", { nowMs: this.nowMs, nextId: this.nextId });
    if (this.#rulesText !== "") put("rules", this.#rulesText);
    for (const [name, device] of this.devices) put(`device ${name}`, device);
    for (const { key, peer, sample } of this.allPeers()) {
      put(key, peer);
      put(`sample ${key}`, sample);
    }
    for (const [name, target] of this.targets) put(`target ${name}`, target);
    for (const [id, silence] of this.silences) put(`silence ${id}`, silence);
    for (const [key, alert] of this.alerts.entries()) put(`alert ${key}`, alert);
    for (const [key, group] of this.groups) put(`group ${key}`, group);
    for (const [key, dueMs] of this.timers.entries()) put(`timer ${key}`, dueMs);
    return rows;
  }

  /** Loads saved rows into an empty state. They may be in any order. */
  load(rows: Rows, rules: RuleSet): void {
    const parsed = (key: string): unknown => {
      const text = rows.get(key) ?? null;
      return text === null ? null : JSON.parse(text);
    };
    const of = (table: string) =>
      [...rows.keys()]
        .filter((key) => key.startsWith(`${table} `))
        .map((key) => [key.slice(table.length + 1), parsed(key)] as const)
        .filter(([, value]) => value !== null)
        .sort(([a], [b]) => (a < b ? -1 : 1));
    const engine = parsed("engine") as { nowMs: number; nextId: number } | null;
    this.nowMs = engine?.nowMs ?? 0;
    this.nextId = engine?.nextId ?? 1;
    this.#rulesText = (parsed("rules") as string | null) ?? "";
    for (const [name, value] of of("device")) this.devices.set(name, value as DeviceFacts);
    for (const [name, value] of of("target")) this.targets.set(name, value as TargetFacts);
    for (const [id, value] of of("silence")) this.silences.set(id, value as Silence);
    // Fields that an earlier version did not save have their first value.
    const unknown = newPeer("", "", { name: null, tags: [] }, { nowMs: 0, order: 0 });
    const peers = of("peer").map(([key, value]) => ({
      key,
      facts: { ...unknown, ...(value as PeerFacts) },
    }));
    for (const { key, facts } of peers.sort((a, b) => a.facts.order - b.facts.order)) {
      // The samples may have been saved earlier than the facts.
      const sample = { ...newSample(), ...(parsed(`sample peer ${key}`) as PeerSample | null) };
      this.#putPeer(facts, sample, rules);
      this.#nextOrder = facts.order + 1;
    }
    for (const [key, value] of of("group")) this.groups.set(key, value as Group);
    for (const [key, value] of of("timer")) this.timers.set(key, value as number);
    for (const [, value] of of("alert")) this.addAlert({ ...UNSAVED, ...(value as Alert) });
    this.#dirty?.clear();
    this.#dirtyAlertRows.clear();
    this.#dirtyAlerts.clear();
  }

  /** Replaces each time after the clock was set. */
  shift(moved: (atMs: number) => number): void {
    const shiftInto = (facts: object) => shiftTimes(facts, moved);
    for (const entry of this.allPeers()) {
      shiftInto(entry.peer);
      shiftInto(entry.sample);
      this.markPeer(entry);
      this.markSample(entry);
    }
    for (const device of this.devices.values()) {
      shiftInto(device);
      this.markDevice(device);
    }
    for (const target of this.targets.values()) {
      shiftInto(target);
      this.markTarget(target);
    }
    for (const alert of this.alerts.values()) {
      shiftInto(alert);
      this.markAlert(alert);
    }
    for (const [key, group] of this.groups) {
      shiftInto(group);
      this.markGroup(key);
    }
    for (const [id, silence] of this.silences) {
      const { startMs, endMs } = silence;
      this.silences.set(id, { ...silence, startMs: moved(startMs), endMs: moved(endMs) });
      this.markSilence(id);
    }
    this.timers.move(moved);
    for (const [key] of this.timers.entries()) this.#dirty?.add(`timer ${key}`);
  }

  #putPeer(peer: PeerFacts, sample: PeerSample, rules: RuleSet): PeerEntry {
    const { publicKey } = peer;
    const device = this.ensureDevice(peer.device);
    const key = subjectKey({ type: "peer", device: peer.device, publicKey });
    const entry = { key, peer, sample, device, selection: rules.select(peer), alerts: 0 };
    const peers = this.#peers.get(peer.device) ?? new Map<string, PeerEntry>();
    this.#peers.set(peer.device, peers.set(publicKey, entry));
    const same = this.#byKey.get(publicKey);
    if (same === undefined) this.#byKey.set(publicKey, [entry]);
    else same.push(entry);
    if (peer.unexplainedMove !== null) this.unexplainedMoves.add(entry);
    this.markPeer(entry);
    this.markSample(entry);
    return entry;
  }

  #noteAlert(alert: Alert): void {
    if (this.#dirty === null) return;
    this.#dirtyAlertRows.add(alert);
    if (alert.firedAtMs !== null) this.#dirtyAlerts.add(alert);
  }

  #entryOf({ subject }: Alert): PeerEntry | null {
    return subject.type === "peer" ? this.peer(subject.device, subject.publicKey) : null;
  }

  #row(key: string): unknown {
    if (key === "rules") return this.#rulesText;
    const [table, name] = split(key);
    switch (table) {
      case "peer": {
        const [device, publicKey] = split(name);
        return this.peer(device, publicKey)?.peer ?? null;
      }
      case "sample": {
        const [device, publicKey] = split(split(name)[1]);
        return this.peer(device, publicKey)?.sample ?? null;
      }
      case "device":
        return this.devices.get(name) ?? null;
      case "target":
        return this.targets.get(name) ?? null;
      case "silence":
        return this.silences.get(name) ?? null;
      case "group":
        return this.groups.get(name) ?? null;
      case "timer":
        return this.timers.get(name);
      default:
        return null;
    }
  }
}

/** Splits at the first space. */
function split(text: string): [string, string] {
  const index = text.indexOf(" ");
  return [text.slice(0, index), text.slice(index + 1)];
}
