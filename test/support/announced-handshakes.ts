/**
 * Sends WireGuard messages from this machine and prints, as JSON, which of them the tap of sent-handshakes.ts reports:
 * `unshare --net bun test/support/announced-handshakes.ts`, with lo up. For test/e2e/rules.test.ts.
 */

import { readFileSync } from "node:fs";

import { systemClock } from "../../src/base/clock.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { openSentTap } from "../../src/capture/sent-handshakes.ts";
import { cookie, data, initiation, response } from "./packets.ts";
import { until } from "./until.ts";

const PORT = 51820;
const OTHER_PORT = 51821;
/** More messages than a burst of handshakes contains. */
const MANY = 1000;

export interface Announced {
  /** Type and source port of each reported message: `2 from 51820`. */
  readonly heard: readonly string[];
  /** Of MANY messages sent at once, how many were reported. */
  readonly many: number;
  /** The same as `heard`, with a second tap after the first is closed: the first must not report anything more. */
  readonly again: readonly string[];
  /** Error codes of lost packets. */
  readonly lost: readonly string[];
}

async function announced(): Promise<Announced> {
  let heard: string[] = [];
  const lost: string[] = [];
  const open = () =>
    openSentTap(systemClock, {
      onData(bytes) {
        const { type, destinationPort } = parsePacket(bytes, "sent")!;
        heard.push(`${type} from ${destinationPort}`);
      },
      onLost: (code) => void lost.push(code),
    })!;
  const hostname = "127.0.0.1";
  const socketAt = (port: number) => Bun.udpSocket({ hostname, port });
  const [own, other, peer] = [
    await socketAt(PORT),
    await socketAt(OTHER_PORT),
    await Bun.udpSocket({ hostname }),
  ];
  /** Sends one message of each kind from both ports; resolves once the last one that must be reported is. */
  const sendEachKind = async (): Promise<string[]> => {
    heard = [];
    for (const socket of [own, other]) {
      for (const message of [initiation(), data(0), data(1), cookie(), response()]) {
        socket.send(message, peer.port, hostname);
      }
    }
    await until("the last response is reported", () => heard.at(-1) === `2 from ${OTHER_PORT}`);
    return heard;
  };

  const tap = open();
  if (packetSockets() !== 1) throw new Error("a tap does not have exactly one packet socket");
  // Sent immediately: packets that arrive before the first read wait in the receive buffer.
  const first = await sendEachKind();
  heard = [];
  for (let count = 0; count < MANY; count++) own.send(response(), peer.port, hostname);
  await until("all responses are reported", () => heard.length === MANY);
  const many = heard.length;

  tap.close();
  const another = open();
  const again = await sendEachKind();
  another.close();
  await until("both packet sockets are closed", () => packetSockets() === 0);
  for (const socket of [own, other, peer]) socket.close();
  return { heard: first, many, again, lost };
}

/** Counts open packet sockets. While one is open, the kernel copies each packet that leaves. packet(7) */
function packetSockets(): number {
  return readFileSync("/proc/net/packet", "utf8").trimEnd().split("\n").length - 1;
}

console.log(JSON.stringify(await announced()));
process.exit(0);
