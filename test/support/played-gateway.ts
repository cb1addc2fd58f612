/**
 * Simulates a userspace WireGuard device: answers wgmon's queries, and its peers send packets with the format of
 * WireGuard messages. For machines whose kernel has no WireGuard. Needs root, ip, and a mount namespace with a
 * private /var/run/wireguard.
 */

import { $ } from "bun";

import { errno, libc } from "../../ffi/libc.ts";
import { INITIATION_BYTES } from "../../src/base/wireguard.ts";
import { AF_INET, SOCK_DGRAM } from "../../src/platform/constants.ts";
import type { Gateway, RemotePeer } from "./gateway.ts";
import { data, initiation, ipv4, response } from "./packets.ts";
import { newAddress } from "./places.ts";
import { RawSocket } from "./raw-socket.ts";

const NAME = "played0";
const PORT = 51820;
const FOLDER = "/var/run/wireguard";
const DATA_BYTES = 144;

export class PlayedGateway implements Gateway {
  readonly port = PORT;
  /** Random: no message is verified with it. */
  readonly publicKey = crypto.getRandomValues(new Uint8Array(32)).toBase64();
  readonly #server: Bun.UnixSocketListener<Answering>;
  readonly #raw = new RawSocket();
  readonly #sink = boundSocket(PORT);
  readonly #peers: PlayedPeer[] = [];
  readonly #silent: string[] = [];

  static async create(): Promise<PlayedGateway> {
    await $`ip link set lo up && ip tuntap add dev ${NAME} mode tun && mkdir -p ${FOLDER}`.quiet();
    return new PlayedGateway();
  }

  private constructor() {
    this.#server = Bun.listen<Answering>({
      unix: `${FOLDER}/${NAME}.sock`,
      socket: {
        data: (socket) => {
          socket.data = { left: Buffer.from(this.#answer()) };
          flush(socket);
        },
        drain: flush,
      },
    });
  }

  async addPeers(count: number): Promise<readonly RemotePeer[]> {
    const added = Array.from({ length: count }, () => new PlayedPeer(this.#raw));
    for (const peer of added) await peer.move();
    this.#peers.push(...added);
    return added;
  }

  async addSilentPeers(count: number): Promise<void> {
    for (let n = this.#silent.length, end = n + count; n < end; n++) {
      const key = crypto.getRandomValues(new Uint8Array(32)).toHex();
      this.#silent.push(
        `public_key=${key}\nendpoint=198.51.100.${n & 255}:${1024 + (n % 60_000)}\n` +
          `last_handshake_time_sec=0\nlast_handshake_time_nsec=0\nrx_bytes=0\ntx_bytes=0\n` +
          `allowed_ip=10.${n >> 16}.${(n >> 8) & 255}.${n & 255}/32\n`,
      );
    }
  }

  #answer(): string {
    const peers = this.#peers.map((peer) => peer.description()).concat(this.#silent);
    return `listen_port=${PORT}\n${peers.join("")}errno=0\n\n`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.#peers) peer[Symbol.dispose]();
    this.#server.stop(true);
    this.#raw[Symbol.dispose]();
    libc().close(this.#sink);
    await $`ip link delete ${NAME}`.quiet();
  }
}

interface Answering {
  readonly left: Buffer;
}

/** Writes as much as the socket accepts now; closes it at the end. */
function flush(socket: Bun.Socket<Answering>): void {
  const { left } = socket.data;
  // -1: the socket accepts nothing now.
  const sent = Math.max(0, socket.write(left));
  socket.data = { left: left.subarray(sent) };
  if (sent === left.length) socket.end();
}

class PlayedPeer implements RemotePeer, Disposable {
  readonly #key = crypto.getRandomValues(new Uint8Array(32));
  readonly #raw: RawSocket;
  #socket: Bun.udp.ConnectedSocket<"buffer"> | null = null;
  #address = "";
  #isConfigured = true;
  /** The state that the device reports. */
  #endpoint: string | null = null;
  #handshakeMs = 0;
  #rxBytes = 0;
  /** Receiver index of the session. */
  #index = 0;
  #counter = 0;

  constructor(raw: RawSocket) {
    this.#raw = raw;
  }

  get publicKey(): string {
    return this.#key.toBase64();
  }

  get place(): string {
    return `${this.#address}:${this.#socket!.port}`;
  }

  /** Changes to a new source address and port. */
  async move(): Promise<void> {
    const old = this.#socket;
    this.#address = newAddress();
    this.#socket = await Bun.udpSocket({
      hostname: this.#address,
      connect: { hostname: "127.0.0.1", port: PORT },
      socket: { data() {}, error() {} },
    });
    old?.close();
  }

  async connect(): Promise<number> {
    this.#transmit(initiation(), INITIATION_BYTES);
    // The device's response, with the index of the session, so that firewall rules see it.
    const answer = response();
    this.#index = crypto.getRandomValues(new Uint32Array(1))[0]!;
    new DataView(answer.buffer).setUint32(4, this.#index, true);
    const addresses = { source: "127.0.0.1", sourcePort: PORT, destination: this.#address };
    this.#raw.send(ipv4(answer, { ...addresses, destinationPort: this.#socket!.port }));
    this.#counter = 0;
    this.#handshakeMs = Date.now();
    const atMs = performance.timeOrigin + performance.now();
    this.send();
    return atMs;
  }

  send(): void {
    const message = data(this.#counter++, DATA_BYTES);
    new DataView(message.buffer).setUint32(4, this.#index, true);
    this.#transmit(message, DATA_BYTES);
  }

  async roam(): Promise<void> {
    await this.move();
    this.send();
  }

  async remove(): Promise<void> {
    this.#isConfigured = false;
  }

  async restore(): Promise<void> {
    this.#isConfigured = true;
    this.#endpoint = null;
    this.#handshakeMs = 0;
    this.#rxBytes = 0;
  }

  /** Updates the state of the device, and sends the message over the network. */
  #transmit(message: Uint8Array, bytes: number): void {
    const { port } = this.#socket!;
    this.#endpoint = `${this.#address}:${port}`;
    this.#rxBytes += bytes;
    this.#socket!.send(message);
  }

  /** The peer's part of the answer to `get=1`; https://www.wireguard.com/xplatform/ */
  description(): string {
    if (!this.#isConfigured) return "";
    const endpoint = this.#endpoint === null ? "" : `endpoint=${this.#endpoint}\n`;
    return (
      `public_key=${this.#key.toHex()}\n${endpoint}` +
      `last_handshake_time_sec=${Math.floor(this.#handshakeMs / 1000)}\n` +
      `last_handshake_time_nsec=${(this.#handshakeMs % 1000) * 1_000_000}\n` +
      `rx_bytes=${this.#rxBytes}\ntx_bytes=0\nallowed_ip=10.0.0.2/32\n`
    );
  }

  [Symbol.dispose](): void {
    this.#socket?.close();
  }
}

/** A socket that is never read. Without it, the kernel would send ICMP port unreachable to each sender. */
function boundSocket(port: number): number {
  const descriptor = libc().socket(AF_INET, SOCK_DGRAM, 0);
  // struct sockaddr_in, for all addresses.
  const address = new DataView(new ArrayBuffer(16));
  address.setUint16(0, AF_INET, true);
  address.setUint16(2, port, false);
  if (libc().bind(descriptor, new Uint8Array(address.buffer), 16) < 0) {
    throw new Error(`bind to port ${port}: errno ${errno()}`);
  }
  return descriptor;
}
