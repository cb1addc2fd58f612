/** A WireGuard device of the kernel, with peers that complete real handshakes. Needs root, ip, wg and nft. */

import { $ } from "bun";

import { Lab, type LabDevice } from "../../support/lab.ts";
import { ipv4 } from "../../support/packets.ts";
import type { Gateway, RemotePeer } from "./gateway.ts";
import { Initiator } from "./initiator.ts";
import { newAddress } from "./places.ts";

const NAME = "wg0";
const PORT = 51820;
const DATA_BYTES = 100;

export class KernelGateway implements Gateway {
  readonly port = PORT;
  readonly #lab: Lab;
  readonly #device: LabDevice;
  readonly #peers: KernelPeer[] = [];

  static async create(): Promise<KernelGateway> {
    const lab = await Lab.create();
    return new KernelGateway(lab, await lab.device(NAME, { port: PORT }));
  }

  private constructor(lab: Lab, device: LabDevice) {
    this.#lab = lab;
    this.#device = device;
  }

  get publicKey(): string {
    return this.#device.publicKey;
  }

  async addPeers(count: number): Promise<readonly RemotePeer[]> {
    const settings = new PeerSettings();
    const added: KernelPeer[] = [];
    for (let i = 0; i < count; i++) {
      const initiator = await Initiator.create({
        to: { address: "127.0.0.1", port: PORT },
        devicePublicKey: this.#device.publicKey,
        from: newAddress(),
      });
      const number = this.#peers.length;
      const inner = `172.${16 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
      const peer = new KernelPeer(initiator, inner, settings);
      this.#peers.push(peer);
      added.push(peer);
    }
    await Promise.all(added.map((peer) => peer.restore()));
    return added;
  }

  async addSilentPeers(count: number): Promise<void> {
    await this.#device.addSilentPeers(count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.#peers) peer[Symbol.dispose]();
    await this.#device.delete();
    this.#lab[Symbol.dispose]();
  }
}

class KernelPeer implements RemotePeer, Disposable {
  readonly #initiator: Initiator;
  readonly #settings: PeerSettings;
  readonly #inner: string;
  readonly #data: Uint8Array;

  constructor(initiator: Initiator, inner: string, settings: PeerSettings) {
    this.#initiator = initiator;
    this.#inner = inner;
    this.#settings = settings;
    // The gateway decrypts this packet and then drops it, because its IP checksum is not set.
    this.#data = ipv4(new Uint8Array(DATA_BYTES - 28), { source: inner });
  }

  get publicKey(): string {
    return this.#initiator.publicKey;
  }

  get place(): string {
    return this.#initiator.place;
  }

  async connect(): Promise<number> {
    return await this.#initiator.connect();
  }

  send(): void {
    this.#initiator.send(this.#data);
  }

  async roam(): Promise<void> {
    await this.#initiator.move(newAddress());
    this.send();
  }

  async remove(): Promise<void> {
    await this.#settings.apply("peer", this.publicKey, "remove");
  }

  async restore(): Promise<void> {
    await this.#settings.apply("peer", this.publicKey, "allowed-ips", `${this.#inner}/32`);
  }

  [Symbol.dispose](): void {
    this.#initiator[Symbol.dispose]();
  }
}

/** Applies changes through `wg set`, one process at a time with all pending changes: starting processes is slow. */
class PeerSettings {
  #words: string[] = [];
  #next: Promise<void> | null = null;
  #last: Promise<void> = Promise.resolve();

  async apply(...words: readonly string[]): Promise<void> {
    this.#words.push(...words);
    this.#next ??= this.#last = this.#last.then(async () => {
      this.#next = null;
      await $`wg set ${NAME} ${this.#words.splice(0)}`.quiet();
    });
    await this.#next;
  }
}
