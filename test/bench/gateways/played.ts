/**
 * A fake userspace WireGuard device whose peers send packets with the format of WireGuard messages, for machines whose
 * kernel has no WireGuard. Needs root, ip, and a mount namespace with a private /var/run/wireguard.
 */

import { $ } from "bun";

import { errno, libc } from "../../../ffi/libc.ts";
import { INITIATION_BYTES } from "../../../src/base/wireguard.ts";
import { AF_INET, SOCK_DGRAM } from "../../../src/platform/constants.ts";
import { FakeUapiDevice, publicKeyOf } from "../../support/fake-uapi-device.ts";
import { data, initiation, ipv4, response } from "../../support/packets.ts";
import { RawSocket } from "../../support/raw-socket.ts";
import type { Gateway, RemotePeer } from "./gateway.ts";
import { newAddress } from "./places.ts";

const PORT = 51820;
const DATA_BYTES = 144;

export class PlayedGateway implements Gateway {
  readonly port = PORT;
  /** Random: no message is verified with it. */
  readonly publicKey = crypto.getRandomValues(new Uint8Array(32)).toBase64();
  readonly #device: FakeUapiDevice;
  readonly #raw = new RawSocket();
  readonly #sink = boundSocket(PORT);
  readonly #peers: PlayedPeer[] = [];
  /** Number of peers, also silent ones. */
  #count = 0;

  static async create(): Promise<PlayedGateway> {
    await $`ip link set lo up && mkdir -p /var/run/wireguard`.quiet();
    return new PlayedGateway(await FakeUapiDevice.create("played0", { port: PORT }));
  }

  private constructor(device: FakeUapiDevice) {
    this.#device = device;
  }

  async addPeers(count: number): Promise<readonly RemotePeer[]> {
    const added = Array.from(
      { length: count },
      () => new PlayedPeer(this.#raw, this.#device, ++this.#count),
    );
    for (const peer of added) {
      await peer.move();
      await peer.restore();
    }
    this.#peers.push(...added);
    return added;
  }

  async addSilentPeers(count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      this.#device.add(++this.#count);
      this.#device.peers.get(this.#count)!.endpoint =
        `198.51.100.${n & 255}:${1024 + (n % 60_000)}`;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.#peers) peer[Symbol.dispose]();
    this.#raw[Symbol.dispose]();
    libc().close(this.#sink);
    await this.#device[Symbol.asyncDispose]();
  }
}

class PlayedPeer implements RemotePeer, Disposable {
  readonly #device: FakeUapiDevice;
  /** Of the peer on the device. */
  readonly #number: number;
  readonly #raw: RawSocket;
  #socket: Bun.udp.ConnectedSocket<"buffer"> | null = null;
  #address = "";
  /** Receiver index of the session. */
  #index = 0;
  #counter = 0;

  constructor(raw: RawSocket, device: FakeUapiDevice, number: number) {
    this.#raw = raw;
    this.#device = device;
    this.#number = number;
  }

  get publicKey(): string {
    return publicKeyOf(this.#number);
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
    const peer = this.#device.peers.get(this.#number);
    if (peer !== undefined) peer.handshakeMs = Date.now();
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
    this.#device.remove(this.#number);
  }

  async restore(): Promise<void> {
    this.#device.add(this.#number);
  }

  /** Updates the state of the device, and sends the message over the network. */
  #transmit(message: Uint8Array, bytes: number): void {
    const peer = this.#device.peers.get(this.#number);
    if (peer !== undefined) {
      peer.endpoint = this.place;
      peer.rxBytes += bytes;
    }
    this.#socket!.send(message);
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
