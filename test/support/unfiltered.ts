/** Makes the kernel pass to this process all that rules log, and not only what wgmon reads. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";

import { errno, libc } from "../../ffi/libc.ts";
import { NETLINK_NETFILTER, SOL_SOCKET } from "../../src/platform/constants.ts";

/** asm-generic/socket.h */
const SO_DETACH_FILTER = 27;

/** Takes the programs off this process's sockets for netfilter: that of an open group. */
export function passAllLogged(): void {
  const inodes = new Set(
    readFileSync("/proc/self/net/netlink", "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter(([, protocol]) => protocol === String(NETLINK_NETFILTER))
      .map((fields) => fields.at(-1)),
  );
  const descriptors = readdirSync("/proc/self/fd").filter((descriptor) => {
    const [, inode] = /^socket:\[(\d+)\]$/.exec(targetOf(descriptor)) ?? [];
    return inode !== undefined && inodes.has(inode);
  });
  if (descriptors.length === 0) throw new Error("no group is open");
  // Copies of a descriptor have the same socket: its program can be taken off once.
  const results = descriptors.map((descriptor) => {
    const none = new Int32Array(1);
    return libc().setsockopt(Number(descriptor), SOL_SOCKET, SO_DETACH_FILTER, none, 4);
  });
  if (!results.includes(0)) throw new Error(`no program was taken off: errno ${errno()}`);
}

function targetOf(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    // That of the list itself is closed by now.
    return "";
  }
}
