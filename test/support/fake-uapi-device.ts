/**
 * A simulated userspace WireGuard device that answers wgmon's queries. With each query, random peers connect, roam
 * or are removed.
 */

import { mkdir, rm } from "node:fs/promises";

import { $ } from "bun";

const FOLDER = "/var/run/wireguard";
const PEERS = 40;
/** Number of random changes between two queries. */
const ACTIVE = 12;

export class FakeDevice implements AsyncDisposable {
  readonly #server: ReturnType<typeof Bun.listen>;
  readonly #path: string;
  readonly #peers = new Map<number, { port: number; rxBytes: number; handshakeMs: number }>();
  #port = 1024;
  /** While true, peers do not change. */
  isFrozen = false;

  /** Creates the device in the current network namespace, which must not be the machine's. */
  static async create(name: string): Promise<FakeDevice> {
    await $`ip tuntap add dev ${name} mode tun`.quiet();
    await mkdir(FOLDER, { recursive: true });
    const path = `${FOLDER}/${name}.sock`;
    await rm(path, { force: true });
    return new FakeDevice(path);
  }

  private constructor(path: string) {
    this.#path = path;
    this.#server = Bun.listen({
      unix: path,
      socket: { data: (socket) => void socket.end(this.#answer()) },
    });
  }

  /** Base64. */
  get publicKeys(): readonly string[] {
    return [...this.#peers.keys()].map((index) =>
      Buffer.from(keyOf(index), "hex").toString("base64"),
    );
  }

  #answer(): string {
    if (!this.isFrozen) for (let count = 0; count < ACTIVE; count++) this.#change();
    const nowMs = Date.now();
    const lines = ["listen_port=51820"];
    for (const [index, peer] of this.#peers) {
      // Renews the handshake before the session expires.
      if (nowMs - peer.handshakeMs > 100_000) peer.handshakeMs = nowMs;
      lines.push(
        `public_key=${keyOf(index)}`,
        `endpoint=192.0.2.1:${peer.port}`,
        `last_handshake_time_sec=${Math.floor(peer.handshakeMs / 1000)}`,
        `last_handshake_time_nsec=${(peer.handshakeMs % 1000) * 1_000_000}`,
        `rx_bytes=${peer.rxBytes}`,
        "tx_bytes=0",
        `allowed_ip=10.0.0.${index}/32`,
      );
    }
    return `${lines.join("\n")}\nerrno=0\n\n`;
  }

  #change(): void {
    const index = Math.floor(Math.random() * PEERS);
    const peer = this.#peers.get(index);
    this.#port = this.#port === 65_535 ? 1024 : this.#port + 1;
    if (peer === undefined) {
      this.#peers.set(index, { port: this.#port, rxBytes: 180, handshakeMs: Date.now() });
    } else if (Math.random() < 0.1) {
      this.#peers.delete(index);
    } else {
      peer.port = this.#port;
      peer.rxBytes += 96;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.stop(true);
    await rm(this.#path, { force: true });
  }
}

/** A public key in hexadecimal. */
function keyOf(index: number): string {
  return index.toString(16).padStart(64, "0");
}
