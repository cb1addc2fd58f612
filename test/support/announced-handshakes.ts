/**
 * What the tap hears of what this machine itself sends: `unshare --net bun test/support/announced-handshakes.ts`, with lo
 * up. Prints JSON. For test/e2e/rules.test.ts.
 */

import { readFileSync } from "node:fs";

import { systemClock } from "../../src/base/clock.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { openSentTap } from "../../src/capture/sent-handshakes.ts";
import { cookie, data, initiation, response } from "./packets.ts";
import { until } from "./until.ts";

const PORT = 51820;
const OTHER_PORT = 51821;
/** As many as a burst of handshakes makes, and more. */
const MANY = 1000;

export interface Announced {
  /** `2 from 51820`: the types that were heard, and the ports that they came from. */
  readonly heard: readonly string[];
  /** How many of MANY at once were heard. */
  readonly many: number;
  /** By a second tap, when the first one is closed: by that one nothing is heard any more. */
  readonly again: readonly string[];
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
  /** What is heard of one message of each kind from either port, up to the last one that is to be heard. */
  const hear = async (): Promise<string[]> => {
    heard = [];
    for (const socket of [own, other]) {
      for (const message of [initiation(), data(0), data(1), cookie(), response()]) {
        socket.send(message, peer.port, hostname);
      }
    }
    await until("the last response is heard", () => heard.at(-1) === `2 from ${OTHER_PORT}`);
    return heard;
  };

  const tap = open();
  if (packetSockets() !== 1) throw new Error("a tap is one packet socket");
  // At once: what comes before it is read waits.
  const first = await hear();
  heard = [];
  for (let count = 0; count < MANY; count++) own.send(response(), peer.port, hostname);
  await until("all responses are heard", () => heard.length === MANY);
  const many = heard.length;

  tap.close();
  const another = open();
  const again = await hear();
  another.close();
  await until("both packet sockets are closed", () => packetSockets() === 0);
  for (const socket of [own, other, peer]) socket.close();
  return { heard: first, many, again, lost };
}

/** As long as one is open, the kernel makes a copy of each packet that leaves. packet(7) */
function packetSockets(): number {
  return readFileSync("/proc/net/packet", "utf8").trimEnd().split("\n").length - 1;
}

console.log(JSON.stringify(await announced()));
process.exit(0);
