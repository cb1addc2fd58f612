import { readFileSync } from "node:fs";

/** Number of open packet sockets in this network namespace. packet(7) */
export function packetSockets(): number {
  return readFileSync("/proc/self/net/packet", "utf8").trim().split("\n").length - 1;
}
