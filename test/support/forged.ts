/** Sends messages with forged source addresses to a port of the loopback address. */

import { ipv4, ipv6 } from "./packets.ts";
import { RawSocket } from "./raw-socket.ts";

const versions = {
  // 16 million addresses in 10.0.0.0/8.
  4: { build: ipv4, source: "10.0.0.0", destination: "127.0.0.1", randomAt: 13, randomBytes: 3 },
  // 2^32 networks of size /64 in 2001:db8::/32.
  6: { build: ipv6, source: "2001:db8::1", destination: "::1", randomAt: 12, randomBytes: 4 },
} as const;

export class Forger implements Disposable {
  readonly #version: 4 | 6;
  readonly #socket: RawSocket;

  constructor(version: 4 | 6) {
    this.#version = version;
    this.#socket = new RawSocket(versions[version].destination);
  }

  /** Sends one message to a port. */
  send(message: Uint8Array, source: string, destinationPort: number): void {
    const { build, destination } = versions[this.#version];
    this.#socket.send(build(message, { source, destination, destinationPort }));
  }

  /**
   * Sends `count` copies of a message from random source addresses, mostly in different networks. `vary` may change
   * the message before each copy.
   */
  flood(
    message: Uint8Array,
    { count, port, vary }: { count: number; port: number; vary?: (message: Uint8Array) => void },
  ): void {
    const { build, source, destination, randomAt, randomBytes } = versions[this.#version];
    const packet = build(message, { source, destination, destinationPort: port });
    const random = packet.subarray(randomAt, randomAt + randomBytes);
    const messageInPacket = packet.subarray(packet.length - message.length);
    for (let sent = 0; sent < count; sent++) {
      crypto.getRandomValues(random);
      vary?.(messageInPacket);
      this.#socket.send(packet);
    }
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}
