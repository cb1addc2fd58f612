/**
 * Authentication: a client must know a token. A program sends it with each request. A browser cannot do that,
 * so its user enters the token once, in a form, and the browser gets a cookie instead: a random number that
 * this process keeps in memory. The cookie is valid until the process ends, the token is removed, LOGIN_MS
 * have passed, or the user logs out.
 */

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

import type { Clock } from "../base/clock.ts";
import type { Log } from "../platform/log.ts";

const LOGIN_MS = 7 * 86_400_000;
/** Most logins at once: a further login replaces the oldest one. Only clients that know a token can log in. */
const LOGINS_MAX = 256;
/** Delay of the response to a wrong token, and the maximum number of such responses that are pending. */
const WRONG_MS = 1000;
const WRONG_MAX = 8;
/** The first wrong token is logged at once; later ones are counted and logged once per interval. */
const WRONG_LOG_MS = 10 * 60_000;

interface Login {
  /** Hash of the token that the user entered. */
  readonly token: string;
  readonly endsMs: number;
}

/** The result of an attempt to log in; `cookie` is the Set-Cookie header. */
export type LoginResult =
  { readonly type: "ok"; readonly cookie: string } | { readonly type: "wrong" | "busy" };

interface Options {
  readonly clock: Clock;
  readonly log: Pick<Log, "warn">;
}

export class LoginSessions implements Disposable {
  readonly #clock: Clock;
  /** Requests with a wrong token, in the header and in the form. */
  readonly wrongBearer: WrongTokens;
  readonly wrongForm: WrongTokens;
  /** Keyed by the hash of the cookie's value, so that the time of a lookup reveals nothing about the value. */
  readonly #logins = new Map<string, Login>();
  #wrongPending = 0;

  constructor(options: Options) {
    this.#clock = options.clock;
    this.wrongBearer = new WrongTokens("wrong token in Authorization: Bearer", options);
    this.wrongForm = new WrongTokens("wrong token in the login form", options);
  }

  [Symbol.dispose](): void {
    this.wrongBearer[Symbol.dispose]();
    this.wrongForm[Symbol.dispose]();
  }

  /** Whether the request has the cookie of a login with one of these tokens. */
  has(request: Request, tokens: readonly string[]): boolean {
    const value = cookieValue(request);
    const login = value === null ? undefined : this.#logins.get(hash(value));
    if (login === undefined || login.endsMs <= this.#clock.now().monotonicMs) return false;
    return tokens.some((token) => hash(token) === login.token);
  }

  /**
   * Answers a wrong token after a delay, which limits guessing. A right token is accepted at once, even while
   * wrong ones are pending.
   */
  async logIn(request: Request, given: string, tokens: readonly string[]): Promise<LoginResult> {
    if (!isOneOf(given, tokens)) {
      if (this.#wrongPending >= WRONG_MAX) return { type: "busy" };
      this.#wrongPending++;
      await new Promise<void>((resolve) => void this.#clock.after(WRONG_MS, resolve));
      this.#wrongPending--;
      return { type: "wrong" };
    }
    const value = randomBytes(32).toString("base64url");
    const endsMs = this.#clock.now().monotonicMs + LOGIN_MS;
    this.#logins.set(hash(value), { token: hash(given), endsMs });
    if (this.#logins.size > LOGINS_MAX) {
      const [oldest] = this.#logins.keys();
      this.#logins.delete(oldest!);
    }
    return { type: "ok", cookie: setCookie(request, value, LOGIN_MS) };
  }

  /** Ends the login. Returns the Set-Cookie header that deletes the cookie in the browser. */
  logOut(request: Request): string {
    const value = cookieValue(request);
    if (value !== null) this.#logins.delete(hash(value));
    return setCookie(request, "", 0);
  }
}

/** Counts requests with a wrong token and logs them at a limited rate. */
class WrongTokens implements Disposable {
  readonly #message: string;
  readonly #options: Options;
  #count = 0;
  #lastAddress: string | null = null;
  #cancel: (() => void) | null = null;

  constructor(message: string, options: Options) {
    this.#message = message;
    this.#options = options;
  }

  /** Counts one request. @param address IP address of the client; null if it is unknown. */
  record(address: string | null): void {
    this.#count++;
    this.#lastAddress = address;
    if (this.#cancel === null) this.#report();
  }

  [Symbol.dispose](): void {
    this.#cancel?.();
  }

  #report(): void {
    this.#cancel = null;
    if (this.#count === 0) return;
    const { clock, log } = this.#options;
    log.warn(this.#message, { requests: this.#count, last: this.#lastAddress });
    this.#count = 0;
    this.#cancel = clock.after(WRONG_LOG_MS, () => this.#report());
  }
}

const BEARER = /^bearer +(\S+)$/i;

/** Whether the request has a token, right or wrong. */
export function hasBearer(request: Request): boolean {
  return BEARER.test(request.headers.get("authorization") ?? "");
}

/** Whether the request has one of the tokens. */
export function hasToken(request: Request, tokens: readonly string[]): boolean {
  const match = BEARER.exec(request.headers.get("authorization") ?? "");
  return isOneOf(match?.[1] ?? "", tokens) && match !== null;
}

/** Whether the text is one of the tokens. Constant time: compares hashes, which all have the same length. */
function isOneOf(given: string, tokens: readonly string[]): boolean {
  let isMatch = false;
  for (const token of tokens) {
    if (timingSafeEqual(Buffer.from(hash(given)), Buffer.from(hash(token)))) isMatch = true;
  }
  return isMatch;
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("base64");
}

/** A browser accepts a cookie with the prefix __Host- only over TLS and only for this host: RFC 6265bis. */
function cookieName(request: Request): string {
  return isSecure(request) ? "__Host-wgmon" : "wgmon";
}

/** A client can forge the header of a TLS proxy, but the cookie that it then gets is useless without TLS. */
function isSecure(request: Request): boolean {
  const proxied = request.headers.get("x-forwarded-proto");
  return new URL(request.url).protocol === "https:" || proxied === "https";
}

function cookieValue(request: Request): string | null {
  const cookies = request.headers.get("cookie")?.split("; ") ?? [];
  const start = `${cookieName(request)}=`;
  return cookies.find((cookie) => cookie.startsWith(start))?.slice(start.length) ?? null;
}

function setCookie(request: Request, value: string, ageMs: number): string {
  const secure = isSecure(request) ? "; Secure" : "";
  const age = `Max-Age=${ageMs / 1000}`;
  return `${cookieName(request)}=${value}; ${age}; Path=/; HttpOnly; SameSite=Strict${secure}`;
}
