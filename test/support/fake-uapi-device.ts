/**
 * A fake userspace WireGuard device: it answers the queries at its UAPI socket, with the peers that a test sets.
 * https://www.wireguard.com/xplatform/
 */

import { rm } from "node:fs/promises";
import { join } from "node:path";

import { runScript } from "./script.ts";

/** Sizes of the messages of a handshake that a device receives, and of one data message. */
const HANDSHAKE_BYTES = 180;
const DATA_BYTES = 96;
/** Handshakes are renewed after this time, before the session expires. */
const REKEY_MS = 100_000;
/** Number of peers of `changeAtRandom`, and of its changes. */
const RANDOM_PEERS = 40;
const CHANGES = 12;

interface FakePeer {
  endpoint: string | null;
  /** 0: never. */
  handshakeMs: number;
  rxBytes: number;
  /** While true, the peer sends data before each answer and renews its session. */
  talks: boolean;
}

/** The part of an answer that the socket has not accepted yet. */
interface Answering {
  readonly rest: Uint8Array;
}

export class FakeUapiDevice implements AsyncDisposable {
  /** By number, which is the public key. */
  readonly peers = new Map<number, FakePeer>();
  /** Number of queries. */
  queries = 0;
  /** Called before each answer. */
  onQuery = (): void => {};
  readonly #port: number;
  readonly #server: Bun.UnixSocketListener<Answering>;
  readonly #remove: () => Promise<void>;
  /** Number of open connections: their clients have not read the whole answer yet. */
  #unread = 0;
  #lastPort = 10_000;

  /**
   * Creates the device in the current network namespace, which must not be the machine's.
   *
   * @param folder of the sockets, as this process sees it.
   * @param run runs a script in the network namespace of the device.
   */
  static async create(
    name: string,
    {
      port = 51820,
      folder = "/var/run/wireguard",
      run = (script: string) => runScript(script),
    } = {},
  ): Promise<FakeUapiDevice> {
    await run(`ip link add ${name} type veth`);
    const path = join(folder, `${name}.sock`);
    return new FakeUapiDevice(path, port, async () => {
      await rm(path, { force: true });
      await run(`ip link delete ${name}`);
    });
  }

  private constructor(path: string, port: number, remove: () => Promise<void>) {
    this.#port = port;
    this.#remove = remove;
    const answer = () => this.#answer();
    this.#server = Bun.listen<Answering>({
      unix: path,
      socket: {
        open: () => void this.#unread++,
        close: () => void this.#unread--,
        data(socket) {
          socket.data = { rest: Buffer.from(answer()) };
          flush(socket);
        },
        drain: flush,
      },
    });
  }

  /** Whether wgmon has started a scan and not read the whole answer yet. */
  get isBeingScanned(): boolean {
    return this.#unread > 0;
  }

  /** Adds peers that have never connected. */
  add(...peers: readonly number[]): void {
    const peer = { endpoint: null, handshakeMs: 0, rxBytes: 0, talks: false };
    for (const number of peers) this.peers.set(number, { ...peer });
  }

  /** The peers complete a handshake, then send nothing until `talk`. */
  connect(...peers: readonly number[]): void {
    for (const number of peers) {
      const { rxBytes = 0, endpoint = null } = this.peers.get(number) ?? {};
      this.peers.set(number, {
        endpoint: endpoint ?? `192.0.2.2:${1000 + number}`,
        handshakeMs: Date.now(),
        rxBytes: rxBytes + HANDSHAKE_BYTES,
        talks: false,
      });
    }
  }

  talk(...peers: readonly number[]): void {
    for (const number of peers) this.peers.get(number)!.talks = true;
  }

  fallSilent(...peers: readonly number[]): void {
    for (const number of peers) this.peers.get(number)!.talks = false;
  }

  roam(...peers: readonly number[]): void {
    for (const number of peers) {
      const peer = this.peers.get(number)!;
      this.#lastPort = this.#lastPort === 65_535 ? 10_000 : this.#lastPort + 1;
      peer.endpoint = `192.0.2.2:${this.#lastPort}`;
      peer.rxBytes += DATA_BYTES;
    }
  }

  remove(...peers: readonly number[]): void {
    for (const number of peers) this.peers.delete(number);
  }

  /** Some peers connect, roam or are removed at random. */
  changeAtRandom(): void {
    for (let change = 0; change < CHANGES; change++) {
      const number = 1 + Math.floor(Math.random() * RANDOM_PEERS);
      if (!this.peers.has(number)) {
        this.connect(number);
        this.talk(number);
      } else if (Math.random() < 0.1) this.remove(number);
      else this.roam(number);
    }
  }

  #answer(): string {
    this.queries++;
    this.onQuery();
    const nowMs = Date.now();
    const lines = [`private_key=${"1".repeat(64)}`, `listen_port=${this.#port}`];
    for (const [number, peer] of this.peers) {
      if (peer.talks) {
        peer.rxBytes += DATA_BYTES;
        if (nowMs - peer.handshakeMs > REKEY_MS) peer.handshakeMs = nowMs;
      }
      lines.push(`public_key=${hexKey(number)}`, `preshared_key=${"0".repeat(64)}`);
      if (peer.endpoint !== null) lines.push(`endpoint=${peer.endpoint}`);
      lines.push(
        `last_handshake_time_sec=${Math.floor(peer.handshakeMs / 1000)}`,
        `last_handshake_time_nsec=${(peer.handshakeMs % 1000) * 1_000_000}`,
        `rx_bytes=${peer.rxBytes}`,
        "tx_bytes=0",
        `allowed_ip=10.${number >> 16}.${(number >> 8) & 255}.${number & 255}/32`,
      );
    }
    return `${lines.join("\n")}\nerrno=0\n\n`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.stop(true);
    await this.#remove();
  }
}

/** Writes as much as the socket accepts now; closes it at the end. */
function flush(socket: Bun.Socket<Answering>): void {
  const { rest } = socket.data;
  // -1: the socket accepts nothing now.
  const written = Math.max(0, socket.write(rest));
  socket.data = { rest: rest.subarray(written) };
  if (written === rest.length) socket.end();
}

/** The public key of the peer with this number, in base64. */
export function publicKeyOf(number: number): string {
  return Buffer.from(hexKey(number), "hex").toString("base64");
}

/** The number of the peer with this public key in base64. */
export function numberOf(publicKey: string): number {
  return Number(`0x${Buffer.from(publicKey, "base64").toString("hex")}`);
}

function hexKey(number: number): string {
  return number.toString(16).padStart(64, "0");
}
