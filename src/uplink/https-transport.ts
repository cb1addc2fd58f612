/**
 * Sends messages to the hub by HTTPS: POST /v1/fleet/events and POST /v1/fleet/state. Requests are signed as Standard
 * Webhooks define it, with the secret of the gateway, which is never sent itself. Their timestamps are in the hub's time,
 * which its answers contain, so that the clock of the gateway may be wrong.
 */

import { Value } from "@sinclair/typebox/value";

import type { Clock } from "../base/clock.ts";
import { newId } from "../base/new-id.ts";
import { redactUrl } from "../base/redact.ts";
import { sanitize, truncate } from "../base/text.ts";
import { Deadline } from "../channels/deadline.ts";
import { proxyFor } from "../channels/proxy.ts";
import { sign, type SigningSecret } from "../channels/signature.ts";
import { networkReason, resultOfStatus } from "../channels/webhook.ts";
import { type EventsMessage, HubAnswer, type StateMessage } from "../fleet/messages.ts";
import type { HubResult, HubTransport } from "./hub-transport.ts";

/** Time limit for one request. A message of a megabyte may take several seconds. */
const TIMEOUT_MS = 20_000;
/** The longest answer that is read. */
const ANSWER_BYTES_MAX = 64 * 1024;
const DETAIL_MAX = 200;
/** Largest error of the hub's time as estimated here. */
const VARIATION_SECONDS = 30;

/** What a hub says to an unknown name or secret. It refuses other messages for other reasons, such as their times. */
const UNKNOWN = /secret/;

interface Options {
  /** `https://hub.example.net`, perhaps with a path, and without user name and password. */
  readonly url: string;
  readonly gateway: string;
  readonly secret: SigningSecret;
  /** Certificates of the authorities that the hub's certificate is checked with, in PEM; null: those of the system. */
  readonly ca: string | null;
  readonly version: string;
  readonly clock: Clock;
  readonly timeoutMs?: number;
}

/** The JSON object in the body of a response; null: the body has another form. */
type Content = Readonly<Record<string, unknown>> | null;

interface Answer {
  readonly response: Response;
  readonly content: Content;
}

interface HubRequest {
  readonly kind: "events" | "state";
  /** The timestamp. */
  readonly seconds: number;
  readonly body: Uint8Array<ArrayBuffer>;
  readonly signal: AbortSignal;
}

export class HttpsTransport implements HubTransport {
  readonly name: string;
  readonly isStream = false;
  readonly #options: Options;
  readonly #url: URL;
  /** The hub's time minus the monotonic time here; null: no answer so far. */
  #hubAheadMs: number | null = null;
  /** Timestamp of the last accepted message. The hub refuses earlier ones. */
  #acceptedSeconds = 0;
  /** Whether the last answer may have left a connection open. */
  #mayReuse = false;

  constructor(options: Options) {
    this.#options = options;
    this.#url = new URL(options.url);
    this.name = `hub ${redactUrl(options.url)}`;
  }

  sendEvents(message: EventsMessage, signal: AbortSignal): Promise<HubResult> {
    return this.#post("events", message, signal);
  }

  replayEvents(message: EventsMessage, signal: AbortSignal): Promise<HubResult> {
    return this.#post("events", message, signal);
  }

  sendState(message: StateMessage, signal: AbortSignal): Promise<HubResult> {
    return this.#post("state", message, signal);
  }

  close(): void {}

  async #post(kind: "events" | "state", message: object, signal: AbortSignal): Promise<HubResult> {
    const { timeoutMs = TIMEOUT_MS } = this.#options;
    const body = new TextEncoder().encode(JSON.stringify(message));
    using deadline = new Deadline(signal, timeoutMs);
    const request = { kind, body, signal: deadline.signal };
    try {
      const seconds = this.#hubSeconds();
      let answer = await this.#send({ ...request, seconds });
      // The hub may have refused the timestamp, and the answer contained its time.
      if (answer.response.status === 401 && this.#hubSeconds() !== seconds) {
        answer = await this.#send({ ...request, seconds: this.#hubSeconds() });
      }
      return this.#resultOf(answer);
    } catch (error) {
      const reason = networkReason(error, proxyFor(this.#url));
      return { type: "retry", reason: `${reason}${this.#adviceOn(reason)}`, afterMs: null };
    }
  }

  async #send(request: HubRequest): Promise<Answer> {
    const mayReuse = this.#mayReuse;
    this.#mayReuse = false;
    const response = await this.#fetch(request, true).catch((error: unknown) => {
      // The hub closed the idle connection while the request was on its way, which is not a failure.
      if (!mayReuse || networkReason(error, null) !== "ECONNRESET") throw error;
      return this.#fetch(request, false);
    });
    const text = await readText(response.body);
    const content = text === null ? null : objectOf(text);
    this.#readTime(content);
    this.#mayReuse = true;
    if (response.ok) this.#acceptedSeconds = Math.max(this.#acceptedSeconds, request.seconds);
    return { response, content };
  }

  #resultOf({ response, content }: Answer): HubResult {
    const { status, headers, ok } = response;
    if (ok) return answerOf(content);
    const nowMs = this.#options.clock.now().wallMs;
    const proxy = this.#url.protocol === "http:" ? proxyFor(this.#url) : null;
    const result = resultOfStatus(status, headers, { nowMs, proxy });
    const afterMs = result.type === "retry" ? result.afterMs : null;
    return { type: "retry", reason: `${status}: ${this.#explain(status, content)}`, afterMs };
  }

  /** The time of the hub as far as known, in seconds since 1970. */
  #hubSeconds(): number {
    const { wallMs, monotonicMs } = this.#options.clock.now();
    const hubMs = this.#hubAheadMs === null ? wallMs : monotonicMs + this.#hubAheadMs;
    const seconds = Math.floor(hubMs / 1000);
    // Answers take different times, so the known time of the hub varies. A larger difference means that its clock was set.
    const behind = this.#acceptedSeconds - seconds;
    return behind > 0 && behind < VARIATION_SECONDS ? this.#acceptedSeconds : seconds;
  }

  #fetch({ kind, seconds, body, signal }: HubRequest, keepalive: boolean): Promise<Response> {
    const { gateway, secret, ca, version } = this.#options;
    // A new one for each request, because the hub refuses an id that it knows.
    const id = newId("msg");
    const timestamp = String(seconds);
    const init: BunFetchRequestInit = {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "user-agent": `wgmon/${version}`,
        "accept-encoding": "identity",
        "wgmon-gateway": gateway,
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": sign([secret], { id, timestamp, body }),
      },
      body,
      signal,
      redirect: "manual",
      keepalive,
      decompress: false,
      ...(ca === null ? {} : { tls: { ca } }),
    };
    const base = this.#url.href.replace(/\/$/, "");
    return fetch(`${base}/v1/fleet/${kind}`, init);
  }

  /** Takes the hub's time from an answer or a problem. */
  #readTime(content: Content): void {
    const hubMs = content?.["nowMs"];
    if (typeof hubMs !== "number" || !Number.isFinite(hubMs)) return;
    this.#hubAheadMs = hubMs - this.#options.clock.now().monotonicMs;
  }

  #adviceOn(reason: string): string {
    if (!reason.startsWith("TLS certificate not trusted")) return "";
    return this.#options.ca === null
      ? "; set hub_ca to a copy of the hub's certificate, or of its authority's"
      : "; hub_ca names another certificate";
  }

  #explain(status: number, content: Content): string {
    const detail = content?.["detail"];
    const said =
      typeof detail === "string" ? `; the hub says: ${truncate(sanitize(detail), DETAIL_MAX)}` : "";
    if (status === 401 && typeof detail === "string" && !UNKNOWN.test(detail)) return said.slice(2);
    if (status === 401 || status === 403) {
      return `the hub does not accept this gateway; on the hub: wgmon hub enroll ${this.#options.gateway} --replace${said}`;
    }
    if (status === 404) return `there is no hub at this address; check the URL${said}`;
    if (status >= 300 && status < 400) return "redirects are not followed; give the final URL";
    return said === "" ? "the hub cannot accept the message now" : said.slice(2);
  }
}

function answerOf(content: unknown): HubResult {
  // Newer hubs may add fields.
  if (Value.Check(HubAnswer, content)) return { type: "answer", answer: content };
  const reason = "the answer is not that of a wgmon hub; check the URL";
  return { type: "retry", reason, afterMs: null };
}

/** The body as text; null: it is too long. */
async function readText(body: ReadableStream<Uint8Array> | null): Promise<string | null> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > ANSWER_BYTES_MAX) return null;
  }
  return text;
}

function objectOf(text: string): Content {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : null;
  } catch {
    return null;
  }
}
