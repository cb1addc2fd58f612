/**
 * Judges a public key that is configured on several devices, of one gateway or of several, as one peer: a condition is met
 * if it is met on each of them. A device that is not watched, because its gateway is lost, makes it unknown. Pure.
 */

import {
  type Condition,
  type Judging,
  NOTHING,
  type PeerView,
  UNKNOWN,
  type Verdict,
} from "./kinds/kind.ts";
import type { Rule } from "./rule.ts";

/** More devices are only counted in a sentence. */
const NAMED_MAX = 3;

interface Kind {
  judge(judging: Judging<Rule>, view: PeerView, nowMs: number): Verdict;
}

interface Judgement<View extends PeerView> {
  readonly verdict: Verdict;
  /** The peer with the latest activity; null: the condition is not met, or it is unknown. */
  readonly last: View | null;
  /** A peer for which the condition is not met; null: there is no such peer. */
  readonly returned: View | null;
}

/** @param views the peers with the public key that are configured, on the devices of the rule. */
export function everywhere<View extends PeerView>(
  kind: Kind,
  judging: Judging<Rule>,
  views: readonly View[],
  nowMs: number,
): Judgement<View> {
  const found: { readonly view: View; readonly condition: Condition }[] = [];
  let isUnknown = false;
  for (const view of views) {
    // What a peer did since its device was last watched is unknown, also if it was connected then.
    const verdict = view.device.blind === null ? kind.judge(judging, view, nowMs) : UNKNOWN;
    const [condition] = verdict.conditions;
    if (verdict.isUnknown) isUnknown = true;
    else if (condition === undefined) return { verdict: NOTHING, last: null, returned: view };
    else found.push({ view, condition });
  }
  if (isUnknown) return { verdict: UNKNOWN, last: null, returned: null };
  if (found.length === 0) return { verdict: NOTHING, last: null, returned: null };
  const { view: last } = found.reduce((a, b) => (seenMs(b.view) > seenMs(a.view) ? b : a));
  const device = devicesText(found.map(({ view }) => view.peer.device));
  const named = { ...last, peer: { ...last.peer, device } };
  const [condition] = kind.judge(judging, named, nowMs).conditions;
  const countsFromMs = Math.max(
    // Time in which one of the devices was not watched does not count.
    ...found.map((each) => Math.max(each.condition.countsFromMs, each.view.device.watchedAtMs)),
  );
  const verdict = { conditions: [{ ...condition!, countsFromMs }], recheckMs: null };
  return { verdict: { ...verdict, isUnknown: false }, last, returned: null };
}

/** -1: never. Of peers that were never seen, the first is as good as any. */
function seenMs({ peer }: PeerView): number {
  return peer.seenAtMs ?? -1;
}

/** `berlin/wg0, lyon/wg0`, `5 devices` */
function devicesText(devices: readonly string[]): string {
  return devices.length > NAMED_MAX ? `${devices.length} devices` : devices.toSorted().join(", ");
}
