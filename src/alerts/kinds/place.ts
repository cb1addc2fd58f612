/**
 * Fires when a peer is heard from a country or autonomous system that is not on the rule's list, or in which it was never
 * seen before. The first place of a peer is not new. It is a moment: never resolved. A place that is not allowed is
 * reported again when the peer was seen elsewhere in between, or after a day.
 */

import type { PeerFacts } from "../facts.ts";
import type { PlaceRule } from "../rule.ts";
import { type Arrival, label, type Place } from "./kind.ts";

/** Returns the sentence of the alert; null: the rule does not report this arrival. */
export function arrived(
  rule: PlaceRule,
  peer: PeerFacts,
  { address, place, isNewCountry, isNewAsn }: Arrival,
): string | null {
  const who = label(peer);
  const where = describePlace(place);
  if (isRefused(rule, place)) {
    return `${who} is connected from ${where}, which is not allowed, with the address ${address}; ask its user, or remove the peer`;
  }
  const isNew = rule.unseen === "country" ? isNewCountry : rule.unseen === "asn" && isNewAsn;
  if (!isNew) return null;
  return `${who} is connected from ${where} for the first time, with the address ${address}; ask its user if that is unexpected`;
}

/** Whether the rule's list does not contain the place. What is unknown of a place is never refused. */
export function isRefused({ allowed }: PlaceRule, place: Place): boolean {
  if (codesOf(place).some((code) => allowed.includes(code))) return false;
  return allowed.some((code) => (isAsn(code) ? place.asn : place.country) !== null);
}

/** Whether a code is that of an autonomous system, not of a country. */
export function isAsn(code: string): boolean {
  return /^AS\d+$/.test(code);
}

/** `DE` and `AS3320`, as far as they are known. */
export function codesOf({ country, asn }: Place): string[] {
  return [...(country === null ? [] : [country]), ...(asn === null ? [] : [`AS${asn}`])];
}

function describePlace({ country, asn, organization }: Place): string {
  const network =
    asn === null ? null : `AS${asn}${organization === null ? "" : ` ${organization}`}`;
  if (country === null) return network ?? "an unknown place";
  return network === null ? country : `${country} (${network})`;
}
