/**
 * Sends packets with forged source addresses to the loopback address through a raw socket: raw(7).
 * For tests in separate network namespaces.
 */

import { errno, libc } from "../../ffi/libc.ts";
import { addressBytes } from "./answers.ts";
import { ipv4, ipv6 } from "./packets.ts";

/** bits/socket.h, netinet/in.h */
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;

const families = {
  4: { family: AF_INET, destination: "127.0.0.1", sockaddrBytes: 16, addressAt: 4, sourceAt: 12 },
  6: { family: AF_INET6, destination: "::1", sockaddrBytes: 28, addressAt: 8, sourceAt: 8 },
} as const;

export class Forger implements Disposable {
  readonly #version: 4 | 6;
  readonly #descriptor: number;

  constructor(version: 4 | 6) {
    this.#version = version;
    const { family, destination, sockaddrBytes, addressAt } = families[version];
    this.#descriptor = libc().socket(family, SOCK_RAW, IPPROTO_RAW);
    // struct sockaddr_in and sockaddr_in6: the family in the machine's order, then port and address.
    const address = new Uint8Array(new ArrayBuffer(sockaddrBytes));
    address[0] = family;
    address.set(addressBytes(destination), addressAt);
    if (libc().connect(this.#descriptor, address, address.length) < 0) {
      throw new Error(`raw socket: errno ${errno()}`);
    }
  }

  /** Sends one message to a port. The kernel fills in the checksum of the IPv4 header. */
  send(message: Uint8Array, source: string, destinationPort: number): void {
    this.#write(this.#packet(message, source, destinationPort));
  }

  /**
   * Sends `count` copies of a message from random source addresses, mostly in different networks. `vary` may change
   * the message before each copy.
   */
  flood(
    message: Uint8Array,
    { count, port, vary }: { count: number; port: number; vary?: (message: Uint8Array) => void },
  ): void {
    const source = this.#version === 4 ? "10.0.0.0" : "2001:db8::1";
    const packet = this.#packet(message, source, port);
    const { sourceAt } = families[this.#version];
    // 16 million addresses in 10.0.0.0/8, or 2^32 networks of size /64 in 2001:db8::/32.
    const random = packet.subarray(sourceAt + (this.#version === 4 ? 1 : 4)).subarray(0, 4);
    const messageInPacket = packet.subarray(packet.length - message.length);
    for (let sent = 0; sent < count; sent++) {
      crypto.getRandomValues(this.#version === 4 ? random.subarray(0, 3) : random);
      vary?.(messageInPacket);
      this.#write(packet);
    }
  }

  [Symbol.dispose](): void {
    libc().close(this.#descriptor);
  }

  #packet(message: Uint8Array, source: string, destinationPort: number): Uint8Array {
    const { destination } = families[this.#version];
    const fields = { source, destination, destinationPort };
    return this.#version === 4 ? ipv4(message, fields) : ipv6(message, fields);
  }

  #write(packet: Uint8Array): void {
    if (Number(libc().write(this.#descriptor, packet, packet.length)) < 0) {
      throw new Error(`raw socket: errno ${errno()}`);
    }
  }
}
