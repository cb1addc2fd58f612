/**
 * Sends many data messages, with handshake messages among them, and prints, as JSON, which ones the kernel's filter
 * passes to wgmon: `unshare --net bun test/support/data-filter-scenarios.ts nflog` (or `bpf`), with lo up and a rule
 * that logs everything to port 51820 to group 1. For test/e2e/rules.test.ts.
 */

import { systemClock } from "../../src/base/clock.ts";
import { MessageType } from "../../src/base/wireguard.ts";
import { openTap } from "../../src/capture/bpf.ts";
import type { PacketHandler } from "../../src/capture/capture.ts";
import { openGroup } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { cookie, data, initiation, response } from "./packets.ts";
import { until } from "./until.ts";

const PORT = 51820;
const MANY = 5000;
/** Fewer messages than any receive buffer holds. */
const PORTION = 100;
/** In network byte order; its high bit is set. */
const INDEX = 0xdeadbeef;

/** What was read in each phase, in order: a message with its index (`first data 5`), or the reason of a loss. */
export interface Thinned {
  readonly all: readonly string[];
  readonly selected: readonly string[];
  readonly none: readonly string[];
  readonly again: readonly string[];
}

async function thinned(monitor: string): Promise<Thinned> {
  let read: string[] = [];
  const handler: PacketHandler = {
    onReceived(bytes) {
      const datagram = parsePacket(bytes);
      if (datagram?.destinationPort !== PORT) return;
      const { type, isFirstData, index } = datagram;
      const [name] = Object.entries(MessageType).find(([, number]) => number === type)!;
      read.push(`${isFirstData ? "first " : ""}${name} ${index.toString(16)}`);
    },
    onSent: () => void read.push("a sent packet"),
    onPacketsLost: (reason) => void read.push(`lost: ${reason}`),
  };
  const filter = `udp and dst port ${PORT}`;
  const capture =
    monitor === "nflog"
      ? await openGroup(1, systemClock, handler)
      : await openTap("lo", filter, systemClock, handler);
  const receiver = await Bun.udpSocket({ hostname: "127.0.0.1", port: PORT });
  const sender = await Bun.udpSocket({ hostname: "127.0.0.1" });
  const send = (message: Uint8Array) => void sender.send(message, PORT, "127.0.0.1");

  /**
   * Sends MANY later data messages, with one message of each other kind in the middle, then `mark`. Resolves with what
   * was read before the mark; without a mark, resolves immediately.
   */
  async function phase(mark: { message: Uint8Array; isRead: (line: string) => boolean } | null) {
    read = [];
    const messages = [
      initiation(),
      response(),
      cookie(),
      withIndex(INDEX, data(0)),
      withIndex(5, data(0)),
      withIndex(INDEX, data(2 ** 32)),
    ];
    for (let n = 0; n < MANY; n += PORTION) {
      for (let more = 0; more < PORTION; more++) send(withIndex(INDEX, data(7)));
      if (n === MANY / 2) for (const message of messages) send(message);
      // Lets the kernel and this process empty their queues.
      await Bun.sleep(1);
    }
    if (mark === null) return [];
    send(mark.message);
    await until("the last message is read", () => read.some((line) => mark.isRead(line)));
    return read.filter((line) => !mark.isRead(line));
  }

  const LAST = 0x7777;
  const last = {
    message: withIndex(LAST, data(0)),
    isRead: (line: string) => line === `first data ${LAST.toString(16)}`,
  };
  const all = await phase(last);
  capture.select([1, INDEX, LAST]);
  const selected = await phase(last);
  capture.select([]);
  await phase(null);
  const none = read;
  capture.select(null);
  const again = await phase(last);
  capture.close();
  receiver.close();
  sender.close();
  return { all, selected, none, again };
}

/** Writes the receiver index into the message. */
function withIndex(index: number, message: Uint8Array): Uint8Array {
  new DataView(message.buffer).setUint32(4, index);
  return message;
}

console.log(JSON.stringify(await thinned(process.argv[2]!)));
process.exit(0);
