/**
 * Finds the rules that may log a datagram, by following its path through the firewall's chains. An unknown condition
 * may hold or not, so both cases are followed. Pure.
 */

/** The rules from one source: `nft`, `iptables`, ... */
export interface Firewall {
  /** The key is family or program, table and name. */
  readonly chains: ReadonlyMap<string, Chain>;
}

export interface Chain {
  /** Whether packets to this machine enter the rules here. */
  readonly isEntry: boolean;
  readonly rules: Rule[];
}

export interface Rule {
  /** A packet must match all of them. */
  readonly ports: readonly PortTest[];
  readonly version: Version | null;
  /** Whether the rule has no other conditions. */
  readonly isFullyParsed: boolean;
  readonly jumps: readonly { readonly chain: string; readonly ports: PortTest | null }[];
  readonly log: LogRule | null;
  /** "end": no later rule is evaluated, neither in this chain nor in the calling chains. */
  readonly verdict: "end" | "return" | null;
}

export interface PortTest {
  readonly ranges: readonly (readonly [from: number, to: number])[];
  readonly isNegated: boolean;
}

export type Version = 4 | 6;

export interface LogRule {
  readonly group: number;
  /** null: the program's copy range applies. */
  readonly snaplen: number | null;
  /** The rule's chain: `inet wgmon messages`. */
  readonly where: string;
}

/** The groups that any rule logs to. */
export function groupsOf(firewalls: readonly Firewall[]): number[] {
  const groups = firewalls.flatMap(({ chains }) =>
    [...chains.values()].flatMap(({ rules }) => rules.flatMap(({ log }) => log?.group ?? [])),
  );
  return [...new Set(groups)].toSorted((a, b) => a - b);
}

/** The log statements that an incoming datagram to this port may reach. */
export function matchingLogRules(
  firewalls: readonly Firewall[],
  datagram: { readonly port: number; readonly version: Version },
): LogRule[] {
  return firewalls.flatMap(({ chains }) => {
    const found = new Set<LogRule>();
    for (const [name, { isEntry }] of chains) {
      if (isEntry) walk(name, { chains, ...datagram, found, callers: [] });
    }
    return [...found];
  });
}

interface Walk {
  readonly chains: Firewall["chains"];
  readonly port: number;
  readonly version: Version;
  readonly found: Set<LogRule>;
  /** The calling chains. */
  readonly callers: readonly string[];
}

/**
 * Adds the log statements of a chain to `found`. Returns whether the evaluation ends in this chain, so that the calling
 * chains evaluate no further rule.
 */
function walk(name: string, context: Walk): boolean {
  const { chains, port, version, found, callers } = context;
  // The kernel rejects loops, but a file that was written by hand may contain them.
  if (callers.includes(name)) return false;
  for (const rule of chains.get(name)?.rules ?? []) {
    if (rule.version !== null && rule.version !== version) continue;
    if (!rule.ports.every((ports) => holds(ports, port))) continue;
    if (rule.log !== null) found.add(rule.log);
    for (const { chain, ports } of rule.jumps) {
      if (ports !== null && !holds(ports, port)) continue;
      if (walk(chain, { ...context, callers: [...callers, name] }) && rule.isFullyParsed)
        return true;
    }
    if (rule.isFullyParsed && rule.verdict !== null) return rule.verdict === "end";
  }
  return false;
}

function holds({ ranges, isNegated }: PortTest, port: number): boolean {
  return ranges.some(([from, to]) => from <= port && port <= to) !== isNegated;
}
