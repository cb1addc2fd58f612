/**
 * The web pages, rendered on the server: they work without JavaScript. client.js requests the same addresses
 * with Accept: text/event-stream, which returns the changes of the page. server.ts loads this file at the first
 * request for it.
 */

import type { Context as HonoContext } from "hono";
import { compress } from "hono/compress";
import { Hono } from "hono/tiny";

import { isUnreadable } from "../base/errors.ts";
import { shortName } from "../base/text.ts";
import type { Access } from "../http/access.ts";
import { SILENCES_MAX } from "../http/alert-model.ts";
import type { Page, PageOptions } from "../http/server.ts";
import { alert } from "./alert.tsx";
import { alerts, type RefusedForm } from "./alerts.tsx";
import { type Asset, assets } from "./assets.ts";
import { events } from "./events.tsx";
import { address } from "./format.ts";
import { GatewaySummary } from "./gateway-summary.ts";
import { GATEWAYS_PATH } from "./gateway-tiles.tsx";
import { gateway, gateways } from "./gateway.tsx";
import { InvalidParameters } from "./invalid-parameters.tsx";
import { Layout, type NavigationPath, type Theme, themes } from "./layout.tsx";
import { readQuery, readRange } from "./list.ts";
import { Login, ownAddress } from "./login.tsx";
import { outbox } from "./outbox.tsx";
import { overview } from "./overview.tsx";
import type { PageContent } from "./page-content.ts";
import { PageSnapshot, textOf, type Update } from "./page-diff.ts";
import { PeerHistory } from "./peer-history.ts";
import { peer } from "./peer.tsx";
import { readForm } from "./read-form.ts";
import { RecentAlerts } from "./recent-alerts.ts";
import { RefreshScheduler, type Subscriber } from "./refresh-scheduler.ts";
import { RenderCost } from "./render-cost.ts";
import { sessions } from "./sessions.tsx";
import { readSilence } from "./silence-form.ts";
import { ALERTS_PATH } from "./silences.tsx";
import { ActionLog } from "./target-actions.ts";

/** A stream ends after this time. The browser then reconnects, and its access is checked again. */
const STREAM_MS = 15 * 60_000;
/** Pause before a browser reconnects. */
const RETRY_MS = 2000;
const YEAR_SECONDS = 365 * 86_400;
const INCOMPLETE_FORM = "the form is incomplete\n";
const NEEDS_TOKEN = "this needs a token\n";

const headers = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  // With no-referrer, a browser would send `Origin: null` with a form.
  "referrer-policy": "same-origin",
  "x-frame-options": "DENY",
} as const;

type Env = { Bindings: Access };
type Context = HonoContext<Env>;
/** Renders a page; returns null if the address names a peer, an alert or a gateway that does not exist. */
type Render = (
  snapshot: PageSnapshot,
  cost: RenderCost,
) => PageContent | null | Promise<PageContent | null>;

export function makePage({ source, actions, alertActions, logins, log }: PageOptions): Page {
  const history = new PeerHistory(source);
  const summary = new GatewaySummary(source);
  const recentAlerts = new RecentAlerts(source);
  const actionLog = actions === null ? null : new ActionLog(actions, source);
  const scheduler = new RefreshScheduler(source);

  // By default, Hono takes the path as it was sent (`/sessions/..\\login`), but server.ts takes it as the URL
  // standard defines it. Both must agree.
  const app = new Hono<Env>({ getPath: ({ url }) => new URL(url).pathname });
  app.use(compress());
  app.use(async (c, next) => {
    await next();
    for (const [name, value] of Object.entries(headers)) c.header(name, value);
  });
  const { script, chartScript, style, icon } = assets;
  for (const asset of [script, chartScript, style, icon])
    app.get(asset.path, (c) => serve(c, asset));
  app.get("/", (c) => {
    const query = readQuery(new URL(c.req.url).searchParams, source.fleet !== null);
    return show(c, "/", (snapshot, cost) =>
      overview({ source, history, summary, recentAlerts, snapshot, cost }, query),
    );
  });
  app.get(GATEWAYS_PATH, (c) =>
    show(c, GATEWAYS_PATH, (snapshot) => gateways({ source, snapshot })),
  );
  app.get(`${GATEWAYS_PATH}/:name`, (c) => {
    const query = readQuery(new URL(c.req.url).searchParams);
    return show(c, GATEWAYS_PATH, (snapshot, cost) =>
      gateway({ source, history, recentAlerts, snapshot, cost }, c.req.param("name"), query),
    );
  });
  app.get("/peers/:device/:key", (c) => {
    const { device, key } = c.req.param();
    const range = readRange(new URL(c.req.url).searchParams);
    const context = { source, history, recentAlerts, mayAct: maySilence(c) };
    return show(c, null, (snapshot) => peer({ ...context, snapshot }, device, key, range));
  });
  app.get(ALERTS_PATH, (c) => showAlerts(c, null));
  app.get(`${ALERTS_PATH}/:id`, (c) => {
    const context = { source, mayAct: maySilence(c) };
    return show(c, ALERTS_PATH, (snapshot) => alert({ ...context, snapshot }, c.req.param("id")));
  });
  // As for the outbox, server.ts has checked who sends the form.
  app.post(ALERTS_PATH, async (c) => {
    const form = await readForm(c.req.raw);
    if (form === null) return c.text(INCOMPLETE_FORM, 408);
    if (alertActions === null || !mayAct(c.env)) return c.text(NEEDS_TOKEN, 403);
    const next = ownAddress(form.get("next"));
    switch (form.get("action") ?? "") {
      case "silence": {
        const silence = readSilence(form, source.clock.now().wallMs);
        if (typeof silence === "string") return showAlerts(c, { form, problem: silence });
        if (source.alerts.silences().length >= SILENCES_MAX) {
          const problem = `There are ${SILENCES_MAX} silences already`;
          return showAlerts(c, { form, problem });
        }
        alertActions.addSilence(silence);
        return c.redirect(next, 303);
      }
      case "end":
        // It may have just ended by itself.
        alertActions.expireSilence(form.get("silence") ?? "");
        return c.redirect(next, 303);
      default:
        return c.text("there is no such action\n", 404);
    }
  });
  app.get("/sessions", (c) =>
    show(c, "/sessions", (snapshot) =>
      sessions({ source, snapshot }, new URL(c.req.url).searchParams),
    ),
  );
  app.get("/events", (c) =>
    show(c, "/events", (snapshot) => events({ source, snapshot }, new URL(c.req.url).searchParams)),
  );
  app.get("/outbox", (c) =>
    show(c, "/outbox", (snapshot) =>
      outbox({ source, log: mayAct(c.env) ? actionLog : null, snapshot }),
    ),
  );
  // server.ts has checked that the client is trusted, and that no page of another site sent the form.
  app.post("/outbox", async (c) => {
    const form = await readForm(c.req.raw);
    if (form === null) return c.text(INCOMPLETE_FORM, 408);
    if (actionLog === null || !mayAct(c.env)) return c.text(NEEDS_TOKEN, 403);
    const isDone = await actionLog.run(form.get("action") ?? "", form.get("target") ?? "");
    return isDone ? c.redirect("/outbox", 303) : c.text("there is no such action or target\n", 404);
  });

  app.get("/login", (c) => {
    const next = ownAddress(c.req.query("next") ?? null);
    return c.env.isTrusted ? c.redirect(next, 303) : loginForm(c, { next, problem: null });
  });
  app.post("/login", async (c) => {
    const form = await readForm(c.req.raw);
    if (form === null) return c.text(INCOMPLETE_FORM, 408);
    const next = ownAddress(form.get("next"));
    const given = form.get("token")?.trim() ?? "";
    const result = await logins.logIn(c.req.raw, given, c.env.tokens);
    switch (result.type) {
      case "ok":
        c.header("set-cookie", result.cookie);
        return c.redirect(next, 303);
      case "wrong":
        logins.wrongForm.record(c.env.address);
        c.status(401);
        return loginForm(c, { next, problem: "Wrong token." });
      case "busy":
        c.status(429);
        c.header("retry-after", "2");
        return loginForm(c, { next, problem: "Too many attempts at once. Try again." });
    }
  });
  app.post("/logout", (c) => {
    c.header("set-cookie", logins.logOut(c.req.raw));
    return c.redirect("/", 303);
  });
  app.post("/theme", async (c) => {
    const form = await readForm(c.req.raw);
    if (form === null) return c.text(INCOMPLETE_FORM, 408);
    const theme = themes.find((each) => each === form.get("theme")) ?? "auto";
    const cookie = `wgmon-theme=${theme}; Max-Age=${YEAR_SECONDS}; Path=/; HttpOnly; SameSite=Lax`;
    c.header("set-cookie", cookie);
    return c.redirect(ownAddress(form.get("next")), 303);
  });
  // server.ts handles all errors.
  app.onError((error) => {
    throw error;
  });
  app.notFound((c) => notFound(c, "There is no such page."));

  function showAlerts(c: Context, refused: RefusedForm | null): Promise<Response> {
    const query = new URL(c.req.url).searchParams;
    if (refused !== null) c.status(422);
    return show(c, ALERTS_PATH, (snapshot) =>
      alerts({ source, snapshot, mayAct: maySilence(c), refused }, query),
    );
  }

  function maySilence(c: Context): boolean {
    return alertActions !== null && mayAct(c.env);
  }

  /** Responds with a page, or with the stream of its changes. */
  async function show(c: Context, path: NavigationPath | null, render: Render): Promise<Response> {
    const short = withoutEmptyParameters(new URL(c.req.url));
    if (short !== null) return c.redirect(short, 303);
    const isStream = c.req.raw.method === "GET" && c.req.header("accept") === "text/event-stream";
    if (isStream) return stream(c, render);
    const snapshot = new PageSnapshot(source.clock.now().wallMs);
    const view = await render(snapshot, new RenderCost(source));
    if (view === null) {
      const what = path === null ? "peer" : path === ALERTS_PATH ? "alert" : "gateway";
      return notFound(c, `There is no such ${what}.`);
    }
    return c.html(textOf(inLayout(c, { snapshot, path, view, isLive: true })));
  }

  function titleOf({ title }: PageContent): string {
    return [title, shortName(source.host()), "wgmon"].join(" \u00b7 ");
  }

  function inLayout(
    c: Context,
    {
      snapshot,
      path,
      view,
      isLive,
    }: { snapshot: PageSnapshot; path: NavigationPath | null; view: PageContent; isLive: boolean },
  ) {
    const { pathname, search } = new URL(c.req.url);
    return (
      <Layout
        source={source}
        assets={assets}
        snapshot={snapshot}
        title={c.env.isTrusted ? titleOf(view) : "wgmon"}
        path={path}
        theme={themeOf(c)}
        address={ownAddress(pathname + search)}
        isAnonymous={!c.env.isTrusted}
        isLoggedIn={c.env.hasCookie}
        isLive={isLive}
        hasChart={view.hasChart ?? false}
      >
        {isLive ? <InvalidParameters path={path} given={new URL(c.req.url).searchParams} /> : null}
        {view.body}
      </Layout>
    );
  }

  /** Responds with a page that does not update itself. */
  function showStatic(c: Context, view: PageContent): Response | Promise<Response> {
    const snapshot = new PageSnapshot(source.clock.now().wallMs);
    return c.html(textOf(inLayout(c, { snapshot, path: null, view, isLive: false })));
  }

  function notFound(c: Context, text: string): Response | Promise<Response> {
    c.status(404);
    if (!(c.req.header("accept") ?? "").includes("text/html")) return c.text(`${text}\n`);
    const body = (
      <>
        <h1>Not found</h1>
        <p>
          {text} <a href="/">Overview</a>
        </p>
      </>
    );
    return showStatic(c, { title: "Not found", body });
  }

  function loginForm(c: Context, props: { next: string; problem: string | null }) {
    return showStatic(c, { title: "Log in", body: <Login {...props} /> });
  }

  function stream(c: Context, render: Render): Response {
    const subscriber = scheduler.subscribe(c.env.isUnixSocket ? "unix" : "tcp");
    if (subscriber === null) return c.text("too many open pages\n", 503, { "retry-after": "10" });
    return c.body(streamOf(subscriber, render), 200, {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      // Keeps nginx from buffering the stream.
      "x-accel-buffering": "no",
    });
  }

  /** Sends all parts that can change, then the changes. Renders only when the client can accept the result. */
  function streamOf(subscriber: Subscriber, render: Render): ReadableStream<Uint8Array> {
    const { clock } = source;
    const encoder = new TextEncoder();
    const endMs = clock.now().monotonicMs + STREAM_MS;
    let before: PageSnapshot | null = null;
    let isCancelled = false;
    let isGone = false;
    const next = async (): Promise<string | null> => {
      if (isGone) return null;
      const due = before === null ? "update" : await subscriber.next();
      if (due === "end" || clock.now().monotonicMs > endMs) return null;
      if (due === "heartbeat") return ": quiet\n\n";
      const cost = new RenderCost(source);
      const snapshot = new PageSnapshot(null);
      const view = await render(snapshot, cost);
      // The peer no longer exists: the client reloads the page, which reports that.
      if (view === null) {
        isGone = true;
        return "event: gone\ndata:\n\n";
      }
      textOf(view.body);
      const update = snapshot.since(before ?? new PageSnapshot(null));
      const isFirst = before === null;
      before = snapshot;
      const retry = isFirst ? `retry: ${RETRY_MS}\n` : "";
      const text = update === null ? ": quiet\n\n" : `${retry}${message(titleOf(view), update)}`;
      // The first update is sent at once, so it does not lengthen the pause.
      if (!isFirst) subscriber.addCost(cost.ms());
      return text;
    };
    const message = (title: string, update: Update) => {
      const now = clock.now().wallMs;
      return `data: ${JSON.stringify({ build: assets.build, now, title, ...update })}\n\n`;
    };
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            const text = await next();
            if (isCancelled) return;
            if (text !== null) {
              controller.enqueue(encoder.encode(text));
              return;
            }
            controller.close();
          } catch (error) {
            // A new request for the page reports an unreadable device.
            if (!isUnreadable(error))
              log.error("the page failed; this is a bug in wgmon", { error: String(error) });
            controller.error(new Error("connection closed"));
          }
          subscriber.leave();
        },
        cancel: () => {
          isCancelled = true;
          subscriber.leave();
        },
      },
      { highWaterMark: 0 },
    );
  }

  return {
    handle: async (request, access) => await app.fetch(request, access),
    [Symbol.dispose]: () => scheduler[Symbol.dispose](),
  };
}

/** Whether the client may change anything: without a token, it may be any user of this machine. */
function mayAct({ isUnixSocket, tokens }: Access): boolean {
  return isUnixSocket || tokens.length > 0;
}

function serve(c: Context, { type, text }: Asset): Response {
  return c.body(text, 200, {
    "content-type": type,
    "cache-control": `public, max-age=${YEAR_SECONDS}, immutable`,
  });
}

/** The address without empty parameters, as forms send them; null if there are none. */
function withoutEmptyParameters({ pathname, searchParams }: URL): string | null {
  const kept = [...searchParams].filter(([, value]) => value !== "");
  if (kept.length === searchParams.size) return null;
  return ownAddress(address(pathname, Object.fromEntries(kept)), Infinity);
}

function themeOf(c: Context): Theme {
  const given = /(?:^|; )wgmon-theme=(\w+)/.exec(c.req.header("cookie") ?? "")?.[1];
  return themes.find((each) => each === given) ?? "auto";
}
