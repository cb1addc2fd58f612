/** The seam to socket filters: BPF programs that choose, in the kernel, what a socket receives. socket(7) */

import { ptr } from "bun:ffi";

import { errno, libc } from "../../ffi/libc.ts";
import { systemError } from "../kernel/errno.ts";
import { SO_ATTACH_FILTER, SO_DETACH_FILTER, SOL_SOCKET } from "../kernel/uapi.ts";

/** struct bpf_insn, linux/filter.h: code, two jumps, a 32-bit operand. */
export const INSTRUCTION_BYTES = 8;
const SOCK_FPROG_BYTES = 16;

/**
 * Takes the place of the program that was there.
 *
 * @throws SystemError
 */
export function attachFilter(descriptor: number, instructions: Uint8Array): void {
  // struct sock_fprog, linux/filter.h: a 16-bit count, padding, a pointer to the instructions. They
  // follow in the same buffer, so that they are where the pointer says as long as the call lasts.
  const bytes = new Uint8Array(new ArrayBuffer(SOCK_FPROG_BYTES + instructions.length));
  bytes.set(instructions, SOCK_FPROG_BYTES);
  const program = new DataView(bytes.buffer);
  program.setUint16(0, instructions.length / INSTRUCTION_BYTES, true);
  program.setBigUint64(8, BigInt(ptr(bytes) + SOCK_FPROG_BYTES), true);
  const option = SO_ATTACH_FILTER;
  const failed = libc().setsockopt(descriptor, SOL_SOCKET, option, bytes, SOCK_FPROG_BYTES);
  if (failed < 0) throw systemError("attach a BPF program", errno());
}

/** The socket receives everything again. */
export function detachFilter(descriptor: number): void {
  const unused = new Int32Array(new ArrayBuffer(4));
  libc().setsockopt(descriptor, SOL_SOCKET, SO_DETACH_FILTER, unused, unused.byteLength);
}
