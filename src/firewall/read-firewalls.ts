/** Reads the firewall rules of this machine with nft and iptables-save. */

import { ParseError, SystemError } from "../base/errors.ts";
import { readProgram } from "./nft.ts";
import { parseIptables } from "./parse-iptables.ts";
import { parseNft, portSetsOf } from "./parse-nft.ts";
import type { Firewall } from "./ruleset.ts";

/** Maximum number of port sets that are read; the ports of further sets count as unknown. */
const PORT_SETS_MAX = 16;

export interface FirewallsRead {
  readonly firewalls: readonly Firewall[];
  /** For each firewall that could not be read, the reason. */
  readonly unread: readonly string[];
}

/**
 * Reads the rules; changes nothing.
 *
 * @param hasLegacyTables whether the rules of iptables-legacy are read as well.
 */
export async function readFirewalls(
  signal: AbortSignal,
  hasLegacyTables: boolean,
): Promise<FirewallsRead> {
  const firewalls: Firewall[] = [];
  const unread: string[] = [];
  const read = async (program: string, args: readonly string[]): Promise<string | null> => {
    try {
      return await readProgram(program, args, signal);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      unread.push(error.message);
      return null;
    }
  };
  // Rules of iptables-legacy use a separate kernel interface, and separate programs list them.
  const kinds = ["", ...(hasLegacyTables ? ["-legacy"] : [])];
  const programs = kinds.flatMap(
    (kind) =>
      [
        { program: `iptables${kind}-save`, version: 4 },
        { program: `ip6tables${kind}-save`, version: 6 },
      ] as const,
  );
  const [nft, ...saved] = await Promise.all([
    // --terse omits the elements of sets, because a set may have a million.
    read("nft", ["-j", "--terse", "list", "ruleset"]),
    ...programs.map(({ program }) => read(program, [])),
  ]);
  let isXtablesRead = false;
  for (const [index, { program, version }] of programs.entries()) {
    const text = saved[index] ?? null;
    if (text === null) continue;
    if (text.includes("(nf_tables)")) isXtablesRead = true;
    firewalls.push(
      parseIptables(text, { program: program.replace(/(-legacy)?-save$/, ""), version }),
    );
  }
  if (nft === null) return { firewalls, unread };
  try {
    const names = portSetsOf(nft).slice(0, PORT_SETS_MAX);
    const lists = await Promise.all(names.map((name) => read("nft", ["-j", "list", ...name])));
    const sets = lists.filter((list) => list !== null);
    firewalls.push(parseNft(nft, { sets, withXtables: !isXtablesRead }));
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    unread.push(error.message);
  }
  return { firewalls, unread };
}
