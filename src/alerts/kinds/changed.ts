/**
 * Fires at each change of a device's configuration: a peer was added or removed, or its allowed IPs, endpoint or
 * keep-alive interval were set. wgmon never changes these, so another program or person did. It is a moment: never
 * resolved. Changes while wgmon was away are reported when it is back, because they can still be seen.
 */

import type { PeerFacts } from "../facts.ts";
import type { ChangedRule } from "../rule.ts";
import { label, type SettingsMoment } from "./kind.ts";

/** Returns the sentence of the alert; null: the rule does not report this change. */
export function changed(
  rule: ChangedRule,
  peer: PeerFacts,
  { change, details, wasAway }: SettingsMoment,
): string | null {
  if (!rule.changes.includes(change)) return null;
  const when = wasAway ? " while wgmon was not watching" : "";
  const who = label(peer);
  const remedy = "; if that was not intended, check who changed the device";
  switch (change) {
    case "added":
      return `${who} was added${when}${details === "" ? "" : ` with ${details}`}${remedy}`;
    case "removed":
      return `${who} was removed${when}${remedy}`;
    case "allowed-ips":
      return `the allowed IPs of ${who} were changed${when}: ${details}${remedy}`;
    case "endpoint":
      return `the endpoint of ${who} was set${when}: ${details}${remedy}`;
    case "keepalive":
      return `the keep-alive interval of ${who} was changed${when}: ${details}${remedy}`;
  }
}
