/**
 * A connection to one of several NATS servers, opened when it is needed. The client library neither reconnects nor keeps
 * messages: what was not sent is sent again from the store, and a message that waited in the library could arrive after
 * its second attempt. The library is loaded with the first connection.
 */

import type { NatsConnection } from "@nats-io/transport-node";

import { describeServers, type NatsLogin } from "./nats-url.ts";

export interface NatsLinkOptions {
  readonly login: NatsLogin;
  /** The server shows this name in its list of connections. */
  readonly clientName: string;
  readonly inboxPrefix?: string;
  readonly timeoutMs?: number;
}

const CONNECT_TIMEOUT_MS = 5000;
/** A server that does not answer is noticed after two of them. */
const PING_INTERVAL_MS = 10_000;

/** Why a server could not be used. The message contains no secrets. */
export class NatsError extends Error {}

export class NatsLink {
  readonly #options: NatsLinkOptions;
  #opening: Promise<NatsConnection> | null = null;
  #isClosed = false;

  constructor(options: NatsLinkOptions) {
    this.#options = options;
  }

  /** For messages: `nats://nats.example.net:4222`. */
  get servers(): string {
    return describeServers(this.#options.login);
  }

  /**
   * The open connection, or a new one.
   *
   * @throws NatsError
   */
  async connection(): Promise<NatsConnection> {
    if (this.#isClosed) throw new NatsError("closed");
    const opening = (this.#opening ??= this.#open());
    try {
      const connection = await opening;
      if (!connection.isClosed()) return connection;
    } catch (error) {
      if (this.#opening === opening) this.#opening = null;
      throw error;
    }
    if (this.#opening === opening) this.#opening = null;
    return await this.connection();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const connection = await this.#opening?.catch(() => null);
    this.#opening = null;
    await connection?.close();
  }

  async #open(): Promise<NatsConnection> {
    const { login, clientName, inboxPrefix, timeoutMs = CONNECT_TIMEOUT_MS } = this.#options;
    const { connect, credsAuthenticator } = await import("@nats-io/transport-node");
    try {
      const connection = await connect({
        servers: [...login.servers],
        name: clientName,
        timeout: timeoutMs,
        reconnect: false,
        pingInterval: PING_INTERVAL_MS,
        noAsyncTraces: true,
        ...(inboxPrefix === undefined ? {} : { inboxPrefix }),
        // With this, the library refuses a server without TLS before it sends the password.
        ...(login.isTls ? { tls: login.ca === null ? {} : { ca: login.ca } } : {}),
        ...(login.credentials === null
          ? { user: login.user ?? "", pass: login.password ?? "" }
          : { authenticator: credsAuthenticator(new TextEncoder().encode(login.credentials)) }),
      });
      // Without a handler, the library's promise would be an unhandled rejection when it is closed with an error.
      void connection.closed().catch(() => {});
      return connection;
    } catch (error) {
      throw new NatsError(connectReason(error), { cause: error });
    }
  }
}

function connectReason(error: unknown): string {
  const { name, message, code } = error as Error & { code?: unknown };
  if (name === "AuthorizationError" || /authorization violation|authentication/i.test(message)) {
    return "the server refuses the user or the password";
  }
  if (name === "TimeoutError") return "timeout";
  if (/tls.*not available|not support .tls/i.test(message)) return "the server offers no TLS";
  return typeof code === "string" && !message.includes(code) ? `${message} (${code})` : message;
}

/** Why a request had no result. Contains no secret. */
export function requestReason(error: unknown): string {
  if (error instanceof NatsError) return error.message;
  const { name, message } = causeOf(error);
  switch (name) {
    case "TimeoutError":
      return "timeout";
    case "ClosedConnectionError":
      return "connection closed";
    case "PermissionViolationError":
      return `the server does not permit this: ${message}`;
    default:
      return /certificate/i.test(message)
        ? `${message}; hub_ca on a gateway, and nats_ca on the hub, name the certificate of the authority`
        : message;
  }
}

/** Whether nothing receives messages with the request's subject. */
export function isUnanswered(error: unknown): boolean {
  return causeOf(error).name === "NoResponders";
}

/** The library wraps errors of requests. */
function causeOf(error: unknown): Error {
  const { name, cause } = error as Error;
  return name === "RequestError" && cause instanceof Error ? cause : (error as Error);
}
