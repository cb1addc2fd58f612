/**
 * What the firewall rules of this network namespace log to NFLOG group 1 while forged messages come to
 * port 51820 by the thousand: `unshare --net bun test/support/underflood.ts 4`, or 6 for IPv6, with lo
 * up and the rules just loaded. Prints JSON. For test/e2e/rules.test.ts.
 */

import { openGroup } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { systemClock } from "../../src/clock.ts";
import { Forger } from "./forged.ts";
import { data, initiation, response } from "./packets.ts";
import { REPORT_MS, until } from "./until.ts";

const PORT = 51820;
const FLOOD = 20_000;
/** The kernel's queue on the way in holds 1,000 (net.core.netdev_max_backlog). */
const PORTION = 500;

/** Where the index of the sender and of the receiver are in a message; messages.h. */
const SENDER_AT = 4;
const RECEIVER_AT = { 2: 8, 4: 4 } as const;

export interface Count {
  /** Of those that were sent from everywhere. */
  readonly logged: number;
  readonly seconds: number;
}

export interface UnderFlood {
  /** 400 initiations of one source. */
  readonly ofOneSource: Count;
  /** Another source's, after them. */
  readonly ofAnother: number;
  /** Each of another source. */
  readonly initiations: Count;
  /** Of ten first data messages among the former, of unknown indexes. */
  readonly dataAmongInitiations: number;
  readonly data: Count;
  readonly responses: Count;
  /** Of ten answers to messages that left this machine, among the former: a data message, a response. */
  readonly answered: { readonly data: number; readonly responses: number };
  /** Packets that the firewall kept from the port. */
  readonly dropped: number;
}

const logged: string[] = [];
let onLogged = () => {};

async function underFlood(version: 4 | 6): Promise<UnderFlood> {
  using forger = new Forger(version);
  const hosts = Array.from({ length: 10 }, (_, i) => 10 + i);
  const address = version === 4 ? "127.0.0.1" : "::1";
  const real = version === 4 ? (n: number) => `192.0.2.${n}` : (n: number) => `2001:db9:${n}::1`;
  const before = await counters(version);
  let sent = 0;

  async function flood(message: Uint8Array, indexAt: number | null): Promise<void> {
    const vary = (bytes: Uint8Array): void => {
      if (indexAt !== null) crypto.getRandomValues(bytes.subarray(indexAt, indexAt + 4));
    };
    for (let left = FLOOD / hosts.length; left > 0; left -= PORTION) {
      forger.flood(message, { count: PORTION, port: PORT, vary });
      sent += PORTION;
      await arrived();
    }
  }
  /** Waits until all that was sent has come to the firewall. */
  async function arrived(): Promise<void> {
    await until(
      "all packets come to the firewall",
      async () => (await counters(version)).received - before.received >= sent,
    );
  }
  function sendReal(message: Uint8Array, host: number): void {
    forger.send(message, real(host), PORT);
    sent++;
  }
  /** Counts from here to the end of what `send` sends; a packet that is always logged marks the end. */
  async function count(
    send: () => Promise<void>,
  ): Promise<Count & { of: (source: string) => number }> {
    logged.length = 0;
    const startMs = performance.now();
    await send();
    // Until then the limits let more of them pass.
    await arrived();
    const seconds = (performance.now() - startMs) / 1000;
    await marked();
    const sources = [...logged];
    const of = (source: string) => sources.filter((each) => each === source).length;
    const ofReal = sources.filter((each) => /^(192\.0\.2\.|2001:db9:)/.test(each)).length;
    return { logged: sources.length - ofReal, seconds, of };
  }
  async function marked(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => fail("the last packet was not logged"), REPORT_MS);
    const end = real(99);
    onLogged = () => {
      if (logged.at(-1) === end) resolve();
    };
    // No limit lasts longer than this: one of them passes.
    const again = setInterval(() => sendReal(data(0), 99), 20);
    await promise;
    clearTimeout(timer);
    clearInterval(again);
    onLogged = () => {};
  }
  const sum = (counts: number[]) => counts.reduce((so, each) => so + each, 0);
  const one = await count(async () => {
    for (let n = 0; n < 400; n++) sendReal(initiation(), 1);
    sendReal(initiation(), 2);
  });
  const initiations = await count(async () => {
    for (const host of hosts) {
      await flood(initiation(), null);
      sendReal(data(0), host);
    }
  });

  const server = await Bun.udpSocket({ hostname: address, port: PORT });
  const client = await Bun.udpSocket({ hostname: address, port: 0 });
  /** An answer to a message that leaves the server with that index. */
  function answer(question: Uint8Array, reply: Uint8Array, host: number, index: number): void {
    new DataView(question.buffer).setUint32(SENDER_AT, index, true);
    server.send(question, client.port, address);
    sent++;
    const at = RECEIVER_AT[reply[0] as keyof typeof RECEIVER_AT];
    new DataView(reply.buffer).setUint32(at, index, true);
    sendReal(reply, host);
  }
  const firstData = await count(async () => {
    for (const host of hosts) {
      await flood(data(0), RECEIVER_AT[4]);
      answer(response(), data(0), host, 0xabcd0000 + host);
    }
  });
  const responses = await count(async () => {
    for (const host of hosts) {
      await flood(response(), RECEIVER_AT[2]);
      answer(initiation(), response(), host, 0x1234_0000 + host);
    }
  });
  await arrived();
  const after = await counters(version);
  server.close();
  client.close();
  const plain = ({ logged, seconds }: Count): Count => ({ logged, seconds });
  return {
    ofOneSource: { logged: one.of(real(1)), seconds: one.seconds },
    ofAnother: one.of(real(2)),
    initiations: plain(initiations),
    dataAmongInitiations: sum(hosts.map((host) => initiations.of(real(host)))),
    data: plain(firstData),
    responses: plain(responses),
    answered: {
      data: sum(hosts.map((host) => firstData.of(real(host)))),
      responses: sum(hosts.map((host) => responses.of(real(host)))),
    },
    dropped: after.received - before.received - (after.delivered - before.delivered),
  };
}

/** Packets that came in, and those that went on from the firewall to UDP or whatever; proc(5). */
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

/** Sockets and timers would go on behind an error that is thrown. */
function fail(reason: string): never {
  console.error(reason);
  process.exit(1);
}

if (import.meta.main) {
  await openGroup(1, systemClock, {
    packet(bytes) {
      logged.push(parsePacket(bytes)!.sourceAddress);
      onLogged();
    },
    lost: fail,
  });
  console.log(JSON.stringify(await underFlood(process.argv[2] === "6" ? 6 : 4)));
  process.exit(0);
}
