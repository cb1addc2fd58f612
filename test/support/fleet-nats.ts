/** A fleet on a real NATS server, configured as `wgmon hub init nats` and `wgmon hub enroll` print it. */

import { connect as connectSocket, createServer, type Socket } from "node:net";

import { jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";

import { systemClock } from "../../src/base/clock.ts";
import { eventOf as makeEvent } from "../../src/events/event.ts";
import { FLEET_VERSION } from "../../src/fleet/messages.ts";
import type { EventsMessage, HubAnswer, StateMessage } from "../../src/fleet/messages.ts";
import { HUB_USER, inboxPrefix, STREAM } from "../../src/fleet/nats-names.ts";
import type { NatsLogin } from "../../src/fleet/nats-url.ts";
import type { CheckedEvents } from "../../src/hub/check-messages.ts";
import { type Intake, NatsReceiver } from "../../src/hub/nats-receiver.ts";
import { gatewayUserLine, hubUserLine, serverConfig } from "../../src/hub/nats-setup.ts";
import { ensureStream } from "../../src/hub/nats-stream.ts";
import type { Log } from "../../src/platform/log.ts";
import type { Change } from "../../src/sessions/change.ts";
import type { HubResult, HubTransport } from "../../src/uplink/hub-transport.ts";
import { createNatsTransport } from "../../src/uplink/nats-transport.ts";
import { NatsServer } from "./nats.ts";
import { peer } from "./peers.ts";

export const EPOCH = "0a1b2c3d";

const T0 = Date.UTC(2026, 0, 1);

/** Lines of the users, made once: bcrypt takes a while. */
const lines = new Map<string, Promise<string>>();

function userLine(user: string): Promise<string> {
  const make = user === HUB_USER ? hubUserLine : gatewayUserLine;
  const line = lines.get(user) ?? make({ user, password: passwordOf(user) });
  lines.set(user, line);
  return line;
}

export function passwordOf(user: string): string {
  return `password-of-${user}`;
}

/** A server with the users of the hub and of the gateways. */
export async function fleetServer(
  program: string,
  gateways: readonly string[],
  tls: { readonly certFile: string; readonly keyFile: string } | null = null,
): Promise<NatsServer> {
  const users = await Promise.all([HUB_USER, ...gateways].map(userLine));
  return await NatsServer.start(program, ({ port, storeDir }) =>
    serverConfig(users, { listen: `127.0.0.1:${port}`, storeDir, tls }),
  );
}

export function loginOf(user: string, ...servers: [string, ...string[]]): NatsLogin {
  const password = passwordOf(user);
  return { servers, user, password, isTls: false, credentials: null, ca: null };
}

/** Connects with the library alone, as an administrator or an attacker would. */
export async function connectAs(user: string, server: NatsServer): Promise<NatsConnection> {
  return await connect({
    servers: server.address,
    user,
    pass: passwordOf(user),
    inboxPrefix: user === HUB_USER ? "_INBOX" : inboxPrefix(user),
  });
}

/** As the hub does when it starts. */
export async function createStream(server: NatsServer): Promise<void> {
  await using hub = await connectAs(HUB_USER, server);
  await ensureStream(await jetstreamManager(hub));
}

export interface Stored {
  readonly subject: string;
  readonly streamSeq: number;
  readonly epoch: string;
  readonly seq: number;
  readonly body: string;
}

/** All messages of the stream, in order. */
export async function streamOf(server: NatsServer): Promise<Stored[]> {
  await using hub = await connectAs(HUB_USER, server);
  const manager = await jetstreamManager(hub);
  const { state } = await manager.streams.info(STREAM);
  const stored: Stored[] = [];
  for (let streamSeq = Math.max(1, state.first_seq); streamSeq <= state.last_seq; streamSeq++) {
    const message = await manager.streams.getMessage(STREAM, { seq: streamSeq });
    if (message === null) continue;
    const { subject, header } = message;
    stored.push({
      subject,
      streamSeq,
      epoch: header.get("Wgmon-Epoch"),
      seq: Number(header.get("Wgmon-Seq")),
      body: message.string(),
    });
  }
  return stored;
}

/** `1 2 3`: the numbers of the gateway's events in the stream. */
export async function seqsOf(server: NatsServer, gateway: string): Promise<string> {
  const stored = await streamOf(server);
  return stored
    .filter(({ subject }) => subject === `wgmon.v1.event.${gateway}`)
    .map(({ seq }) => seq)
    .join(" ");
}

/** Event number `seq` of a gateway. Its id depends on both. */
export function eventOf(gateway: string, seq: number, epoch = EPOCH): Record<string, unknown> {
  const id = new Bun.CryptoHasher("md5").update(`${gateway} ${epoch} ${seq}`).digest("hex");
  const change: Change = {
    type: "peer.connected",
    atMs: T0 + seq,
    device: "wg0",
    peer: peer({ endpoint: `192.0.2.1:${40_000 + (seq % 1000)}` }),
    session: { startedAtMs: T0, rxBytes: 1, txBytes: 2, roams: 0 },
    initial: false,
  };
  return { ...makeEvent(change, { id: `evt_${id}`, host: gateway, name: "alice ä" }) };
}

/** The events from number `from` to number `to`. */
export function eventsOf(gateway: string, from: number, to: number, epoch = EPOCH): EventsMessage {
  const seqs = Array.from({ length: to - from + 1 }, (_, index) => from + index);
  return {
    version: FLEET_VERSION,
    epoch,
    first: 1,
    after:
      from === 1 ? null : { seq: from - 1, id: String(eventOf(gateway, from - 1, epoch)["id"]) },
    events: seqs.map((seq) => ({ seq, event: eventOf(gateway, seq, epoch) })),
  };
}

export function stateOf(gateway: string, last: number, order = 1): StateMessage {
  return {
    version: FLEET_VERSION,
    epoch: EPOCH,
    first: 1,
    last,
    host: gateway,
    program: "0.0.0",
    startedAtMs: 0,
    nowMs: Date.now(),
    order,
    isStopping: false,
    isComplete: true,
    hasMore: false,
    devices: [],
    peers: [],
    removed: [],
  };
}

/** A log whose warnings and errors can be read. */
export function recordingLog(): Log & { readonly lines: string[] } {
  const entries: string[] = [];
  const record = (message: string): void => void entries.push(message);
  return { lines: entries, debug: () => {}, info: () => {}, warn: record, error: record };
}

export interface Gateway extends Disposable {
  readonly transport: HubTransport;
  readonly log: ReturnType<typeof recordingLog>;
  /** Sends new events, and keeps the place in the stream, as the uplink does. */
  sendEvents(message: EventsMessage, signal?: AbortSignal): Promise<HubResult>;
  /** The same, for events made by `eventsOf`; throws unless they are stored. */
  send(from: number, to: number, epoch?: string): Promise<number>;
}

export function gatewayAt(
  name: string,
  login: NatsLogin,
  options: { readonly streamSeq?: number; readonly timeoutMs?: number } = {},
): Gateway {
  const log = recordingLog();
  const { streamSeq: saved = null, ...more } = options;
  let streamSeq = saved;
  const transport = createNatsTransport({
    login,
    gateway: name,
    version: "0.0.0",
    log,
    clock: systemClock,
    ...more,
  });
  const sendEvents: Gateway["sendEvents"] = async (message, signal = noSignal) => {
    const result = await transport.sendEvents(message, signal, streamSeq);
    if (result.type === "stored") ({ streamSeq } = result);
    return result;
  };
  return {
    transport,
    log,
    sendEvents,
    async send(from, to, epoch) {
      const result = await sendEvents(eventsOf(name, from, to, epoch));
      if (result.type !== "stored") throw new Error(JSON.stringify(result));
      if (result.upTo !== to) throw new Error(`stored up to ${result.upTo} only`);
      return result.streamSeq;
    },
    [Symbol.dispose]: () => transport.close(),
  };
}

export const noSignal = new AbortController().signal;

/** Repeats until the hub or the stream has taken the message, as the uplink does. */
export async function untilTaken(attempt: () => Promise<HubResult>): Promise<HubResult> {
  for (;;) {
    const result = await attempt();
    if (result.type === "answer" || result.type === "stored") return result;
    await Bun.sleep(20);
  }
}

/**
 * A TCP proxy that loses what a server answers: `lose` discards all data from the server from now on; `cut` ends the
 * connections, and the next ones are whole again.
 */
export class LossyProxy {
  readonly address: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #sockets: Set<Socket>;
  readonly #state: { isLosing: boolean };

  private constructor(
    address: string,
    server: ReturnType<typeof createServer>,
    sockets: Set<Socket>,
    state: { isLosing: boolean },
  ) {
    this.address = address;
    this.#server = server;
    this.#sockets = sockets;
    this.#state = state;
  }

  static async start(port: number): Promise<LossyProxy> {
    const sockets = new Set<Socket>();
    const state = { isLosing: false };
    const server = createServer((client) => {
      const upstream = connectSocket(port, "127.0.0.1");
      for (const [one, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(one);
        one
          .on("error", () => {})
          .on("close", () => {
            sockets.delete(one);
            other.destroy();
          });
      }
      client.on("data", (data) => void upstream.write(data));
      upstream.on("data", (data) => void (state.isLosing || client.write(data)));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return new LossyProxy(`127.0.0.1:${address.port}`, server, sockets, state);
  }

  lose(): void {
    this.#state.isLosing = true;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#state.isLosing = false;
  }

  [Symbol.dispose](): void {
    this.cut();
    this.#server.close();
  }
}

/** A hub's store in memory, with the rules of the protocol: no event after a missing one, each only once. */
export class MemoryHub implements Intake {
  /** Of each gateway, by epoch: the bodies of the events in order. */
  readonly stored = new Map<string, string[]>();
  readonly states: string[] = [];
  /** Events that were delivered again. */
  again = 0;
  failure: Error | null = null;
  /** The gateway whose messages cause the failure; null: those of all. */
  failing: string | null = null;

  events(gateway: string, { epoch, events }: CheckedEvents): HubAnswer {
    this.#fail(gateway);
    const bodies = this.#bodies(gateway, epoch);
    for (const { seq, event } of events) {
      if (seq <= bodies.length) this.again++;
      if (seq === bodies.length + 1) bodies.push(JSON.stringify(event));
    }
    return this.#answer(bodies.length, null);
  }

  state(gateway: string, { epoch, last }: StateMessage): HubAnswer {
    this.#fail(gateway);
    this.states.push(gateway);
    const { length } = this.#bodies(gateway, epoch);
    return this.#answer(length, last > length ? length : null);
  }

  /** How many events of the gateway are stored. */
  count(gateway: string, epoch = EPOCH): number {
    return this.#bodies(gateway, epoch).length;
  }

  #fail(gateway: string): void {
    if (this.failure !== null && (this.failing ?? gateway) === gateway) throw this.failure;
  }

  #bodies(gateway: string, epoch: string): string[] {
    const key = `${gateway} ${epoch}`;
    const bodies = this.stored.get(key) ?? [];
    this.stored.set(key, bodies);
    return bodies;
  }

  #answer(confirmed: number, replayAfter: number | null): HubAnswer {
    return {
      version: FLEET_VERSION,
      nowMs: Date.now(),
      confirmed,
      replayAfter,
      wantsAllPeers: false,
      problem: null,
    };
  }
}

export interface Hub extends AsyncDisposable {
  readonly store: MemoryHub;
  readonly receiver: NatsReceiver;
  readonly log: ReturnType<typeof recordingLog>;
}

/** @param standby given: another hub works. */
export function hubAt(
  login: NatsLogin,
  store = new MemoryHub(),
  standby?: { committed(): number | null },
): Hub {
  const log = recordingLog();
  const receiver = new NatsReceiver({
    login,
    hub: "test",
    intake: store,
    isEnrolled: (gateway) => gateway !== "stranger",
    log,
    clock: systemClock,
    ...(standby === undefined ? {} : { standby }),
  });
  return { store, receiver, log, [Symbol.asyncDispose]: () => receiver.stop() };
}
