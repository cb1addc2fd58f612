/**
 * The firewall rules that wake wgmon, as text for nft or a shell. Pure: ports and a group in, text out.
 * Device names never appear in it, so that nothing which a user chose reaches a program as a command.
 *
 * What is logged: what completes a handshake that this machine's own WireGuard takes part in, and the responses that
 * it sends. A peer answers with the index that our side chose for that handshake (messages.h: sender_index,
 * receiver_index), so a message with an index that has just left this machine was sent by somebody who has seen it.
 * Nothing that can be forged is logged: a flood stays in the kernel.
 */

export interface RuleOptions {
  /** What the devices listen to, in any order. */
  readonly ports: readonly number[];
  /** The NFLOG group. */
  readonly group: number;
}

/** Message types as the first four bytes of a message, in network order: the last three are zero. */
const INITIATION = "0x01000000";
const RESPONSE = "0x02000000";
const DATA = "0x04000000";

/** As much as capture/nflog.ts asks for: an initiation up to its mac1, and a few IP options. */
const COPY_BYTES = 192;

/** Longer than REKEY_TIMEOUT: by then the peer has begun anew, with another index. */
const INDEX_SECONDS = 10;
const INDEXES_MAX = 16384;

/** multiport takes no more, iptables-extensions(8). */
const MULTIPORT_MAX = 15;

/** iptables cannot remember an index: of what can be forged, no more than this. */
const IPTABLES_LIMIT = "-m limit --limit 500/s --limit-burst 500";

/**
 * The table that belongs to a group. A group has one owner, which the kernel sees to; so has its table.
 * wg-quick's interfaces make tables with a hyphen (docs/capture.md), hence the underscore.
 */
export function tableOf(group: number): string {
  return `inet ${group === 1 ? "wgmon" : `wgmon_${whole(group, 0)}`}`;
}

/**
 * A file for `nft -f`. It is taken over as a whole or not at all, and replaces what an earlier one
 * made. Without ports the table is taken away.
 */
export function nftRules(options: RuleOptions): string {
  const table = tableOf(options.group);
  const ports = portsOf(options);
  const start = `add table ${table}\ndelete table ${table}\n`;
  if (ports.length === 0) return start;
  const set = ports.length === 1 ? String(ports[0]) : `{ ${ports.join(", ")} }`;
  // Threshold 1: the kernel would collect packets for up to a second.
  const log = `log group ${options.group} snaplen ${COPY_BYTES} queue-threshold 1`;
  return `# Made by wgmon rules --nft. Logs WireGuard's handshakes to NFLOG group ${options.group}.
# It decides about no packet: the policy is accept, and jump and return stay within this table.
# Load: nft -f FILE    Take away: nft delete table ${table}
${start}table ${table} {
  # The indexes of the handshakes that this machine takes part in, each until it has come back.
  # (ESP's index, for the type: it has 32 bits, too.)
  set indexes {
    typeof esp spi
    size ${INDEXES_MAX}
    flags dynamic,timeout
    timeout ${INDEX_SECONDS}s
  }
  chain output {
    type filter hook output priority 10; policy accept;
    udp sport ${set} @th,64,32 { ${INITIATION}, ${RESPONSE} } jump sent
  }

  chain sent {
    # Initiations and responses that leave: the peer will answer with their index. A response says that
    # a peer is about to complete a handshake, in case the packet that does so gets lost.
    add @indexes { @th,96,32 }
    @th,64,32 ${RESPONSE} ${log}
  }

  # Behind the usual filters (priority 0): what they drop is not logged.
  chain input {
    type filter hook input priority 10; policy accept;
    udp dport ${set} jump messages
  }

  chain messages {
    # Data of running sessions, which is nearly all that comes, ends here.
    @th,64,32 ${DATA} @th,128,64 != 0 return

    # The first data of a session (counter 0), and responses to our initiations. WireGuard gives out
    # an index only to a peer that has proven its key, and each passes once: no flood gets through.
    @th,64,32 ${DATA} @th,128,64 0 @th,96,32 @indexes delete @indexes { @th,96,32 } ${log}
    @th,64,32 ${RESPONSE} @th,128,32 @indexes delete @indexes { @th,128,32 } ${log}
  }
}
`;
}

/** Takes the table away; nft fails where there is none. */
export function nftRemoval(group: number): string {
  return `delete table ${tableOf(group)}\n`;
}

/** Does nothing; nft fails where the table is not there. */
export function nftPresence(group: number): string {
  return `list chain ${tableOf(group)} input\n`;
}

/**
 * Commands for a shell. They can be run again, also after the ports have changed; for a moment nothing
 * is logged then.
 */
export function iptablesRules(options: RuleOptions): string {
  const families: readonly Family[] = [
    // The length of the header is in its first byte; of IPv6, extension headers are not looked for.
    { command: "iptables -w", field: (offset) => `0>>22&0x3C@${8 + offset}` },
    { command: "ip6tables -w", field: (offset) => `${48 + offset}` },
  ];
  const chains = chainsOf(options);
  const removal = families.flatMap(({ command }) => [
    ...chains.hooks.map(([hook, chain]) => `#   ${command} -D ${hook} -p udp -j ${chain}`),
    ...["-F", "-X"].map(
      (action) => `#   ${chains.all.map((chain) => `${command} ${action} ${chain}`).join("; ")}`,
    ),
  ]);
  const commands = families.map((family) => iptablesCommands(family, options));
  return `# Made by wgmon rules --iptables, for sh. Logs WireGuard's handshakes to NFLOG group ${options.group}.
# NFLOG is no verdict: every packet goes on. The chains are called first, before a rule that accepts.
# iptables cannot remember which handshakes this machine has answered, as nftables can. So the first data
# of a session is logged whoever sent it, up to a limit: in a larger flood a peer is reported about a
# second later than without it.
# To take it away:
${removal.join("\n")}

${commands.join("\n")}`;
}

interface Family {
  readonly command: string;
  /** u32's expression for the four bytes at this offset of a message. */
  readonly field: (offset: number) => string;
}

function chainsOf({ group }: RuleOptions) {
  const chain = group === 1 ? "WGMON" : `WGMON-${whole(group, 0)}`;
  const log = `${chain}-LOG`;
  const sent = `${chain}-SENT`;
  const hooks = [
    ["INPUT", chain],
    ["OUTPUT", sent],
  ] as const;
  return { received: chain, log, sent, all: [chain, log, sent], hooks };
}

function iptablesCommands({ command, field }: Family, options: RuleOptions): string {
  const chains = chainsOf(options);
  const ports = portsOf(options);
  const ofType = (type: string) => `-p udp -m u32 --u32 "${field(0)}=${type}"`;
  const firstData = `-p udp -m u32 --u32 "${field(0)}=${DATA}&&${field(8)}=0&&${field(12)}=0"`;
  const nflog = `-j NFLOG --nflog-group ${options.group} --nflog-size ${COPY_BYTES} --nflog-threshold 1`;
  const rules = [
    ...portMatches(ports, "d").map(
      (match) => `-A ${chains.received} -p udp ${match} -j ${chains.log}`,
    ),
    `-A ${chains.log} ${firstData} ${IPTABLES_LIMIT} ${nflog}`,
    `-A ${chains.log} ${ofType(RESPONSE)} ${IPTABLES_LIMIT} ${nflog}`,
    ...portMatches(ports, "s").map(
      (match) => `-A ${chains.sent} ${ofType(RESPONSE)} ${match} ${nflog}`,
    ),
  ];
  return [
    ...chains.all.map((chain) => `${command} -N ${chain} 2>/dev/null`),
    ...chains.all.map((chain) => `${command} -F ${chain}`),
    ...rules.map((rule) => `${command} ${rule}`),
    ...chains.hooks.map(([hook, chain]) => {
      const jump = `${hook} -p udp -j ${chain}`;
      return `${command} -C ${jump} 2>/dev/null || ${command} -I ${jump}`;
    }),
    "",
  ].join("\n");
}

/** @param end of the packet that the port is at: d, its destination, or s, its source. */
function portMatches(ports: readonly number[], end: "d" | "s"): string[] {
  const matches: string[] = [];
  for (let start = 0; start < ports.length; start += MULTIPORT_MAX) {
    const some = ports.slice(start, start + MULTIPORT_MAX);
    matches.push(
      some.length === 1 ? `--${end}port ${some[0]}` : `-m multiport --${end}ports ${some.join()}`,
    );
  }
  return matches;
}

/** In order, each once; 0 is a device that does not listen. */
function portsOf({ ports }: RuleOptions): number[] {
  const listening = ports.filter((port) => port !== 0).map((port) => whole(port, 1));
  return [...new Set(listening)].toSorted((a, b) => a - b);
}

/** The text is run by root: what is in it must be a number, whatever a type says. */
function whole(number: number, least: number): number {
  if (Number.isInteger(number) && number >= least && number <= 0xffff) return number;
  throw new RangeError(`no port and no group: ${number}`);
}
