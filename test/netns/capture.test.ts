/** The filters that wgmon attaches to its sockets on this kernel, and the tap for sent messages. */

import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { $ } from "bun";

import { systemClock } from "../../src/base/clock.ts";
import { MessageType } from "../../src/base/wireguard.ts";
import { openTap } from "../../src/capture/bpf.ts";
import type { PacketHandler } from "../../src/capture/capture.ts";
import { openHandshakeSample } from "../../src/capture/handshake-sample.ts";
import { openGroup } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { openSentTap } from "../../src/capture/sent-handshakes.ts";
import { needs } from "../support/kernel.ts";
import { nftLoad } from "../support/load-rules.ts";
import { packetSockets } from "../support/packet-sockets.ts";
import { cookie, data, initiation, response } from "../support/packets.ts";
import { runScript } from "../support/script.ts";
import { until } from "../support/until.ts";

const HOST = "127.0.0.1";
const PORT = 51820;
const OTHER_PORT = 51821;

const filterTools = needs("own namespaces", "nft", "bash");

describe.skipIf(filterTools.missing)(filterTools.title("the filter of a socket"), () => {
  const MANY = 5000;
  /** Fewer messages than any receive buffer holds. */
  const PORTION = 100;
  /** In network byte order; its high bit is set. */
  const INDEX = 0xdeadbeef;
  const LAST = 0x7777;
  const last = `first data ${LAST.toString(16)}`;
  const rule = `table inet plain {
      chain input {
        type filter hook input priority 0;
        udp dport ${PORT} log group 1 snaplen 65535;
      }
    }
`;

  afterEach(async () => {
    await $`nft flush ruleset`.quiet();
  });

  test.each(["nflog", "bpf"])(
    "wgmon receives only handshakes and selected data, if a rule or a filter passes all data (%s)",
    async (monitor) => {
      await runScript(nftLoad(rule));
      /** Messages with their index, in the order in which they were read, and the reasons of losses. */
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
      const receiver = await Bun.udpSocket({ hostname: HOST, port: PORT });
      const sender = await Bun.udpSocket({ hostname: HOST });
      const send = (message: Uint8Array) => void sender.send(message, PORT, HOST);

      /** Sends MANY later data messages, with one message of each other kind in the middle. */
      async function sendEachKind(): Promise<void> {
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
      }
      /** Sends the last message, and resolves with what was read before it. */
      async function readBeforeLast(): Promise<string[]> {
        send(withIndex(LAST, data(0)));
        await until("the last message is read", () => read.includes(last));
        return read.filter((line) => line !== last);
      }

      const all = [
        "initiation eeeeeeee",
        "response eeeeeeee",
        "first data deadbeef",
        "first data 5",
      ];
      await sendEachKind();
      expect(await readBeforeLast()).toEqual(all);
      capture.select([1, INDEX, LAST]);
      await sendEachKind();
      expect(await readBeforeLast()).toEqual(["first data deadbeef"]);
      capture.select([]);
      await sendEachKind();
      expect(read).toEqual([]);
      capture.select(null);
      await sendEachKind();
      expect(await readBeforeLast()).toEqual(all);
      capture.close();
      receiver.close();
      sender.close();
    },
  );
});

/** Writes the receiver index into the message. */
function withIndex(index: number, message: Uint8Array): Uint8Array {
  new DataView(message.buffer).setUint32(4, index);
  return message;
}

const sampleTools = needs("own namespaces");

test.skipIf(sampleTools.missing)(
  sampleTools.title(
    "the sample of handshakes contains those to the given ports, and none without ports",
  ),
  async () => {
    /** Enough time for two reads of the sample, in which it would find further packets. */
    const TWO_READS_MS = 600;
    const read: number[] = [];
    const sample = openHandshakeSample(systemClock, (bytes) => {
      read.push(parsePacket(bytes)!.destinationPort);
    });
    const receivers = await Promise.all(
      [PORT, OTHER_PORT].map((port) => Bun.udpSocket({ hostname: HOST, port })),
    );
    const sender = await Bun.udpSocket({ hostname: HOST });
    /** Sends an initiation to both ports, and returns the ports of those that were read. */
    async function sampleOf(ports: readonly number[]): Promise<number[]> {
      read.length = 0;
      sample.setPorts(ports);
      for (const port of [PORT, OTHER_PORT]) sender.send(initiation(), port, HOST);
      await until("the initiations are read", () => read.length >= ports.length);
      await Bun.sleep(TWO_READS_MS);
      return read;
    }
    expect(await sampleOf([])).toEqual([]);
    expect(await sampleOf([PORT])).toEqual([PORT]);
    expect(await sampleOf([PORT, OTHER_PORT])).toEqual([PORT, OTHER_PORT]);
    expect(await sampleOf([])).toEqual([]);
    expect(await sampleOf([PORT, OTHER_PORT])).toEqual([PORT, OTHER_PORT]);
    sample.close();
    for (const socket of [...receivers, sender]) socket.close();
  },
);

const tapTools = needs("own namespaces", "setpriv", "bash");

describe.skipIf(tapTools.missing)(tapTools.title("the tap for sent messages"), () => {
  /** More messages than a burst of handshakes contains. */
  const MANY = 1000;

  test("the tap delivers each response and first data once, and nothing else, until it is closed", async () => {
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
    const own = await Bun.udpSocket({ hostname: HOST, port: PORT });
    const other = await Bun.udpSocket({ hostname: HOST, port: OTHER_PORT });
    const peer = await Bun.udpSocket({ hostname: HOST });
    /** Sends one message of each kind from both ports; resolves once the last one that must be reported is. */
    async function sendEachKind(): Promise<void> {
      heard = [];
      for (const socket of [own, other]) {
        for (const message of [initiation(), data(0), data(1), cookie(), response()]) {
          socket.send(message, peer.port, HOST);
        }
      }
      await until("the last response is reported", () => heard.at(-1) === `2 from ${OTHER_PORT}`);
    }
    const reported = ["4 from 51820", "2 from 51820", "4 from 51821", "2 from 51821"];

    const tap = open();
    // While a packet socket is open, the kernel copies each packet that leaves. packet(7)
    expect(packetSockets()).toBe(1);
    // Sent immediately: packets that arrive before the first read wait in the receive buffer.
    await sendEachKind();
    expect(heard).toEqual(reported);
    heard = [];
    for (let count = 0; count < MANY; count++) own.send(response(), peer.port, HOST);
    await until("all responses are reported", () => heard.length >= MANY);
    expect(heard).toHaveLength(MANY);

    tap.close();
    const another = open();
    await sendEachKind();
    // The closed tap has not reported anything more.
    expect(heard).toEqual(reported);
    another.close();
    await until("both packet sockets are closed", () => packetSockets() === 0);
    expect(lost).toEqual([]);
    for (const socket of [own, other, peer]) socket.close();
  });

  test("openSentTap returns null without the capability", async () => {
    const [tap, clock] = ["capture/sent-handshakes.ts", "base/clock.ts"].map((file) =>
      join(import.meta.dir, "../../src", file),
    );
    const output = await runScript(`
      setpriv --bounding-set=-net_raw --inh-caps=-net_raw "$bun" -e '
        import { openSentTap } from "${tap}";
        import { systemClock } from "${clock}";
        console.log(openSentTap(systemClock, { onData() {}, onLost() {} }));'
    `);
    expect(output.trim()).toBe("null");
  });
});
