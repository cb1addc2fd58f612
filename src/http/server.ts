/**
 * The HTTP server: on a Unix socket, always, for the commands of wgmon, and on TCP where the settings
 * ask for it. Who may ask, and how much at once, is decided here; api.ts, metrics.ts and others answer
 * and are loaded with the first request for them. app.ts loads this file when wgmon is ready.
 */

import { readdirSync, readFileSync } from "node:fs";
import { chmod, mkdir, readFile, unlink } from "node:fs/promises";

import type { Clock } from "../clock.ts";
import { isLoopback } from "../config/listen.ts";
import { isUnreadable, SystemError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Page } from "../page/page.tsx";
import { lockFile } from "../system.ts";
import type { Api } from "./api.ts";
import { hasToken, Logins } from "./login.ts";
import type { Naming } from "./metrics.ts";
import { socketIn } from "./place.ts";
import { problem } from "./problem.ts";
import type { Source } from "./source.ts";

/** Bun ends a connection over which nothing moved for so long; see also HEARTBEAT_MS of feed.ts. */
const IDLE_SECONDS = 30;
/** No request here has a longer body than a token. Bun answers 413 by itself, and 431 for a header of 16 KiB and more. */
const BODY_MAX_BYTES = 1024;
/** Requests that are being answered: as many as all listeners are, who may come back at the same time. */
const ANSWERING_MAX = 256;
/** Each has the numbers of all peers in memory. */
const SCRAPES_MAX = 4;
/**
 * Bun takes in as many connections as come, and when the process may open no more files, it tries
 * again and again at full speed. So, how many may be open, and how often they are counted.
 */
const OPEN_FILES_MAX = 1024;
const COUNT_MS = 1000;
/** A crowd that comes back after this is told of again. */
const CROWD_OVER_MS = 60_000;
/** An address may come later than we do: WireGuard's own, for one. */
const RETRY_MS = 10_000;
/** How long an answer that has begun may still take at the end. */
const STOP_MS = 300;

/** Those of the settings that matter here. */
export interface HttpSettings {
  /** null: not on TCP. */
  readonly listen: { readonly address: string; readonly port: number } | null;
  /** Empty: none is needed; only where nobody but this machine can connect. */
  readonly listenTokens: readonly string[];
  /** Paths of PEM files; null: no TLS. */
  readonly listenTls: { readonly cert: string; readonly key: string } | null;
  /** The other exporters whose names the metrics have, too. */
  readonly metrics: readonly Naming[];
}

export interface ServerOptions {
  readonly source: Source;
  /** As they are now: tokens and names may change while running. */
  readonly settings: () => HttpSettings;
  /** Where the Unix socket is; null: there is none. */
  readonly runtimeDir: string | null;
  readonly log: Log;
  readonly clock: Clock;
}

type Listening = Bun.Server<undefined>;

/** Who asks. */
export interface Visitor {
  /** May see all that there is. */
  readonly isTrusted: boolean;
  /** Logged in: a browser sends its cookie whoever made it ask. */
  readonly hasCookie: boolean;
  /** What a stranger needs, one of these; empty: nobody is a stranger. */
  readonly tokens: readonly string[];
}

/** On the Unix socket: who can open it is root already. */
const root: Visitor = { isTrusted: true, hasCookie: false, tokens: [] };

export class HttpServer {
  readonly #options: ServerOptions;
  readonly #logins: Logins;
  #tcp: Listening | null = null;
  /** The one that it listened on before. */
  #port: number | null = null;
  #unix: Listening | null = null;
  #unlock = () => {};
  #cancelRetry = () => {};
  #cancelCount = () => {};
  readonly #openFilesMax = openFilesMax();
  #crowdedMs = -Infinity;
  #api: Promise<Api> | null = null;
  #page: Promise<Page> | null = null;
  /** Whoever comes over the network must not keep this machine's own commands out. */
  readonly #tcpAnswering = new Set<Request>();
  readonly #unixAnswering = new Set<Request>();
  #scrapes = 0;
  #stopping = false;

  /** Never fails: what cannot be listened on is said in the log, and TCP is tried again. */
  static async start(options: ServerOptions): Promise<HttpServer> {
    const server = new HttpServer(options);
    if (options.runtimeDir !== null) await server.#listenUnix(options.runtimeDir);
    await server.#listenTcp(true);
    return server;
  }

  private constructor(options: ServerOptions) {
    this.#options = options;
    this.#logins = new Logins(options.clock);
  }

  /** Where it listens on TCP; null: nowhere. */
  get url(): URL | null {
    return this.#tcp?.url ?? null;
  }

  /** Ends all; takes a third of a second at most. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#cancelRetry();
    this.#cancelCount();
    // Ends the streams, which would go on for ever.
    (await this.#api)?.[Symbol.dispose]();
    (await this.#page)?.[Symbol.dispose]();
    const servers = [this.#tcp, this.#unix].flatMap((server) => server ?? []);
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(STOP_MS, resolve);
      void Promise.all(servers.map((server) => server.stop())).then(() => {
        cancel();
        resolve();
      });
    });
    for (const server of servers) void server.stop(true);
    this.#unlock();
  }

  async #listenUnix(folder: string): Promise<void> {
    const path = socketIn(folder);
    try {
      await mkdir(folder, { recursive: true, mode: 0o755 });
      // Whoever has the lock has the socket. One that is there was left behind.
      this.#unlock = lockFile(`${path}.lock`);
      await unlink(path).catch((error: unknown) => {
        if (codeOf(error) !== "ENOENT") throw error;
      });
      const before = process.umask(0o177);
      try {
        // Bun's types do not know that a Unix socket has one, too; else it is 10 s.
        const idle = { idleTimeout: IDLE_SECONDS as never };
        this.#unix = Bun.serve({ ...serving, ...idle, unix: path, fetch: this.#fetchUnix });
      } finally {
        process.umask(before);
      }
      await chmod(path, 0o600);
      this.#options.log.debug("listening", { socket: path });
    } catch (error) {
      const code = codeOf(error);
      const { log } = this.#options;
      if (code === "EAGAIN") {
        log.warn(`${path}: another wgmon has this socket; its commands will ask that one`);
      } else {
        const hint = "wgmon's commands cannot ask this one; is $RUNTIME_DIRECTORY right?";
        log.warn(`${path}: ${code}; ${hint}`);
      }
    }
  }

  /** @param isFirst later attempts are silent until one succeeds. */
  async #listenTcp(isFirst: boolean): Promise<void> {
    const { listen, listenTls: tls } = this.#options.settings();
    if (listen === null || this.#stopping) return;
    const { log, clock } = this.#options;
    const { address, port } = listen;
    const place = `${address.includes(":") ? `[${address}]` : address}:${port}`;
    try {
      const files =
        tls === null
          ? null
          : { cert: await readFile(tls.cert, "utf8"), key: await readFile(tls.key, "utf8") };
      this.#tcp = Bun.serve({
        ...serving,
        hostname: address,
        port: this.#port ?? port,
        // Else a second one would take half of the requests.
        reusePort: false,
        fetch: this.#fetchTcp,
        ...(files === null ? {} : { tls: files }),
      });
      if (this.#port === null) log.info("listening", { url: this.#tcp.url.origin });
      this.#port = this.#tcp.port ?? null;
      this.#watchCrowd();
    } catch (error) {
      const code = codeOf(error);
      const hint = hints[code] ?? "is what --listen says right?";
      if (isFirst) log.error(`listen on ${place}: ${code} (${hint}); trying again`);
      this.#cancelRetry = clock.after(RETRY_MS, () => void this.#listenTcp(false));
    }
  }

  /** None of too many connections is better than another: all are ended. Who is honest comes back. */
  #watchCrowd(): void {
    const { log, clock } = this.#options;
    this.#cancelCount = clock.after(COUNT_MS, () => {
      if (openFiles() <= this.#openFilesMax) {
        this.#watchCrowd();
        return;
      }
      const { monotonicMs } = clock.now();
      if (monotonicMs - this.#crowdedMs > CROWD_OVER_MS) {
        log.warn("too many connections; all are ended, as long as that lasts");
      }
      this.#crowdedMs = monotonicMs;
      void this.#tcp?.stop(true);
      void this.#listenTcp(true);
    });
  }

  readonly #fetchUnix = (request: Request): Promise<Response> => {
    return this.#answer(request, root, this.#unixAnswering);
  };

  readonly #fetchTcp = async (request: Request): Promise<Response> => {
    // Without a host that can be one, the address has no beginning.
    if (!URL.canParse(request.url)) return harden(problem(400, { detail: "the Host is no name" }));
    const { listen, listenTokens: tokens } = this.#options.settings();
    const hasCookie = this.#logins.has(request, tokens);
    const isKnown = hasCookie || this.#isKnown(request);
    // A page of somebody else, in a browser on this machine, has no token; but it could let a name of
    // its own lead here, and then read what it gets. Of a login it has nothing.
    const mayLogIn = tokens.length > 0 && (isForStrangers(request) || isForPeople(request));
    if (!isKnown && !mayLogIn && !isOurHost(request, this.#options)) {
      return harden(problem(403, { detail: "the Host is not one of this server" }));
    }
    const isOpen = tokens.length === 0 && listen !== null && isLoopback(listen.address);
    const visitor = { isTrusted: isKnown || isOpen, hasCookie, tokens };
    const response = await this.#answer(request, visitor, this.#tcpAnswering);
    return isOpen ? response : this.#whileKnown(request, response);
  };

  #isKnown(request: Request): boolean {
    const { listenTokens } = this.#options.settings();
    return this.#logins.has(request, listenTokens) || hasToken(request, listenTokens);
  }

  /** A stream that goes on for ever ends with the token, or the login, that it was asked for with. */
  #whileKnown(request: Request, response: Response): Response {
    const { body, headers } = response;
    const isStream = headers.get("content-type")?.startsWith("text/event-stream") === true;
    if (!isStream || body === null) return response;
    const guard = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        if (this.#isKnown(request)) controller.enqueue(chunk);
        else controller.terminate();
      },
    });
    return new Response(body.pipeThrough(guard), response);
  }

  async #answer(request: Request, visitor: Visitor, answering: Set<Request>): Promise<Response> {
    if (answering.size >= ANSWERING_MAX) {
      return harden(problem(503, { headers: { "retry-after": "1" } }));
    }
    answering.add(request);
    try {
      return harden(await this.#dispatch(request, visitor));
    } catch (error) {
      if (isUnreadable(error)) return harden(problem(503, { detail: error.message }));
      this.#failed(error);
      return harden(problem(500));
    } finally {
      answering.delete(request);
    }
  }

  #failed(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#options.log.error("a request failed; this is a bug in wgmon", { error: text });
  }

  async #dispatch(request: Request, visitor: Visitor): Promise<Response> {
    const { isTrusted } = visitor;
    const url = URL.parse(request.url);
    if (url === null) return problem(400, { detail: "the Host is no name" });
    const { pathname, search } = url;
    switch (pathname) {
      case "/healthz":
        return isRead(request) ? text("ok\n") : notAllowed();
      case "/readyz":
        return isRead(request) ? this.#ready(isTrusted) : notAllowed();
    }
    if (!isTrusted && !isForStrangers(request)) {
      if (isForPeople(request)) {
        const next = pathname === "/" ? "" : `?next=${encodeURIComponent(pathname + search)}`;
        return new Response(null, { status: 303, headers: { location: `/login${next}` } });
      }
      return problem(401, {
        detail: "a token is needed: Authorization: Bearer ...",
        headers: { "www-authenticate": "Bearer" },
      });
    }
    if (!isRead(request) && isFromElsewhere(request, visitor)) {
      return problem(403, { detail: "the Origin is not this server" });
    }
    if (pathname === "/v1/settings") {
      // It names files and programs of this machine.
      if (visitor !== root) return problem(404);
      return isRead(request) ? Response.json(this.#options.source.settings()) : notAllowed();
    }
    if (pathname === "/metrics") return isRead(request) ? this.#metrics(request) : notAllowed();
    if (pathname.startsWith("/v1/")) return await (await this.#loadApi()).handle(request);
    return await (await this.#loadPage()).handle(request, visitor);
  }

  /** It takes requests, so it is ready; but what it tells may not outlive it. */
  #ready(isTrusted: boolean): Response {
    const { problem: why, isInMemory } = this.#options.source.store;
    if (this.#stopping) return text("stopping\n", 503);
    if (!isInMemory) return text("ready\n");
    const cause = isTrusted && why !== null ? `: ${why}` : "";
    return text(`ready, but the store is in memory and is lost when wgmon ends${cause}\n`);
  }

  async #metrics(request: Request): Promise<Response> {
    if (this.#scrapes >= SCRAPES_MAX) {
      return problem(503, { headers: { "retry-after": "1" } });
    }
    this.#scrapes++;
    const { exposition } = await import("./metrics.ts");
    const { source, settings } = this.#options;
    const { type, chunks } = exposition(source, {
      namings: settings().metrics,
      accept: request.headers.get("accept") ?? "",
    });
    const done = once(() => this.#scrapes--);
    if (request.method === "HEAD") {
      done();
      return new Response(null, { headers: { "content-type": type } });
    }
    return new Response(
      streamOf(chunks, done, (error) => this.#failed(error)),
      { headers: { "content-type": type } },
    );
  }

  #loadApi(): Promise<Api> {
    this.#api ??= import("./api.ts").then(({ makeApi }) => makeApi(this.#options.source));
    return this.#api;
  }

  #loadPage(): Promise<Page> {
    const { source, log } = this.#options;
    const logins = this.#logins;
    this.#page ??= import("../page/page.tsx").then(({ makePage }) =>
      makePage({ source, logins, log }),
    );
    return this.#page;
  }
}

const serving = {
  // In its pages about errors Bun would show source code.
  development: false,
  idleTimeout: IDLE_SECONDS,
  maxRequestBodySize: BODY_MAX_BYTES,
} as const;

const hints: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program has this port",
  EACCES: "wgmon may not use this port; ports below 1024 need CAP_NET_BIND_SERVICE",
  EADDRNOTAVAIL: "this machine does not have this address, or not yet",
  ENOENT: "there is no such file: --listen-tls-cert, --listen-tls-key",
};

/** An errno by its name, or what Bun calls its own failures: `ERR_BORINGSSL`. */
function codeOf(error: unknown): string {
  if (error instanceof SystemError) return error.code;
  const code = error instanceof Error && "code" in error ? error.code : null;
  return typeof code === "string" ? code : "it failed";
}

/** At most half of what the process may open: the rest of wgmon needs some. */
function openFilesMax(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const limit = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Infinity);
    return Math.min(OPEN_FILES_MAX, limit / 2);
  } catch {
    return OPEN_FILES_MAX;
  }
}

function openFiles(): number {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch (error) {
    // Without /proc nobody can tell.
    return codeOf(error) === "EMFILE" ? Infinity : 0;
  }
}

/** The way in: the form for the token, and how it looks. */
function isForStrangers({ url }: Request): boolean {
  return /^\/(?:login$|theme$|assets\/)/.test(new URL(url).pathname);
}

/** Somebody in front of a browser, who wants a page. */
function isForPeople({ method, url, headers }: Request): boolean {
  const isPage = !/^\/(?:v1\/|metrics$|healthz$|readyz$)/.test(new URL(url).pathname);
  return isPage && method === "GET" && (headers.get("accept") ?? "").includes("text/html");
}

/** No name of somebody else: an address, localhost, this machine's name, or what --listen has. */
function isOurHost(request: Request, { settings, source }: ServerOptions): boolean {
  const host = hostOf(request.headers.get("host"));
  if (host === null) return false;
  const isAddress = /^\[[0-9a-f:.]+\]$|^\d+\.\d+\.\d+\.\d+$/.test(host);
  const ours = ["localhost", source.host(), settings().listen?.address ?? ""];
  return isAddress || ours.some((name) => name.toLowerCase() === host);
}

/** `gw1` of `GW1:9587`. */
function hostOf(header: string | null): string | null {
  return /^(\[[0-9a-f:.]+\]|[\w.-]+)(?::\d{1,5})?$/.exec(header?.toLowerCase() ?? "")?.[1] ?? null;
}

/** A browser says which page a request comes from; one with a cookie must. */
function isFromElsewhere(request: Request, { hasCookie }: Visitor): boolean {
  const origin = request.headers.get("origin");
  if (origin === null) return hasCookie;
  return !URL.canParse(origin) || new URL(origin).host !== request.headers.get("host");
}

function isRead({ method }: Request): boolean {
  return method === "GET" || method === "HEAD";
}

function notAllowed(): Response {
  return problem(405, { headers: { allow: "GET, HEAD" } });
}

function text(body: string, status = 200): Response {
  return new Response(body, { status, headers: { "content-type": "text/plain; charset=utf-8" } });
}

function harden(response: Response): Response {
  response.headers.set("x-content-type-options", "nosniff");
  if (!response.headers.has("cache-control")) response.headers.set("cache-control", "no-store");
  return response;
}

/** A chunk at a time, and in between whatever else there is to do. An empty one is only for that. */
function streamOf(
  chunks: Iterator<string>,
  done: () => void,
  failed: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let isCancelled = false;
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          let next;
          do {
            await new Promise<void>((resolve) => void setImmediate(resolve));
            // Whoever asked may have gone meanwhile.
            if (isCancelled) return;
            next = chunks.next();
          } while (next.done !== true && next.value === "");
          if (next.done !== true) {
            controller.enqueue(encoder.encode(next.value));
            return;
          }
          controller.close();
        } catch (error) {
          failed(error);
          controller.error(new Error("broken off"));
        }
        done();
      },
      cancel() {
        isCancelled = true;
        done();
      },
    },
    { highWaterMark: 0 },
  );
}

function once(action: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) action();
    isDone = true;
  };
}
