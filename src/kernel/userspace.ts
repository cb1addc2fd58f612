/**
 * Userspace WireGuard (wireguard-go, boringtun) by its UAPI socket: text in lines of key=value.
 * https://www.wireguard.com/xplatform/, "Cross-platform userspace implementation".
 */

import { ParseError } from "../errors.ts";
import { interfaceIndex, listFolder } from "../system.ts";
import type { Device, DeviceLook, Endpoint, Peer, PublicKey } from "../wireguard.ts";
import { askUapi } from "./uapisocket.ts";

/** Where the implementations put their sockets, `<device>.sock`. */
const SOCKET_FOLDER = "/var/run/wireguard";
/** The last second that a Date can hold to its end. */
const LAST_SECOND = 8.64e12 - 1;
const NEWLINE = 0x0a;
const EQUALS = 0x3d;

/**
 * The devices that have a socket and are in this network namespace: the folder is the same for all
 * namespaces of a machine.
 */
export function listUserspaceDevices(): { name: string; index: number }[] {
  return listFolder(SOCKET_FOLDER)
    .filter((entry) => entry.endsWith(".sock"))
    .map((entry) => entry.slice(0, -".sock".length))
    .map((name) => ({ name, index: interfaceIndex(name) }))
    .filter(({ index }) => index !== 0);
}

/** One userspace device and what the looks so far found. */
export class UserspaceDevice {
  readonly name: string;
  readonly index: number;
  #before: ReadonlyMap<PublicKey, Peer> = new Map();

  constructor(name: string, index: number) {
    this.name = name;
    this.index = index;
  }

  /** As the last look found them. */
  get peers(): readonly Peer[] {
    return [...this.#before.values()];
  }

  /** @returns null when nobody answers at the socket: the daemon is gone and left it behind. */
  async look(): Promise<DeviceLook | null> {
    const path = `${SOCKET_FOLDER}/${this.name}.sock`;
    const answer = await askUapi(`ask userspace device ${this.name}`, path, (bytes) =>
      parseUapi(this.name, bytes),
    );
    if (answer === null) return null;
    const now = new Map(answer.peers.map((peer) => [peer.publicKey, peer]));
    const difference = differenceOf(this.#before, now);
    this.#before = now;
    return { device: { ...answer.device, index: this.index }, ...difference };
  }
}

/** What one look found other than the look before it. */
export function differenceOf(
  before: ReadonlyMap<PublicKey, Peer>,
  now: ReadonlyMap<PublicKey, Peer>,
): Pick<DeviceLook, "changed" | "removed"> {
  const changed = [...now.values()]
    .map((peer) => ({ peer, before: before.get(peer.publicKey) ?? null }))
    .filter((change) => differs(change.before, change.peer));
  const removed = [...before.keys()].filter((key) => !now.has(key));
  return { changed, removed };
}

function differs(before: Peer | null, now: Peer): boolean {
  return (
    before === null ||
    before.lastHandshakeMs !== now.lastHandshakeMs ||
    before.rxBytes !== now.rxBytes ||
    before.txBytes !== now.txBytes ||
    JSON.stringify(before.endpoint) !== JSON.stringify(now.endpoint)
  );
}

/** Fields of a peer while its lines are read. */
type Draft = { -readonly [Field in keyof Peer]: Peer[Field] } & { allowedIps: string[] };

/**
 * A device and its peers from the answer to `get=1`. Unknown keys are stepped over, and so are
 * `private_key` and `preshared_key`.
 *
 * @throws ParseError naming the key, never a value.
 */
export function parseUapi(name: string, answer: Uint8Array): { device: Device; peers: Peer[] } {
  const decoder = new TextDecoder();
  const peers: Draft[] = [];
  let listenPort = 0;
  let peer: Draft | null = null;
  let finished = false;
  for (let start = 0; start < answer.length;) {
    const newline = answer.indexOf(NEWLINE, start);
    const end = newline === -1 ? answer.length : newline;
    const line = answer.subarray(start, end);
    start = end + 1;
    if (line.length === 0) continue;
    const equals = line.indexOf(EQUALS);
    if (equals === -1) throw new ParseError(`UAPI answer of ${name}: a line without "="`);
    const key = decoder.decode(line.subarray(0, equals));
    // Before the value is decoded: these two must never become one.
    if (key === "private_key" || key === "preshared_key") continue;
    const value = decoder.decode(line.subarray(equals + 1));
    switch (key) {
      case "errno":
        if (value !== "0") throw new ParseError(`UAPI answer of ${name}: errno is not 0`);
        finished = true;
        break;
      case "listen_port":
        listenPort = integer(key, value, 65_535);
        break;
      case "public_key":
        peer = {
          publicKey: publicKeyFromHex(value),
          endpoint: null,
          allowedIps: [],
          lastHandshakeMs: null,
          rxBytes: 0,
          txBytes: 0,
          persistentKeepaliveSeconds: 0,
        };
        peers.push(peer);
        break;
      case "endpoint":
        peerOf(peer, key).endpoint = parseEndpoint(value);
        break;
      case "allowed_ip":
        peerOf(peer, key).allowedIps.push(parsePrefix(value));
        break;
      case "last_handshake_time_sec":
        // Zero says never.
        peerOf(peer, key).lastHandshakeMs = integer(key, value, LAST_SECOND) * 1000 || null;
        break;
      case "last_handshake_time_nsec": {
        const milliseconds = Math.floor(integer(key, value, 999_999_999) / 1e6);
        const known = peerOf(peer, key);
        if (known.lastHandshakeMs !== null) known.lastHandshakeMs += milliseconds;
        break;
      }
      case "rx_bytes":
        peerOf(peer, key).rxBytes = integer(key, value, Infinity);
        break;
      case "tx_bytes":
        peerOf(peer, key).txBytes = integer(key, value, Infinity);
        break;
      case "persistent_keepalive_interval":
        peerOf(peer, key).persistentKeepaliveSeconds = integer(key, value, 65_535);
        break;
    }
  }
  if (!finished) throw new ParseError(`UAPI answer of ${name}: no errno line`);
  return { device: { name, index: 0, listenPort, publicKey: null }, peers };
}

function peerOf(peer: Draft | null, key: string): Draft {
  if (peer === null) throw new ParseError(`UAPI answer: ${key} before any public_key`);
  return peer;
}

function integer(key: string, value: string, maximum: number): number {
  const number = /^\d{1,20}$/.test(value) ? Number(value) : NaN;
  if (!(number <= maximum)) throw new ParseError(`UAPI answer: ${key} is no valid number`);
  return number;
}

function publicKeyFromHex(value: string): PublicKey {
  if (!/^[0-9a-f]{64}$/i.test(value)) throw new ParseError("UAPI answer: public_key is no key");
  return Uint8Array.fromHex(value).toBase64() as PublicKey;
}

/** `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820`; the scope's name is left out. */
function parseEndpoint(value: string): Endpoint {
  const match = /^(?:\[([0-9a-f:.]+)(?:%[^\]]*)?\]|([0-9.]+)):(\d{1,5})$/i.exec(value);
  const address = match === null ? null : canonical(match[1] ?? match[2]!);
  const port = Number(match?.[3]);
  if (address === null || port > 65_535)
    throw new ParseError("UAPI answer: endpoint is no address");
  return { address, port, scopeId: 0 };
}

function parsePrefix(value: string): string {
  const match = /^([0-9a-f:.]+)\/(\d{1,3})$/i.exec(value);
  const address = match === null ? null : canonical(match[1]!);
  const mask = Number(match?.[2]);
  const isIpv6 = value.includes(":");
  if (address === null || mask > (isIpv6 ? 128 : 32)) {
    throw new ParseError("UAPI answer: allowed_ip is no prefix");
  }
  // Here IPv4-mapped is no other way to say IPv4: its mask counts from the start of IPv6.
  return `${isIpv6 && !address.includes(":") ? "::ffff:" : ""}${address}/${mask}`;
}

/** The address as `formatAddress` writes it; null when it is none. URLs know both forms. */
function canonical(address: string): string | null {
  const text = address.toLowerCase().replace(/^::ffff:(?=\d+\.)/, "");
  const isIpv6 = text.includes(":");
  // A URL takes 10.0.0.f for a host's name, and 10.0.0.. too.
  if (!isIpv6 && !/^\d+\.\d+\.\d+\.\d+$/.test(text)) return null;
  const url = URL.parse(`http://${isIpv6 ? `[${text}]` : text}/`);
  if (url === null) return null;
  // And 010.0.0.1 for an octal number.
  return isIpv6 ? url.hostname.slice(1, -1) : url.hostname === text ? text : null;
}
