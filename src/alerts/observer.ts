/**
 * Changes the facts by inputs, and reports which peers have to be judged again, and about which topics. Of the rules, it
 * uses only the selection of a peer and the periods of traffic.
 */

import { areEqual } from "../base/text.ts";
import { growth, sameEndpoint } from "../base/wireguard.ts";
import { exchanged, forgetQuestions, isOnlyInitiations } from "./answers.ts";
import { forgetCadence, heard, silentAtMs } from "./cadence.ts";
import { explained, moved, takeSet } from "./endpoint-moves.ts";
import type { DeviceFacts } from "./facts.ts";
import type { ConfiguredPeer, Input, NamedPeer, SampledPeer } from "./input.ts";
import type { Arrival, Lookup, SettingsMoment, Topic } from "./kinds/kind.ts";
import { codesOf, isAsn } from "./kinds/place.ts";
import type { RuleSet, Selection } from "./rule-set.ts";
import type { AlertState, PeerEntry } from "./state.ts";
import { addTraffic } from "./traffic-sums.ts";

/** Maximum numbers of disconnects, visits and places that are kept of each peer. */
const ENDS_MAX = 64;
const VISITS_MAX = 32;
const PLACES_MAX = 64;
/** After a shorter absence of wgmon, the peers still have their keys and need no grace period. */
const SHORT_ABSENCE_MS = 60_000;
/** How long to wait for a scan that shows whether a peer is silent. */
const SCAN_WAIT_MS = 5000;

/** What the observer reports. */
export interface Observed {
  /** Peers whose rules about these topics have to be judged. */
  touched(entry: PeerEntry, ...topics: readonly Topic[]): void;
  /** All rules of these peers have to be judged. */
  touchedAll(entries: Iterable<PeerEntry>): void;
  settingsChanged(entry: PeerEntry, moment: SettingsMoment): void;
  arrived(entry: PeerEntry, arrival: Arrival): void;
  /** Other rules than before select the peer. */
  reselected(entry: PeerEntry, before: Selection): void;
  deviceSeen(device: DeviceFacts): void;
}

type Of<T extends Input["type"]> = Extract<Input, { type: T }>;

export class Observer {
  readonly #state: AlertState;
  readonly #rules: () => RuleSet;
  readonly #lookup: Lookup;
  readonly #observed: Observed;

  constructor(state: AlertState, rules: () => RuleSet, lookup: Lookup, observed: Observed) {
    this.#state = state;
    this.#rules = rules;
    this.#lookup = lookup;
    this.#observed = observed;
  }

  connected({ device, peer: named, endpoint, handshakeAtMs, startedAtMs }: Of<"connected">): void {
    const entry = this.#ensure(device, named);
    const { peer, sample } = entry;
    peer.isPresent = true;
    peer.connectedAtMs = startedAtMs;
    peer.arrivedAtMs = this.#state.nowMs;
    peer.seenAtMs = Math.max(peer.seenAtMs ?? startedAtMs, startedAtMs);
    peer.isSilent = false;
    entry.device.heardAtMs = this.#state.nowMs;
    this.#state.markDevice(entry.device);
    forgetCadence(sample);
    forgetQuestions(sample);
    sample.deaf = null;
    this.#visit(entry, endpoint, handshakeAtMs);
    this.#state.markPeer(entry);
    this.#state.markSample(entry);
    this.#observed.touched(entry, "presence", "endpoint", "answers");
  }

  roamed({ device, peer: named, endpoint, handshakeAtMs }: Of<"roamed">): void {
    const entry = this.#ensure(device, named);
    this.#visit(entry, endpoint, handshakeAtMs);
    this.#state.markPeer(entry);
    this.#observed.touched(entry, "endpoint");
  }

  disconnected({ device, peer: named, endedAtMs, reason }: Of<"disconnected">): void {
    const isKnown = this.#state.peer(device, named.publicKey) !== null;
    const entry = this.#ensure(device, named);
    const { peer } = entry;
    // In a replay: it was connected before the first event about it, so it has had keys.
    if (!isKnown) peer.arrivedAtMs = this.#state.nowMs;
    peer.connectedAtMs = null;
    peer.isSilent = false;
    peer.seenAtMs = endedAtMs;
    if (reason === "peer-removed") peer.isPresent = false;
    // The number of disconnects while wgmon did not watch is unknown, so these do not count.
    if (reason === "idle" && endedAtMs >= entry.device.watchedAtMs && entry.device.blind === null) {
      peer.endsAtMs.push(endedAtMs);
      if (peer.endsAtMs.length > ENDS_MAX) peer.endsAtMs.shift();
    }
    this.#state.markPeer(entry);
    // The removal of the device comes next, and is the reason. With `hold`, the device may exist again.
    if (reason === "device-removed" && entry.device.isPresent) {
      this.#state.setTimer(`gone ${device}`, this.#state.nowMs + 1);
    } else {
      this.#observed.touched(entry, "presence");
    }
  }

  device({ device: name, present }: Of<"device">): void {
    const { nowMs } = this.#state;
    const device = this.#state.ensureDevice(name);
    device.isPresent = present;
    device.removedAtMs = present ? null : nowMs;
    if (present) this.#state.beginGrace(device);
    // A removed device is not scanned again, so its removal ends the time without scans.
    else if (device.blind !== null) this.#seen(device);
    this.#state.markDevice(device);
    for (const entry of this.#state.peersOf(name)) {
      const { sample } = entry;
      // The counters of a new device start at zero. Its sums do not.
      if (present && sample.rxBytes !== null) {
        sample.rxBytes = 0;
        sample.txBytes = 0;
        sample.endpoint = null;
        this.#state.markSample(entry);
      }
      if (present) explained(this.#state, entry);
      this.#observed.touched(entry, "presence", "answers");
    }
  }

  peers({ device: name, peers, removed, complete }: Of<"peers">): void {
    const device = this.#state.ensureDevice(name);
    const isFirst = !device.isListed && complete;
    const wasAway = device.blind !== null;
    for (const configured of peers) this.#configured(name, configured, { isFirst, wasAway });
    const gone = new Set(removed);
    if (complete) {
      const listed = new Set<string>(peers.map(({ publicKey }) => publicKey));
      for (const { peer } of this.#state.peersOf(name)) {
        if (peer.isPresent && !listed.has(peer.publicKey)) gone.add(peer.publicKey);
      }
      device.isListed = true;
      this.#state.markDevice(device);
    }
    for (const publicKey of gone) {
      const entry = this.#state.peer(name, publicKey);
      if (entry === null || !entry.peer.isPresent) continue;
      this.#removed(entry, wasAway);
    }
  }

  scan({ device: name, peers }: Of<"scan">): void {
    const { nowMs } = this.#state;
    const device = this.#state.ensureDevice(name);
    const sinceMs = nowMs - (device.scannedAtMs ?? nowMs);
    device.scannedAtMs = nowMs;
    for (const sampled of peers) this.#sampled(name, sampled, sinceMs);
    if (this.#state.unexplainedMoves.size > 0) {
      for (const { entry, moment } of takeSet(this.#state, device)) {
        this.#observed.settingsChanged(entry, moment);
      }
    }
    this.#state.markDevice(device);
    if (device.blind !== null) this.#seen(device);
  }

  /** There are no scans of a removed device. That it is absent is all that can be known. */
  devicesListed(): void {
    for (const device of this.#state.devices.values()) {
      if (!device.isPresent && device.blind !== null) this.#seen(device);
    }
  }

  scanFailed({ device: name }: Of<"scan-failed">): void {
    const devices = name === null ? this.#state.devices.values() : [this.#state.ensureDevice(name)];
    for (const device of devices) {
      device.blind ??= "scan-failed";
      this.#state.markDevice(device);
    }
  }

  /** wgmon did not watch from `fromMs` until now. */
  away(fromMs: number): void {
    const { nowMs } = this.#state;
    for (const device of this.#state.devices.values()) {
      device.blind = "away";
      // After a long absence, such as a suspension, keys are invalid, and peers need time to make new ones.
      if (nowMs - fromMs >= SHORT_ABSENCE_MS) this.#state.beginGrace(device);
      this.#state.markDevice(device);
    }
  }

  traffic({ device, publicKey, rxBytes, txBytes }: Of<"traffic">): void {
    const entry = this.#ensure(device, { publicKey, name: null, tags: [] }, false);
    this.#count(entry, rxBytes, txBytes);
  }

  /** Sets a peer as silent if its keep-alives are missing. Returns when to check again; null: after its next data. */
  silenceDue(entry: PeerEntry): number | null {
    const { peer, sample, device } = entry;
    const atMs = silentAtMs(peer, sample);
    if (atMs === null || device.blind !== null || peer.isSilent) return null;
    if (this.#state.nowMs < atMs) return atMs;
    // Only a scan at that time or later shows that no data came.
    if (device.scannedAtMs === null || device.scannedAtMs < atMs) {
      return this.#state.nowMs + SCAN_WAIT_MS;
    }
    peer.isSilent = true;
    this.#state.markPeer(entry);
    this.#observed.touched(entry, "presence");
    return null;
  }

  #ensure(device: string, named: NamedPeer, isNamed = true): PeerEntry {
    const entry = this.#state.ensurePeer(device, named, this.#rules());
    const { peer } = entry;
    if (!isNamed || (peer.name === named.name && areEqual(peer.tags, named.tags))) return entry;
    peer.name = named.name;
    peer.tags = [...named.tags];
    const before = entry.selection;
    entry.selection = this.#rules().select(peer);
    if (entry.selection !== before) this.#observed.reselected(entry, before);
    this.#state.markPeer(entry);
    return entry;
  }

  #configured(
    device: string,
    configured: ConfiguredPeer,
    { isFirst, wasAway }: { readonly isFirst: boolean; readonly wasAway: boolean },
  ): void {
    const isKnown = this.#state.peer(device, configured.publicKey)?.peer.isPresent === true;
    const entry = this.#ensure(device, configured);
    const { peer } = entry;
    const { allowedIps, persistentKeepaliveSeconds: seconds, lastHandshakeMs } = configured;
    const change = (what: SettingsMoment["change"], details: string) =>
      this.#observed.settingsChanged(entry, { change: what, details, wasAway });
    const before = { ips: peer.allowedIps, seconds: peer.keepaliveSeconds };
    peer.isPresent = true;
    peer.allowedIps = [...allowedIps];
    peer.keepaliveSeconds = seconds;
    if (lastHandshakeMs !== null && (peer.seenAtMs === null || peer.seenAtMs < lastHandshakeMs)) {
      peer.seenAtMs = lastHandshakeMs;
    }
    if (!isKnown && !isFirst) change("added", allowedIps.join(", "));
    const [oldIps, newIps] = [before.ips?.join(", "), allowedIps.join(", ")];
    if (isKnown && oldIps !== undefined && oldIps !== newIps) {
      change("allowed-ips", `${oldIps || "none"} -> ${newIps || "none"}`);
    }
    if (isKnown && before.seconds !== null && before.seconds !== seconds) {
      change("keepalive", `${before.seconds} s -> ${seconds} s`);
    }
    this.#state.markPeer(entry);
    this.#countFrom(entry, configured.counters);
    this.#observed.touchedAll([entry]);
  }

  /** Sets what the first scan of a peer is compared with. */
  #countFrom(entry: PeerEntry, counters: ConfiguredPeer["counters"]): void {
    const { sample } = entry;
    if (counters === undefined || sample.rxBytes !== null) return;
    const { rxBytes, txBytes, endpoint } = counters;
    Object.assign(sample, { rxBytes, txBytes, endpoint });
    // Thousands of peers may never connect. Zeros need not be saved.
    if (rxBytes + txBytes > 0 || endpoint !== null) this.#state.markSample(entry);
  }

  #removed(entry: PeerEntry, wasAway: boolean): void {
    entry.peer.isPresent = false;
    entry.peer.connectedAtMs = null;
    entry.sample.deaf = null;
    explained(this.#state, entry);
    // The counters of the peer start at zero if it is added again.
    if (entry.sample.rxBytes !== null) {
      entry.sample.rxBytes = 0;
      entry.sample.txBytes = 0;
    }
    this.#state.markPeer(entry);
    this.#state.markSample(entry);
    this.#observed.settingsChanged(entry, { change: "removed", details: "", wasAway });
    this.#observed.touchedAll([entry]);
  }

  #sampled(device: string, sampled: SampledPeer, sinceMs: number): void {
    const { nowMs } = this.#state;
    const { publicKey, rxBytes, txBytes, endpoint, lastHandshakeMs } = sampled;
    const entry =
      this.#state.peer(device, publicKey) ??
      this.#ensure(device, { publicKey, name: null, tags: [] });
    const { peer, sample } = entry;
    const isFirst = sample.rxBytes === null;
    const rx = isFirst ? 0 : growth(sample.rxBytes!, rxBytes);
    const tx = isFirst ? 0 : growth(sample.txBytes, txBytes);
    if (rx > 0) explained(this.#state, entry);
    else if (!isFirst && sample.endpoint !== null && endpoint !== null) {
      if (!sameEndpoint(sample.endpoint, endpoint)) moved(this.#state, entry, sample.endpoint);
    }
    sample.rxBytes = rxBytes;
    sample.txBytes = txBytes;
    sample.endpoint = endpoint;
    this.#state.markSample(entry);
    if (peer.connectedAtMs !== null) {
      if (rx > 0 && !isOnlyInitiations(rx)) this.#heard(entry);
      const { keepaliveSeconds } = peer;
      const exchange = { rxBytes: rx, txBytes: tx, sinceMs, keepaliveSeconds };
      if (exchanged(peer, sample, { ...exchange, handshakeAtMs: lastHandshakeMs }, nowMs)) {
        this.#observed.touched(entry, "answers");
      }
    }
    if (rx + tx > 0) this.#count(entry, rx, tx);
  }

  #heard(entry: PeerEntry): void {
    const { nowMs } = this.#state;
    const { peer, sample, device } = entry;
    device.heardAtMs = nowMs;
    peer.seenAtMs = nowMs;
    // Of the first scan after an absence it is not known when the data came.
    if (device.blind === null && nowMs < device.graceUntilAtMs) {
      peer.arrivedAtMs = nowMs;
      this.#state.markPeer(entry);
    }
    const { rxAtMs } = sample;
    heard(sample, rxAtMs !== null && rxAtMs >= device.watchedAtMs && !peer.isSilent, nowMs);
    if (peer.isSilent) {
      peer.isSilent = false;
      this.#state.markPeer(entry);
      this.#observed.touched(entry, "presence");
    }
    const timer = `silent ${peer.device} ${peer.publicKey}`;
    if (this.#state.timers.get(timer) !== null) return;
    const atMs = silentAtMs(peer, sample);
    if (atMs !== null) this.#state.setTimer(timer, atMs);
  }

  /** Adds traffic to the sums that rules need. */
  #count(entry: PeerEntry, rxBytes: number, txBytes: number): void {
    const { nowMs } = this.#state;
    const { selection, sample } = entry;
    if (selection.byTopic.traffic.length === 0) return;
    addTraffic(sample, selection, this.#rules().periods, { rxBytes, txBytes, nowMs });
    this.#state.markSample(entry);
    this.#observed.touched(entry, "traffic");
  }

  #visit(entry: PeerEntry, endpoint: string | null, handshakeAtMs: number | null): void {
    if (endpoint === null) return;
    const { nowMs } = this.#state;
    const { peer } = entry;
    const last = peer.visits.at(-1);
    if (last?.endpoint !== endpoint) {
      peer.visits.push({ endpoint, fromAtMs: nowMs, handshakeAtMs });
      if (peer.visits.length > VISITS_MAX) peer.visits.shift();
    }
    if (entry.selection.place.length > 0) this.#arrive(entry, endpoint);
  }

  #arrive(entry: PeerEntry, endpoint: string): void {
    const { nowMs } = this.#state;
    const { peer } = entry;
    const address = endpoint.replace(/:\d+$/, "").replace(/^\[|(%.*)?\]$/g, "");
    const place = this.#lookup(address);
    if (place === null) return;
    const { country, asn } = place;
    const codes = peer.places.map(({ code }) => code);
    // The first country, or autonomous system, of a peer is not new.
    const isNewIn = (known: readonly string[], code: string) =>
      known.length > 0 && !known.includes(code);
    const isNewCountry =
      country !== null &&
      isNewIn(
        codes.filter((code) => !isAsn(code)),
        country,
      );
    const isNewAsn = asn !== null && isNewIn(codes.filter(isAsn), `AS${asn}`);
    this.#observed.arrived(entry, { address, place, isNewCountry, isNewAsn });
    for (const code of codesOf(place)) {
      const known = peer.places.find((each) => each.code === code);
      if (known !== undefined) known.seenAtMs = nowMs;
      else peer.places.push({ code, seenAtMs: nowMs });
    }
    if (peer.places.length > PLACES_MAX) {
      peer.places.sort((a, b) => b.seenAtMs - a.seenAtMs).splice(PLACES_MAX);
    }
    this.#state.markPeer(entry);
  }

  /** The device is watched again. What its peers did meanwhile is unknown. */
  #seen(device: DeviceFacts): void {
    const { nowMs } = this.#state;
    device.blind = null;
    device.watchedAtMs = nowMs;
    for (const entry of this.#state.peersOf(device.name)) {
      forgetQuestions(entry.sample);
      if (entry.sample.rxAtMs !== null) entry.sample.rxAtMs = nowMs;
      this.#state.markSample(entry);
    }
    this.#observed.touchedAll(this.#state.peersOf(device.name));
    this.#observed.deviceSeen(device);
  }
}
