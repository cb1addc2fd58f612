/**
 * Which messages the firewall rules of this network namespace log to NFLOG group 1, and whether they block other
 * traffic. For tests in test/netns.
 */

import { expect } from "bun:test";

import { systemClock } from "../../src/base/clock.ts";
import { MessageType } from "../../src/base/wireguard.ts";
import { openGroup } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { cookie, data, initiation, response } from "./packets.ts";
import { passAllLogged } from "./unfiltered.ts";
import { REPORT_MS, until } from "./until.ts";

const PORT = 51820;
const OTHER_PORT = 51822;

export const messages = {
  initiation: initiation(),
  response: response(),
  "first data": data(0),
  "later data": data(7),
  cookie: cookie(),
} as const;

export type Message = keyof typeof messages;

/** The message that this machine sends first, and the offset in the answer of its receiver index; messages.h. */
const questions = {
  response: { question: initiation(), receiverAt: 8 },
  "first data": { question: response(), receiverAt: 4 },
  "later data": { question: response(), receiverAt: 4 },
} as const;
const SENDER_AT = 4;

/** A received message, `sent response` (a response that this machine sent first), or a fault. */
export type Logged = Message | `sent ${string}` | `fault: ${string}`;

/**
 * Expects that the loaded rules log exactly these messages, once each and in this order, over IPv4 and IPv6, and that
 * all traffic passes.
 */
export async function expectLogged(wanted: readonly Logged[]): Promise<void> {
  for (const address of ["127.0.0.1", "::1"]) {
    expect(await loggedFrom(address)).toEqual([...wanted]);
    await connectByTcp(address);
  }
}

/** Sends each message to WireGuard's port and to another port; all must arrive. Resolves with what was logged. */
async function loggedFrom(address: string): Promise<Logged[]> {
  const sender = await Bun.udpSocket({ hostname: address });
  /** Sends messages that all rules log. When one is logged, so are all earlier packets, because the order is kept. */
  const marker = await Bun.udpSocket({ hostname: address });
  let marks = 0;
  let arrived = 0;
  const receivers = await Promise.all(
    [PORT, OTHER_PORT].map((port) =>
      Bun.udpSocket({ hostname: address, port, socket: { data: () => void arrived++ } }),
    ),
  );
  const wireGuard = receivers[0]!;
  const logged: Logged[] = [];
  let current: Message | null = null;
  const group = await openGroup(1, systemClock, {
    onReceived(bytes) {
      const datagram = parsePacket(bytes);
      if (datagram?.sourcePort === marker.port) return void marks++;
      if (datagram?.destinationPort !== PORT || datagram.sourcePort !== sender.port) {
        logged.push("fault: a packet to another port was logged");
      } else logged.push(current!);
    },
    onSent(bytes) {
      const { type, sourcePort, destinationPort } = parsePacket(bytes, "sent")!;
      // The ports of sent packets are swapped: the source is the other end.
      if (sourcePort === marker.port) return;
      if (destinationPort !== PORT || sourcePort !== sender.port) {
        logged.push("fault: a packet from another port was logged");
      } else logged.push(`sent ${type === MessageType.response ? "response" : `type ${type}`}`);
    },
    onPacketsLost: (reason) => void logged.push(`fault: ${reason}`),
  });
  passAllLogged();
  let index = 0x8000_0000;
  /** Sends the question from this machine, and writes its index into the answer `bytes`. */
  function ask(name: keyof typeof questions, bytes: Uint8Array, from: number): void {
    const { question, receiverAt } = questions[name];
    new DataView(question.buffer).setUint32(SENDER_AT, ++index);
    new DataView(bytes.buffer).setUint32(receiverAt, index);
    wireGuard.send(question, from, address);
    // From another port, it must not be logged.
    receivers[1]!.send(question, from, address);
  }
  let sent = 0;
  for (const [name, bytes] of Object.entries(messages)) {
    current = name as Message;
    if (name in questions) ask(name as keyof typeof questions, bytes, sender.port);
    for (const port of [PORT, OTHER_PORT]) {
      sender.send(bytes, port, address);
      sent++;
    }
    const mark = data(0);
    ask("first data", mark, marker.port);
    marker.send(mark, PORT, address);
    sent++;
    const wanted = marks + 1;
    await until(`the mark after ${name} is logged`, () => marks === wanted);
  }
  await until(`${sent} datagrams arrive`, () => arrived >= sent);
  expect(arrived).toBe(sent);
  group.close();
  for (const socket of [sender, marker, ...receivers]) socket.close();
  return logged;
}

async function connectByTcp(address: string): Promise<void> {
  using server = Bun.serve({ hostname: address, port: 0, fetch: () => new Response("hello") });
  const host = address.includes(":") ? `[${address}]` : address;
  const signal = AbortSignal.timeout(REPORT_MS);
  const answer = await fetch(`http://${host}:${server.port}/`, { signal });
  expect(await answer.text()).toBe("hello");
}
