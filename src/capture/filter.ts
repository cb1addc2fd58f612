/** The default capture filter: the handshakes that are sent to WireGuard ports, and nothing else. */

import { MessageType } from "../wireguard.ts";

/**
 * A tcpdump expression that passes initiations, responses and first data messages (counter 0) to
 * `ports`; data of running sessions stays in the kernel. null when there is no port to listen to.
 *
 * `udp[...]` exists for IPv4 only, so IPv6 counts from its own header; one with extension headers is
 * not matched.
 */
export function handshakeFilter(ports: readonly number[]): string | null {
  if (ports.length === 0) return null;
  const destination = ports.map((port) => `dst port ${port}`).join(" or ");
  const messages = (field: (offset: number) => string) =>
    [
      `${field(0)} = ${header(MessageType.initiation)}`,
      `${field(0)} = ${header(MessageType.response)}`,
      `(${field(0)} = ${header(MessageType.data)} and ${field(8)} = 0 and ${field(12)} = 0)`,
    ].join(" or ");
  const ipv4 = messages((offset) => `udp[${8 + offset}:4]`);
  const ipv6 = messages((offset) => `ip6[${48 + offset}:4]`);
  return `udp and (${destination}) and ((ip and (${ipv4})) or (ip6 and (${ipv6})))`;
}

/** The first four bytes of a message, as tcpdump reads them: big-endian. */
function header(type: number): string {
  return `0x0${type}000000`;
}
