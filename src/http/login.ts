/**
 * Who may ask: those who know a token. A program sends it with each request. A browser cannot, so it is
 * given once, in a form, and from then on a cookie stands for it: a random number that this process knows,
 * which ends with the process, with the token, or when its owner logs out.
 */

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

import type { Clock } from "../clock.ts";

const LOGIN_MS = 7 * 86_400_000;
/** Only those who know a token can make one. The oldest goes. */
const LOGINS_MAX = 256;
/** How long the answer to a wrong token takes, and how many may wait for theirs. */
const WRONG_MS = 1000;
const WRONG_MAX = 8;

interface Login {
  /** The hash of the token that it stands for. */
  readonly token: string;
  readonly endsMs: number;
}

/** What comes of a try to log in. */
export type Entry =
  { readonly type: "in"; readonly cookie: string } | { readonly type: "wrong" | "busy" };

export class Logins {
  readonly #clock: Clock;
  /** By the hash of their cookies' values: how long a search takes tells nothing of these. */
  readonly #logins = new Map<string, Login>();
  #wrong = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether the request has the cookie of somebody who gave one of these tokens. */
  has(request: Request, tokens: readonly string[]): boolean {
    const value = valueOf(request);
    const login = value === null ? undefined : this.#logins.get(hash(value));
    if (login === undefined || login.endsMs <= this.#clock.now().monotonicMs) return false;
    return tokens.some((token) => hash(token) === login.token);
  }

  /** A wrong token is told late, so that many cannot be tried; a right one at once, whoever else tries. */
  async enter(request: Request, given: string, tokens: readonly string[]): Promise<Entry> {
    if (!isToken(given, tokens)) {
      if (this.#wrong >= WRONG_MAX) return { type: "busy" };
      this.#wrong++;
      await new Promise<void>((resolve) => void this.#clock.after(WRONG_MS, resolve));
      this.#wrong--;
      return { type: "wrong" };
    }
    const value = randomBytes(32).toString("base64url");
    const endsMs = this.#clock.now().monotonicMs + LOGIN_MS;
    this.#logins.set(hash(value), { token: hash(given), endsMs });
    if (this.#logins.size > LOGINS_MAX) {
      const [oldest] = this.#logins.keys();
      this.#logins.delete(oldest!);
    }
    return { type: "in", cookie: cookieOf(request, value, LOGIN_MS) };
  }

  /** Answers the cookie that takes the browser's one away. */
  leave(request: Request): string {
    const value = valueOf(request);
    if (value !== null) this.#logins.delete(hash(value));
    return cookieOf(request, "", 0);
  }
}

/** Whether the request has one of the tokens. */
export function hasToken(request: Request, tokens: readonly string[]): boolean {
  const match = /^bearer +(\S+)$/i.exec(request.headers.get("authorization") ?? "");
  return isToken(match?.[1] ?? "", tokens) && match !== null;
}

/** In a time that tells nothing of the tokens: of texts of any length, hashes of one are compared. */
function isToken(given: string, tokens: readonly string[]): boolean {
  let isOne = false;
  for (const token of tokens) {
    if (timingSafeEqual(Buffer.from(hash(given)), Buffer.from(hash(token)))) isOne = true;
  }
  return isOne;
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("base64");
}

/** A browser takes a cookie whose name begins so only over TLS, for this host alone: RFC 6265bis. */
function nameFor(request: Request): string {
  return isSecure(request) ? "__Host-wgmon" : "wgmon";
}

/** Whoever lies about a proxy with TLS gets a cookie that is of no use without. */
function isSecure(request: Request): boolean {
  const proxied = request.headers.get("x-forwarded-proto");
  return new URL(request.url).protocol === "https:" || proxied === "https";
}

function valueOf(request: Request): string | null {
  const cookies = request.headers.get("cookie")?.split("; ") ?? [];
  const start = `${nameFor(request)}=`;
  return cookies.find((cookie) => cookie.startsWith(start))?.slice(start.length) ?? null;
}

function cookieOf(request: Request, value: string, ageMs: number): string {
  const secure = isSecure(request) ? "; Secure" : "";
  const age = `Max-Age=${ageMs / 1000}`;
  return `${nameFor(request)}=${value}; ${age}; Path=/; HttpOnly; SameSite=Strict${secure}`;
}
