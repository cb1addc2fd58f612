/**
 * A tap for the first data of sessions that comes to a port, with the time at which the kernel took it in: a
 * benchmark's own process may read it late.
 */

import { dlopen } from "bun:ffi";

import { compileExpression } from "../../src/capture/bpf.ts";
import {
  attachFilter,
  bindPacketSocket,
  closePacketSocket,
  openPacketSocket,
} from "../../src/capture/packet-socket.ts";
import { readQueued } from "../../src/capture/socket-reader.ts";
import { interfaceIndex } from "../../src/platform/machine-names.ts";

const libc = dlopen("libc.so.6", {
  // int ioctl(int fd, unsigned long op, void *argp);
  ioctl: { args: ["i32", "u64", "buffer"], returns: "i32" },
});
/** asm-generic/sockios.h: when the packet that was read last came in. */
const SIOCGSTAMPNS = 0x8907;

export class FirstDataTap implements Disposable {
  readonly #descriptor = openPacketSocket({
    receiveBufferBytes: 1024 * 1024,
    includesOutgoing: false,
  });

  /** @param interfaceName any: all. IPv4 only. */
  constructor(interfaceName: string, port: number) {
    const firstData = "udp[8:4] = 0x04000000 and udp[16:4] = 0 and udp[20:4] = 0";
    attachFilter(this.#descriptor, compileExpression(`udp dst port ${port} and ${firstData}`));
    const index = interfaceName === "any" ? 0 : interfaceIndex(interfaceName);
    bindPacketSocket(this.#descriptor, index, "bind the tap");
    // It fails, and from then on the kernel stamps.
    this.#stampMs();
  }

  /** Forgets what has come until now. */
  drain(): void {
    Array.from(readQueued(this.#descriptor));
  }

  /** The wall clock in milliseconds with fractions; NaN: none has come. */
  firstMs(): number {
    const [first] = readQueued(this.#descriptor, 1);
    return first === undefined ? NaN : this.#stampMs();
  }

  #stampMs(): number {
    // struct timespec
    const time = new BigInt64Array(new ArrayBuffer(16));
    if (libc.symbols.ioctl(this.#descriptor, SIOCGSTAMPNS, time) !== 0) return NaN;
    return Number(time[0]) * 1000 + Number(time[1]) / 1e6;
  }

  [Symbol.dispose](): void {
    closePacketSocket(this.#descriptor);
  }
}
