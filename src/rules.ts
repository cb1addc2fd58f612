/**
 * The firewall rules that wake wgmon, as text for nft or a shell. Pure: ports and a group in, text out.
 * Device names never appear in it, so that nothing which a user chose reaches a program as a command.
 *
 * What is logged: initiations, responses and data with counter 0. What is not: floods. Only handshakes
 * that WireGuard itself takes part in are logged without a limit: a peer answers with the index that
 * our side made up for that handshake (messages.h: sender_index, receiver_index), so a message with an
 * index that has just left this machine was sent by somebody who has seen it.
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

/**
 * A WireGuard peer tries every 5 s (REKEY_TIMEOUT, messages.h), but a whole office may share one
 * address. Sources are forgotten after SOURCE_SECONDS, whatever they do.
 */
const SOURCE_LIMIT = { rate: 2, burst: 8 };
const SOURCE_SECONDS = 10;
const SOURCES_MAX = 8192;

/**
 * Each wakes wgmon and causes looks, and tells of nobody by itself: what ends the handshake does. They
 * are for messages that get lost, and to tell of those who try in vain.
 */
const INITIATION_LIMIT = { rate: 5, burst: 50 };

/** Messages of these kinds with an index that nobody here gave out: real only if the rules came in between. */
const DATA_LIMIT = { rate: 2, burst: 20 };
const RESPONSE_LIMIT = { rate: 2, burst: 20 };

/** Longer than REKEY_TIMEOUT: by then the peer has begun anew, with another index. */
const INDEX_SECONDS = 10;
const INDEXES_MAX = 16384;

/** multiport takes no more, iptables-extensions(8). */
const MULTIPORT_MAX = 15;

/**
 * hashlimit drops a packet that it has no room to remember (xt_hashlimit.c, measured), and a flood
 * from made-up sources would fill any room. So no more than this many a second get there: it has room
 * for two minutes of them, remembers each for 10 s, and cleans up every second, or when a sleeping
 * processor next wakes.
 */
const IPTABLES_GATE = { rate: 500, burst: 500 };
const HASHLIMIT_MAX = 65536;
/** iptables cannot tell an index that was given out, so that forged data competes with real. */
const IPTABLES_DATA_LIMIT = { rate: 500, burst: 500 };

/**
 * The table that belongs to a group. A group has one owner, which the kernel sees to; so has its table.
 * wg-quick's interfaces make tables with a hyphen (README), hence the underscore.
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
  const limit = ({ rate, burst }: Limit) => `limit rate ${rate}/second burst ${burst} packets`;
  const initiationsOf = (source: string, memory: string) =>
    `@th,64,32 ${INITIATION} add @${memory} { ${source} ${limit(SOURCE_LIMIT)} } ` +
    `${limit(INITIATION_LIMIT)} ${log}`;
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
  # Who sent initiations: IPv4 addresses, and IPv6 networks of 64 bits. When a flood has filled
  # these, initiations of others are not logged; data with counter 0 is.
  set sources4 {
    typeof ip saddr
    size ${SOURCES_MAX}
    flags dynamic,timeout
    timeout ${SOURCE_SECONDS}s
  }
  set sources6 {
    typeof ip6 saddr
    size ${SOURCES_MAX}
    flags dynamic,timeout
    timeout ${SOURCE_SECONDS}s
  }

  chain output {
    type filter hook output priority 10; policy accept;
    # Initiations and responses that leave: the peer will answer with their index.
    udp sport ${set} @th,64,32 { ${INITIATION}, ${RESPONSE} } add @indexes { @th,96,32 }
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
    @th,64,32 ${DATA} @th,128,64 0 @th,96,32 @indexes delete @indexes { @th,96,32 } ${log} return
    @th,64,32 ${RESPONSE} @th,128,32 @indexes delete @indexes { @th,128,32 } ${log} return

    # The same with an unknown index: forged, or begun before these rules were loaded. No more of
    # them than wgmon reads without effort; each kind has its own limit, so that none uses up another's.
    @th,64,32 ${DATA} @th,128,64 0 ${limit(DATA_LIMIT)} ${log}
    @th,64,32 ${RESPONSE} ${limit(RESPONSE_LIMIT)} ${log}

    # Initiations, which anybody can forge: a few of each source, so that one cannot crowd out the
    # others, and then no more of all together than wgmon can follow.
    ${initiationsOf("ip saddr", "sources4")}
    ${initiationsOf("ip6 saddr & ffff:ffff:ffff:ffff::", "sources6")}
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
  const { group } = options;
  const ports = portsOf(options);
  const chain = group === 1 ? "WGMON" : `WGMON-${whole(group, 0)}`;
  const families = [
    // The length of the header is in its first byte; of IPv6, extension headers are not looked for.
    { command: "iptables", field: (offset: number) => `0>>22&0x3C@${8 + offset}`, sourceBits: 32 },
    { command: "ip6tables", field: (offset: number) => `${48 + offset}`, sourceBits: 64 },
  ];
  const removal = families.map(
    ({ command }) =>
      `#   ${command} -w -D INPUT -p udp -j ${chain}; ` +
      ["-F", "-X"]
        .flatMap((action) =>
          [chain, `${chain}-LOG`].map((each) => `${command} -w ${action} ${each}`),
        )
        .join("; "),
  );
  const commands = families.map(({ command, ...family }) =>
    iptablesCommands({ command: `${command} -w`, chain, group, ports, ...family }),
  );
  return `# Made by wgmon rules --iptables, for sh. Logs WireGuard's handshakes to NFLOG group ${group}.
# NFLOG is no verdict: every packet goes on. The chain is called first, before a rule that accepts.
# To take it away:
${removal.join("\n")}

# limit: not too many of a kind. Of initiations, which anybody can forge, hashlimit passes a few of
# each source (an IPv4 address, 64 bits of an IPv6 address), so that one cannot crowd out the others.
# It drops what it has no room for: never take away the limit before it.
${commands.join("\n")}`;
}

interface Limit {
  readonly rate: number;
  readonly burst: number;
}

interface Family {
  readonly command: string;
  readonly chain: string;
  readonly group: number;
  readonly ports: readonly number[];
  /** u32's expression for the four bytes at this offset of a message. */
  readonly field: (offset: number) => string;
  /** How much of an address is a source. */
  readonly sourceBits: number;
}

function iptablesCommands({ command, chain, group, ports, field, sourceBits }: Family): string {
  const limit = ({ rate, burst }: Limit) => `-m limit --limit ${rate}/s --limit-burst ${burst}`;
  const ofType = (type: string) => `-p udp -m u32 --u32 "${field(0)}=${type}"`;
  const firstData = `-p udp -m u32 --u32 "${field(0)}=${DATA}&&${field(8)}=0&&${field(12)}=0"`;
  const perSource =
    `-m hashlimit --hashlimit-name wgmon-${group} --hashlimit-mode srcip ` +
    `--hashlimit-srcmask ${sourceBits} --hashlimit-upto ${SOURCE_LIMIT.rate}/s ` +
    `--hashlimit-burst ${SOURCE_LIMIT.burst} --hashlimit-htable-size 4096 ` +
    `--hashlimit-htable-max ${HASHLIMIT_MAX} --hashlimit-htable-expire ${SOURCE_SECONDS * 1000}`;
  const nflog = `-j NFLOG --nflog-group ${group} --nflog-size ${COPY_BYTES} --nflog-threshold 1`;
  const perPorts = portMatches(ports).map((match) => `-A ${chain} -p udp ${match} -j ${chain}-LOG`);
  const rules = [
    ...perPorts,
    `-A ${chain}-LOG ${firstData} ${limit(IPTABLES_DATA_LIMIT)} ${nflog}`,
    `-A ${chain}-LOG ${ofType(RESPONSE)} ${limit(RESPONSE_LIMIT)} ${nflog}`,
    `-A ${chain}-LOG ${ofType(INITIATION)} ${limit(IPTABLES_GATE)} ${perSource} ${limit(INITIATION_LIMIT)} ${nflog}`,
  ];
  const chains = [chain, `${chain}-LOG`];
  return [
    ...chains.map((each) => `${command} -N ${each} 2>/dev/null`),
    ...chains.map((each) => `${command} -F ${each}`),
    ...rules.map((rule) => `${command} ${rule}`),
    `${command} -C INPUT -p udp -j ${chain} 2>/dev/null || ${command} -I INPUT -p udp -j ${chain}`,
    "",
  ].join("\n");
}

function portMatches(ports: readonly number[]): string[] {
  const matches: string[] = [];
  for (let start = 0; start < ports.length; start += MULTIPORT_MAX) {
    const some = ports.slice(start, start + MULTIPORT_MAX);
    matches.push(some.length === 1 ? `--dport ${some[0]}` : `-m multiport --dports ${some.join()}`);
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
