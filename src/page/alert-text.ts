/** Alerts and silences in words, and which silences apply to them. Pure. */

import type { Selectable } from "../alerts/selectors.ts";
import { type Silence, silenceOf } from "../alerts/silences.ts";
import { sanitize, shortName, truncate } from "../base/text.ts";
import { isPublicKey, shortKey } from "../base/wireguard.ts";

const TEXT_MAX = 400;

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
export function singleLine(text: string): string {
  return truncate(sanitize(text), TEXT_MAX);
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
