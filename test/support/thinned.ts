/**
 * What is read of much data, and of a handshake in the middle of it: `unshare --net bun
 * test/support/thinned.ts nflog`, or bpf, with lo up and a rule that logs all to port 51820 to group 1.
 * Prints JSON. For test/e2e/rules.test.ts.
 */

import { openTap } from "../../src/capture/bpf.ts";
import type { PacketHandler } from "../../src/capture/capture.ts";
import { openGroup } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { type Clock, systemClock } from "../../src/clock.ts";
import { threadCpuMs } from "../../src/system.ts";
import { data, initiation } from "./packets.ts";
import { until } from "./until.ts";

const PORT = 51820;
/** Enough for a busy time. */
const BUSY = 200;
const MANY = 5000;
/** How long data is kept back, or more; thinning.ts. */
const THINNED_MS = 10_000;
/** Fewer than any queue holds. */
const PORTION = 100;

/**
 * By the processor's time: what a busy machine gives to others counts as work otherwise, and so many
 * packets as a flood. What is kept back is so until the end.
 */
const clock: Clock = {
  now: () => ({ ...systemClock.now(), monotonicMs: threadCpuMs() }),
  after: (delayMs, callback) =>
    delayMs < THINNED_MS ? systemClock.after(delayMs, callback) : () => {},
};

export interface Thinned {
  /** Data messages that were read, before and after the socket was busy. */
  readonly before: number;
  readonly after: number;
  readonly handshakes: number;
  readonly lost: readonly string[];
}

async function thinned(monitor: string): Promise<Thinned> {
  const lost: string[] = [];
  let count = 0;
  let handshakes = 0;
  const handler: PacketHandler = {
    packet(bytes) {
      const datagram = parsePacket(bytes);
      if (datagram?.destinationPort !== PORT) return;
      if (datagram.type === 4) count++;
      else handshakes++;
    },
    lost: (reason) => void lost.push(reason),
    overrun: () => void lost.push("overrun"),
  };
  const capture =
    monitor === "nflog"
      ? await openGroup(1, clock, handler)
      : await openTap("lo", `udp and dst port ${PORT}`, clock, handler);
  await using receiver = await closing(Bun.udpSocket({ hostname: "127.0.0.1", port: PORT }));
  await using sender = await closing(Bun.udpSocket({ hostname: "127.0.0.1" }));
  void receiver;
  const send = (message: Uint8Array) => sender.socket.send(message, PORT, "127.0.0.1");

  for (let n = 0; n < BUSY; n++) send(data(7));
  await until("all data is read", () => count === BUSY);
  const before = count;
  for (let n = 0; n < MANY; n += PORTION) {
    for (let more = 0; more < PORTION; more++) send(data(7));
    await Bun.sleep(1);
  }
  send(initiation());
  await until("the handshake is read", () => handshakes === 1);
  capture.close();
  return { before, after: count - before, handshakes, lost };
}

async function closing(opening: Promise<Bun.udp.Socket<"buffer">>) {
  const socket = await opening;
  return { socket, [Symbol.asyncDispose]: async () => socket.close() };
}

console.log(JSON.stringify(await thinned(process.argv[2]!)));
process.exit(0);
