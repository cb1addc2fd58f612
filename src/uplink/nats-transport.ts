/**
 * Sends to the hub over NATS: new events into a JetStream stream, one after the other; the state, and events that the hub
 * asks for again, as requests. https://docs.nats.io/nats-concepts/jetstream
 *
 * Each event names the last message of the gateway that the stream should have (Nats-Expected-Last-Subject-Sequence). So
 * the stream has each event once and in order, without a limit of time: when an acknowledgement was lost, the sequence
 * in the error says whether the stream has the event.
 *
 * An acknowledgement of the stream means little: a server may lose what it has acknowledged (nats-server#7564). The
 * caller continues after what the hub has confirmed.
 */

import type { Msg, NatsConnection } from "@nats-io/transport-node";
import { Value } from "@sinclair/typebox/value";

import type { Clock } from "../base/clock.ts";
import { type EventsMessage, HubAnswer, type StateMessage } from "../fleet/messages.ts";
import { isUnanswered, NatsError, NatsLink, requestReason } from "../fleet/nats-connection.ts";
import { encodeStreamEvent, type StreamEvent } from "../fleet/nats-events.ts";
import {
  ERROR_HEADER,
  eventSubject,
  inboxPrefix,
  replaySubject,
  stateSubject,
  STREAM,
} from "../fleet/nats-names.ts";
import type { NatsLogin } from "../fleet/nats-url.ts";
import type { Log } from "../platform/log.ts";
import type { HubResult, HubTransport } from "./hub-transport.ts";

const TIMEOUT_MS = 5000;
/** The log reports a second writer at most this often. */
const WRITER_REPORT_MS = 3_600_000;
/** So many messages of others within the time: one could be the last message of a process that was stopped. */
const FOREIGN_MAX = 2;
const FOREIGN_MS = 600_000;

/** JetStream's error codes, server/errors.json of nats-server. */
const WRONG_LAST_SEQUENCE = 10071;
const WRONG_STREAM = 10060;
const TOO_LONG = 10054;
const STREAM_FULL = [10047, 10077, 10023];

export interface NatsTransportOptions {
  readonly login: NatsLogin;
  /** The name of this gateway; the permissions of its user are for this name. */
  readonly gateway: string;
  readonly version: string;
  readonly log: Log;
  readonly clock: Clock;
  readonly timeoutMs?: number;
}

type Publication =
  | { readonly type: "stored"; readonly streamSeq: number; readonly isDuplicate: boolean }
  /** The stream has another last message of this gateway. */
  | { readonly type: "wrong"; readonly lastSeq: number }
  /** The stream will never take this event. */
  | { readonly type: "too-long" }
  | Extract<HubResult, { readonly type: "retry" }>;

export function createNatsTransport(options: NatsTransportOptions): HubTransport {
  return new NatsTransport(options);
}

class NatsTransport implements HubTransport {
  readonly name: string;
  readonly isStream = true;
  readonly #options: NatsTransportOptions;
  readonly #link: NatsLink;
  /** The place of this gateway's last message in the stream, as far as known; 0: none. */
  #last = 0;
  /** The message whose result is unknown. The stream may have it. */
  #unknown: string | null = null;
  /** Whether messages after `#last` may be those of this gateway, sent just before it was stopped. */
  #isFirst = true;
  #foreignAtMs: number[] = [];
  #reportedAtMs: number | null = null;

  constructor(options: NatsTransportOptions) {
    const { login, gateway, version } = options;
    this.#options = options;
    this.#link = new NatsLink({
      login,
      clientName: `wgmon ${version} ${gateway}`,
      inboxPrefix: inboxPrefix(gateway),
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    });
    this.name = `hub ${this.#link.servers}`;
  }

  async sendEvents(
    message: EventsMessage,
    signal: AbortSignal,
    streamSeq: number | null,
  ): Promise<HubResult> {
    // Later, a failed attempt may have shown another place than the last result.
    if (this.#isFirst) this.#last = streamSeq ?? 0;
    let upTo: number | null = null;
    for (const [index, { seq }] of message.events.entries()) {
      const result = await this.#store(encodeStreamEvent(message, index), signal);
      if (result.type === "retry") {
        // The failure is reported with the next attempt.
        return upTo === null ? result : { type: "stored", streamSeq: this.#last, upTo };
      }
      upTo = seq;
    }
    upTo ??= message.after?.seq ?? message.first - 1;
    return { type: "stored", streamSeq: this.#last, upTo };
  }

  async replayEvents(message: EventsMessage, signal: AbortSignal): Promise<HubResult> {
    return await this.#ask(replaySubject(this.#options.gateway), message, signal);
  }

  async sendState(message: StateMessage, signal: AbortSignal): Promise<HubResult> {
    return await this.#ask(stateSubject(this.#options.gateway), message, signal);
  }

  close(): void {
    void this.#link.close();
  }

  /** Stores one event. Repeats it when the stream has another last message than expected. */
  async #store(event: StreamEvent, signal: AbortSignal): Promise<Publication> {
    for (;;) {
      const unknown = this.#unknown;
      const wasFirst = this.#isFirst;
      const result = await this.#publish(event, signal);
      if (result.type === "retry") return result;
      this.#isFirst = false;
      switch (result.type) {
        case "too-long":
          // The hub misses the number, and asks for the event in a request.
          this.#options.log.warn(`${this.name}: an event is too long for the stream`);
          return result;
        case "stored":
          // A duplicate has the place of the first copy, which may be before the last message.
          this.#last = result.isDuplicate
            ? Math.max(this.#last, result.streamSeq)
            : result.streamSeq;
          return result;
        case "wrong": {
          const { lastSeq } = result;
          // A cluster may answer before it has applied a message.
          if (lastSeq === this.#last)
            return retry(`the stream refuses its own sequence ${lastSeq}`);
          const isNewer = lastSeq > this.#last;
          this.#last = lastSeq;
          // Only this message could have been stored meanwhile. If another gateway with this name has written it, the hub
          // notices that it misses this one.
          if (isNewer && unknown === event.id) {
            return { type: "stored", streamSeq: lastSeq, isDuplicate: true };
          }
          // A smaller number: the stream has lost messages, or deleted old ones.
          if (isNewer && unknown === null && !wasFirst) this.#noticeForeign();
        }
      }
    }
  }

  async #publish(
    { id, headers: fields, body }: StreamEvent,
    signal: AbortSignal,
  ): Promise<Publication> {
    try {
      const { headers } = await import("@nats-io/transport-node");
      const connection = await this.#link.connection();
      const header = headers();
      for (const [name, value] of Object.entries(fields)) header.set(name, value);
      header.set("Nats-Expected-Stream", STREAM);
      header.set("Nats-Expected-Last-Subject-Sequence", String(this.#last));
      if (signal.aborted) throw new Interruption();
      this.#unknown = id;
      const answer = await this.#request(connection, signal, {
        subject: eventSubject(this.#options.gateway),
        body,
        headers: header,
      });
      const result = publicationOf(answer.string());
      this.#unknown = null;
      return result;
    } catch (error) {
      return this.#failure(error, "the stream of the hub does not exist: start the hub once");
    }
  }

  async #ask(subject: string, message: object, signal: AbortSignal): Promise<HubResult> {
    try {
      const connection = await this.#link.connection();
      const answer = await this.#request(connection, signal, {
        subject,
        body: JSON.stringify(message),
      });
      const reason = answer.headers?.get(ERROR_HEADER) ?? "";
      if (reason !== "") return retry(`the hub refuses the message: ${reason}`);
      const value: unknown = JSON.parse(answer.string());
      if (!Value.Check(HubAnswer, value)) return retry("the answer is not one of a hub");
      return { type: "answer", answer: value };
    } catch (error) {
      return this.#failure(error, "no hub is connected to NATS");
    }
  }

  /** @param unanswered The reason if nothing answers the subject. */
  #failure(error: unknown, unanswered: string): Extract<HubResult, { readonly type: "retry" }> {
    if (error instanceof Interruption) return retry("interrupted");
    if (error instanceof SyntaxError) return retry("the answer is not JSON");
    if (isUnanswered(error)) return retry(unanswered);
    if (error instanceof NatsError) return retry(`${this.#link.servers}: ${error.message}`);
    return retry(requestReason(error));
  }

  async #request(
    connection: NatsConnection,
    signal: AbortSignal,
    {
      subject,
      body,
      ...options
    }: {
      readonly subject: string;
      readonly body: string;
      readonly headers?: ReturnType<typeof import("@nats-io/transport-node").headers>;
    },
  ): Promise<Msg> {
    if (signal.aborted) throw new Interruption();
    const { promise, reject } = Promise.withResolvers<never>();
    const abort = (): void => reject(new Interruption());
    signal.addEventListener("abort", abort, { once: true });
    const { timeoutMs: timeout = TIMEOUT_MS } = this.#options;
    const answer = connection.request(subject, body, { timeout, ...options });
    // If the signal comes first, nothing waits for the answer.
    answer.catch(() => {});
    try {
      return await Promise.race([answer, promise]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  #noticeForeign(): void {
    const { log, clock, gateway } = this.#options;
    const nowMs = clock.now().monotonicMs;
    this.#foreignAtMs = [...this.#foreignAtMs, nowMs].filter((atMs) => nowMs - atMs <= FOREIGN_MS);
    const isReported = this.#reportedAtMs !== null && nowMs - this.#reportedAtMs < WRITER_REPORT_MS;
    if (this.#foreignAtMs.length < FOREIGN_MAX || isReported) return;
    this.#reportedAtMs = nowMs;
    log.warn(
      `${this.name}: another program also sends events as ${gateway}: give each gateway its own name`,
    );
  }
}

/** The caller's signal ended the attempt. */
class Interruption extends Error {}

function publicationOf(text: string): Publication {
  const answer = JSON.parse(text) as {
    readonly seq?: number;
    readonly duplicate?: boolean;
    readonly error?: { readonly err_code?: number; readonly description?: string };
  };
  if (answer.error === undefined) {
    const { seq, duplicate = false } = answer;
    if (seq === undefined) return retry("the answer of the stream has no sequence");
    return { type: "stored", streamSeq: seq, isDuplicate: duplicate };
  }
  const { err_code: code = 0, description = "no description" } = answer.error;
  const lastSeq = /^wrong last sequence: (\d+)$/.exec(description)?.[1];
  if (code === WRONG_LAST_SEQUENCE && lastSeq !== undefined) {
    return { type: "wrong", lastSeq: Number(lastSeq) };
  }
  if (code === TOO_LONG) return { type: "too-long" };
  if (code === WRONG_STREAM) return retry(`another stream than ${STREAM} has the events' subject`);
  if (STREAM_FULL.includes(code)) return retry(`the NATS server has no room: ${description}`);
  return retry(`NATS error ${code}: ${description}`);
}

function retry(reason: string): Extract<HubResult, { readonly type: "retry" }> {
  return { type: "retry", reason, afterMs: null };
}
