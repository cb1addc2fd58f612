/** Alerts, rules and silences in words. Pure. */

import type { AlertView } from "../alerts/alert.ts";
import type { Rule, RuleKind } from "../alerts/rule.ts";
import type { Selectable } from "../alerts/selectors.ts";
import { type Silence, silenceOf } from "../alerts/silences.ts";
import type { TimeInterval } from "../alerts/times.ts";
import { formatDuration } from "../base/duration.ts";
import { sanitize, shortName, truncate } from "../base/text.ts";
import { isPublicKey, shortKey } from "../base/wireguard.ts";

const TEXT_MAX = 400;
const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;

/** When a rule fires. */
export const kindText: Readonly<Record<RuleKind, string>> = {
  down: "a peer is gone, or has not connected since wgmon watches it",
  flapping: "a peer disconnects too often",
  "no-return-traffic": "data is sent to a peer, and nothing comes back",
  "shared-key": "one key is used from two places in turns",
  traffic: "a peer's traffic reaches a part of its quota, or a rate",
  hours: "a peer is connected outside of its allowed hours",
  place: "a peer connects from a country or network that is new or not allowed",
  unused: "a peer has not connected for many days",
  changed: "the settings of a peer change",
  handshakes: "many handshakes are not valid",
  target: "a target of events fails",
};

/** The settings of a rule that decide when it fires and what is sent, as name and value. */
export function ruleFacts(rule: Rule): readonly (readonly [name: string, value: string])[] {
  const { forMs, resolveAfterMs, waitMs, repeatMs, times, targets, peers, tags, devices } = rule;
  const words = (each: readonly string[]) => textOf(each.join(", "));
  const span = (ms: number, text: (span: string) => string) =>
    ms === 0 ? null : text(formatDuration(ms));
  const facts: readonly (readonly [string, string | null])[] = [
    ["Peers", peers.length === 0 ? null : words(peers)],
    ["Tags", tags.length === 0 ? null : words(tags)],
    ["Devices", devices.length === 0 ? null : words(devices)],
    ["Fires", span(forMs, (text) => `after ${text}`)],
    ["Is resolved", span(resolveAfterMs, (text) => `after ${text} without it`)],
    ["Collects alerts", span(waitMs, (text) => `for ${text}, for one message`)],
    ["Reminds", repeatMs === null ? null : `every ${formatDuration(repeatMs)}`],
    ["Sends", times.length === 0 ? null : times.map(intervalText).join("; ")],
    ["Sends to", targets.length === 0 ? "all targets that accept it" : words(targets)],
  ];
  return facts.filter((fact): fact is readonly [string, string] => fact[1] !== null);
}

/** `mon-fri 08:00-18:00 Europe/Berlin` */
function intervalText({ days, fromMinute, toMinute, zone }: TimeInterval): string {
  const names = days.map((day) => DAYS[day - 1]!);
  const isRange = days.length > 2 && days.at(-1)! - days[0]! === days.length - 1;
  const dayText = isRange ? `${names[0]}-${names.at(-1)}` : names.join(",");
  return `${dayText} ${clock(fromMinute)}-${clock(toMinute)} ${zone}`;
}

function clock(minute: number): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${two(Math.floor(minute / 60))}:${two(minute % 60)}`;
}

/** `peer=branch-*`; a key is replaced by the peer's name, or shortened. */
export function matcherTexts(
  { matchers }: Silence,
  nameOf: (publicKey: string) => string | null,
): string[] {
  return matchers.map(({ field, pattern }) => {
    const isKey = field === "peer" && isPublicKey(pattern);
    const text = isKey ? (nameOf(pattern) ?? shortKey(pattern)) : pattern;
    return `${field}=${shortName(text)}`;
  });
}

/** A sentence or comment on one line, without invisible characters. */
export function textOf(text: string): string {
  return truncate(sanitize(text), TEXT_MAX);
}

/** The silence that an alert is under now, also if it was sent before; null: none. */
export function silenceFor(
  { rule, severity, subject, peer }: AlertView,
  silences: readonly Silence[],
  nowMs: number,
): Silence | null {
  if (silences.length === 0) return null;
  const isPeer = subject.type === "peer";
  const selectable: Selectable | null = isPeer
    ? {
        device: subject.device,
        publicKey: subject.publicKey,
        name: peer?.name ?? null,
        tags: peer?.tags ?? [],
      }
    : null;
  const device = subject.type === "target" ? null : subject.device;
  const target = subject.type === "target" ? subject.target : null;
  return silenceOf(silences, { rule, severity, device, peer: selectable, target }, nowMs);
}

/** The silences that hold back all alerts about a peer, or those of some rules. */
export function silencesOfPeer(peer: Selectable, silences: readonly Silence[]): Silence[] {
  return silences.filter((silence) => {
    const { matchers, startMs } = silence;
    const own = matchers.filter(({ field }) => field !== "rule" && field !== "severity");
    const alert = { rule: "", severity: "info", device: peer.device, peer, target: null } as const;
    return silenceOf([{ ...silence, matchers: own }], alert, startMs) !== null;
  });
}
