/** Which socket listens on a TCP port of this machine. */

import { readFileSync } from "node:fs";

/** Its inode: another one, if it was closed in between and the port opened anew. IPv4 only. */
export function listenerOf(port: number): string {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const table = readFileSync("/proc/self/net/tcp", "latin1");
  // proc_net_tcp(5): local address, remote address, state (0A: listens), five more, inode.
  const line = new RegExp(`: \\w+:${hex} \\S+ 0A (?:\\S+\\s+){5}(\\d+)`).exec(table);
  if (line === null) throw new Error(`nothing listens on port ${port}`);
  return line[1]!;
}
