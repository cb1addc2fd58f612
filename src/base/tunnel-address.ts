/** Tunnel addresses: the allowed IPs of a peer, as text for people, and the prefix that an address belongs to. Pure. */

/** An IP address as a number, with its size. */
interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

/** `10.0.0.5 +2`: the first of the allowed IPs, and how many more there are; empty if there are none. */
export function shortTunnelAddress(allowedIps: readonly string[]): string {
  const [first, ...others] = allowedIps;
  if (first === undefined) return "";
  const address = withoutHostPrefix(first);
  return others.length === 0 ? address : `${address} +${others.length}`;
}

/** `10.0.0.5` for `10.0.0.5/32`. A prefix of several addresses is not changed. */
export function withoutHostPrefix(prefix: string): string {
  return prefix.replace(prefix.includes(":") ? /\/128$/ : /\/32$/, "");
}

/** Whether the text is an IP address, with or without a prefix length. */
export function isAddress(text: string): boolean {
  return parsePrefix(text) !== null;
}

/**
 * How many leading bits of the longest of these prefixes that contains the address or prefix; null: none contains it.
 * WireGuard sends a packet to the peer with the longest prefix.
 */
export function longestPrefixLength(allowedIps: readonly string[], text: string): number | null {
  const wanted = parsePrefix(text);
  if (wanted === null) return null;
  let longest: number | null = null;
  for (const each of allowedIps) {
    const prefix = parsePrefix(each);
    if (prefix === null || prefix.bits !== wanted.bits || prefix.length > wanted.length) continue;
    const rest = BigInt(prefix.bits - prefix.length);
    if (prefix.value >> rest !== wanted.value >> rest) continue;
    if (longest === null || prefix.length > longest) longest = prefix.length;
  }
  return longest;
}

function parsePrefix(text: string): (Address & { readonly length: number }) | null {
  const [, address = "", length] = /^([\d.]+|[\da-f:.]+)(?:\/(\d{1,3}))?$/i.exec(text) ?? [];
  const parsed = address.includes(":") ? parseIpv6(address) : parseIpv4(address);
  if (parsed === null || Number(length ?? 0) > parsed.bits) return null;
  return { ...parsed, length: length === undefined ? parsed.bits : Number(length) };
}

function parseIpv4(text: string): Address | null {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256)) {
    return null;
  }
  return { bits: 32, value: parts.reduce((sum, part) => (sum << 8n) | BigInt(part), 0n) };
}

function parseIpv6(text: string): Address | null {
  if (!URL.canParse(`http://[${text}]`)) return null;
  // URL writes no dotted part, and at most one `::`.
  const [head = "", tail] = new URL(`http://[${text}]`).hostname.slice(1, -1).split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":"));
  const [left, right] = [groups(head), groups(tail ?? "")];
  const zeros = Array<string>(8 - left.length - right.length).fill("0");
  const all = [...left, ...(tail === undefined ? [] : zeros), ...right];
  return { bits: 128, value: all.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n) };
}
