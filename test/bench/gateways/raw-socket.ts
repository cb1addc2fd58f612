/** Sends complete IPv4 packets, with arbitrary addresses, to the loopback interface: raw(7). */

import { errno, libc } from "../../../ffi/libc.ts";
import { AF_INET } from "../../../src/platform/constants.ts";

/** bits/socket.h, netinet/in.h */
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;

export class RawSocket implements Disposable {
  readonly #descriptor: number;

  constructor() {
    this.#descriptor = libc().socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    // struct sockaddr_in; 127.0.0.1 selects the route only; the packet contains its destination.
    const address = new Uint8Array(new ArrayBuffer(16));
    address[0] = AF_INET;
    address.set([127, 0, 0, 1], 4);
    if (libc().connect(this.#descriptor, address, address.length) < 0) {
      const code = errno();
      libc().close(this.#descriptor);
      throw new Error(`raw socket: errno ${code}`);
    }
  }

  /** Sends an IPv4 packet. The kernel fills in the header checksum. */
  send(packet: Uint8Array): void {
    if (Number(libc().write(this.#descriptor, packet, packet.length)) < 0) {
      throw new Error(`raw socket: errno ${errno()}`);
    }
  }

  [Symbol.dispose](): void {
    libc().close(this.#descriptor);
  }
}
