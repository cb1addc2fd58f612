/**
 * The firewall rules that wake wgmon, as text for nft or a shell. Pure: takes ports and a group, returns text. Device
 * names never appear in it, so no text chosen by a user reaches a program as a command.
 *
 * nftables logs the messages that complete a handshake of this machine's own WireGuard, and the responses that it
 * sends. A peer answers with the index that this machine chose for the handshake (messages.h: sender_index,
 * receiver_index), so a message with an index that this machine has just sent comes from a sender that received it.
 * Forged packets are not logged, so a flood does not wake wgmon. iptables cannot store indexes, so its rules have a
 * rate limit instead.
 */

export interface RuleOptions {
  /** The devices' listen ports, in any order. */
  readonly ports: readonly number[];
  /** The NFLOG group. */
  readonly group: number;
}

/** Message types as the first four bytes of a message in network order; the last three are zero. */
const INITIATION = "0x01000000";
const RESPONSE = "0x02000000";
const DATA = "0x04000000";

/** The copy range that capture/nflog.ts requests: an initiation up to its mac1, and a few IP options. */
const COPY_BYTES = 192;

/** Longer than REKEY_TIMEOUT, after which the peer retries with another index. */
const INDEX_SECONDS = 10;
const INDEXES_MAX = 16384;

/** The maximum of multiport, iptables-extensions(8). */
const MULTIPORT_MAX = 15;

/** iptables cannot store indexes, so messages that can be forged are limited to this rate. */
const IPTABLES_LIMIT = "-m limit --limit 500/s --limit-burst 500";

/**
 * The table of a group. The kernel ensures that a group has one owner, so its table has one too. Tables of wg-quick
 * have a hyphen in the name (docs/capture.md), hence the underscore.
 */
export function tableName(group: number): string {
  return `inet ${group === 1 ? "wgmon" : `wgmon_${checkedNumber(group, 0)}`}`;
}

/**
 * Returns a file for `nft -f`. nft applies it as a whole or not at all. It replaces the existing table; without ports
 * it only removes it.
 */
export function nftRules(options: RuleOptions): string {
  const table = tableName(options.group);
  const ports = portsOf(options);
  const start = `add table ${table}\ndelete table ${table}\n`;
  if (ports.length === 0) return start;
  const set = ports.length === 1 ? String(ports[0]) : `{ ${ports.join(", ")} }`;
  // Threshold 1: with a larger one the kernel collects packets for up to a second.
  const log = `log group ${options.group} snaplen ${COPY_BYTES} queue-threshold 1`;
  return `# Made by wgmon rules --nft. Logs WireGuard's handshakes to NFLOG group ${options.group}.
# It neither accepts nor drops packets: the policy is accept, and jump and return stay within this table.
# Load: nft -f FILE    Remove: nft delete table ${table}
${start}table ${table} {
  # The indexes of the handshakes that this machine takes part in, each until a packet with it arrives.
  # (The type is that of ESP's SPI, because it has 32 bits too.)
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
    # Initiations and responses that leave: the peer will answer with their index. Responses are also
    # logged, because the peer's packet that completes the handshake may get lost.
    add @indexes { @th,96,32 }
    @th,64,32 ${RESPONSE} ${log}
  }

  # After the usual filters (priority 0): packets that they drop are not logged.
  chain input {
    type filter hook input priority 10; policy accept;
    udp dport ${set} jump messages
  }

  chain messages {
    # Data of established sessions, nearly all of the traffic, ends here.
    @th,64,32 ${DATA} @th,128,64 != 0 return

    # The first data of a session (counter 0), and responses to our initiations. WireGuard sends an
    # index in a response, only to a peer that proved its key, or in its own initiation. Each index
    # passes once, so floods are stopped.
    @th,64,32 ${DATA} @th,128,64 0 @th,96,32 @indexes delete @indexes { @th,96,32 } ${log}
    @th,64,32 ${RESPONSE} @th,128,32 @indexes delete @indexes { @th,128,32 } ${log}
  }
}
`;
}

/** Returns a file for `nft -f` that removes the table; nft fails if it does not exist. */
export function nftRemoval(group: number): string {
  return `delete table ${tableName(group)}\n`;
}

/** Returns a file for `nft -f` that changes nothing; nft fails if the table does not exist. */
export function nftPresence(group: number): string {
  return `list chain ${tableName(group)} input\n`;
}

/**
 * Returns shell commands. They can be run repeatedly, also after the ports changed; while they run, nothing is logged
 * for a moment.
 */
export function iptablesRules(options: RuleOptions): string {
  const families: readonly Family[] = [
    // IPv4: the header's length is in its first byte. IPv6: extension headers are not parsed.
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
# NFLOG is not a verdict: every packet continues. The chains are called first, before any rule that accepts.
# iptables cannot remember which handshakes this machine has answered, as nftables can. So the first data
# of a session is logged from any sender, up to a limit. In a larger flood, a peer is reported about a
# second late.
# To remove it:
${removal.join("\n")}

${commands.join("\n")}`;
}

interface Family {
  readonly command: string;
  /** Returns the u32 expression for the four bytes at this offset of a message. */
  readonly field: (offset: number) => string;
}

function chainsOf({ group }: RuleOptions) {
  const chain = group === 1 ? "WGMON" : `WGMON-${checkedNumber(group, 0)}`;
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

/** @param end which port is matched: d, the destination port, or s, the source port. */
function portMatches(ports: readonly number[], end: "d" | "s"): string[] {
  const matches: string[] = [];
  for (let start = 0; start < ports.length; start += MULTIPORT_MAX) {
    const chunk = ports.slice(start, start + MULTIPORT_MAX);
    matches.push(
      chunk.length === 1
        ? `--${end}port ${chunk[0]}`
        : `-m multiport --${end}ports ${chunk.join()}`,
    );
  }
  return matches;
}

/** The ports sorted and without duplicates; 0 is a device that does not listen. */
function portsOf({ ports }: RuleOptions): number[] {
  const listening = ports.filter((port) => port !== 0).map((port) => checkedNumber(port, 1));
  return [...new Set(listening)].toSorted((a, b) => a - b);
}

/** Checks at run time that the value is a port or a group, because root runs the text. */
function checkedNumber(number: number, least: number): number {
  if (Number.isInteger(number) && number >= least && number <= 0xffff) return number;
  throw new RangeError(`neither a port nor a group: ${number}`);
}
