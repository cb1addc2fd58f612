/**
 * The wgmon that runs, as its commands see it: they ask it over its Unix socket, in the words of the
 * machine interface (http/view.ts).
 */

import { SystemError } from "../errors.ts";

/** An answer is made within milliseconds; a daemon that is stopped (SIGSTOP) never makes one. */
const ANSWER_MS = 5000;

/** Only the path of the address says something: the socket is the way. */
const ORIGIN = "http://localhost";

/** What is not there is no failure for who can do without it. */
export class NotRunning extends SystemError {}

export class Daemon {
  /** Path of its socket. */
  readonly socket: string;

  constructor(socket: string) {
    this.socket = socket;
  }

  /**
   * The answer to `GET` of a path such as `/v1/status`.
   *
   * @throws NotRunning when nobody listens there.
   * @throws SystemError when it may not be asked, does not answer, or refuses.
   */
  async get<View>(path: string): Promise<View> {
    const response = await this.#fetch(path, AbortSignal.timeout(ANSWER_MS));
    return (await response.json()) as View;
  }

  /**
   * The same for a path that answers with text, such as `/readyz`.
   *
   * @throws as `get` does.
   */
  async text(path: string): Promise<string> {
    const response = await this.#fetch(path, AbortSignal.timeout(ANSWER_MS));
    return (await response.text()).trim();
  }

  /**
   * An answer that goes on, such as that of `/v1/stream`, as text.
   *
   * @throws as `get` does; also while it is read, when the daemon ends.
   */
  async follow(path: string, signal: AbortSignal): Promise<ReadableStream<string>> {
    const { body } = await this.#fetch(path, signal);
    if (body === null) throw new SystemError(`ask wgmon for ${path}`, "an empty answer");
    return body.pipeThrough(new TextDecoderStream());
  }

  async #fetch(path: string, signal: AbortSignal): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(`${ORIGIN}${path}`, { unix: this.socket, signal });
    } catch (error) {
      throw this.#failure(error);
    }
    if (response.ok) return response;
    const { title = "", detail = "" } = (await response.json().catch(() => ({}))) as {
      readonly title?: string;
      readonly detail?: string;
    };
    throw new SystemError(
      `ask wgmon for ${path.split("?")[0]}`,
      detail || title || response.statusText,
      `${response.status}`,
    );
  }

  #failure(error: unknown): Error {
    if (!(error instanceof Error)) throw error;
    const code = "code" in error && typeof error.code === "string" ? error.code : error.name;
    const operation = `ask wgmon at ${this.socket}`;
    switch (code) {
      case "ENOENT":
      case "ECONNREFUSED":
        return new NotRunning(operation, code, "wgmon is not running here");
      case "EACCES":
        return new SystemError(operation, code, "run this as root");
      case "TimeoutError":
        return new SystemError(operation, "no answer", "it hangs, or is stopped");
      default:
        return new SystemError(operation, code);
    }
  }
}
