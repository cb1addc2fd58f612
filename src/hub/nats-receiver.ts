/**
 * Receives the gateways' messages from NATS: events from the stream, states and replayed events as requests. The stream's
 * events are acknowledged after the hub has committed them. NATS authenticates the gateways: the name in a subject is that
 * of the user who sent the message.
 */

import type { JsMsg } from "@nats-io/jetstream";
import type { Msg, NatsConnection } from "@nats-io/transport-node";

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { isGatewayName } from "../fleet/gateway-name.ts";
import { EPOCH, EVENTS_MAX, type HubAnswer, type StateMessage } from "../fleet/messages.ts";
import { NatsLink, requestReason } from "../fleet/nats-connection.ts";
import { decodeStreamEvent, joinEvents, type PlacedEvent } from "../fleet/nats-events.ts";
import {
  ERROR_HEADER,
  gatewayOf,
  inboxPrefix,
  REPLAY_SUBJECTS,
  STATE_SUBJECTS,
  STREAM,
} from "../fleet/nats-names.ts";
import type { NatsLogin } from "../fleet/nats-url.ts";
import type { Log } from "../platform/log.ts";
import { type CheckedEvents, checkEvents, checkState } from "./check-messages.ts";
import { ensureConsumer, ensureStream } from "./nats-stream.ts";

/** The part of the hub that commits messages. It throws if it cannot, for example because the disk is full. */
export interface Intake {
  /** @param isSignOfLife false: the message waited in the stream, so the gateway may be lost. */
  events(
    gateway: string,
    message: CheckedEvents,
    options: { readonly isSignOfLife: boolean },
  ): HubAnswer;
  state(gateway: string, message: StateMessage): HubAnswer;
}

export interface NatsReceiverOptions {
  readonly login: NatsLogin;
  /** Of this hub: each hub with its own store needs a name of its own. */
  readonly hub: string;
  readonly intake: Intake;
  readonly isEnrolled: (gateway: string) => boolean;
  readonly log: Log;
  readonly clock: Clock;
  /** Another hub works: events are only kept, and requests are not answered. Omitted: this hub works. */
  readonly standby?: {
    /** Events after this number of the stream wait, because the other hub may not have sent them; null: all wait. */
    committed(): number | null;
  };
  /** Called before anything is received through a new connection. */
  readonly beforeReceiving?: () => Promise<void>;
  /** Called after each connection and disconnection: no gateway is lost because the hub itself was away. */
  readonly onConnection?: (isConnected: boolean) => void;
}

const RECONNECT_MS = 1000;
const RECONNECT_MAX_MS = 15_000;
/** After a failure of the intake; less than half of the consumer's ack_wait. */
const COMMIT_RETRY_MS = 5000;
/** A gateway's wrong messages are logged at most once in this time. */
const WARNING_MS = 60_000;
/** How often a hub that stands by looks whether it may commit more. Less than half of the consumer's ack_wait. */
const STANDBY_MS = 3000;
/** Messages that the server sends in advance. */
const PULL_MESSAGES = 1000;
/** The library notices a lost consumer after two of them. */
const IDLE_HEARTBEAT_MS = 5000;
const PULL_EXPIRES_MS = 30_000;

export class NatsReceiver {
  readonly #options: NatsReceiverOptions;
  readonly #link: NatsLink;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;
  /** Delivered and not committed, in the order of the stream. */
  #queue: JsMsg[] = [];
  #scheduled: (() => void) | null = null;
  #isFromStart = false;
  /** The last warning about a gateway. Monotonic. */
  readonly #warnedMs = new Map<string, number>();
  #problem: string | null = "not connected yet";
  #endConsuming: (() => void) | null = null;
  #committed: number | null = null;

  constructor(options: NatsReceiverOptions) {
    this.#options = options;
    this.#link = new NatsLink({ login: options.login, clientName: `wgmon hub ${options.hub}` });
    this.#running = this.#run();
  }

  /** Why messages cannot be received now; null: they can. */
  get problem(): string | null {
    return this.#problem;
  }

  /** The name of the hub's consumer of the stream. */
  get consumer(): string {
    return `hub-${this.#options.hub}`;
  }

  /** The last number of the stream that was committed; null: none since the start. */
  get committed(): number | null {
    return this.#committed;
  }

  /** Reads all events that the stream still has once more. */
  rebuild(): void {
    this.#isFromStart = true;
    this.#endConsuming?.();
  }

  /** Commits what was delivered, then disconnects. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#endConsuming?.();
    await this.#running;
    this.#scheduled?.();
    this.#scheduled = null;
    await this.#link.close();
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    let pauseMs = RECONNECT_MS;
    while (!this.#isStopping()) {
      try {
        const connection = await this.#link.connection();
        await this.#receive(connection, () => (pauseMs = RECONNECT_MS));
        if (this.#isStopping() || this.#isFromStart) continue;
        throw new Error("connection lost");
      } catch (error) {
        if (this.#isStopping()) return;
        const reason = requestReason(error);
        if (this.#problem !== reason) log.warn(`${this.#link.servers}: ${reason}`);
        this.#problem = reason;
      }
      await this.#pause(pauseMs);
      pauseMs = Math.min(pauseMs * 2, RECONNECT_MAX_MS);
    }
  }

  /** Receives until the connection ends, the stream or the consumer is deleted, or `#endConsuming` is called. */
  async #receive(connection: NatsConnection, onReady: () => void): Promise<void> {
    const { jetstream, jetstreamManager } = await import("@nats-io/jetstream");
    const { onConnection, log, standby, beforeReceiving } = this.#options;
    await beforeReceiving?.();
    // Without a request first, so that a server without JetStream gives its own error.
    const manager = await jetstreamManager(connection, { checkAPI: false });
    const stream = await ensureStream(manager);
    const isFromStart = this.#isFromStart;
    await ensureConsumer(manager, this.consumer, stream, isFromStart);
    if (isFromStart) this.#isFromStart = false;
    const consumer = await jetstream(connection).consumers.get(STREAM, this.consumer);
    const messages = await consumer.consume({
      max_messages: PULL_MESSAGES,
      expires: PULL_EXPIRES_MS,
      idle_heartbeat: IDLE_HEARTBEAT_MS,
      abort_on_missing_resource: true,
      callback: (message) => this.#take(message),
    });
    const subscriptions =
      standby === undefined
        ? [
            connection.subscribe(STATE_SUBJECTS, { callback: this.#answerTo(connection, "state") }),
            connection.subscribe(REPLAY_SUBJECTS, {
              callback: this.#answerTo(connection, "events"),
            }),
          ]
        : [];
    const ended = Promise.withResolvers<void>();
    this.#endConsuming = ended.resolve;
    // `stop` or `rebuild` may have been called meanwhile.
    if (this.#isStopping() || this.#isFromStart) ended.resolve();
    log.info(`receiving from ${this.#link.servers}`, { consumer: this.consumer });
    this.#problem = null;
    onReady();
    onConnection?.(true);
    try {
      // Rejects if the stream or the consumer no longer exists.
      await Promise.race([
        ended.promise,
        messages.closed().then(throwIfError),
        connection.closed(),
      ]);
      if (this.#isStopping()) await messages.close();
    } finally {
      this.#endConsuming = null;
      onConnection?.(false);
      messages.stop();
      for (const subscription of subscriptions) {
        if (!connection.isClosed()) subscription.unsubscribe();
      }
      // Committed now, and delivered again if the acknowledgement does not arrive.
      this.#commit();
      this.#queue = [];
      if (this.#isStopping() && !connection.isClosed()) await connection.flush().catch(() => {});
    }
  }

  #take(message: JsMsg): void {
    this.#queue.push(message);
    this.#schedule(0);
  }

  /** All messages that arrive together are committed together. */
  #schedule(delayMs: number): void {
    this.#scheduled ??= this.#options.clock.after(delayMs, () => {
      this.#scheduled = null;
      this.#commit();
    });
  }

  #commit(): void {
    const { log } = this.#options;
    const [due, waiting] = this.#split();
    if (waiting.length > 0 && this.#endConsuming !== null) {
      for (const message of waiting) message.working();
      this.#schedule(STANDBY_MS);
    }
    if (due.length === 0) return;
    const unstored: JsMsg[] = [];
    for (const [gateway, own] of Map.groupBy(due, ({ subject }) => gatewayOf(subject))) {
      try {
        this.#takeEvents(gateway, own);
      } catch (error) {
        const { message: reason } = error as Error;
        if (error instanceof SystemError) {
          // After 1,000 messages without an acknowledgement, the server sends no more.
          if (unstored.length === 0)
            log.error(`events of the gateways cannot be stored: ${reason}`);
          for (const message of own) message.working();
          unstored.push(...own);
          continue;
        }
        // The gateway gets this error when it sends them again in a request. Other gateways do not wait for it.
        this.#warn(gateway, `events of ${gateway} cannot be stored: ${reason}`);
      }
      for (const message of own) message.ack();
    }
    this.#queue = [...unstored.sort((a, b) => a.seq - b.seq), ...waiting];
    if (unstored.length > 0) this.#schedule(COMMIT_RETRY_MS);
    else this.#committed = due.at(-1)!.seq;
  }

  /** Those that may be committed now, and those that wait. */
  #split(): [JsMsg[], JsMsg[]] {
    const { standby } = this.#options;
    if (standby === undefined) return [this.#queue, []];
    const until = standby.committed() ?? 0;
    const count = this.#queue.findIndex(({ seq }) => seq > until);
    if (count === -1) return [this.#queue, []];
    return [this.#queue.slice(0, count), this.#queue.slice(count)];
  }

  #decode(gateway: string, messages: readonly JsMsg[]): PlacedEvent[] {
    const events: PlacedEvent[] = [];
    for (const message of messages) {
      const event = decodeStreamEvent((name) => message.headers?.get(name) ?? "", message.string());
      if (event === null || !EPOCH.test(event.epoch) || !isGatewayName(gateway)) {
        this.#warn(gateway, `a message of ${gateway} in the NATS stream is not an event`);
        continue;
      }
      events.push(event);
    }
    return events;
  }

  #takeEvents(gateway: string, messages: readonly JsMsg[]): void {
    const { intake, isEnrolled } = this.#options;
    const events = this.#decode(gateway, messages);
    // Once it is enrolled, it sends them again.
    if (!isEnrolled(gateway)) return;
    for (const message of joinEvents(events, EVENTS_MAX)) {
      const checked = checkEvents(message);
      // The gateway gets the same answer when it sends them again in a request.
      if ("problem" in checked)
        this.#warn(gateway, `events of ${gateway} were refused: ${checked.problem}`);
      else intake.events(gateway, checked.message, { isSignOfLife: false });
    }
  }

  /** A gateway can send wrong messages as fast as it likes. */
  #warn(gateway: string, text: string): void {
    const { log, clock } = this.#options;
    const nowMs = clock.now().monotonicMs;
    if (nowMs - (this.#warnedMs.get(gateway) ?? -Infinity) < WARNING_MS) return;
    this.#warnedMs.set(gateway, nowMs);
    log.warn(text);
  }

  #answerTo(connection: NatsConnection, kind: "events" | "state") {
    return (error: Error | null, message: Msg): void => {
      if (error === null) this.#answer(connection, message, kind);
    };
  }

  #answer(connection: NatsConnection, message: Msg, kind: "events" | "state"): void {
    const gateway = gatewayOf(message.subject);
    const { reply = "" } = message;
    // The server checks the subject of a message, not where the answer goes: a gateway could have it sent to another.
    if (!isGatewayName(gateway) || !reply.startsWith(`${inboxPrefix(gateway)}.`)) return;
    try {
      const answer = this.#answerOf(gateway, JSON.parse(message.string()), kind);
      connection.publish(reply, JSON.stringify(answer));
    } catch (error) {
      void this.#refuse(connection, { gateway, reply }, error);
    }
  }

  /** @throws Refusal */
  #answerOf(gateway: string, value: unknown, kind: "events" | "state"): HubAnswer {
    const { intake, isEnrolled } = this.#options;
    if (!isEnrolled(gateway)) throw new Refusal(`${gateway} is not enrolled: wgmon hub enroll`);
    if (kind === "state") {
      const checked = checkState(value);
      if ("problem" in checked) throw new Refusal(checked.problem);
      return intake.state(gateway, checked.message);
    }
    const checked = checkEvents(value);
    if ("problem" in checked) throw new Refusal(checked.problem);
    return intake.events(gateway, checked.message, { isSignOfLife: true });
  }

  async #refuse(
    connection: NatsConnection,
    { gateway, reply }: { readonly gateway: string; readonly reply: string },
    error: unknown,
  ): Promise<void> {
    const { headers } = await import("@nats-io/transport-node");
    const header = headers();
    if (error instanceof Refusal) header.set(ERROR_HEADER, error.message);
    else if (error instanceof SyntaxError) header.set(ERROR_HEADER, "it is not JSON");
    else {
      this.#warn(gateway, `a message of ${gateway} cannot be stored: ${(error as Error).message}`);
      header.set(ERROR_HEADER, "it could not be stored");
    }
    if (!connection.isClosed()) connection.publish(reply, "", { headers: header });
  }

  #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #pause(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.after(delayMs, resolve);
    this.#stopping.signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
    cancel();
  }
}

class Refusal extends Error {}

function throwIfError(result: void | Error): void {
  if (result instanceof Error) throw result;
}
