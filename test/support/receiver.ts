/**
 * A webhook receiver for tests: records all requests, and responds as configured, including failures.
 */

import type { Server } from "bun";

import type { Event } from "../../src/events/event-schema.ts";
import { REPORT_MS } from "./until.ts";

export interface Received {
  /** Wall clock in milliseconds, with fractions, to measure latencies below a millisecond. */
  readonly atMs: number;
  readonly path: string;
  readonly headers: Headers;
  readonly bytes: Uint8Array;
  /** `bytes` as text. */
  readonly body: string;
  /** The parsed body; null if it is not JSON. */
  readonly event: Event | null;
}

export type Answer =
  | {
      readonly status: number;
      /** `retry-after`, `location`, ... */
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** No response. */
  | "hang"
  /** The connection is closed before a response. */
  | "reset"
  /** 200, then a body that never ends: one byte a second, or as fast as possible. */
  | "slow-body"
  | "endless-body";

interface Waiter {
  readonly predicate: (requests: readonly Received[]) => boolean;
  readonly resolve: () => void;
}

export class Receiver {
  readonly requests: Received[] = [];
  /** Number of response bodies that a client has cancelled. */
  cancelled = 0;
  /** The response to all requests, or a function that chooses one for each. */
  answer: Answer | ((request: Received) => Answer) = { status: 204 };
  readonly #hostname: string;
  #server: Server<undefined>;
  #waiters: Waiter[] = [];

  constructor(hostname = "127.0.0.1") {
    this.#hostname = hostname;
    this.#server = this.#listen(0);
  }

  url(path = "/hook"): string {
    return `http://${this.#hostname}:${this.#server.port}${path}`;
  }

  /** Resolves once `predicate` holds; checked now and after each request. */
  async waitFor(predicate: Waiter["predicate"], timeoutMs = REPORT_MS): Promise<void> {
    if (predicate(this.requests)) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { predicate, resolve };
    this.#waiters.push(waiter);
    const timer = setTimeout(() => {
      this.#waiters = this.#waiters.filter((other) => other !== waiter);
      reject(new Error(`not within ${timeoutMs} ms; received ${this.requests.length} requests`));
    }, timeoutMs);
    await promise.finally(() => clearTimeout(timer));
  }

  [Symbol.dispose](): void {
    void this.#server.stop(true);
  }

  #listen(port: number): Server<undefined> {
    return Bun.serve({
      port,
      hostname: this.#hostname,
      reusePort: false,
      fetch: (request) => this.#receive(request),
    });
  }

  async #receive(request: Request): Promise<Response> {
    const atMs = performance.timeOrigin + performance.now();
    const bytes = await request.bytes();
    const body = new TextDecoder().decode(bytes);
    const { pathname, search } = new URL(request.url);
    const received = {
      atMs,
      path: pathname + search,
      headers: request.headers,
      bytes,
      body,
      event: parse(body),
    };
    this.requests.push(received);
    const answer = typeof this.answer === "function" ? this.answer(received) : this.answer;
    const met = this.#waiters.filter(({ predicate }) => predicate(this.requests));
    this.#waiters = this.#waiters.filter((waiter) => !met.includes(waiter));
    for (const { resolve } of met) resolve();
    return this.#respond(answer);
  }

  #respond(answer: Answer): Response | Promise<Response> {
    switch (answer) {
      case "hang":
        return new Promise(() => {});
      case "reset": {
        // Bun.serve can only close all connections together; the port is reopened immediately.
        const { port } = this.#server;
        void this.#server.stop(true);
        this.#server = this.#listen(port!);
        return new Promise(() => {});
      }
      case "slow-body":
        return new Response(this.#body(1000, 1));
      case "endless-body":
        return new Response(this.#body(0, 65_536));
      default:
        return new Response(answer.body ?? null, {
          status: answer.status,
          headers: { ...answer.headers },
        });
    }
  }

  #body(pauseMs: number, bytes: number): ReadableStream<Uint8Array> {
    return new ReadableStream({
      start(controller) {
        controller.enqueue(new Uint8Array(bytes)); // Bun.serve sends the head with the first of the body
      },
      async pull(controller) {
        await Bun.sleep(pauseMs);
        controller.enqueue(new Uint8Array(bytes));
      },
      cancel: () => {
        this.cancelled++;
      },
    });
  }
}

function parse(body: string): Event | null {
  try {
    return JSON.parse(body) as Event;
  } catch {
    return null;
  }
}
