/**
 * `wgmon receive`: a webhook receiver for trying out wgmon. Any client may send to it, so it prints only text without
 * control characters and of a limited length. commands.ts loads this file on demand.
 */

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { type Context, Hono } from "hono";

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { sanitize, truncate } from "../base/text.ts";
import { type SigningSecret, verify } from "../channels/signature.ts";
import { DigestSchema, type Event, EventSchema } from "../events/event-schema.ts";
import { describeEvent } from "../events/event.ts";

/** The longest digest is less than a tenth of this. */
const BODY_MAX_BYTES = 1024 * 1024;

/** Maximum number of bodies that are read at the same time. Each may take BODY_MAX_BYTES of memory. */
const BODIES_MAX = 32;

/**
 * Bun closes a connection that was idle for this long, or whose body arrives too slowly. It closes a connection whose
 * header is still incomplete after 12 s (Bun 1.4.5).
 */
const IDLE_SECONDS = 10;

/** Maximum number of remembered ids, and maximum length of an id. Ids of wgmon have 36 characters. */
const IDS_MAX = 10_000;
const ID_MAX = 100;

/** Maximum UTF-16 units of a line, and of a message that is not an event; messages in the format form are shorter. */
const LINE_MAX = 1000;
const LINES_MAX = 2000;

/** Time limit for responses in progress when the receiver stops. */
const STOP_MS = 500;

const ABOUT = `This is wgmon receive. It prints the webhooks that are sent to it, for trying out wgmon.
Webhooks are sent with POST, to any path.
`;

// TypeBox has no predefined string formats, and rejects strings of an unknown format.
FormatRegistry.Set("date-time", (text) => !Number.isNaN(Date.parse(text)));

export interface ReceiveOptions {
  /** 0: any free port. */
  readonly port: number;
  readonly address: string;
  /** Empty: signatures are not checked. */
  readonly secrets: readonly SigningSecret[];
  /** Receives each line, without its newline. */
  readonly print: (line: string) => void;
  readonly clock: Clock;
}

/** A running receiver. */
export interface WebhookReceiver {
  readonly url: string;
  /** Takes half a second at most. */
  stop(): Promise<void>;
}

/**
 * Starts the receiver.
 *
 * @throws SystemError when it cannot listen on the address and port.
 */
export function receive(options: ReceiveOptions): WebhookReceiver {
  const { port, address, secrets, print, clock } = options;
  const server = listen(port, address, makeApp(options).fetch);
  const url = `http://${address.includes(":") ? `[${address}]` : address}:${server.port}/`;
  print(`waiting for webhooks at ${url}; Ctrl-C ends it`);
  const isChecked = secrets.length > 0;
  const signed = isChecked ? " --webhook-secret-file FILE" : "";
  print(`to send samples: wgmon test-webhook --webhook ${url}${signed}`);
  if (!isChecked) {
    print(
      "signatures are not checked, so anyone can be the sender; --secret-file FILE checks them",
    );
  }
  return {
    url,
    async stop() {
      const { promise: deadline, resolve } = Promise.withResolvers<void>();
      const cancel = clock.after(STOP_MS, resolve);
      await Promise.race([server.stop(), deadline]);
      cancel();
      await server.stop(true);
    },
  };
}

function listen(port: number, hostname: string, fetch: Hono["fetch"]): Bun.Server<undefined> {
  try {
    return Bun.serve({
      port,
      hostname,
      fetch: (request) => fetch(request),
      // With reusePort, a second receiver could share the port and get half of the requests.
      reusePort: false,
      // In development mode, Bun's error pages show source code.
      development: false,
      idleTimeout: IDLE_SECONDS,
      // Bun itself responds with 413 to a longer body.
      maxRequestBodySize: BODY_MAX_BYTES,
    });
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    const code = String(error.code);
    throw new SystemError(`listen on ${hostname} port ${port}`, code, hints[code]);
  }
}

const hints: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program uses this port; choose another with --port, or 0 for any free one",
  EACCES: "ports below 1024 are for root; choose another with --port",
  EADDRNOTAVAIL: "this machine does not have this address; choose one that it has with --address",
};

function makeApp({ secrets, print, clock }: ReceiveOptions): Hono {
  const ids = new RecentIds();
  let bodiesInProgress = 0;

  function printWithTime(text: string): void {
    // The same time format as in the log on a terminal.
    print(`${new Date(clock.now().wallMs).toTimeString().slice(0, 8)} ${text}`);
  }

  /** null: the body did not arrive completely. */
  async function readBody(request: Request): Promise<Uint8Array | null> {
    bodiesInProgress++;
    try {
      return await request.bytes();
    } catch {
      return null;
    } finally {
      bodiesInProgress--;
    }
  }

  async function handlePost(c: Context): Promise<Response> {
    if (bodiesInProgress >= BODIES_MAX)
      return c.text("busy, try again\n", 503, { "retry-after": "1" });
    const body = await readBody(c.req.raw);
    if (body === null) {
      printWithTime("refused: the request was cut off, too slow or longer than 1 MiB");
      return c.text("the body is incomplete or longer than 1 MiB\n", 400);
    }
    const id = c.req.header("webhook-id") ?? null;
    if (secrets.length > 0) {
      const timestamp = c.req.header("webhook-timestamp") ?? null;
      const signature = c.req.header("webhook-signature") ?? null;
      const nowMs = clock.now().wallMs;
      const verification = verify(secrets, { id, timestamp, signature }, body, nowMs);
      if (verification !== "ok") {
        printWithTime(`refused: ${verification}`);
        return c.text(`refused: ${verification}\n`, 401);
      }
    }
    const isRepeat = ids.has(id);
    ids.add(id);
    for (const line of linesOf(body, c.req.header("content-type") ?? "")) {
      printWithTime(isRepeat ? `repeated: ${line}` : line);
    }
    return c.text(isRepeat ? "already received\n" : "received\n");
  }

  return new Hono()
    .get("/", (c) => c.text(ABOUT))
    .post("*", handlePost)
    .notFound((c) => c.text("only POST is accepted here\n", 405, { allow: "POST" }));
}

/** Remembers the most recent ids. */
export class RecentIds {
  readonly #ids = new Set<string>();

  has(id: string | null): boolean {
    return id !== null && this.#ids.has(id);
  }

  add(id: string | null): void {
    if (id === null || id.length > ID_MAX) return;
    this.#ids.add(id);
    if (this.#ids.size > IDS_MAX) this.#ids.delete(this.#ids.values().next().value!);
  }
}

/** The content of a message, safe to print: a line for each event of wgmon, otherwise the body. */
function linesOf(body: Uint8Array, contentType: string): readonly string[] {
  const text = new TextDecoder().decode(body);
  const events = eventsIn(text);
  if (events !== null) return events.map((event) => printable(describeEvent(event)));
  const content = /^application\/x-www-form-urlencoded\b/i.test(contentType)
    ? (new URLSearchParams(text).get("content") ?? text)
    : text;
  const lines = short(content, LINES_MAX)
    .split("\n")
    .map(printable)
    .filter((line) => line !== "");
  return lines.length === 0 ? ["a message without content"] : lines;
}

/** null: the text is not an event or a digest of this version of wgmon. */
function eventsIn(text: string): readonly Event[] | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (Value.Check(EventSchema, value)) return [value];
  return Value.Check(DigestSchema, value) ? value.data.events : null;
}

/** Shortens the text before it removes control characters, because that is slow for a long text. */
function printable(text: string): string {
  return truncate(sanitize(short(text, 2 * LINE_MAX)), LINE_MAX);
}

/** As `truncate`, but does not scan the whole text, which may be a megabyte. */
function short(text: string, max: number): string {
  return truncate(text.slice(0, 2 * max), max);
}
