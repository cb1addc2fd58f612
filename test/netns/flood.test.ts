/** What wgmon's firewall rules log on this kernel while forged messages flood port 51820. */

import { afterEach, describe, expect, test } from "bun:test";

import { $ } from "bun";

import { systemClock } from "../../src/base/clock.ts";
import { MessageType } from "../../src/base/wireguard.ts";
import { openGroup } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { Forger } from "../support/forged.ts";
import { needs } from "../support/kernel.ts";
import { loadedByIptables, loadedByNft } from "../support/load-rules.ts";
import { data, initiation, response } from "../support/packets.ts";
import { runScript } from "../support/script.ts";
import { until } from "../support/until.ts";

const PORT = 51820;
const FLOOD = 20_000;
/** The kernel's input queue holds 1,000 packets (net.core.netdev_max_backlog). */
const PORTION = 500;

/** Offsets of the sender's index, and of the receiver's index by message type; messages.h. */
const SENDER_AT = 4;
const RECEIVER_AT = { 2: 8, 4: 4 } as const;

/** The first byte of forged indexes, and of indexes that this machine assigns: they never collide. */
const FORGED = 0xff;
const ASSIGNED = 0x80;

interface Count {
  /** Number of forged messages that were logged. */
  readonly logged: number;
  readonly seconds: number;
  /** Of ten genuine answers to this machine's messages, how many were logged. */
  readonly answered: number;
  /** Responses sent by this machine that were logged; it sends ten in two of the floods. */
  readonly sent: number;
}

interface UnderFlood {
  /** Forged initiations, and genuine first data after this machine's responses. */
  readonly initiations: Count;
  /** Forged first data with unknown indexes, and the same genuine data. */
  readonly data: Count;
  /** Forged responses, and genuine responses to this machine's initiations. */
  readonly responses: Count;
  /** Packets that the firewall dropped. */
  readonly dropped: number;
  /** Sent messages that must not be logged, and lost packets. */
  readonly faults: readonly string[];
}

const tools = needs("own namespaces", "nft", "bash");
const noIptables = Bun.which("iptables") === null ? " [skipped: no iptables]" : "";

describe.skipIf(tools.missing)(tools.title("firewall rules under a flood"), () => {
  afterEach(async () => {
    await $`nft flush ruleset`.quiet();
  });

  test.each([4, 6] as const)(
    "the rules of nft log nothing of a flood over IPv%d, and all real handshakes",
    async (version) => {
      await runScript(loadedByNft(PORT, PORT + 1));
      const { initiations, data, responses, dropped, faults } = await underFlood(version);
      expect(initiations).toMatchObject({ logged: 0, answered: 10, sent: 10 });
      expect(data).toMatchObject({ logged: 0, answered: 10, sent: 10 });
      expect(responses).toMatchObject({ logged: 0, answered: 10, sent: 0 });
      expect(dropped).toBe(0);
      expect(faults).toEqual([]);
    },
  );

  test.skipIf(noIptables !== "").each([4, 6] as const)(
    `the rules of iptables log a flood over IPv%d only up to the limit, and drop no packets${noIptables}`,
    async (version) => {
      await runScript(loadedByIptables(PORT, PORT + 1));
      const { initiations, data, responses, dropped, faults } = await underFlood(version);
      expect(initiations).toMatchObject({ logged: 0, answered: 10, sent: 10 });
      // Real messages share the limit with forged ones, except the responses of this machine.
      expectWithin(data, { burst: 500, rate: 500 });
      expect(data.sent).toBe(10);
      expectWithin(responses, { burst: 500, rate: 500 });
      expect(responses.sent).toBe(0);
      expect(dropped).toBe(0);
      expect(faults).toEqual([]);
    },
  );
});

/** Expects that some packets of the flood were logged, and no more than the limit allows for its duration. */
function expectWithin(
  { logged, answered, seconds }: Count,
  { burst, rate }: { readonly burst: number; readonly rate: number },
): void {
  expect(logged).toBeGreaterThan(0);
  expect(logged + answered).toBeLessThanOrEqual(burst + Math.ceil(rate * seconds));
}

async function underFlood(version: 4 | 6): Promise<UnderFlood> {
  using forger = new Forger(version);
  /** Source addresses of received packets that were logged, and the indexes of logged responses of this machine. */
  let logged: string[] = [];
  let sentIndexes: number[] = [];
  const faults: string[] = [];
  const group = await openGroup(1, systemClock, {
    onReceived: (bytes) => void logged.push(parsePacket(bytes)!.sourceAddress),
    onSent(bytes) {
      const { type, index } = parsePacket(bytes, "sent")!;
      if (type === MessageType.response) sentIndexes.push(index);
      else faults.push(`a sent message of type ${type} was logged`);
    },
    onPacketsLost: (reason) => void faults.push(reason),
  });
  const hosts = Array.from({ length: 10 }, (_, i) => 10 + i);
  const markHost = 99;
  const address = version === 4 ? "127.0.0.1" : "::1";
  const real = version === 4 ? (n: number) => `192.0.2.${n}` : (n: number) => `2001:db9:${n}::1`;
  const server = await Bun.udpSocket({ hostname: address, port: PORT });
  const client = await Bun.udpSocket({ hostname: address, port: 0 });
  const before = await counters(version);
  let sent = 0;

  async function flood(message: Uint8Array): Promise<void> {
    const indexAt = message[0] === 2 ? RECEIVER_AT[2] : RECEIVER_AT[4];
    const vary = (bytes: Uint8Array): void => {
      crypto.getRandomValues(bytes.subarray(indexAt, indexAt + 4));
      bytes[indexAt] = FORGED;
    };
    for (let left = FLOOD / hosts.length; left > 0; left -= PORTION) {
      forger.flood(message, { count: PORTION, port: PORT, vary });
      sent += PORTION;
      await arrived();
    }
  }
  /** Waits until all sent packets have reached the firewall. */
  async function arrived(): Promise<void> {
    await until(
      "all packets reach the firewall",
      async () => (await counters(version)).received - before.received >= sent,
    );
  }
  let lastIndex = ASSIGNED * 2 ** 24;
  /** Sends `question` from the server, with a new index, and a genuine `reply` to it. Returns the index. */
  function answer(question: Uint8Array, reply: Uint8Array, host: number): number {
    const index = ++lastIndex;
    new DataView(question.buffer).setUint32(SENDER_AT, index);
    server.send(question, client.port, address);
    const at = RECEIVER_AT[reply[0] as keyof typeof RECEIVER_AT];
    new DataView(reply.buffer).setUint32(at, index);
    forger.send(reply, real(host), PORT);
    sent += 2;
    return index;
  }
  /** Floods with `message`, with one genuine answer after each tenth of the flood, and counts what is logged. */
  async function count(
    message: Uint8Array,
    question: () => Uint8Array,
    reply: () => Uint8Array,
  ): Promise<Count> {
    logged = [];
    sentIndexes = [];
    const startMs = performance.now();
    const indexes = new Set<number>();
    for (const host of hosts) {
      await flood(message);
      indexes.add(answer(question(), reply(), host));
    }
    // The rate limits pass more packets until the last one has arrived.
    await arrived();
    const seconds = (performance.now() - startMs) / 1000;
    await marked();
    const realSources = new Set(hosts.map(real));
    const forged = logged.filter((each) => !realSources.has(each) && each !== real(markHost));
    return {
      logged: forged.length,
      seconds,
      answered: logged.filter((each) => realSources.has(each)).length,
      sent: sentIndexes.filter((index) => indexes.has(index)).length,
    };
  }
  /** Sends a message that all rules log, and waits until it is logged: packets are logged in order. */
  async function marked(): Promise<void> {
    const mark = () => void answer(response(), data(0), markHost);
    // Repeats, since a rate limit may drop a mark.
    const again = setInterval(mark, 20);
    await until("the last packet is logged", () => logged.at(-1) === real(markHost));
    clearInterval(again);
    await arrived();
  }

  const initiations = await count(initiation(), response, () => data(0));
  const firstData = await count(data(0), response, () => data(0));
  const responses = await count(response(), initiation, response);
  const after = await counters(version);
  for (const each of [server, client, group]) each.close();
  return {
    initiations,
    data: firstData,
    responses,
    dropped: after.received - before.received - (after.delivered - before.delivered),
    faults,
  };
}

/** Packets received by IP, and packets that the firewall passed to the upper protocols; proc(5). */
async function counters(version: 4 | 6) {
  if (version === 6) {
    const text = await Bun.file("/proc/net/snmp6").text();
    const value = (name: string) => Number(new RegExp(`^${name}\\s+(\\d+)`, "m").exec(text)![1]);
    return { received: value("Ip6InReceives"), delivered: value("Ip6InDelivers") };
  }
  const text = await Bun.file("/proc/net/snmp").text();
  const [names, values] = text.match(/^Ip: .*$/gm)!.map((line) => line.split(" "));
  const value = (name: string) => Number(values![names!.indexOf(name)]);
  return { received: value("InReceives"), delivered: value("InDelivers") };
}
