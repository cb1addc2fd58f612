/** Delivers one message by HTTP POST: one attempt, and its result from the response. */

import type { Clock } from "../base/clock.ts";
import { PAUSE_MAX_MS } from "../delivery/backoff.ts";
import type { Channel, DeliveryResult, Message } from "../delivery/target.ts";
import { Deadline } from "./deadline.ts";
import type { Format } from "./formats/format.ts";
import { type Proxy, proxyFor } from "./proxy.ts";
import { explanationIn } from "./refusal.ts";
import { sign, type SigningSecret } from "./signature.ts";
import { TIMEOUT_MS } from "./target-settings.ts";

/**
 * Makes a request fail without a connection, because /dev/null is not a socket. The first fetch() makes Bun create
 * its HTTP thread. Without free file descriptors, that ends the process or hangs the request. So such a request creates
 * the thread at startup.
 */
const NO_SOCKET: BunFetchRequestInit = { method: "POST", unix: "/dev/null" };

/** Maximum number of bytes of a response body that are read: error messages are short. */
const BODY_MAX = 4096;

export interface WebhookOptions {
  /** http or https, valid. May contain secrets in any part. */
  readonly url: string;
  readonly format: Format;
  /** Used by formats that are signed. Empty: requests are not signed. */
  readonly secrets: readonly SigningSecret[];
  /** The channel's name: the URL made safe to log. */
  readonly label: string;
  readonly version: string;
  readonly clock: Clock;
  /** Time limit for the whole attempt: until the response header, or the body if the result depends on it. */
  readonly timeoutMs?: number;
}

/** The parts of a request that are the same in all attempts to send a message. */
interface EncodedRequest {
  readonly id: string;
  readonly count: number;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array<ArrayBuffer>;
}

export function createWebhook(options: WebhookOptions): Channel {
  const { format, secrets, label, version, clock, timeoutMs = TIMEOUT_MS } = options;
  const url = urlOf(options.url);
  // Messages are sent one after the other, so the cache needs only the last one.
  let encoded: EncodedRequest | null = null;
  const connections = new Connections();

  function encode(message: Message): EncodedRequest {
    const { id, events } = message;
    // A digest keeps its id when `wgmon outbox` removes an event from it.
    if (encoded?.id === id && encoded.count === events.length) return encoded;
    const request = format.request(message, url);
    encoded = {
      id,
      count: events.length,
      url: request.url,
      headers: {
        ...request.headers,
        "content-type": request.contentType,
        "user-agent": `wgmon/${version}`,
        "accept-encoding": "identity",
      },
      body: new TextEncoder().encode(request.body),
    };
    return encoded;
  }

  /** A request that is valid now: the signature contains the current time. */
  function requestFor(content: EncodedRequest): Pick<RequestInit, "headers" | "body"> {
    return { headers: { ...content.headers, ...signature(content) }, body: content.body };
  }

  function signature({ id, body }: EncodedRequest): Record<string, string> {
    if (format.isSigned !== true) return {};
    const timestamp = String(Math.floor(clock.now().wallMs / 1000));
    const headers = { "webhook-id": id, "webhook-timestamp": timestamp };
    if (secrets.length === 0) return headers;
    return { ...headers, "webhook-signature": sign(secrets, { id, timestamp, body }) };
  }

  async function resultOf({ status, headers, body }: Response): Promise<DeliveryResult> {
    // A response over TLS cannot come from a proxy.
    const proxy = url.protocol === "http:" ? proxyFor(url) : null;
    const result = resultOfStatus(status, headers, { nowMs: clock.now().wallMs, proxy });
    const isRefused = result.type === "drop" && status >= 400;
    if (format.interpretResponse === undefined && !isRefused) {
      // The body is not needed, and may be endless. A short body has already arrived, so Bun still reuses the
      // connection.
      body?.cancel().catch(() => {});
      return result;
    }
    const text = await readPrefix(body);
    const formatResult = format.interpretResponse?.(status, text) ?? null;
    if (formatResult !== null || !isRefused) return formatResult ?? result;
    return {
      type: "drop",
      reason: refusalReason(status, {
        explanation: explanationIn(text, url, format.publicParts ?? []),
        proxy,
      }),
    };
  }

  return {
    name: label,
    warmUp(sample) {
      const request = { ...NO_SOCKET, ...requestFor(encode(sample)) };
      void fetch("http://localhost/", request).catch(() => {});
    },
    async attempt(message, signal) {
      const content = encode(message);
      using deadline = new Deadline(signal, timeoutMs);
      const request = { ...requestFor(content), signal: deadline.signal };
      let response: Response;
      try {
        response = await connections.post(content.url, request);
      } catch (error) {
        return { type: "retry", reason: networkReason(error, proxyFor(url)), afterMs: null };
      }
      return await resultOf(response);
    },
  };
}

function urlOf(text: string): URL {
  const url = URL.parse(text);
  // The constructor's error would quote the URL.
  if (url === null) throw new TypeError("the URL of a webhook is invalid");
  return url;
}

/** Posts, reusing the last connection if it is still open. */
class Connections {
  /** Whether the last response may have left a connection open. */
  #mayReuse = false;

  async post(
    url: string,
    request: Pick<RequestInit, "headers" | "body" | "signal">,
  ): Promise<Response> {
    const init: BunFetchRequestInit = {
      ...request,
      method: "POST",
      redirect: "manual",
      // A few hundred kilobytes can decompress to a few hundred megabytes, and invalid data makes Bun print a line on
      // standard error.
      decompress: false,
    };
    const mayReuse = this.#mayReuse;
    this.#mayReuse = false;
    const response = await fetch(url, init).catch((error: unknown) => {
      if (!mayReuse || reasonOf(error) !== "ECONNRESET") throw error;
      // The receiver closed the idle connection while our request was on its way, which is not a failure. Retry at
      // once over a new connection.
      return fetch(url, { ...init, keepalive: false });
    });
    this.#mayReuse = true;
    return response;
  }
}

/**
 * Returns at most BODY_MAX bytes of a body as text. After an error or at the time limit, returns the part that has
 * arrived.
 */
async function readPrefix(body: ReadableStream<Uint8Array> | null): Promise<string> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let text = "";
  let left = BODY_MAX;
  try {
    while (left > 0) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value.subarray(0, left), { stream: true });
      left -= value.length;
    }
  } catch {
    // The part that has arrived is more useful than the error.
  }
  reader.cancel().catch(() => {});
  return text;
}

interface ResponseContext {
  readonly nowMs: number;
  /** The proxy that may have sent the response instead of the receiver; null: there is no such proxy. */
  readonly proxy: Proxy | null;
}

/** The result of an attempt from the response's status and headers alone. */
export function resultOfStatus(
  status: number,
  headers: Headers,
  { nowMs, proxy }: ResponseContext,
): DeliveryResult {
  if (status >= 200 && status < 300) return { type: "delivered" };
  if (status >= 300 && status < 400) {
    const reason = `${status}: redirects are not followed, give the final URL${viaProxy(proxy)}`;
    return { type: "drop", reason };
  }
  if (status === 410) return { type: "stop", reason: `410: the target is gone${viaProxy(proxy)}` };
  // RFC 9110 section 15.5.8: a 407 is from a proxy, and says nothing about the event.
  if (status === 407) return { type: "retry", reason: proxyRefusal(proxy, 407), afterMs: null };
  if (status >= 400 && status < 500 && ![408, 425, 429].includes(status)) {
    return { type: "drop", reason: refusalReason(status, { explanation: null, proxy }) };
  }
  return {
    type: "retry",
    reason: `${status}${viaProxy(proxy)}`,
    afterMs: retryAfterMs(headers.get("retry-after"), nowMs),
  };
}

interface Refusal {
  /** The receiver's explanation; null: the response has none. */
  readonly explanation: string | null;
  readonly proxy: Proxy | null;
}

function refusalReason(status: number, { explanation, proxy }: Refusal): string {
  const advice = adviceOn(status);
  const end = viaProxy(proxy);
  if (explanation === null) {
    return `${status}: ${advice ?? "refused, check the webhook's URL and format"}${end}`;
  }
  // If the receiver explains why it cannot read the message, do not add a guess.
  const isGuess = advice === null || advice === UNREADABLE;
  return `${status}: ${isGuess ? "" : `${advice}; `}the receiver says: ${explanation}${end}`;
}

function viaProxy(proxy: Proxy | null): string {
  return proxy === null ? "" : ` (through proxy ${proxy.label})`;
}

const UNREADABLE = "the receiver cannot read the event, check the webhook's format";

/** A probable cause and what to check; null: the status says only that the message is refused. */
function adviceOn(status: number): string | null {
  switch (status) {
    case 400:
    case 415:
    case 422:
      return UNREADABLE;
    case 401:
    case 403:
      return "not allowed, check the token or password in the URL";
    case 404:
      return "not found, check the URL";
    case 405:
      return "this URL does not accept POST, check the URL";
    default:
      return null;
  }
}

/** The pause that Retry-After asks for (RFC 9110 section 10.2.3: seconds, or a date); null: absent or invalid. */
function retryAfterMs(value: string | null, nowMs: number): number | null {
  if (value === null) return null;
  const text = value.trim();
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : httpDateMs(text) - nowMs;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), PAUSE_MAX_MS);
}

/** Parses the three date formats of RFC 9110 section 5.6.7, all in GMT; NaN: another format. */
function httpDateMs(text: string): number {
  // Only the format of asctime() has no time zone, and Date.parse would assume the local one.
  if (/^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4}$/.test(text)) {
    return Date.parse(`${text} GMT`);
  }
  return /^[A-Z][a-z]+, .* GMT$/.test(text) ? Date.parse(text) : Number.NaN;
}

/**
 * Why there was no response, by the code of the error. The error's message is not used: it may quote the whole URL, as
 * for a certificate of another host name (Bun 1.4.5). The codes are those of Bun's fetch, libuv, c-ares and OpenSSL.
 */
const networkReasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "ECONNREFUSED",
  ECONNRESET: "ECONNRESET",
  EPIPE: "ECONNRESET",
  EHOSTUNREACH: "EHOSTUNREACH",
  ENETUNREACH: "ENETUNREACH",
  ETIMEDOUT: "timeout",
  EMFILE: "EMFILE (too many open files in this process; raise LimitNOFILE)",
  ENFILE: "ENFILE (too many open files on this machine)",
  ENOTFOUND: "ENOTFOUND (host name unknown)",
  EAI_AGAIN: "DNS does not answer",
  ESERVFAIL: "DNS does not answer",
  ETIMEOUT: "DNS does not answer",
  Malformed_HTTP_Response: "the response is not HTTP/1",
  InvalidContentLength: "the response is not HTTP/1",
  UnsupportedTransferEncoding: "the response is not HTTP/1",
  UnrequestedUpgrade: "101: the receiver asks for another protocol",
  ResponseHeadersTooLarge: "the response headers are too large",
  EPROTO: "TLS handshake failed",
  CERT_HAS_EXPIRED: "TLS certificate expired",
  CERT_NOT_YET_VALID: "TLS certificate not valid yet",
  ERR_TLS_CERT_ALTNAME_INVALID: "TLS certificate is for another host name",
  DEPTH_ZERO_SELF_SIGNED_CERT: "TLS certificate not trusted (self-signed)",
  SELF_SIGNED_CERT_IN_CHAIN: "TLS certificate not trusted (self-signed)",
  UNABLE_TO_GET_ISSUER_CERT: "TLS certificate not trusted (issuer unknown)",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "TLS certificate not trusted (issuer unknown)",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "TLS certificate not trusted (issuer unknown)",
};

/**
 * Why there was no response, without secrets.
 *
 * @param proxy the proxy that the request was sent to; null: no proxy was used.
 */
export function networkReason(error: unknown, proxy: Proxy | null): string {
  const reason = reasonOf(error);
  if (proxy === null) return reason;
  const { label, hostname } = proxy;
  const { code, status, hostname: failedHost } = Object(error) as Partial<Record<string, unknown>>;
  switch (code) {
    case "ERR_PROXY_TUNNEL":
      return proxyRefusal(proxy, Number(status));
    case "UnsupportedProxyProtocol":
      return `proxy ${label}: only http:// and https:// proxies are supported`;
    case "ECONNREFUSED":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      // wgmon connects only to the proxy, so the failed connection is the one to the proxy.
      return `proxy ${label}: ${reason}`;
  }
  if (failedHost === hostname) return `proxy ${label}: ${reason}`;
  return `${reason}${viaProxy(proxy)}`;
}

/** @param proxy null: the proxy is unknown. */
function proxyRefusal(proxy: Proxy | null, status: number): string {
  const start = `proxy${proxy === null ? "" : ` ${proxy.label}`}: ${status}`;
  if (status === 407)
    return `${start}, it requires a user name and password, check the proxy settings`;
  if (status === 403) return `${start}, it does not allow connections to the receiver`;
  if (status >= 500) return `${start}, it cannot reach the receiver`;
  return `${start}, it refuses to connect to the receiver`;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "network error";
  if (error.name === "TimeoutError") return "timeout";
  if (error.name === "AbortError") return "aborted";
  const code = "code" in error ? String(error.code) : "";
  if (Object.hasOwn(networkReasons, code)) return networkReasons[code]!;
  return /CERT|TLS|SSL/.test(code) ? "TLS failed" : "network error";
}
