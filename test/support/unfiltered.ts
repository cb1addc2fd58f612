/** Removes wgmon's BPF filter from an open NFLOG group, so that this process receives all logged packets. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";

import { errno, libc } from "../../ffi/libc.ts";
import { NETLINK_NETFILTER, SOL_SOCKET } from "../../src/platform/constants.ts";

/** asm-generic/socket.h */
const SO_DETACH_FILTER = 27;

/** Detaches the BPF programs from all netfilter sockets of this process. @throws if no group is open. */
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
  // Duplicates of a descriptor share a socket: its program can be detached only once.
  const results = descriptors.map((descriptor) => {
    const none = new Int32Array(1);
    return libc().setsockopt(Number(descriptor), SOL_SOCKET, SO_DETACH_FILTER, none, 4);
  });
  if (!results.includes(0)) throw new Error(`no BPF program was detached: errno ${errno()}`);
}

function targetOf(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    // The descriptor of the directory listing is already closed.
    return "";
  }
}
