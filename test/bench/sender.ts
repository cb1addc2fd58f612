/**
 * Sends forged WireGuard messages to a port of 127.0.0.1, half of them initiations and half the first
 * data of sessions, each from another address and port: `bun test/bench/sender.ts PORT COUNT PER_SECOND`.
 * With a PEER, `127.1.2.3:40000`, as many come from there, and as much is rubbish: a mix of five.
 * Prints a line when it begins, and in the end how many it sent in how many seconds, as JSON. For
 * network namespaces of their own.
 */

import { paced } from "../support/pace.ts";
import { data, initiation, ipv4 } from "../support/packets.ts";
import { RawSocket } from "../support/rawsocket.ts";

const [port, count, perSecond] = process.argv.slice(2, 5).map(Number);
const peer = process.argv[5];
if (port === undefined || count === undefined || perSecond === undefined) {
  console.error("sender.ts PORT COUNT PER_SECOND [PEER]");
  process.exit(2);
}

/** Within an IPv4 packet without options. */
const SOURCE_AT = 12;
const SOURCE_PORT_AT = 20;
const MESSAGE_AT = 28;

const way = { source: "10.0.0.0", destination: "127.0.0.1", destinationPort: port };
const fromAnywhere = [ipv4(initiation(), way), ipv4(data(0), way)];
const packets = [...fromAnywhere];
if (peer !== undefined) {
  const [source, sourcePort] = peer.split(":");
  const fromPeer = { ...way, source: source!, sourcePort: Number(sourcePort) };
  packets.push(ipv4(initiation(), fromPeer), ipv4(data(0), fromPeer));
  packets.push(ipv4(crypto.getRandomValues(new Uint8Array(100)), way));
}

using socket = new RawSocket();
console.log("sending");
const { done, seconds } = await paced({ count, perSecond }, (index) => {
  const packet = packets[index % packets.length]!;
  if (fromAnywhere.includes(packet)) {
    crypto.getRandomValues(packet.subarray(SOURCE_AT + 1, SOURCE_AT + 4));
    crypto.getRandomValues(packet.subarray(SOURCE_PORT_AT, SOURCE_PORT_AT + 2));
  }
  // Index of the sender, or of the receiver.
  crypto.getRandomValues(packet.subarray(MESSAGE_AT + 4, MESSAGE_AT + 8));
  socket.send(packet);
});
console.log(JSON.stringify({ sent: done, seconds }));
process.exit(0);
