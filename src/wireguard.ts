/**
 * The words of WireGuard: peers, devices, endpoints, and the times of its protocol. Plain values;
 * this file imports nothing and everything may import it.
 */

/** A peer's identity: 32 bytes in base64, 44 characters, as wg(8) prints it. */
export type PublicKey = string & { readonly brand: "PublicKey" };

/** 32 bytes in base64: the 43rd character carries four bits, so its last two are zero. */
export function isPublicKey(text: string): text is PublicKey {
  return /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text);
}

/** A public key as addresses have it: base64url (RFC 4648 section 5) without padding, which needs no escapes. */
export function urlKey(publicKey: string): string {
  return publicKey.replaceAll("+", "-").replaceAll("/", "_").replace(/=$/, "");
}

/** In base64, what an address has in base64url or base64, with or without padding; null: it is not 32 bytes long. */
export function keyFromUrl(text: string): string | null {
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return null;
  return `${text.slice(0, 43).replaceAll("-", "+").replaceAll("_", "/")}=`;
}

/** The outer address that a peer was last heard from. */
export interface Endpoint {
  /** Without brackets and scope. IPv6 as in RFC 5952; an IPv4-mapped address is written as IPv4. */
  readonly address: string;
  readonly port: number;
  /** Interface number of a link-local IPv6 address (sin6_scope_id); 0 = none. */
  readonly scopeId: number;
}

/** One peer as a look found it. */
export interface Peer {
  readonly publicKey: PublicKey;
  /** null: the kernel has none yet. */
  readonly endpoint: Endpoint | null;
  /** CIDR, in the kernel's order. */
  readonly allowedIps: readonly string[];
  /** Wall clock of the last completed handshake; null: never. */
  readonly lastHandshakeMs: number | null;
  /** Received from the peer since it was added, handshakes included. */
  readonly rxBytes: number;
  /** Sent to the peer since it was added. */
  readonly txBytes: number;
  /** 0 = off. */
  readonly persistentKeepaliveSeconds: number;
}

/** A WireGuard network device. Its peers are told apart by device and public key, never by endpoint. */
export interface Device {
  /** Interface name, at most 15 bytes (IFNAMSIZ). */
  readonly name: string;
  /** Interface number; a device that is deleted and made again has a new one. */
  readonly index: number;
  /** 0: not listening yet. */
  readonly listenPort: number;
  /** null: no private key is set. */
  readonly publicKey: PublicKey | null;
}

/**
 * A peer that is new, or differs from the look before in handshake, endpoint or a counter. A new one that
 * never completed a handshake may be left out, unless one that did was removed before: nobody can be in
 * a session with it.
 */
export interface PeerChange {
  readonly peer: Peer;
  /** As the look before found it; null: it had no such peer. */
  readonly before: Pick<Peer, "lastHandshakeMs" | "rxBytes" | "txBytes"> | null;
}

/** What one look found at one device. */
export interface DeviceLook {
  readonly device: Device;
  readonly changed: readonly PeerChange[];
  /** Peers that the look before had and this one has not. */
  readonly removed: readonly PublicKey[];
}

/** What one look found: at every device, or at those that were asked for. */
export interface Look {
  readonly devices: readonly DeviceLook[];
  /** Devices that the look before had and that are gone. */
  readonly removed: readonly Device[];
}

/** Two clocks read together. Ages and deadlines are counted on the second, which never jumps. */
export interface Instant {
  /** Milliseconds since 1970; jumps when somebody sets the clock. */
  readonly wallMs: number;
  /** Milliseconds since an arbitrary moment of this process; never goes back. */
  readonly monotonicMs: number;
}

/**
 * A session's keys are dead this long after its handshake: nothing can be received any more but a
 * new attempt. REJECT_AFTER_TIME, WireGuard paper section 6.1; drivers/net/wireguard/messages.h.
 */
export const REJECT_AFTER_MS = 180_000;

/** An active session makes new keys after this. REKEY_AFTER_TIME, the same places. */
export const REKEY_AFTER_MS = 120_000;

/** Two handshakes are REKEY_TIMEOUT (5 s, messages.h) apart. */
const SAME_HANDSHAKE_MS = 1000;

/**
 * Whether two readings of a handshake's time are of one handshake; null: never. Programs that report "now
 * minus age" (gotatun, and boringtun as kernel/userspace.ts reads its ages) move the time by fractions of
 * a millisecond from reading to reading, and by as much as the clock was set in between, `clockSetMs`.
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

/** Characters of a public key that people read where it stands for a peer's name. */
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

/**
 * Whether two endpoints are the same place. A scope counts only where both have one: packets are
 * captured without it, the kernel may know it.
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
 * An address of 4 or 16 bytes at `offset`, as text: dotted IPv4, or IPv6 as RFC 5952 section 4 has
 * it. `::ffff:192.0.2.1` becomes `192.0.2.1` (RFC 4291 section 2.5.5.2).
 */
export function formatAddress(bytes: Uint8Array, offset: number, length: 4 | 16): string {
  if (length === 4) {
    return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
  }
  // The first of the longest runs of zero groups; one group is none.
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
