/** One attempt to deliver one event by HTTP POST, and the verdict on the answer. */

import type { Clock } from "../clock.ts";
import type { Event } from "../contract.ts";
import type { Channel, Verdict } from "./channel.ts";
import { form } from "./form.ts";
import { json } from "./json.ts";

const formats = { json, form };

/** The Go program's limit, and wg-portal's. A receiver that needs longer should answer first. */
const TIMEOUT_MS = 10_000;

/** A receiver that asks for more patience than our longest backoff is asked again all the same. */
const RETRY_AFTER_MAX_MS = 15 * 60_000;

export interface WebhookOptions {
  /** http or https. May hold secrets, in any part. */
  readonly url: string;
  readonly format: keyof typeof formats;
  /** The channel's name: the URL made safe to log. */
  readonly label: string;
  readonly version: string;
  readonly clock: Clock;
  readonly timeoutMs?: number;
}

export function createWebhook(options: WebhookOptions): Channel {
  const { url, format, label, version, clock, timeoutMs = TIMEOUT_MS } = options;
  const { contentType, encode } = formats[format];
  // All attempts at an event come before those at the next, so one body is all there is to keep.
  let encoded: { readonly event: Event; readonly body: string } | null = null;

  return {
    name: label,
    address: url,
    async attempt(event, signal) {
      if (encoded?.event !== event) encoded = { event, body: encode(event) };
      const headers: Record<string, string> = {
        "content-type": contentType,
        "user-agent": `wgmon/${version}`,
      };
      if (format === "json") {
        headers["webhook-id"] = event.id;
        headers["webhook-timestamp"] = String(Math.floor(clock.now().wallMs / 1000));
      }
      using limit = new Limit(signal, timeoutMs);
      try {
        const response = await fetch(url, {
          method: "POST",
          headers,
          body: encoded.body,
          redirect: "manual",
          signal: limit.signal,
        });
        // Nothing in the body matters, and it may be endless. Short ones have arrived already, so
        // that their connection is used again.
        response.body?.cancel().catch(() => {});
        return judge(response.status, response.headers, clock.now().wallMs);
      } catch (error) {
        return { type: "retry", reason: networkReason(error), afterMs: null };
      }
    },
  };
}

/**
 * Aborts when `outer` does or when the time is up, and leaves nothing behind. AbortSignal.timeout stays
 * until its time is up, and AbortSignal.any as long as what it is made of, which here is for ever.
 */
class Limit implements Disposable {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal;
  readonly #timer: NodeJS.Timeout;
  readonly #abort = () => this.#controller.abort(this.#outer.reason);

  constructor(outer: AbortSignal, timeoutMs: number) {
    this.#outer = outer;
    this.#timer = setTimeout(() => {
      this.#controller.abort(new DOMException("the time is up", "TimeoutError"));
    }, timeoutMs);
    outer.addEventListener("abort", this.#abort);
    if (outer.aborted) this.#abort();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener("abort", this.#abort);
  }
}

/** What an answer means for the event. */
export function judge(status: number, headers: Headers, nowMs: number): Verdict {
  if (status >= 200 && status < 300) return { type: "delivered" };
  if (status >= 300 && status < 400) {
    return { type: "drop", reason: `${status}: redirects are not followed, give the final URL` };
  }
  if (status === 410) return { type: "stop", reason: "410: the target is gone" };
  if (status >= 400 && status < 500 && ![408, 425, 429].includes(status)) {
    return { type: "drop", reason: `${status}: ${refusal(status)}` };
  }
  return {
    type: "retry",
    reason: String(status),
    afterMs: retryAfterMs(headers.get("retry-after"), nowMs),
  };
}

function refusal(status: number): string {
  switch (status) {
    case 400:
    case 415:
    case 422:
      return "the receiver cannot read the event, check the webhook's format";
    case 401:
    case 403:
      return "not allowed, check the token or password in the URL";
    case 404:
      return "not found, check the URL";
    case 405:
      return "no POST at this place, check the URL";
    case 407:
      return "the proxy wants a password, check the proxy settings";
    default:
      return "refused, check the webhook's URL and format";
  }
}

/** RFC 9110 section 10.2.3: seconds, or a date in GMT. null: absent or neither. */
function retryAfterMs(value: string | null, nowMs: number): number | null {
  if (value === null) return null;
  const text = value.trim();
  let ms: number;
  if (/^\d+$/.test(text)) ms = Number(text) * 1000;
  else if (text.endsWith("GMT")) ms = Date.parse(text) - nowMs;
  else return null;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), RETRY_AFTER_MAX_MS);
}

/**
 * Why there was no answer, in words of our own: what fetch throws may quote the whole URL, and does
 * for a certificate of another name (Bun 1.4.5).
 * The names on the left are those of Bun's fetch, of libuv, c-ares and OpenSSL.
 */
const networkReasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "ECONNREFUSED",
  ECONNRESET: "ECONNRESET",
  EPIPE: "ECONNRESET",
  EHOSTUNREACH: "EHOSTUNREACH",
  ENETUNREACH: "ENETUNREACH",
  ETIMEDOUT: "timeout",
  ENOTFOUND: "ENOTFOUND (host name unknown)",
  EAI_AGAIN: "DNS does not answer",
  ESERVFAIL: "DNS does not answer",
  ETIMEOUT: "DNS does not answer",
  Malformed_HTTP_Response: "the answer is no HTTP",
  InvalidContentLength: "the answer is no HTTP",
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

function networkReason(error: unknown): string {
  if (!(error instanceof Error)) return "network error";
  if (error.name === "TimeoutError") return "timeout";
  if (error.name === "AbortError") return "aborted";
  const code = "code" in error ? String(error.code) : "";
  if (Object.hasOwn(networkReasons, code)) return networkReasons[code]!;
  return /CERT|TLS|SSL/.test(code) ? "TLS failed" : "network error";
}
