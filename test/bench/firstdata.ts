/**
 * Captures the first data messages of sessions to a port, with the kernel's receive timestamps, because the process of
 * the benchmark may read the packets late.
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
/** asm-generic/sockios.h: the receive timestamp of the packet that was read last. */
const SIOCGSTAMPNS = 0x8907;

export class FirstDataTap implements Disposable {
  readonly #descriptor = openPacketSocket({
    receiveBufferBytes: 1024 * 1024,
    includesOutgoing: false,
  });

  /** IPv4 only. @param interfaceName any: all interfaces. */
  constructor(interfaceName: string, port: number) {
    const firstData = "udp[8:4] = 0x04000000 and udp[16:4] = 0 and udp[20:4] = 0";
    attachFilter(this.#descriptor, compileExpression(`udp dst port ${port} and ${firstData}`));
    const index = interfaceName === "any" ? 0 : interfaceIndex(interfaceName);
    bindPacketSocket(this.#descriptor, index, "bind the tap");
    // The first call fails and enables timestamps.
    this.#stampMs();
  }

  /** Discards the packets that were received so far. */
  drain(): void {
    Array.from(readQueued(this.#descriptor));
  }

  /**
   * Receive time of the first packet since `drain`, wall clock in milliseconds with fractions; NaN without a packet.
   */
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
