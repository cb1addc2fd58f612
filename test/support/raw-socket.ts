/** Sends complete IP packets, with arbitrary source addresses: raw(7). For separate network namespaces. */

import { errno, libc } from "../../ffi/libc.ts";
import { AF_INET, AF_INET6 } from "../../src/platform/constants.ts";
import { socketAddress } from "./answers.ts";

/** bits/socket.h, netinet/in.h */
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;

export class RawSocket implements Disposable {
  readonly #descriptor: number;

  /** `route`: the address that selects the route. Each packet contains its own destination. */
  constructor(route = "127.0.0.1") {
    const isV6 = route.includes(":");
    this.#descriptor = libc().socket(isV6 ? AF_INET6 : AF_INET, SOCK_RAW, IPPROTO_RAW);
    const address = socketAddress(isV6 ? `[${route}]:0` : `${route}:0`);
    if (libc().connect(this.#descriptor, address, address.length) < 0) {
      const code = errno();
      libc().close(this.#descriptor);
      throw new Error(`raw socket: errno ${code}`);
    }
  }

  /** Sends a packet. The kernel fills in the checksum of an IPv4 header. */
  send(packet: Uint8Array): void {
    if (Number(libc().write(this.#descriptor, packet, packet.length)) < 0) {
      throw new Error(`raw socket: errno ${errno()}`);
    }
  }

  [Symbol.dispose](): void {
    libc().close(this.#descriptor);
  }
}
