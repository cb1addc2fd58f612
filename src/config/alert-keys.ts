/**
 * The keys of [[alert]] tables: those of all rules, and those of each kind, with their types, descriptions and defaults.
 * The settings file is read with them; the JSON Schema and the tables in docs/alerts.md are made from them.
 */

import { CHANGES, type Rule, RULE_DEFAULTS, type RuleKind } from "../alerts/rule.ts";
import { formatDuration } from "../base/duration.ts";
import {
  alertName,
  percents,
  place,
  rate,
  resetDay,
  severity,
  targetWord,
  timeInterval,
  timeOfDay,
  timeZone,
} from "./alert-types.ts";
import {
  boolean,
  choice,
  deviceOfFleet,
  duration,
  integer,
  peerName,
  peerTag,
  size,
  type ValueType,
} from "./value-types.ts";

/** A key of a table in the settings file. */
export type Key<Value> = ValueType<Value> & {
  readonly description: string;
};

export type Keys = Readonly<Record<string, Key<unknown>>>;

export const KINDS = Object.keys(RULE_DEFAULTS) as RuleKind[];

/** What each kind reports, in one line. */
export const KIND_SUMMARIES: Readonly<Record<RuleKind, string>> = {
  down: "a peer that should be connected is absent",
  flapping: "a peer disconnects again and again",
  "no-return-traffic": "a peer is connected, but its answers do not arrive",
  "shared-key": "one key is used from two places in turns",
  traffic: "a peer reaches a quota, or a rate",
  hours: "a peer is connected outside its allowed times",
  place: "a peer connects from a new or refused country or network",
  unused: "a peer was not connected for many days",
  changed: "a peer was added, removed or configured differently",
  handshakes: "many handshakes arrive that no peer completes",
  target: "a target fails",
};

const SECOND_MS = 1000;
const MINUTE_MS = 60_000;
const YEAR = "365d";

function key<Value, Type extends ValueType<Value>>(
  type: Type & ValueType<Value>,
  description: string,
): Type & { readonly description: string } {
  return { ...type, description };
}

/** The keys of all rules. Created only if a file has [[alert]] tables, and once, because there may be 1,000. */
export const commonKeys = once(() => ({
  name: key(alertName(), "its name in messages; unique"),
  kind: key(choice(...KINDS), "what it reports"),
  peers: key(
    { ...peerName(), separator: /,/, example: "branch-*" },
    "only these peers: names, public keys, or patterns with * and ?",
  ),
  tags: key(peerTag(), "only peers with one of these tags"),
  devices: key({ ...deviceOfFleet("wg0"), separator: /[\s,]+/ }, "only peers of these devices"),
  for: key(duration(0, YEAR), "the condition must last this long before the alert fires"),
  resolve_after: key(
    duration(0, YEAR),
    "the condition must be over for this long before the alert is resolved",
  ),
  wait: key(duration(0, "1h"), "alerts of the rule and a device within this time are one message"),
  repeat: key(duration(SECOND_MS, YEAR), "remind this often while the alert fires"),
  severity: key(severity(), "how important it is"),
  targets: key(targetWord(), "send to exactly these targets"),
  times: key(
    timeInterval("remove times: without it, messages are sent at all times"),
    "when messages may be sent; other messages wait until such a time begins",
  ),
  time_zone: key(timeZone(), "the time zone of times that have none"),
  dry_run: key(boolean(), "only record the alerts; send nothing"),
}));

function everywhereKey() {
  return key(
    boolean(),
    "a peer that is configured on several devices, or gateways, counts as one: it is absent only if it is absent on all of them",
  );
}

/** The keys of one kind. */
export const kindKeys = {
  down: once(() => ({ everywhere: everywhereKey() })),
  flapping: once(() => ({
    // The engine remembers the last 64 disconnects of a peer.
    disconnects: key(integer(1, 63), "it fires after more disconnects than this"),
    within: key(duration(SECOND_MS, YEAR), "the time in which they happen"),
  })),
  "no-return-traffic": once(() => ({
    steady_for: key(
      duration(0, YEAR),
      "how long a peer must be connected without a roam before it is judged; by default 2m for a rule with peers or tags, otherwise 1d",
    ),
  })),
  "shared-key": once(() => ({
    turns: key(integer(2, 20), "how often the two places take turns; A, B, A are two turns"),
    within: key(duration(SECOND_MS, "1d"), "maximum time from A to the next A"),
  })),
  traffic: once(() => ({
    direction: key(
      choice("rx", "tx", "both"),
      "count what is received from the peer, what is sent to it, or both",
    ),
    quota: key({ ...size(1, 1e15), example: "50GB" }, "how much the peer may transfer in a period"),
    per: key(choice("day", "week", "month"), "the period of the quota"),
    reset_day: key(resetDay(), "the day on which a week or a month begins, at midnight"),
    percents: key(percents(), "it fires at each of these percentages of the quota"),
    rate: key(rate(), "the average rate at which it fires"),
    over: key(duration(SECOND_MS, "1d"), "the time over which the average is computed"),
  })),
  hours: once(() => ({
    allowed: key(
      timeInterval("remove the rule: it would never fire"),
      "when peers may be connected",
    ),
  })),
  place: once(() => ({
    allowed: key(place(), "the countries and autonomous systems that are allowed"),
    new: key(
      choice("country", "asn", "none"),
      "report a country, or an autonomous system, in which the peer was never seen; by default country, or none if allowed is given",
    ),
  })),
  unused: once(() => ({
    days: key(integer(1, 3650), "how many days without a connection"),
    at: key(timeOfDay(), "when the summary of a day is sent"),
    everywhere: everywhereKey(),
  })),
  changed: once(() => ({
    changes: key({ ...choice(...CHANGES), separator: /[\s,]+/ }, "which changes are reported"),
  })),
  handshakes: once(() => ({
    messages: key(integer(0, 1_000_000), "it fires after more handshake messages than this"),
    within: key(duration(SECOND_MS, "30d"), "the time in which they arrive"),
  })),
  target: once(() => ({})),
} as const satisfies { readonly [K in RuleKind]: () => Keys };

/** Keys of all rules that have no meaning for a kind. A moment, such as a change, does not last. */
const MOMENT = ["for", "resolve_after", "repeat"];
const NOT_FOR: Partial<Record<RuleKind, readonly string[]>> = {
  place: MOMENT,
  changed: MOMENT,
  unused: ["for", "resolve_after"],
  target: ["peers", "tags", "devices"],
};

/** Calls the function at most once. */
function once<Value>(make: () => Value): () => Value {
  let value: { readonly made: Value } | null = null;
  return () => (value ??= { made: make() }).made;
}

/** The keys that a rule of this kind may have. */
export function keysOf(kind: RuleKind): Keys {
  const common = Object.entries<Key<unknown>>(commonKeys());
  return {
    ...Object.fromEntries(common.filter(([name]) => !isRefused(kind, name))),
    ...kindKeys[kind](),
  };
}

/** Whether a key of all rules has no meaning for the kind. */
export function isRefused(kind: RuleKind, name: string): boolean {
  return NOT_FOR[kind]?.includes(name) === true;
}

/** The kinds that have a key of their own; empty: no kind has. */
export function kindsWith(name: string): RuleKind[] {
  return KINDS.filter((kind) => Object.hasOwn(kindKeys[kind](), name));
}

/** The default of a key, as a value of TOML; undefined: it is required, or off. */
export function defaultOf(kind: RuleKind, name: string): unknown {
  const rule = { ...RULE_DEFAULTS[kind], name: "" } as Rule;
  const common = {
    for: formatDuration(rule.forMs),
    resolve_after: formatDuration(rule.resolveAfterMs),
    wait: formatDuration(rule.waitMs),
    severity: rule.severity,
    time_zone: "UTC",
    dry_run: false,
  };
  return { ...common, ...ownDefaults(rule) }[name];
}

function ownDefaults(rule: Rule): Readonly<Record<string, unknown>> {
  switch (rule.kind) {
    case "flapping":
      return { disconnects: rule.disconnects, within: formatDuration(rule.withinMs) };
    case "shared-key":
      return { turns: rule.turns, within: formatDuration(rule.withinMs) };
    case "traffic":
      return {
        direction: rule.direction,
        per: "month",
        reset_day: 1,
        percents: [...QUOTA_PERCENTS],
        over: formatDuration(RATE_OVER_MS),
      };
    case "unused":
      return { days: rule.days, at: "09:00", everywhere: rule.everywhere };
    case "changed":
      return { changes: [...rule.changes] };
    case "handshakes":
      return { messages: rule.messages, within: formatDuration(rule.withinMs) };
    case "down":
      return { everywhere: rule.everywhere };
    case "no-return-traffic":
    case "hours":
    case "place":
    case "target":
      return {};
  }
}

/** When a quota without `percents` is reported. */
export const QUOTA_PERCENTS = [80, 100] as const;

/** The time of a rate without `over`. */
export const RATE_OVER_MS = 5 * MINUTE_MS;
