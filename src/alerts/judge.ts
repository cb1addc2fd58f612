/**
 * Judges peers, devices and targets by the rules that select them: when one of them changed, and when a verdict asked for
 * it. lifecycle.ts applies the verdicts.
 */

import { type Subject, subjectKey } from "./alert.ts";
import { everywhere } from "./everywhere.ts";
import type { Attempts, DeviceFacts, TargetFacts } from "./facts.ts";
import { changed } from "./kinds/changed.ts";
import { handshakes } from "./kinds/handshakes.ts";
import { type Arrival, NOTHING, type SettingsMoment, type Topic } from "./kinds/kind.ts";
import { arrived, codesOf, isRefused } from "./kinds/place.ts";
import { target as targetKind } from "./kinds/target.ts";
import type { Judged, Lifecycle } from "./lifecycle.ts";
import type { CompiledRule, RuleSet } from "./rule-set.ts";
import type { AlertState, PeerEntry } from "./state.ts";
import { nextDaily } from "./times.ts";

const DAY_MS = 86_400_000;

export class Judges {
  readonly #state: AlertState;
  readonly #rules: () => RuleSet;
  readonly #lifecycle: Lifecycle;

  constructor(state: AlertState, rules: () => RuleSet, lifecycle: Lifecycle) {
    this.#state = state;
    this.#rules = rules;
    this.#lifecycle = lifecycle;
  }

  /** The allowed times of an `hours` rule begin or end, or the summary of an `unused` rule is due. */
  calendarDue(name: string): void {
    const rule = this.#rules().rules.get(name);
    if (rule === undefined) return;
    this.#armCalendar(rule);
    for (const entry of this.#state.allPeers()) {
      if (entry.selection.rules.has(rule)) this.#peer(rule, entry);
    }
  }

  device(device: DeviceFacts): void {
    for (const rule of this.#rules().ofKind("handshakes")) this.#device(rule, device);
  }

  target(facts: TargetFacts): void {
    for (const rule of this.#rules().ofKind("target")) this.#target(rule, facts);
  }

  /** The verdict of a rule asked for another one at this time. @param name the name of the rule, and the subject's key. */
  due(name: string): void {
    const index = name.indexOf("\n");
    const compiled = this.#rules().rules.get(name.slice(0, index));
    if (compiled === undefined) return;
    const [type = "", first = "", second = ""] = name.slice(index + 1).split(" ");
    switch (type) {
      case "peer": {
        const entry = this.#state.peer(first, second);
        if (entry !== null && entry.selection.rules.has(compiled)) this.#peer(compiled, entry);
        break;
      }
      case "device": {
        const device = this.#state.devices.get(first);
        if (device !== undefined) this.#device(compiled, device);
        break;
      }
      case "target": {
        const facts = this.#state.targets.get(name.slice(index + 1 + "target ".length));
        if (facts !== undefined) this.#target(compiled, facts);
        break;
      }
    }
  }

  topics(entry: PeerEntry, topics: readonly Topic[]): void {
    const { byTopic } = entry.selection;
    for (const topic of topics) for (const rule of byTopic[topic]) this.#peer(rule, entry);
    if (topics.includes("presence")) this.#elsewhere(entry);
  }

  all(entries: Iterable<PeerEntry>): void {
    for (const entry of entries) {
      for (const rule of entry.selection.rules) this.#peer(rule, entry);
      this.#elsewhere(entry);
    }
  }

  /** Judges the rules that select the peer on other devices only, where it may have another name, if they ask for this one. */
  #elsewhere(entry: PeerEntry): void {
    if (!this.#rules().hasEverywhere) return;
    const judged = new Set(entry.selection.everywhere);
    for (const { selection } of this.#state.peersWith(entry.peer.publicKey)) {
      for (const rule of selection.everywhere) {
        if (judged.has(rule)) continue;
        judged.add(rule);
        this.#everywhere(rule, entry.peer.publicKey);
      }
    }
  }

  #peer(compiled: CompiledRule, entry: PeerEntry): void {
    const { peerKind, judging } = compiled;
    if (compiled.isEverywhere) return this.#everywhere(compiled, entry.peer.publicKey);
    // While the device is not watched, the state of its peers is unknown. They are judged at its next scan.
    if (peerKind === null || entry.device.blind !== null) return;
    const { nowMs } = this.#state;
    const verdict = peerKind.judge(judging, entry, nowMs);
    if (verdict.conditions.length === 0 && verdict.recheckMs === null && entry.alerts === 0) return;
    const { key, device } = entry;
    const judged: Judged = { subject: subjectOf(entry), key, device };
    this.#lifecycle.apply(compiled, judged, verdict, (alert) =>
      peerKind.resolved(alert, entry, nowMs),
    );
  }

  /** Judges a public key on all devices of a rule together. The alert is about one of the peers that the rule selects. */
  #everywhere(compiled: CompiledRule, publicKey: string): void {
    const { nowMs, alerts } = this.#state;
    const { rule, peerKind, judging } = compiled;
    if (peerKind === null) return;
    const entries = this.#state.peersWith(publicKey);
    const selected = entries.filter(({ selection }) => selection.rules.has(compiled));
    const counting = entries.filter(
      ({ peer }) => peer.isPresent && compiled.isOnDevice(peer.device),
    );
    const { verdict, last, returned } = everywhere(peerKind, judging, counting, nowMs);
    const present = selected.filter(({ peer }) => peer.isPresent);
    // The alert stays with its peer while that is configured.
    const holder =
      present.find(({ key }) => alerts.about(rule.name, key).length > 0) ??
      (last !== null && present.includes(last) ? last : present[0]);
    for (const entry of selected) {
      const own = entry === holder ? verdict : NOTHING;
      if (own.conditions.length === 0 && entry.alerts === 0) continue;
      const { key } = entry;
      const judged: Judged = { subject: subjectOf(entry), key, device: null };
      this.#lifecycle.apply(compiled, judged, own, (alert) =>
        peerKind.resolved(alert, returned ?? entry, nowMs),
      );
    }
  }

  #device(compiled: CompiledRule, device: DeviceFacts): void {
    const { rule } = compiled;
    if (rule.kind !== "handshakes") return;
    if (rule.devices.length > 0 && !rule.devices.includes(device.name)) return;
    const hasPeers = rule.peers.length + rule.tags.length > 0;
    const isSelected = ({ publicKeys }: Attempts) =>
      !hasPeers ||
      publicKeys.some((key) => {
        const entry = this.#state.peer(device.name, key);
        return entry !== null && compiled.isSelected(entry.peer);
      });
    const verdict = handshakes.judge(rule, device, isSelected, this.#state.nowMs);
    const subject: Subject = { type: "device", device: device.name };
    const judged: Judged = { subject, key: subjectKey(subject), device: null };
    this.#lifecycle.apply(compiled, judged, verdict, (alert) => handshakes.resolved(alert));
  }

  #target(compiled: CompiledRule, facts: TargetFacts): void {
    const { rule } = compiled;
    if (rule.kind !== "target") return;
    const verdict = targetKind.judge(rule, facts);
    const subject: Subject = { type: "target", target: facts.name };
    const judged: Judged = { subject, key: subjectKey(subject), device: null };
    this.#lifecycle.apply(compiled, judged, verdict, (alert) => targetKind.resolved(alert));
  }

  everything(): void {
    for (const rule of this.#rules().rules.values()) this.#armCalendar(rule);
    this.all(this.#state.allPeers());
    for (const rule of this.#rules().ofKind("handshakes")) {
      for (const device of this.#state.devices.values()) this.#device(rule, device);
    }
    for (const rule of this.#rules().ofKind("target")) {
      for (const facts of this.#state.targets.values()) this.#target(rule, facts);
    }
  }

  /** Sets the deadline for the next time of day or week at which the peers of a rule must be judged. */
  #armCalendar({ rule, allowed }: CompiledRule): void {
    const { nowMs } = this.#state;
    const timer = `calendar ${rule.name}`;
    if (rule.kind === "unused") {
      this.#state.setTimer(timer, nextDaily(rule.atMinute, rule.zone, nowMs + 1));
    }
    if (rule.kind !== "hours" || rule.allowed.length === 0) return;
    this.#state.setTimer(timer, allowed.at(nowMs).untilMs);
  }

  settingsChanged(entry: PeerEntry, moment: SettingsMoment): void {
    for (const compiled of entry.selection.changed) {
      const { rule } = compiled;
      const sentence = rule.kind === "changed" ? changed(rule, entry.peer, moment) : null;
      if (sentence === null) continue;
      this.#lifecycle.moment(compiled, subjectOf(entry), moment.change, sentence);
    }
  }

  arrived(entry: PeerEntry, arrival: Arrival): void {
    const { nowMs } = this.#state;
    const { peer } = entry;
    const code = codesOf(arrival.place).join(" ");
    const { refusedPlace } = peer;
    const isReported =
      refusedPlace !== null && refusedPlace.code === code && nowMs - refusedPlace.seenAtMs < DAY_MS;
    let isAnyRefused = false;
    for (const compiled of entry.selection.place) {
      const { rule } = compiled;
      if (rule.kind !== "place") continue;
      const refused = isRefused(rule, arrival.place);
      isAnyRefused ||= refused;
      const sentence = refused && isReported ? null : arrived(rule, peer, arrival);
      if (sentence === null) continue;
      this.#lifecycle.moment(compiled, subjectOf(entry), code, sentence);
    }
    if (!isAnyRefused) peer.refusedPlace = null;
    else if (!isReported) peer.refusedPlace = { code, seenAtMs: nowMs };
  }
}

function subjectOf({ peer }: PeerEntry): Subject {
  return { type: "peer", device: peer.device, publicKey: peer.publicKey };
}
