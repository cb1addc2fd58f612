/** Identifies the socket that listens on a TCP port of this machine. */

import { readFileSync } from "node:fs";

/** The socket's inode. It changes if the port is closed and opened again. IPv4 only. */
export function listenerOf(port: number): string {
  const hexPort = port.toString(16).toUpperCase().padStart(4, "0");
  const table = readFileSync("/proc/self/net/tcp", "latin1");
  // proc_net_tcp(5): local address, remote address, state (0A: listening), five more fields, inode.
  const line = new RegExp(`: \\w+:${hexPort} \\S+ 0A (?:\\S+\\s+){5}(\\d+)`).exec(table);
  if (line === null) throw new Error(`nothing listens on port ${port}`);
  return line[1]!;
}
