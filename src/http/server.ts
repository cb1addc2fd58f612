/**
 * The HTTP server, on a Unix socket for wgmon's commands and on TCP if the settings enable it; more than 400 lines because
 * every check of a request is in one place. This file decides which
 * clients have access and how many requests run at once. api.ts, metrics.ts and the page answer the requests; each is
 * loaded at the first request for it. daemon.ts loads this file when wgmon is ready.
 */

import { chmod, readFile, unlink } from "node:fs/promises";

import type { Clock } from "../base/clock.ts";
import { ConfigError, isUnreadable, SystemError } from "../base/errors.ts";
import { isLoopback } from "../config/listen.ts";
import type { Log } from "../platform/log.ts";
import { socketPath } from "../platform/socket-path.ts";
import {
  type Access,
  isAllowedHost,
  isCrossOrigin,
  isPublicPath,
  isRead,
  unixSocketAccess,
  wantsHtmlPage,
} from "./access.ts";
import { ActiveRequests, limitStreams, PENDING_MAX } from "./active-requests.ts";
import type { AlertActions } from "./alert-model.ts";
import type { Api } from "./api.ts";
import { chunkedBody } from "./body-stream.ts";
import { ConnectionLimit } from "./connection-limit.ts";
import { standbyText } from "./fleet-model.ts";
import { codeOf, listenHints } from "./listen-errors.ts";
import { hasBearer, hasToken, LoginSessions } from "./login.ts";
import type { Naming } from "./metrics.ts";
import type { PageActions } from "./page-actions.ts";
import { problem } from "./problem.ts";
import type { ReadModel } from "./read-model.ts";
import { harden, invalidHost, notAllowed, text, wrongHost } from "./responses.ts";

/** Bun closes a connection that is idle for this long; see also HEARTBEAT_MS in event-stream.ts. */
const IDLE_SECONDS = 30;
/**
 * The longest body is a new silence (SilenceBody in alert-schemas.ts), with characters of several bytes. Bun itself
 * answers 413 to a longer body, and 431 to a header of 16 KiB or more.
 */
const BODY_MAX_BYTES = 12 * 1024;
/** TLS 1.2 ciphers with forward secrecy and authenticated encryption; TLS 1.3 has no others. */
const TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20";
/**
 * Pause before the next attempt to listen: an address, such as one of a WireGuard device, may be added after wgmon
 * starts.
 */
const RETRY_MS = 10_000;
/** How long stop() waits for responses that have begun. */
const STOP_MS = 300;

/** The settings that the server uses. */
export interface HttpSettings {
  /** null if the server does not listen on TCP. */
  readonly listen: { readonly address: string; readonly port: number } | null;
  /** Empty: no token is needed, which is allowed only on a loopback address. */
  readonly listenTokens: readonly string[];
  /** Paths of PEM files; null disables TLS. */
  readonly listenTls: { readonly cert: string; readonly key: string } | null;
  /** Other exporters whose metric names are added. */
  readonly metrics: readonly Naming[];
}

/** What a reload did. */
export interface ReloadReport {
  /** Names of the changed settings that are in effect now. */
  readonly changed: readonly string[];
  /** Names of the changed settings that need a restart. */
  readonly needRestart: readonly string[];
  readonly warnings: readonly string[];
}

export interface ServerOptions {
  readonly source: ReadModel;
  /** Omitted: the page has no buttons for targets. */
  readonly actions?: PageActions;
  /** Omitted: silences cannot be changed. */
  readonly alertActions?: AlertActions;
  /** Reads the settings again. Omitted: the server does not do that. @throws ConfigError, SystemError */
  readonly reload?: () => Promise<ReloadReport>;
  /** On a hub: receives the messages of gateways, and the requests of `wgmon hub`. */
  readonly fleet?: FleetHandler;
  /** Returns the current settings: tokens and names may change while the server runs. */
  readonly settings: () => HttpSettings;
  /**
   * Directory of the Unix socket; null: the server has no Unix socket. platform/instance-lock.ts ensures that no other
   * process uses the directory.
   */
  readonly runtimeDir: string | null;
  /** Why the directory of the Unix socket cannot be used; omitted or null if it can. */
  readonly refusal?: SystemError | null;
  readonly log: Log;
  readonly clock: Clock;
  /** Called at the first request for a page, because most daemons never get one. */
  readonly loadPage: (options: PageOptions) => Promise<Page>;
}

/** Answers every path below /v1/fleet/. */
export interface FleetHandler {
  /** The longest body, in bytes. */
  readonly bodyMaxBytes: number;
  /** @param isUnixSocket whether the client is one of wgmon's commands. */
  handle(request: Request, isUnixSocket: boolean): Promise<Response>;
}

export interface PageOptions {
  readonly source: ReadModel;
  /** null: the page has no buttons for targets. */
  readonly actions: PageActions | null;
  /** null: the page has no forms for silences. */
  readonly alertActions: AlertActions | null;
  readonly logins: LoginSessions;
  readonly log: Pick<Log, "error">;
}

/** The web pages: they answer every path that the server and the API do not. */
export interface Page extends Disposable {
  handle(request: Request, access: Access): Promise<Response>;
}

type Listening = Bun.Server<undefined>;

export class HttpServer {
  readonly #options: ServerOptions;
  readonly #logins: LoginSessions;
  #tcp: Listening | null = null;
  #connectionLimit: Disposable | null = null;
  #unix: Listening | null = null;
  #cancelRetry = () => {};
  #api: Promise<Api> | null = null;
  #page: Promise<Page> | null = null;
  readonly #tcpRequests = new ActiveRequests();
  readonly #unixRequests = new ActiveRequests();
  #stopping = false;

  /** Does not throw. An address that it cannot listen on is logged; TCP is tried again every RETRY_MS. */
  static async start(options: ServerOptions): Promise<HttpServer> {
    const server = new HttpServer(options);
    if (options.runtimeDir !== null) await server.#listenUnix(options.runtimeDir);
    await server.#listenTcp(true);
    return server;
  }

  private constructor(options: ServerOptions) {
    this.#options = options;
    this.#logins = new LoginSessions(options);
  }

  /** The URL of the TCP server; null while it does not listen on TCP. */
  get url(): URL | null {
    return this.#tcp?.url ?? null;
  }

  /** Closes all connections; waits at most STOP_MS for responses that have begun. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#cancelRetry();
    this.#connectionLimit?.[Symbol.dispose]();
    this.#logins[Symbol.dispose]();
    // Ends the streams, which otherwise never end.
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
  }

  async #listenUnix(folder: string): Promise<void> {
    const path = socketPath(folder);
    try {
      const { refusal = null } = this.#options;
      if (refusal !== null) throw refusal;
      // A wgmon that was killed leaves its socket behind.
      await unlink(path).catch((error: unknown) => {
        if (codeOf(error) !== "ENOENT") throw error;
      });
      const before = process.umask(0o177);
      try {
        // Bun's types lack this option for Unix sockets, but Bun supports it; the default is 10 s.
        const idle = { idleTimeout: IDLE_SECONDS as never };
        this.#unix = Bun.serve({
          ...this.#serveOptions,
          ...idle,
          unix: path,
          fetch: this.#fetchUnix,
        });
      } finally {
        process.umask(before);
      }
      await chmod(path, 0o600);
      this.#options.log.debug("listening", { socket: path });
    } catch (error) {
      const hint = "wgmon's commands cannot reach this daemon; check $RUNTIME_DIRECTORY";
      this.#options.log.warn(`${path}: ${codeOf(error)}; ${hint}`);
    }
  }

  /** @param isFirst later attempts are silent until one succeeds. */
  async #listenTcp(isFirst: boolean): Promise<void> {
    const { listen, listenTls: tls } = this.#options.settings();
    if (listen === null || this.#stopping) return;
    const { log, clock } = this.#options;
    const { address, port } = listen;
    const hostAndPort = `${address.includes(":") ? `[${address}]` : address}:${port}`;
    try {
      const files =
        tls === null
          ? null
          : { cert: await readFile(tls.cert, "utf8"), key: await readFile(tls.key, "utf8") };
      this.#tcp = Bun.serve({
        ...this.#serveOptions,
        hostname: address,
        port,
        // With SO_REUSEPORT, a second server would receive half of the requests.
        reusePort: false,
        fetch: this.#fetchTcp,
        ...(files === null ? {} : { tls: { ...files, ciphers: TLS12_CIPHERS } }),
      });
      log.info("listening", { url: this.#tcp.url.origin });
      this.#connectionLimit = new ConnectionLimit(this.#tcp.port!, this.#options);
    } catch (error) {
      const code = codeOf(error);
      const hint = listenHints[code] ?? "check --listen";
      if (isFirst) log.error(`listen on ${hostAndPort}: ${code} (${hint}); trying again`);
      this.#cancelRetry = clock.after(RETRY_MS, () => void this.#listenTcp(false));
    }
  }

  readonly #fetchUnix = async (request: Request): Promise<Response> => {
    if (!URL.canParse(request.url)) return invalidHost();
    // A browser can reach this socket if ssh forwards a port to it. See #fetchTcp for DNS rebinding.
    const ownNames = ["localhost", "wgmon", this.#options.source.host()];
    if (!isAllowedHost(request, ownNames)) return wrongHost();
    return await this.#answer(request, unixSocketAccess, () => true);
  };

  readonly #fetchTcp = async (request: Request, server: Listening): Promise<Response> => {
    // With an invalid Host header, the URL of the request is invalid.
    if (!URL.canParse(request.url)) return invalidHost();
    const { source, settings } = this.#options;
    const { listen, listenTokens: tokens } = settings();
    if (isForFleet(request) && this.#options.fleet !== undefined) {
      // The signature of a message is its authentication, whatever name the gateway has for this server.
      const access = { ...unixSocketAccess, isUnixSocket: false };
      return await this.#answer(request, access, () => true);
    }
    const hasCookie = this.#logins.has(request, tokens);
    const isAuthenticated = hasCookie || hasToken(request, tokens);
    const address = server.requestIP(request)?.address ?? null;
    if (!isAuthenticated && tokens.length > 0 && hasBearer(request))
      this.#logins.wrongBearer.record(address);
    // DNS rebinding: a foreign page in a browser on this machine could resolve its own host name to this server and
    // read the responses. It has no token, so a request without one must have a Host of this server. The login form and
    // the redirect to it reveal nothing, so they are exempt if a token is set.
    const mayLogIn = tokens.length > 0 && (isPublicPath(request) || wantsHtmlPage(request));
    const ownNames = ["localhost", source.host(), listen?.address ?? ""];
    if (!isAuthenticated && !mayLogIn && !isAllowedHost(request, ownNames)) {
      return wrongHost();
    }
    const isTrusted = isAuthenticated || this.#needsNoToken();
    const access = { isUnixSocket: false, address, isTrusted, hasCookie, tokens };
    return await this.#answer(
      request,
      access,
      () => this.#needsNoToken() || this.#isAuthenticated(request),
    );
  };

  /** Whether access needs no token. */
  #needsNoToken(): boolean {
    const { listen, listenTokens } = this.#options.settings();
    return listenTokens.length === 0 && listen !== null && isLoopback(listen.address);
  }

  #isAuthenticated(request: Request): boolean {
    const { listenTokens } = this.#options.settings();
    return this.#logins.has(request, listenTokens) || hasToken(request, listenTokens);
  }

  /** @param hasAccess called before each chunk of a stream: tokens and logins may have changed since it began. */
  async #answer(request: Request, access: Access, hasAccess: () => boolean): Promise<Response> {
    const active = access.isUnixSocket ? this.#unixRequests : this.#tcpRequests;
    if (active.pending >= PENDING_MAX) {
      return harden(problem(503, { headers: { "retry-after": "1" } }));
    }
    active.pending++;
    try {
      this.#options.source.readClock();
      const response = await this.#dispatch(request, access, active);
      return harden(await limitStreams(response, active, hasAccess));
    } catch (error) {
      if (isUnreadable(error)) return harden(problem(503, { detail: error.message }));
      this.#logFailure(error);
      return harden(problem(500));
    } finally {
      active.pending--;
    }
  }

  #logFailure(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#options.log.error("a request failed; this is a bug in wgmon", { error: text });
  }

  async #dispatch(request: Request, access: Access, active: ActiveRequests): Promise<Response> {
    const { isTrusted } = access;
    const url = URL.parse(request.url);
    if (url === null) return problem(400, { detail: "invalid Host header" });
    const { pathname, search } = url;
    const { fleet } = this.#options;
    if (fleet !== undefined) {
      if (isForFleet(request)) return await fleet.handle(request, access.isUnixSocket);
      // The server accepts longer bodies for the messages of gateways only.
      const length = request.headers.get("content-length");
      const isTooLong = length === null ? request.body !== null : Number(length) > BODY_MAX_BYTES;
      if (isTooLong) return problem(413);
    }
    switch (pathname) {
      case "/healthz":
        return isRead(request) ? text("ok\n") : notAllowed();
      case "/readyz":
        return isRead(request) ? this.#ready(isTrusted) : notAllowed();
    }
    if (!isTrusted && !isPublicPath(request)) {
      if (wantsHtmlPage(request)) {
        const next = pathname === "/" ? "" : `?next=${encodeURIComponent(pathname + search)}`;
        return new Response(null, { status: 303, headers: { location: `/login${next}` } });
      }
      return problem(401, {
        detail: "a token is required: Authorization: Bearer ...",
        headers: { "www-authenticate": "Bearer" },
      });
    }
    if (!isRead(request) && isCrossOrigin(request, access)) {
      return problem(403, { detail: "the Origin header does not name this server" });
    }
    if (pathname === "/v1/settings") {
      // The settings name files and programs of this machine.
      if (!access.isUnixSocket) return problem(404);
      return isRead(request) ? Response.json(this.#options.source.settings()) : notAllowed();
    }
    if (pathname === "/v1/reload") {
      if (!access.isUnixSocket) return problem(404);
      return request.method === "POST" ? await this.#reload() : notAllowed("POST");
    }
    if (pathname === "/metrics") {
      return isRead(request) ? this.#metrics(request, active) : notAllowed();
    }
    if (pathname.startsWith("/v1/"))
      return await (await this.#loadApi()).handle(request, active.downloads);
    return await (await this.#loadPage()).handle(request, access);
  }

  get #serveOptions() {
    const { fleet } = this.#options;
    if (fleet === undefined) return serveOptions;
    return { ...serveOptions, maxRequestBodySize: fleet.bodyMaxBytes };
  }

  async #reload(): Promise<Response> {
    const { reload } = this.#options;
    if (reload === undefined) return problem(503);
    try {
      return Response.json(await reload());
    } catch (error) {
      if (error instanceof ConfigError) {
        const errors = error.errors.map((detail) => ({ parameter: "settings", detail }));
        return problem(422, { detail: "the settings have mistakes; nothing was changed", errors });
      }
      if (error instanceof SystemError) return problem(422, { detail: error.message });
      throw error;
    }
  }

  /** A server that answers is ready, unless it is a hub that stands by. The text warns if the store is in memory only. */
  #ready(isTrusted: boolean): Response {
    const { store, fleet } = this.#options.source;
    const { problem: reason, isInMemory } = store;
    const role = fleet?.role();
    if (this.#stopping) return text("stopping\n", 503);
    const standby = role === undefined ? null : standbyText(role);
    if (standby !== null) return text(`${standby}\n`, 503);
    if (!isInMemory) return text("ready\n");
    const detail = isTrusted && reason !== null ? `: ${reason}` : "";
    return text(`ready, but the store is in memory and is lost when wgmon ends${detail}\n`);
  }

  async #metrics(request: Request, { scrapes }: ActiveRequests): Promise<Response> {
    const { exposition } = await import("./metrics.ts");
    const { source, settings } = this.#options;
    const { type, chunks } = exposition(source, {
      namings: settings().metrics,
      accept: request.headers.get("accept") ?? "",
    });
    const headers = { "content-type": type };
    if (request.method === "HEAD") return new Response(null, { headers });
    const body = chunkedBody(chunks, scrapes, (error) => this.#logFailure(error));
    if (body === null) return problem(503, { headers: { "retry-after": "1" } });
    return new Response(body, { headers });
  }

  #loadApi(): Promise<Api> {
    this.#api ??= import("./api.ts").then(({ makeApi }) =>
      makeApi(this.#options.source, {
        onError: (error) => this.#logFailure(error),
        actions: this.#options.alertActions ?? null,
      }),
    );
    return this.#api;
  }

  #loadPage(): Promise<Page> {
    const { loadPage, source, actions = null, alertActions = null, log } = this.#options;
    this.#page ??= loadPage({ source, actions, alertActions, logins: this.#logins, log });
    return this.#page;
  }
}

function isForFleet({ url }: Request): boolean {
  return new URL(url).pathname.startsWith("/v1/fleet/");
}

const serveOptions = {
  // Bun's error pages for development show source code.
  development: false,
  idleTimeout: IDLE_SECONDS,
  maxRequestBodySize: BODY_MAX_BYTES,
} as const;
