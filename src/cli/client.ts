/** The running wgmon, as the commands see it: they query its HTTP API (http/view.ts) over its Unix socket. */

import { SystemError } from "../base/errors.ts";

/** An answer takes milliseconds, or seconds on a slow, busy machine. A stopped daemon never answers. */
const ANSWER_MS = 20_000;
/** A stream sends something every ten seconds: HEARTBEAT_MS of http/event-stream.ts. */
const SILENCE_MS = 30_000;

/** fetch needs a host, but the request goes to the Unix socket: only the path of the URL matters. */
const ORIGIN = "http://localhost";

/** Answers a command's requests. */
export interface ApiReader {
  /**
   * Returns the answer to `GET` of a path such as `/v1/status`.
   *
   * @throws SystemError
   */
  get<View>(path: string): Promise<View>;
}

/** No daemon listens on the socket. Some commands work without one. */
export class DaemonNotRunning extends SystemError {}

/** The daemon hangs, or ended during the request. It may come back. */
export class ConnectionLost extends SystemError {}

export class DaemonClient implements ApiReader {
  /** Path of the daemon's socket. */
  readonly socket: string;
  readonly #timeouts: { readonly answerMs: number; readonly silenceMs: number };

  constructor(socket: string, patience = { answerMs: ANSWER_MS, silenceMs: SILENCE_MS }) {
    this.socket = socket;
    this.#timeouts = patience;
  }

  /**
   * Sends `GET` and returns the parsed answer.
   *
   * @throws NotRunning, Lost
   * @throws SystemError when access is denied, or the daemon refuses the request.
   */
  async get<View>(path: string): Promise<View> {
    const signal = AbortSignal.timeout(this.#timeouts.answerMs);
    return await this.#ask(path, signal, viewOf<View>);
  }

  /**
   * As `get`, for a path that answers with plain text, such as `/readyz`.
   *
   * @throws as `get` does.
   */
  async text(path: string): Promise<string> {
    const signal = AbortSignal.timeout(this.#timeouts.answerMs);
    return await this.#ask(path, signal, async (response) =>
      response.ok ? (await response.text()).trim() : await viewOf<never>(response, path),
    );
  }

  /**
   * Yields the pieces of a streamed answer, such as that of `/v1/stream`, as they arrive. Ends when the
   * daemon ends the stream.
   *
   * @throws as `get` does, also while the stream is read.
   */
  async *follow(path: string): AsyncGenerator<string, void> {
    const patience = new AbortController();
    let timer: Timer | undefined;
    const wait = (ms: number) => {
      clearTimeout(timer);
      timer = setTimeout(() => patience.abort(new DOMException("", "TimeoutError")), ms);
    };
    wait(this.#timeouts.answerMs);
    try {
      const body = await this.#ask(path, patience.signal, async (response) =>
        response.ok ? response.body : await viewOf<never>(response, path),
      );
      const decoder = new TextDecoder();
      wait(this.#timeouts.silenceMs);
      for await (const bytes of body ?? []) {
        yield decoder.decode(bytes, { stream: true });
        wait(this.#timeouts.silenceMs);
      }
    } catch (error) {
      throw error instanceof SystemError ? error : this.#failure(error);
    } finally {
      clearTimeout(timer);
      patience.abort();
    }
  }

  async #ask<Result>(
    path: string,
    signal: AbortSignal,
    read: (response: Response, path: string) => Promise<Result>,
  ): Promise<Result> {
    try {
      return await read(await fetch(`${ORIGIN}${path}`, { unix: this.socket, signal }), path);
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
 * Returns the body of a successful answer.
 *
 * @throws SystemError with the daemon's explanation if it refused the request, or if the body is not JSON.
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
  const { title = "", detail = "" } = view as { readonly title?: string; readonly detail?: string };
  const { status } = response;
  const Failure = status >= 500 ? ConnectionLost : SystemError;
  throw new Failure(operation, detail || title, `${status}`);
}
