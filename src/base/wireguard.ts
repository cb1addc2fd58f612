/**
 * WireGuard's terms as plain values: peers, devices, endpoints, and the protocol's times. This file imports nothing and
 * every file may import it.
 */

/** A peer's identity: 32 bytes in base64, 44 characters, as wg(8) prints it. */
export type PublicKey = string & { readonly brand: "PublicKey" };

/** 32 bytes in base64: the 43rd character carries four bits, so its last two are zero. */
export function isPublicKey(text: string): text is PublicKey {
  return /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text);
}

/** Encodes a public key for URLs: base64url (RFC 4648 section 5) without padding, which needs no escapes. */
export function urlKey(publicKey: string): string {
  return publicKey.replaceAll("+", "-").replaceAll("/", "_").replace(/=$/, "");
}

/** A key in a URL: base64url or base64, with or without padding. */
export const URL_KEY_PATTERN = "^[A-Za-z0-9+/_-]{43}=?$";
const urlKeyForm = new RegExp(URL_KEY_PATTERN);

/** Converts a key in a URL to base64; null if it does not match the pattern. */
export function keyFromUrl(text: string): string | null {
  if (!urlKeyForm.test(text)) return null;
  return `${text.slice(0, 43).replaceAll("-", "+").replaceAll("_", "/")}=`;
}

/**
 * The increase of a peer's counter. A lower value means that the peer was removed and added again, so the counter
 * restarted from zero.
 */
export function growth(before: number, now: number): number {
  return now >= before ? now - before : now;
}

/** The outer address that a peer was last heard from. */
export interface Endpoint {
  /** Without brackets and scope. IPv6 as in RFC 5952; an IPv4-mapped address is written as IPv4. */
  readonly address: string;
  readonly port: number;
  /** Interface index of a link-local IPv6 address (sin6_scope_id); 0 = none. */
  readonly scopeId: number;
}

/** One peer in a scan. */
export interface Peer {
  readonly publicKey: PublicKey;
  /** null: the kernel has no endpoint for the peer yet. */
  readonly endpoint: Endpoint | null;
  /** CIDR, in the kernel's order. */
  readonly allowedIps: readonly string[];
  /** Wall clock time of the last completed handshake; null: never. */
  readonly lastHandshakeMs: number | null;
  /** Received from the peer since it was added, handshakes included. */
  readonly rxBytes: number;
  /** Sent to the peer since it was added. */
  readonly txBytes: number;
  /** 0 = off. */
  readonly persistentKeepaliveSeconds: number;
}

/** A WireGuard network device. Its peers are identified by device and public key, never by endpoint. */
export interface Device {
  /** Interface name, at most 15 bytes (IFNAMSIZ). */
  readonly name: string;
  /** Interface index; a device that is deleted and created again has a new one. */
  readonly index: number;
  /** 0: not listening yet. */
  readonly listenPort: number;
  /** null: no private key is set. */
  readonly publicKey: PublicKey | null;
}

/**
 * A peer that is new, or whose handshake, endpoint or counters changed since the previous scan. A new peer without a
 * completed handshake may be omitted, because it cannot have a session. It is not omitted once a peer with a handshake
 * was removed, because it may be that peer, added again.
 */
export interface PeerChange {
  readonly peer: Peer;
  /** Values of the previous scan; null: the peer was not in it. */
  readonly before: Pick<Peer, "lastHandshakeMs" | "rxBytes" | "txBytes"> | null;
}

/** The result of a scan for one device. */
export interface DeviceScan {
  readonly device: Device;
  readonly changed: readonly PeerChange[];
  /** Peers that were in the previous scan and are missing in this one. */
  readonly removed: readonly PublicKey[];
}

/** The result of a scan of all devices or of the requested ones. */
export interface Scan {
  readonly devices: readonly DeviceScan[];
  /** Devices of the previous scan that no longer exist. */
  readonly removed: readonly Device[];
  /** Names of all existing devices; null if only named devices were scanned, or if the list is incomplete. */
  readonly present: ReadonlySet<string> | null;
}

/** Both clocks read together. Use the monotonic one for ages and deadlines, because it never jumps. */
export interface Instant {
  /** Milliseconds since 1970; jumps when the clock is set. */
  readonly wallMs: number;
  /** Milliseconds since an arbitrary moment in this process; never decreases. */
  readonly monotonicMs: number;
}

/**
 * A session's keys expire this long after its handshake. Then the peer must make a new handshake before it can send
 * data. REJECT_AFTER_TIME, WireGuard paper section 6.1; drivers/net/wireguard/messages.h.
 */
export const REJECT_AFTER_MS = 180_000;

/** An active session makes new keys after this time. REKEY_AFTER_TIME, same sources. */
export const REKEY_AFTER_MS = 120_000;

/**
 * Tolerance for two readings of one handshake time; two handshakes are at least REKEY_TIMEOUT (5 s, messages.h) apart.
 */
const SAME_HANDSHAKE_MS = 1000;

/**
 * Whether two readings of a handshake time belong to the same handshake; null: no handshake yet. Where the time is
 * computed as "now minus age" (by gotatun, and by kernel/userspace-device.ts for boringtun), it differs between two
 * readings by fractions of a millisecond, and by `clockSetMs`, the step of the clock between them.
 */
export function isSameHandshake(
  beforeMs: number | null,
  nowMs: number | null,
  clockSetMs = 0,
): boolean {
  if (beforeMs === null || nowMs === null) return beforeMs === nowMs;
  const movedMs = nowMs - beforeMs;
  return (
    Math.abs(movedMs) < SAME_HANDSHAKE_MS || Math.abs(movedMs - clockSetMs) < SAME_HANDSHAKE_MS
  );
}

/** Message types, the first byte of each datagram (the next three are zero). messages.h. */
export const MessageType = {
  initiation: 1,
  response: 2,
  cookie: 3,
  data: 4,
} as const;

/** Length of a handshake initiation on the wire, and in a peer's rx counter. messages.h. */
export const INITIATION_BYTES = 148;

/** Number of characters of a public key that are shown instead of a missing name. */
export const SHORT_KEY = 8;

/** The first eight characters of a public key and `…`: enough to recognize a peer without a name. */
export function shortKey(publicKey: string): string {
  return publicKey.length > SHORT_KEY ? `${publicKey.slice(0, SHORT_KEY)}\u2026` : publicKey;
}

/** `198.51.100.7:51820`, `[2001:db8::1]:51820`, `[fe80::1%2]:51820`. */
export function formatEndpoint(endpoint: Endpoint): string {
  const { address, port, scopeId } = endpoint;
  if (!address.includes(":")) return `${address}:${port}`;
  return `[${address}${scopeId === 0 ? "" : `%${scopeId}`}]:${port}`;
}

/** The reverse of `formatEndpoint`; null if the text is not an endpoint. */
export function parseEndpoint(text: string): Endpoint | null {
  const match = /^(?:\[([0-9a-f:.]+)(?:%(\d{1,10}))?\]|([0-9.]+)):(\d{1,5})$/i.exec(text);
  if (match === null) return null;
  const [, ipv6, scope = "0", ipv4, port] = match;
  return { address: ipv6 ?? ipv4!, port: Number(port), scopeId: Number(scope) };
}

/**
 * Whether two endpoints are the same address and port. Scopes are compared only if both have one: captured packets have
 * no scope, but the kernel may know it.
 */
export function sameEndpoint(a: Endpoint | null, b: Endpoint | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.address === b.address &&
    a.port === b.port &&
    (a.scopeId === b.scopeId || a.scopeId === 0 || b.scopeId === 0)
  );
}

/**
 * Formats an address of 4 or 16 bytes at `offset`: dotted IPv4, or IPv6 as in RFC 5952 section 4. `::ffff:192.0.2.1`
 * becomes `192.0.2.1` (RFC 4291 section 2.5.5.2).
 */
export function formatAddress(bytes: Uint8Array, offset: number, length: 4 | 16): string {
  if (length === 4) {
    return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
  }
  // Find the first of the longest runs of zero groups; a single group is not compressed.
  let start = -1;
  let longest = 1;
  for (let group = 0; group < 8; group++) {
    let run = 0;
    while (group + run < 8 && groupAt(bytes, offset, group + run) === 0) run++;
    if (run > longest) {
      start = group;
      longest = run;
    }
    group += run;
  }
  if (start === 0 && longest === 5 && groupAt(bytes, offset, 5) === 0xffff) {
    return formatAddress(bytes, offset + 12, 4);
  }
  let text = "";
  for (let group = 0; group < 8; group++) {
    if (group === start) {
      text += "::";
      group += longest - 1;
    } else {
      if (group > 0 && group !== start + longest) text += ":";
      text += groupAt(bytes, offset, group).toString(16);
    }
  }
  return text;
}

function groupAt(bytes: Uint8Array, offset: number, group: number): number {
  return (bytes[offset + 2 * group]! << 8) | bytes[offset + 2 * group + 1]!;
}
