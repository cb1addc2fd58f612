/** The commands' client for the HTTP API of the running wgmon (http/view.ts), over its Unix socket. */

import { SystemError } from "../base/errors.ts";
import type { Problem } from "../http/problem.ts";

/** A response takes milliseconds, or seconds on a slow, busy machine. A suspended daemon does not respond. */
const RESPONSE_TIMEOUT_MS = 20_000;
/** A stream sends data at least every ten seconds: HEARTBEAT_MS of http/event-stream.ts. */
const STREAM_TIMEOUT_MS = 30_000;

/** fetch needs an absolute URL. The request goes to the Unix socket, so the host has no effect. */
const ORIGIN = "http://localhost";
const JSON_TYPE = { "content-type": "application/json" };

/** Answers the API requests of the commands: the daemon, or LocalApi if it is not running. */
export interface ApiReader {
  /**
   * Returns the response to `GET` of a path such as `/v1/status`.
   *
   * @throws SystemError
   */
  get<View>(path: string): Promise<View>;
}

/** No daemon listens on the socket. Some commands work without a daemon. */
export class DaemonNotRunning extends SystemError {}

/** There is nothing at the path of the request, such as an alert with an id. */
export class NotFoundResponse extends SystemError {}

/** The daemon does not respond, or ended during the request. Another attempt may succeed. */
export class ConnectionLost extends SystemError {}

export class DaemonClient implements ApiReader {
  /** Path of the daemon's socket. */
  readonly socket: string;
  /** `streamMs`: the longest time without data on a stream. */
  readonly #timeouts: { readonly responseMs: number; readonly streamMs: number };

  constructor(
    socket: string,
    timeouts = { responseMs: RESPONSE_TIMEOUT_MS, streamMs: STREAM_TIMEOUT_MS },
  ) {
    this.socket = socket;
    this.#timeouts = timeouts;
  }

  /**
   * Sends `GET` and returns the parsed response.
   *
   * @throws DaemonNotRunning, ConnectionLost
   * @throws SystemError when access is denied, or the daemon refuses the request.
   */
  async get<View>(path: string): Promise<View> {
    const signal = AbortSignal.timeout(this.#timeouts.responseMs);
    return await this.#request(path, signal, viewOf<View>);
  }

  /**
   * Sends a request that changes something, and returns the parsed response.
   *
   * @throws the same errors as `get`.
   */
  async send<View>(method: "POST" | "DELETE", path: string, body: object | null): Promise<View> {
    const signal = AbortSignal.timeout(this.#timeouts.responseMs);
    const init = {
      method,
      ...(body === null ? {} : { body: JSON.stringify(body), headers: JSON_TYPE }),
    };
    return await this.#request(path, signal, viewOf<View>, init);
  }

  /**
   * As `get`, for a path whose response is plain text, such as `/readyz`.
   *
   * @throws the same errors as `get`.
   */
  async text(path: string): Promise<string> {
    const signal = AbortSignal.timeout(this.#timeouts.responseMs);
    return await this.#request(path, signal, async (response) =>
      response.ok ? (await response.text()).trim() : await viewOf<never>(response, path),
    );
  }

  /**
   * Yields the chunks of a stream, such as `/v1/stream`, as they arrive. Ends when the daemon ends the stream.
   *
   * @throws the same errors as `get`, also while the stream is read.
   */
  async *follow(path: string): AsyncGenerator<string, void> {
    const controller = new AbortController();
    let timer: Timer | undefined;
    const startTimeout = (ms: number) => {
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(new DOMException("", "TimeoutError")), ms);
    };
    startTimeout(this.#timeouts.responseMs);
    try {
      const body = await this.#request(path, controller.signal, async (response) =>
        response.ok ? response.body : await viewOf<never>(response, path),
      );
      const decoder = new TextDecoder();
      startTimeout(this.#timeouts.streamMs);
      for await (const bytes of body ?? []) {
        yield decoder.decode(bytes, { stream: true });
        startTimeout(this.#timeouts.streamMs);
      }
    } catch (error) {
      throw error instanceof SystemError ? error : this.#failure(error);
    } finally {
      clearTimeout(timer);
      controller.abort();
    }
  }

  async #request<Result>(
    path: string,
    signal: AbortSignal,
    read: (response: Response, path: string) => Promise<Result>,
    init: RequestInit = {},
  ): Promise<Result> {
    try {
      const response = await fetch(`${ORIGIN}${path}`, { ...init, unix: this.socket, signal });
      return await read(response, path);
    } catch (error) {
      throw error instanceof SystemError ? error : this.#failure(error);
    }
  }

  #failure(error: unknown): Error {
    if (!(error instanceof Error)) throw error;
    const code = "code" in error && typeof error.code === "string" ? error.code : error.name;
    const operation = `ask wgmon at ${this.socket}`;
    switch (code) {
      case "ENOENT":
      case "ECONNREFUSED":
        return new DaemonNotRunning(operation, code, "wgmon is not running here");
      case "EACCES":
        return new SystemError(operation, code, "run this as root");
      case "TimeoutError":
        return new ConnectionLost(operation, "no answer", "wgmon hangs, or is suspended");
      case "ECONNRESET":
        return new ConnectionLost(
          operation,
          code,
          "wgmon ended, or another program uses this socket",
        );
      default:
        return new SystemError(operation, code);
    }
  }
}

/**
 * Returns the parsed body of a successful response.
 *
 * @throws SystemError with the daemon's error text if it refused the request, or if the body is not JSON.
 */
export async function viewOf<View>(response: Response, path: string): Promise<View> {
  const operation = `ask wgmon for ${path.split("?")[0]}`;
  const text = await response.text();
  let view: unknown;
  try {
    view = JSON.parse(text);
  } catch {
    throw new SystemError(operation, `${response.status}`, "the response is not JSON");
  }
  if (response.ok) return view as View;
  const { title = "", detail = "", errors = [] } = view as Partial<Problem>;
  const { status } = response;
  const details = errors.map((each) => `${each.parameter}: ${each.detail}`).join("; ");
  const Failure = status >= 500 ? ConnectionLost : status === 404 ? NotFoundResponse : SystemError;
  throw new Failure(operation, detail || details || title, `${status}`);
}
