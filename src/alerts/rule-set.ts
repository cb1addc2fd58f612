/**
 * Compiles the rules for the engine: their selectors and intervals, and which rules select a peer, by topic. Peers that the
 * same rules select share one `Selection`, because there may be 1,000 rules and 10,000 peers.
 */

import type { Alert } from "./alert.ts";
import { down } from "./kinds/down.ts";
import { flapping } from "./kinds/flapping.ts";
import { hours } from "./kinds/hours.ts";
import type { Judging, PeerView, Topic, Verdict } from "./kinds/kind.ts";
import { noReturnTraffic } from "./kinds/no-return-traffic.ts";
import { sharedKey } from "./kinds/shared-key.ts";
import { traffic } from "./kinds/traffic.ts";
import { unused } from "./kinds/unused.ts";
import { periodKey, Periods, type QuotaPeriod } from "./quota-period.ts";
import { isEverywhere, type Rule, type RuleKind } from "./rule.ts";
import { matcherOf, type Selectable, selectorOf } from "./selectors.ts";
import { Intervals } from "./times.ts";

/** The kinds that judge the state of a peer. */
const peerKinds = {
  down,
  flapping,
  "no-return-traffic": noReturnTraffic,
  "shared-key": sharedKey,
  traffic,
  hours,
  unused,
} as const;

/** A kind of rule, without the type of its rules, which is known only at run time. */
interface AnyPeerKind {
  readonly topics: readonly Topic[];
  judge(judging: Judging<Rule>, view: PeerView, nowMs: number): Verdict;
  resolved(alert: Alert, view: PeerView | null, nowMs: number): string;
}

export interface CompiledRule {
  readonly rule: Rule;
  readonly isSelected: (peer: Selectable) => boolean;
  /** Whether it judges a public key on all devices together; then `isOnDevice` are those that count. */
  readonly isEverywhere: boolean;
  readonly isOnDevice: (device: string) => boolean;
  readonly times: Intervals;
  /** When peers may be connected, of an hours rule. */
  readonly allowed: Intervals;
  readonly judging: Judging<Rule>;
  /** null: the kind does not judge the state of a peer. */
  readonly peerKind: AnyPeerKind | null;
}

/** The rules that select a peer. */
export interface Selection {
  readonly rules: ReadonlySet<CompiledRule>;
  readonly byTopic: Readonly<Record<Topic, readonly CompiledRule[]>>;
  readonly changed: readonly CompiledRule[];
  readonly place: readonly CompiledRule[];
  readonly everywhere: readonly CompiledRule[];
  /** The periods for which traffic is summed, by key, and the spans for which rates are. */
  readonly periods: ReadonlyMap<string, QuotaPeriod>;
  readonly rateSpansMs: readonly number[];
}

export class RuleSet {
  readonly rules: ReadonlyMap<string, CompiledRule>;
  readonly periods = new Periods();
  /** Whether any rule judges a public key on all devices together. */
  readonly hasEverywhere: boolean;
  readonly #selections = new Map<string, Selection>();

  constructor(rules: readonly Rule[]) {
    this.rules = new Map(rules.map((rule) => [rule.name, this.#compile(rule)]));
    this.hasEverywhere = rules.some(isEverywhere);
  }

  ofKind(kind: RuleKind): CompiledRule[] {
    return [...this.rules.values()].filter(({ rule }) => rule.kind === kind);
  }

  /** Returns the rules that select the peer. */
  select(peer: Selectable): Selection {
    const selected: CompiledRule[] = [];
    let key = "";
    let index = 0;
    for (const rule of this.rules.values()) {
      if (rule.isSelected(peer)) {
        selected.push(rule);
        key += `${index},`;
      }
      index++;
    }
    let selection = this.#selections.get(key);
    if (selection === undefined) {
      selection = selectionOf(selected);
      this.#selections.set(key, selection);
    }
    return selection;
  }

  #compile(rule: Rule): CompiledRule {
    const allowed = new Intervals(rule.kind === "hours" ? rule.allowed : []);
    const period = rule.kind === "traffic" ? (rule.quota?.period ?? null) : null;
    const usageKey = period === null ? "" : periodKey(period);
    const judging: Judging<Rule> = {
      rule,
      allowedAt: (nowMs) => allowed.at(nowMs),
      periodAt: (nowMs) => this.periods.at(usageKey, period!, nowMs),
      usageKey,
    };
    return {
      rule,
      isSelected: selectorOf(rule),
      isEverywhere: isEverywhere(rule),
      isOnDevice: rule.devices.length === 0 ? () => true : matcherOf(rule.devices),
      times: new Intervals(rule.times),
      allowed,
      judging,
      peerKind: isPeerKind(rule.kind) ? (peerKinds[rule.kind] as unknown as AnyPeerKind) : null,
    };
  }
}

/** Whether a rule judges peers. Rules of the kinds target and handshakes judge targets and devices. */
function selectsPeers({ rule }: CompiledRule): boolean {
  return rule.kind !== "target" && rule.kind !== "handshakes";
}

function isPeerKind(kind: RuleKind): kind is keyof typeof peerKinds {
  return Object.hasOwn(peerKinds, kind);
}

function selectionOf(selected: readonly CompiledRule[]): Selection {
  const rules = selected.filter(selectsPeers);
  const about = (topic: Topic) =>
    rules.filter(({ peerKind }) => peerKind !== null && peerKind.topics.includes(topic));
  const trafficRules = rules.flatMap(({ rule, judging }) =>
    rule.kind === "traffic" ? [{ rule, judging }] : [],
  );
  return {
    rules: new Set(rules),
    byTopic: {
      presence: about("presence"),
      endpoint: about("endpoint"),
      traffic: about("traffic"),
      answers: about("answers"),
    },
    changed: rules.filter(({ rule }) => rule.kind === "changed"),
    place: rules.filter(({ rule }) => rule.kind === "place"),
    everywhere: rules.filter((each) => each.isEverywhere),
    periods: new Map(
      trafficRules.flatMap(({ rule, judging }) =>
        rule.quota === null ? [] : [[judging.usageKey, rule.quota.period] as const],
      ),
    ),
    rateSpansMs: [
      ...new Set(
        trafficRules.flatMap(({ rule }) => (rule.rate === null ? [] : [rule.rate.overMs])),
      ),
    ],
  };
}
