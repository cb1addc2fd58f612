/**
 * Userspace WireGuard (wireguard-go, boringtun, gotatun), read from its UAPI socket as lines of key=value.
 * https://www.wireguard.com/xplatform/, "Cross-platform userspace implementation".
 */

import type { Clock } from "../base/clock.ts";
import { ParseError } from "../base/errors.ts";
import type { Device, DeviceScan, Endpoint, Peer, PublicKey } from "../base/wireguard.ts";
import { listFolder } from "../platform/files.ts";
import { interfaceIndex } from "../platform/machine-names.ts";
import { type AnswerParser, queryUapi } from "./uapi-socket.ts";

/** The folder of the UAPI sockets, `<device>.sock`. */
const SOCKET_FOLDER = "/var/run/wireguard";
/** The last second that fits entirely into a Date, whose maximum is 8.64e15 ms. */
const LAST_SECOND = 8.64e12 - 1;
/**
 * Handshake times below this may be ages, see `#handshakeMs`. As a Unix time the limit is in 1973, before any time that
 * a clock was set to; as an age it is three years, and boringtun forgets a handshake after 9 minutes.
 */
const AGE_MAX_SECONDS = 100_000_000;

/** Maximum number of allowed IPs of all peers together; each takes a kilobyte of memory while the answer is read. */
const ALLOWED_IPS_MAX = 200_000;
const NEWLINE = 0x0a;
const EQUALS = 0x3d;

/**
 * The devices that have a socket and whose interface is in this network namespace: all network namespaces of a machine
 * share the folder.
 */
export function listUserspaceDevices(): { name: string; index: number }[] {
  return listFolder(SOCKET_FOLDER)
    .filter((entry) => entry.endsWith(".sock"))
    .map((entry) => entry.slice(0, -".sock".length))
    .map((name) => ({ name, index: interfaceIndex(name) }))
    .filter(({ index }) => index !== 0);
}

/** One userspace device and the peers of its last scan. */
export class UserspaceDevice {
  readonly name: string;
  readonly index: number;
  #before: ReadonlyMap<PublicKey, Peer> = new Map();

  constructor(name: string, index: number) {
    this.name = name;
    this.index = index;
  }

  /** The peers as of the last scan. */
  get peers(): readonly Peer[] {
    return [...this.#before.values()];
  }

  /** @returns null if the program no longer runs: it does not listen on its socket, or the socket does not exist. */
  async scan(clock: Clock): Promise<DeviceScan | null> {
    const path = `${SOCKET_FOLDER}/${this.name}.sock`;
    const operation = `query userspace device ${this.name}`;
    const answer = await queryUapi(operation, path, clock, () => new UapiParser(this.name));
    if (answer === null) return null;
    const now = new Map(answer.peers.map((peer) => [peer.publicKey, peer]));
    const difference = differenceOf(this.#before, now);
    this.#before = now;
    return { device: { ...answer.device, index: this.index }, ...difference };
  }
}

/** The differences between two scans. */
export function differenceOf(
  before: ReadonlyMap<PublicKey, Peer>,
  now: ReadonlyMap<PublicKey, Peer>,
): Pick<DeviceScan, "changed" | "removed"> {
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
type Draft = { -readonly [Field in keyof Peer]: Peer[Field] } & {
  allowedIps: string[];
};

export interface UapiAnswer {
  readonly device: Device;
  readonly peers: Peer[];
}

/**
 * Reads a complete answer to `get=1`.
 *
 * @param nowMs wall clock when the answer was received.
 * @throws ParseError, which names the key but never a value.
 */
export function parseUapi(name: string, answer: Uint8Array, nowMs: number): UapiAnswer {
  const parser = new UapiParser(name);
  parser.read(answer, nowMs);
  return parser.finish();
}

/**
 * Reads the answer to `get=1` in pieces, as they arrive. Unknown keys are skipped, and so are the values of
 * `private_key` and `preshared_key`.
 */
export class UapiParser implements AnswerParser<UapiAnswer> {
  readonly #name: string;
  readonly #decoder = new TextDecoder();
  readonly #peers: Draft[] = [];
  #listenPort = 0;
  #peer: Draft | null = null;
  /** The current peer's handshake time as received: a Unix time or an age. */
  #handshake = { seconds: 0, nanoseconds: 0 };
  #hasPrivateKey = false;
  #allowedIps = 0;
  #hasErrno = false;
  #isComplete = false;

  constructor(name: string) {
    this.#name = name;
  }

  /** An empty line after the `errno` line ends the answer. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  read(bytes: Uint8Array, nowMs: number): number {
    let start = 0;
    while (!this.#isComplete) {
      const end = bytes.indexOf(NEWLINE, start);
      if (end === -1) break;
      this.#readLine(bytes.subarray(start, end), nowMs);
      start = end + 1;
    }
    return start;
  }

  finish(): UapiAnswer {
    if (!this.#hasErrno) throw new ParseError(`UAPI answer of ${this.#name}: no errno line`);
    const device = { name: this.#name, index: 0, listenPort: this.#listenPort, publicKey: null };
    return { device, peers: this.#peers };
  }

  #readLine(line: Uint8Array, nowMs: number): void {
    if (line.length === 0) {
      this.#isComplete = this.#hasErrno;
      return;
    }
    const equals = line.indexOf(EQUALS);
    if (equals === -1) throw new ParseError(`UAPI answer of ${this.#name}: a line without "="`);
    const key = this.#decoder.decode(line.subarray(0, equals));
    // Checked before the value is decoded, because these two values must never become strings.
    if (key === "private_key") this.#hasPrivateKey = true;
    if (key === "private_key" || key === "preshared_key") return;
    const value = this.#decoder.decode(line.subarray(equals + 1));
    switch (key) {
      case "errno":
        if (value !== "0") throw new ParseError(`UAPI answer of ${this.#name}: errno is not 0`);
        this.#hasErrno = true;
        break;
      case "listen_port":
        this.#listenPort = integer(key, value, 65_535);
        break;
      case "public_key":
        this.#peer = {
          publicKey: publicKeyFromHex(value),
          endpoint: null,
          allowedIps: [],
          lastHandshakeMs: null,
          rxBytes: 0,
          txBytes: 0,
          persistentKeepaliveSeconds: 0,
        };
        this.#handshake = { seconds: 0, nanoseconds: 0 };
        this.#peers.push(this.#peer);
        break;
      case "endpoint":
        this.#peerOf(key).endpoint = parseEndpoint(value);
        break;
      case "allowed_ip":
        if (++this.#allowedIps > ALLOWED_IPS_MAX) {
          throw new ParseError(`UAPI answer: more than ${ALLOWED_IPS_MAX} allowed IPs`);
        }
        this.#peerOf(key).allowedIps.push(parsePrefix(value));
        break;
      case "last_handshake_time_sec":
        this.#handshake.seconds = integer(key, value, LAST_SECOND);
        this.#peerOf(key).lastHandshakeMs = this.#handshakeMs(nowMs);
        break;
      case "last_handshake_time_nsec":
        this.#handshake.nanoseconds = integer(key, value, 999_999_999);
        this.#peerOf(key).lastHandshakeMs = this.#handshakeMs(nowMs);
        break;
      case "rx_bytes":
        this.#peerOf(key).rxBytes = integer(key, value, Infinity);
        break;
      case "tx_bytes":
        this.#peerOf(key).txBytes = integer(key, value, Infinity);
        break;
      case "persistent_keepalive_interval":
        this.#peerOf(key).persistentKeepaliveSeconds = integer(key, value, 65_535);
        break;
    }
  }

  /**
   * Returns the time of the current peer's handshake; null: never. The specification requires a Unix time, zero for
   * never. boringtun, which never sends a private key, sends the age of the handshake instead
   * (https://github.com/cloudflare/boringtun/issues/447). A program that follows the specification may send a small
   * Unix time if the clock was not set yet, so a time in an answer with a private key is never interpreted as an age.
   */
  #handshakeMs(nowMs: number): number | null {
    const { seconds, nanoseconds } = this.#handshake;
    if (seconds === 0 && nanoseconds === 0) return null;
    const milliseconds = seconds * 1000 + Math.floor(nanoseconds / 1e6);
    const isAge = seconds < AGE_MAX_SECONDS && !this.#hasPrivateKey;
    return isAge ? nowMs - milliseconds : milliseconds || null;
  }

  #peerOf(key: string): Draft {
    if (this.#peer === null) throw new ParseError(`UAPI answer: ${key} before any public_key`);
    return this.#peer;
  }
}

function integer(key: string, value: string, maximum: number): number {
  const number = /^\d{1,20}$/.test(value) ? Number(value) : NaN;
  if (!(number <= maximum)) throw new ParseError(`UAPI answer: ${key} is not a valid number`);
  return number;
}

function publicKeyFromHex(value: string): PublicKey {
  if (!/^[0-9a-f]{64}$/i.test(value)) throw new ParseError("UAPI answer: public_key is not a key");
  return Uint8Array.fromHex(value).toBase64() as PublicKey;
}

/** `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820`; the name of the scope is ignored. */
function parseEndpoint(value: string): Endpoint {
  const match = /^(?:\[([0-9a-f:.]+)(?:%[^\]]*)?\]|([0-9.]+)):(\d{1,5})$/i.exec(value);
  const address = match === null ? null : canonical(match[1] ?? match[2]!);
  const port = Number(match?.[3]);
  if (address === null || port > 65_535)
    throw new ParseError("UAPI answer: endpoint is not an address");
  return { address, port, scopeId: 0 };
}

function parsePrefix(value: string): string {
  const match = /^([0-9a-f:.]+)\/(\d{1,3})$/i.exec(value);
  const address = match === null ? null : canonical(match[1]!);
  const mask = Number(match?.[2]);
  const isIpv6 = value.includes(":");
  if (address === null || mask > (isIpv6 ? 128 : 32)) {
    throw new ParseError("UAPI answer: allowed_ip is not a prefix");
  }
  // An IPv4-mapped prefix must stay IPv6 here: its mask counts from the first bit of the IPv6 address.
  return `${isIpv6 && !address.includes(":") ? "::ffff:" : ""}${address}/${mask}`;
}

/** Four numbers up to 255, without leading zeros, which some parsers read as octal. */
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

/** The address as `formatAddress` writes it; null if it is not an address. */
function canonical(address: string): string | null {
  const text = address.toLowerCase().replace(/^::ffff:(?=\d+\.)/, "");
  if (!text.includes(":")) return IPV4.test(text) ? text : null;
  return URL.parse(`http://[${text}]/`)?.hostname.slice(1, -1) ?? null;
}
