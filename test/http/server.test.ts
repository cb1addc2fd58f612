/** The server on real sockets: access, limits, and errors if it cannot listen. */

import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Clock, systemClock } from "../../src/base/clock.ts";
import { ConfigError, SystemError } from "../../src/base/errors.ts";
import { HttpServer, type HttpSettings, type ReloadReport } from "../../src/http/server.ts";
import { viewSettings } from "../../src/http/settings-view.ts";
import { loadPage } from "../../src/page/load-page.ts";
import { createLog } from "../../src/platform/log.ts";
import { runtimeDirOf } from "../../src/platform/socket-path.ts";
import { HandClock } from "../support/clock.ts";
import { anEvent } from "../support/events.ts";
import { device, peer } from "../support/peers.ts";
import { RawHttp } from "../support/raw-http.ts";
import { run } from "../support/settings.ts";
import { FakeSource, keyOf } from "../support/source.ts";
import { TEST_MS, until } from "../support/until.ts";

const TOKEN = "correct-horse-battery-staple";
const off: HttpSettings = {
  listen: null,
  listenTokens: [],
  listenTls: null,
  metrics: ["mdlayher"],
};
const loopback: HttpSettings = { ...off, listen: { address: "127.0.0.1", port: 0 } };

let source: FakeSource;
let folder: string;
let lines: string[];
const servers: HttpServer[] = [];

beforeEach(async () => {
  source = await FakeSource.make();
  folder = mkdtempSync(join(tmpdir(), "wgmon-http-"));
  mkdirSync(join(folder, "run"));
  lines = [];
});

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
  source.store[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

async function start(
  settings: HttpSettings,
  runtimeDir: string | null = null,
  clock: Clock = systemClock,
): Promise<HttpServer> {
  const log = createLog({ format: "journal", level: "info", write: (line) => lines.push(line) });
  const server = await HttpServer.start({
    loadPage,
    source,
    alertActions: source.alerts,
    reload: () => reload(),
    settings: () => settings,
    runtimeDir,
    log,
    clock,
  });
  servers.push(server);
  return server;
}

/** A test replaces it. */
let reload = (): Promise<ReloadReport> =>
  Promise.resolve({ changed: ["tick"], needRestart: ["listen"], warnings: [] });

async function status(url: string, init: RequestInit = {}): Promise<number> {
  const response = await fetch(url, init);
  await response.body?.cancel();
  return response.status;
}

describe("the server on TCP", () => {
  test("the server does not listen by default", async () => {
    const server = await start(off);
    expect(server.url).toBeNull();
    expect(lines).toEqual([]);
  });

  test("health, readiness, metrics and the API are served", async () => {
    const url = (await start(loopback)).url!.origin;
    expect(await (await fetch(`${url}/healthz`)).text()).toBe("ok\n");
    expect(await (await fetch(`${url}/readyz`)).text()).toBe(
      "ready, but the store is in memory and is lost when wgmon ends\n",
    );
    expect(await (await fetch(`${url}/metrics`)).text()).toContain("wgmon_build_info{");
    const answer = await fetch(`${url}/v1/status`);
    expect(await answer.json()).toMatchObject({ host: "gw1" });
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
    expect(await status(`${url}/nothing`)).toBe(404);
    expect(await status(`${url}/healthz`, { method: "POST" })).toBe(405);
    expect(await status(`${url}/metrics`, { method: "HEAD" })).toBe(200);
  });

  test("with a token configured, all paths except health and readiness need it", async () => {
    const url = (await start({ ...loopback, listenTokens: ["older-token-of-last-year", TOKEN] }))
      .url!.origin;
    const paths = ["/metrics", "/v1/status", "/v1/stream", "/v1/openapi.json", "/v1/none", "/"];
    const wrong = ["", TOKEN, `Basic ${TOKEN}`, "Bearer", `Bearer ${TOKEN}x`, `Bearer ${TOKEN} x`];
    for (const path of paths) {
      for (const authorization of wrong) {
        const response = await fetch(`${url}${path}`, { headers: { authorization } });
        expect(response.status).toBe(401);
        expect(response.headers.get("www-authenticate")).toBe("Bearer");
        expect(response.headers.get("content-type")).toBe("application/problem+json");
        expect(await response.text()).not.toContain(TOKEN);
      }
    }
    expect(await status(`${url}/healthz`)).toBe(200);
    expect(await status(`${url}/readyz`)).toBe(200);
    for (const authorization of [`Bearer ${TOKEN}`, `bEaReR  ${TOKEN}`]) {
      expect(await status(`${url}/v1/status`, { headers: { authorization } })).toBe(200);
    }
    expect(lines.join()).not.toContain(TOKEN);
  });

  test("a Host name that is not of this machine is refused, to prevent DNS rebinding", async () => {
    const server = await start(loopback);
    const url = server.url!.origin;
    const { port } = server.url!;
    const ok = ["127.0.0.1", "[::1]:9587", "localhost", `LOCALHOST:${port}`, "gw1", "GW1:80"];
    const refused = [
      "evil.example",
      "127.0.0.1.evil.example",
      "localhost.evil.example",
      "gw1:",
      "a b",
    ];
    for (const host of ok)
      expect([host, await status(`${url}/v1/status`, { headers: { host } })]).toEqual([host, 200]);
    for (const host of refused) {
      const code = await status(`${url}/v1/status`, { headers: { host } });
      expect([host, code === 403 || code === 400]).toEqual([host, true]);
    }
    expect(await status(`${url}/healthz`, { headers: { host: "evil.example" } })).toBe(403);
  });

  test("a request with a token can have any Host name, because a proxy may have another name", async () => {
    const url = (await start({ ...loopback, listenTokens: [TOKEN] })).url!.origin;
    const headers = { host: "vpn.example", authorization: `Bearer ${TOKEN}` };
    expect(await status(`${url}/v1/status`, { headers })).toBe(200);
    expect(await status(`${url}/v1/status`, { headers: { host: "vpn.example" } })).toBe(403);
    expect(await status(`${url}/v1/status`, { headers: { ...headers, host: "a b" } })).toBe(400);
    expect(lines).toHaveLength(1);
  });

  test("a page of another site cannot cause changes", async () => {
    const url = (await start(loopback)).url!.origin;
    const ask = (origin: string) =>
      status(`${url}/v1/scan`, { method: "POST", headers: { origin } });
    expect(await ask("https://evil.example")).toBe(403);
    expect(await ask("null")).toBe(403);
    expect(source.scans).toBe(0);
    expect(await ask(url)).toBe(200);
  });

  test("bodies and headers have limits", async () => {
    const url = (await start(loopback)).url!.origin;
    expect(await status(`${url}/v1/scan`, { method: "POST", body: "x".repeat(13_000) })).toBe(413);
    expect(await status(`${url}/v1/status`, { headers: { x: "x".repeat(100_000) } })).toBe(431);
    expect(await status(`${url}/v1/status`)).toBe(200);
  });

  test("a Host that is an invalid address is refused", async () => {
    const { port } = (await start(loopback)).url!;
    for (const host of ["999.999.999.999", "127.0.0.1:99999", "[::::1]", "[:]"]) {
      using client = await RawHttp.connect({ hostname: "127.0.0.1", port: Number(port) });
      const request = Buffer.from(`GET /v1/status HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      const { status: code, headers } = await client.ask(request, "GET");
      expect([host, code]).toEqual([host, 400]);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
    }
    expect(lines.filter((line) => line.includes("failed"))).toEqual([]);
  });

  test("HEAD of the stream is answered, and adds no listener", async () => {
    const url = (await start(loopback)).url!.origin;
    const response = await fetch(`${url}/v1/stream`, { method: "HEAD" });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    expect(source.listeners).toBe(0);
    expect(await status(`${url}/v1/scan`, { method: "HEAD" })).toBe(405);
  });

  test("a client that disconnects during a scrape is not an error", async () => {
    const url = (await start(loopback)).url!.origin;
    const peers = Array.from({ length: 3000 }, (_, n) => peer({ publicKey: keyOf(n) }));
    source.found.set("wg0", { device: device(), peers });
    for (let n = 0; n < 20; n++) {
      const reader = (await fetch(`${url}/metrics`)).body!.getReader();
      await reader.read();
      await reader.cancel();
    }
    // All of them have released their slots.
    expect(await (await fetch(`${url}/metrics`)).text()).toContain("wgmon_build_info");
    expect(lines.filter((line) => line.includes("failed"))).toEqual([]);
  });

  test(
    "a client that disconnects at once leaves no slot in use and no listener",
    async () => {
      const { origin, port } = (await start(loopback)).url!;
      for (const path of ["/metrics", "/v1/stream", "/v1/status"]) {
        const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
        for (let n = 0; n < 100; n++) {
          using client = await RawHttp.connect({ hostname: "127.0.0.1", port: Number(port) });
          client.send(request);
          // Half of them disconnect before the request is read, half while it is answered.
          if (n % 2 === 0) await new Promise((resolve) => void setImmediate(resolve));
        }
      }
      await until("a scrape is answered", async () => (await status(`${origin}/metrics`)) === 200);
      await until("all streams have ended", () => source.listeners === 0);
      expect(lines.filter((line) => line.includes("failed"))).toEqual([]);
    },
    TEST_MS,
  );

  test("an internal error is logged, and its details are not sent", async () => {
    const url = (await start(loopback)).url!.origin;
    source.scan = () => Promise.reject(new Error("the secret is 42"));
    const response = await fetch(`${url}/v1/scan`, { method: "POST" });
    expect(response.status).toBe(500);
    expect(await response.json()).toEqual({
      type: "about:blank",
      title: "Internal Server Error",
      status: 500,
    });
    expect(lines.join("\n")).toContain("a request failed");
  });

  test("a device that cannot be read is reported as an error, not as a device without peers", async () => {
    const url = (await start(loopback)).url!.origin;
    source.found.set("wg0", { device: device(), peers: [] });
    source.unreadable.add("wg0");
    for (const path of ["/v1/peers", "/"]) {
      const response = await fetch(url + path);
      expect(response.status).toBe(503);
      expect(await response.text()).toContain("scan wg0: EMFILE");
    }
    expect(await status(`${url}/v1/status`)).toBe(200);
    expect(lines.join("\n")).not.toContain("a bug");
  });

  test("a port in use is logged once, and wgmon continues", async () => {
    using other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("") });
    const port = other.port!;
    const server = await start({ ...off, listen: { address: "127.0.0.1", port } });
    expect(server.url).toBeNull();
    expect(lines).toEqual([
      `<3>listen on 127.0.0.1:${port}: EADDRINUSE (another program uses this port); trying again`,
    ]);
  });

  test("a missing or invalid certificate is logged, without its content", async () => {
    const cert = join(folder, "cert.pem");
    await start({ ...loopback, listenTls: { cert, key: cert } });
    expect(lines.splice(0).join()).toContain("ENOENT (there is no such file");
    writeFileSync(cert, "SECRET");
    const server = await start({ ...loopback, listenTls: { cert, key: cert } });
    expect(server.url).toBeNull();
    expect(lines).toHaveLength(1);
    expect(lines.join()).not.toContain("SECRET");
  });
});

describe("the server on the Unix socket", () => {
  const path = () => join(folder, "run", "wgmon.sock");
  const ask = (place: string) => fetch(`http://localhost${place}`, { unix: path() });

  test("the owner of the socket needs no token, and other users have no access", async () => {
    const before = process.umask(0);
    try {
      await start({ ...off, listenTokens: [TOKEN] }, join(folder, "run"));
    } finally {
      process.umask(before);
    }
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    expect(await (await ask("/v1/status")).json()).toMatchObject({ host: "gw1" });
    expect((await ask("/metrics")).status).toBe(200);
    await servers.pop()!.stop();
    expect(existsSync(path())).toBe(false);
  });

  test("a Host that is not the gateway's is refused, as in DNS rebinding through a forwarded port", async () => {
    await start(off, join(folder, "run"));
    const statusOf = async (host: string) =>
      (await fetch("http://localhost/v1/status", { unix: path(), headers: { host } })).status;
    expect(await statusOf("evil.example:9587")).toBe(403);
    for (const host of ["localhost", "localhost:9587", "127.0.0.1:9587", "[::1]", "gw1", "wgmon"])
      expect(await statusOf(host)).toBe(200);
  });

  test(
    "a stream with heartbeats is not ended by Bun's idle timeout",
    async () => {
      await start(off, join(folder, "run"));
      const reader = (await ask("/v1/stream")).body!.getReader();
      await reader.read();
      // Bun uses real time, and would end the stream after a bit more than 10 s without data.
      await Bun.sleep(15_000);
      source.clock.advance(10_000);
      expect((await reader.read()).done).toBe(false);
      await reader.cancel();
    },
    TEST_MS,
  );

  test("a stale socket is replaced", async () => {
    await start(off, join(folder, "run"));
    await servers.pop()!.stop();
    // The socket file that kill -9 leaves.
    const child = Bun.spawnSync([
      process.execPath,
      "-e",
      `Bun.serve({unix: ${JSON.stringify(path())}, fetch: () => new Response("")}); process.kill(process.pid, "SIGKILL")`,
    ]);
    expect(child.signalCode).toBe("SIGKILL");
    expect(existsSync(path())).toBe(true);
    await start(off, join(folder, "run"));
    expect((await ask("/healthz")).status).toBe(200);
    expect(lines).toEqual([]);
  });

  test("a folder for the socket that is unusable or missing causes a warning", async () => {
    writeFileSync(join(folder, "file"), "");
    await start(off, join(folder, "file"));
    // lockInstance() in instance-lock.ts creates the folder, with the lock of the socket.
    await start(off, join(folder, "missing"));
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(line).toContain("$RUNTIME_DIRECTORY");
    expect(existsSync(join(folder, "missing"))).toBe(false);
  });

  test("the folder of the socket is the one that systemd sets", () => {
    expect(runtimeDirOf({})).toBe("/run/wgmon");
    expect(runtimeDirOf({ RUNTIME_DIRECTORY: "/run/a:/run/b" })).toBe("/run/a");
    expect(runtimeDirOf({ RUNTIME_DIRECTORY: "relative" })).toBe("/run/wgmon");
  });
});

describe("clients of the stream", () => {
  test(
    "all clients of the stream get 1,000 events in order, if there are 200 and one more that does not read",
    async () => {
      const server = await start(loopback);
      const url = `${server.url!.origin}/v1/stream`;
      const stalled = Bun.connect({
        hostname: "127.0.0.1",
        port: Number(server.url!.port),
        socket: {
          data() {},
          open(socket) {
            socket.write("GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
            socket.pause();
          },
        },
      });
      const readers = await Promise.all(
        Array.from({ length: 200 }, async () => (await fetch(url)).body!.getReader()),
      );
      const ids = Promise.all(
        readers.map(async (reader) => {
          const decoder = new TextDecoder();
          const seen: number[] = [];
          for (let rest = ""; seen.length < 1000;) {
            const { value, done } = await reader.read();
            if (done) break;
            const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
            rest = blocks.pop()!;
            for (const block of blocks) {
              const id = /^id: (\d+)$/m.exec(block)?.[1];
              if (id !== undefined) seen.push(Number(id));
            }
          }
          await reader.cancel();
          return seen;
        }),
      );
      for (let n = 0; n < 1000; n++) {
        source.tell({
          ...anEvent("peer.connected"),
          id: `evt_${n.toString(16).padStart(32, "0")}`,
        });
        if (n % 10 === 0) await new Promise((resolve) => void setImmediate(resolve));
      }
      const wanted = Array.from({ length: 1000 }, (_, n) => n + 1);
      for (const seen of await ids) expect(seen).toEqual(wanted);
      (await stalled).terminate();
    },
    TEST_MS,
  );

  test(
    "clients of the stream are disconnected if they do not read, and only as many events are read for them as fit into the socket",
    async () => {
      const many = Array.from({ length: 20_000 }, (_, n) => ({
        ...anEvent("peer.connected"),
        id: `evt_${n.toString(16).padStart(32, "0")}`,
      }));
      for (let n = 0; n < many.length; n += 1000) source.record(many.slice(n, n + 1000));
      const read = spyOn(source.store.events, "query");
      const server = await start(loopback);
      await Bun.connect({
        hostname: "127.0.0.1",
        port: Number(server.url!.port),
        socket: {
          data() {},
          open(socket) {
            socket.write("GET /v1/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n");
            socket.pause();
          },
        },
      });
      await until("the client is registered", () => source.listeners > 0);
      await until("the client is disconnected", () => source.listeners === 0);
      // Events are read in batches of a hundred.
      expect(read.mock.calls.length).toBeGreaterThan(0);
      expect(read.mock.calls.length).toBeLessThan(150);
    },
    TEST_MS,
  );

  test("a stop disconnects the clients of the stream within its time limit", async () => {
    const clock = new HandClock();
    const server = await start(loopback, null, clock);
    const reader = (await fetch(`${server.url!.origin}/v1/stream`)).body!.getReader();
    await reader.read();
    let isStopped = false;
    const stopped = server.stop().then(() => (isStopped = true));
    await until(
      "the server has stopped, or its timer is set",
      () => isStopped || clock.waiting > 0,
    );
    clock.advance(300);
    await stopped;
    const ended = await reader.read().catch(() => ({ done: true }));
    expect(ended.done).toBe(true);
  });
});

test("clients that send no complete request do not block others", async () => {
  const server = await start(loopback);
  const port = Number(server.url!.port);
  const sockets = await Promise.all(
    Array.from({ length: 50 }, () =>
      Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } }),
    ),
  );
  for (const socket of sockets) socket.write("GET /v1/status HTTP/1.1\r\nHost:");
  expect(await status(`${server.url!.origin}/v1/status`)).toBe(200);
  for (const socket of sockets) socket.terminate();
});

test("an address that other machines can reach refuses requests if there is no token", async () => {
  const url = (await start({ ...off, listen: { address: "0.0.0.0", port: 0 } })).url!;
  expect(await status(`http://127.0.0.1:${url.port}/v1/status`)).toBe(401);
  expect(await status(`http://127.0.0.1:${url.port}/healthz`)).toBe(200);
});

test("a login succeeds while 300 forms are incomplete", async () => {
  const server = await start({ ...loopback, listenTokens: [TOKEN] }, join(folder, "run"));
  const { port } = server.url!;
  let refused = 0;
  const socket = {
    data: (_: Bun.Socket, bytes: Buffer) => {
      if (bytes.toString().startsWith("HTTP/1.1 408")) refused++;
    },
  };
  const sockets = await Promise.all(
    Array.from({ length: 300 }, () =>
      Bun.connect({ hostname: "127.0.0.1", port: Number(port), socket }),
    ),
  );
  const head = `POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nt`;
  for (const each of sockets) each.write(head);
  await until("the first ones were refused in favour of the others", () => refused >= 300 - 32);
  const login = { method: "POST", body: `token=${TOKEN}`, redirect: "manual" } as const;
  expect(await status(`http://127.0.0.1:${port}/login`, login)).toBe(303);
  expect(await status(`http://127.0.0.1:${port}/healthz`)).toBe(200);
  const unix = join(folder, "run/wgmon.sock");
  expect(await status("http://localhost/v1/status", { unix } as RequestInit)).toBe(200);
  for (const each of sockets) each.terminate();
  expect(lines.filter((line) => line.includes("bug in wgmon"))).toEqual([]);
});

describe("clients on TCP and the Unix socket", () => {
  const unix = () => ({ unix: join(folder, "run/wgmon.sock") }) as RequestInit;

  test(
    "256 streams on TCP do not block the Unix socket",
    async () => {
      const { port } = (await start(loopback, join(folder, "run"))).url!;
      const place = { hostname: "127.0.0.1", port: Number(port) };
      const open = async (from: typeof place | { unix: string }) => {
        const client = await RawHttp.connect(from);
        const request = Buffer.from("GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
        return { client, answer: await client.ask(request, "GET") };
      };
      const streams: RawHttp[] = [];
      for (let n = 0; n < 256; n++) streams.push((await open(place)).client);
      const late = await open(place);
      expect([late.answer.status, late.answer.headers.get("retry-after")]).toEqual([503, "10"]);
      const own = await open({ unix: join(folder, "run/wgmon.sock") });
      expect(own.answer.status).toBe(200);
      streams.pop()![Symbol.dispose]();
      // The server notices a moment later that the slot is free.
      let next = await open(place);
      while (next.answer.status !== 200) next = await open(place);
      for (const client of [...streams, late.client, own.client, next.client]) {
        client[Symbol.dispose]();
      }
      await until("all streams have ended", () => source.listeners === 0);
    },
    TEST_MS,
  );

  test("the maximum number of downloads on TCP does not block the Unix socket", async () => {
    const { origin } = (await start(loopback, join(folder, "run"))).url!;
    source.record(
      Array.from({ length: 5000 }, (_, n) => ({ ...anEvent("device.added"), id: `evt_${n}` })),
    );
    const path = "/v1/events/download?format=json";
    const others = await Promise.all(
      Array.from({ length: 6 }, async () => await fetch(`${origin}${path}`)),
    );
    expect(others.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([
      200, 200, 200, 200, 503, 503,
    ]);
    const own = await fetch(`http://localhost${path}`, unix());
    expect(own.status).toBe(200);
    for (const { body } of [...others, own]) await body?.cancel();
  });

  test("the maximum number of scrapes on TCP does not block the Unix socket", async () => {
    const peers = Array.from({ length: 3000 }, (_, n) => peer({ publicKey: keyOf(n) }));
    source.found.set("wg0", { device: device(), peers });
    const { origin } = (await start(loopback, join(folder, "run"))).url!;
    const others = Array.from({ length: 8 }, () => fetch(`${origin}/metrics`));
    const own = await fetch("http://localhost/metrics", unix());
    const statuses = await Promise.all(
      others.map(async (other) => {
        const answer = await other;
        await answer.body?.cancel();
        return answer.status;
      }),
    );
    expect(statuses).toContain(503);
    expect(own.status).toBe(200);
    expect(await own.text()).toContain("wgmon_target_failures");
  });
});

test("a path is normalised only once, so it cannot bypass the check for the token", async () => {
  const { port } = (await start({ ...loopback, listenTokens: [TOKEN] })).url!;
  const ask = async (path: string, headers = "") => {
    using client = await RawHttp.connect({ hostname: "127.0.0.1", port: Number(port) });
    const request = `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;
    return await client.ask(Buffer.from(request), "GET");
  };
  // By the URL standard, both are /login.
  expect((await ask("/sessions/..\\login")).body).toContain("<form");
  expect((await ask("/sessions/../login")).body).toContain("<form");
  expect((await ask("/login/..\\sessions")).status).toBe(401);
});

test("other sites cannot load any resource", async () => {
  const url = (await start({ ...loopback, listenTokens: [TOKEN] })).url!.origin;
  const headers = { authorization: `Bearer ${TOKEN}` };
  for (const path of ["/", "/login", "/healthz", "/metrics", "/v1/status", "/v1/none", "/none"]) {
    const answer = await fetch(`${url}${path}`, { headers, redirect: "manual" });
    await answer.body?.cancel();
    expect([path, answer.headers.get("cross-origin-resource-policy")]).toEqual([
      path,
      "same-origin",
    ]);
  }
});

test("a stream that was opened without a token ends when a token is configured", async () => {
  const settings: { -readonly [Key in keyof HttpSettings]: HttpSettings[Key] } = { ...loopback };
  const url = (await start(settings)).url!.origin;
  const reader = (await fetch(`${url}/v1/stream`)).body!.getReader();
  const next = async () => new TextDecoder().decode((await reader.read()).value);
  expect(await next()).toContain("from now on");
  source.tell({ ...anEvent("device.added", { device: "wg1" }), id: "evt_1" });
  expect(await next()).toContain("wg1");
  settings.listenTokens = [TOKEN];
  // With the next event, or the heartbeat.
  source.clock.advance(10_000);
  expect(await next()).toBe("");
  expect(source.listeners).toBe(0);
});

test("a stream ends when its token is removed, and not when another token is added", async () => {
  const settings = { ...loopback, listenTokens: [TOKEN] };
  const url = (await start(settings)).url!.origin;
  const headers = { authorization: `Bearer ${TOKEN}` };
  const response = await fetch(`${url}/v1/stream`, { headers });
  const reader = response.body!.getReader();
  const next = async () => {
    const { done, value } = await reader.read();
    return done ? null : new TextDecoder().decode(value);
  };
  expect(await next()).toContain("from now on");
  source.tell({ ...anEvent("device.added", { device: "wg1" }), id: "evt_1" });
  expect(await next()).toContain("wg1");
  settings.listenTokens = ["another-horse-battery-staple", TOKEN];
  source.tell({ ...anEvent("device.added", { device: "wg2" }), id: "evt_2" });
  expect(await next()).toContain("wg2");
  settings.listenTokens = ["another-horse-battery-staple"];
  source.tell({ ...anEvent("device.added", { device: "wg3" }), id: "evt_3" });
  expect(await next()).toBeNull();
});

test("the settings in force are served only on the Unix socket, without secrets", async () => {
  const argv = ["--group=7", "--webhook", `https://u:${TOKEN}@a.example/${TOKEN}`, "--monitor=bpf"];
  source.inForce = viewSettings(run(argv).settings, ["webhook https://a.example/..."]);
  const tokens = { ...loopback, listenTokens: [TOKEN] };
  const server = await HttpServer.start({
    loadPage,
    source,
    settings: () => tokens,
    runtimeDir: join(folder, "run"),
    log: createLog({ format: "text", level: "error" }),
    clock: systemClock,
  });
  servers.push(server);
  const unix = join(folder, "run/wgmon.sock");
  const answer = await fetch("http://localhost/v1/settings", { unix });
  const text = await answer.text();
  expect(JSON.parse(text)).toMatchObject({
    monitor: "bpf",
    group: 7,
    devices: [],
    targets: [
      { label: "webhook https://a.example/...", origin: "https://a.example", program: null },
    ],
  });
  expect(text).not.toContain(TOKEN);
  const post = await fetch("http://localhost/v1/settings", { unix, method: "POST" });
  expect(post.status).toBe(405);
  const headers = { authorization: `Bearer ${TOKEN}` };
  expect((await fetch(new URL("/v1/status", server.url!), { headers })).status).toBe(200);
  expect((await fetch(new URL("/v1/settings", server.url!), { headers })).status).toBe(404);
  expect((await fetch(new URL("/v1/settings", server.url!))).status).toBe(401);
});

test("the settings are read again on request, on the Unix socket only", async () => {
  const token = { ...loopback, listenTokens: [TOKEN] };
  const server = await start(token, join(folder, "run"));
  const unix = join(folder, "run/wgmon.sock");
  const ask = async (method = "POST") => {
    const response = await fetch("http://localhost/v1/reload", { unix, method });
    return { status: response.status, body: (await response.json()) as unknown };
  };
  expect(await ask()).toEqual({
    status: 200,
    body: { changed: ["tick"], needRestart: ["listen"], warnings: [] },
  });
  expect((await ask("GET")).status).toBe(405);
  const usual = reload;
  reload = () => Promise.reject(new ConfigError(["tick: is wrong", "host: is wrong"]));
  expect(await ask()).toMatchObject({
    status: 422,
    body: { errors: [{ detail: "tick: is wrong" }, { detail: "host: is wrong" }] },
  });
  reload = () => Promise.reject(new SystemError("read /x", "EACCES"));
  expect(await ask()).toMatchObject({ status: 422, body: { detail: "read /x: EACCES" } });
  reload = usual;
  const headers = { authorization: `Bearer ${TOKEN}` };
  const url = new URL("/v1/reload", server.url!);
  expect((await fetch(url, { method: "POST", headers })).status).toBe(404);
  const foreign = { unix, method: "POST", headers: { origin: "https://evil.example" } };
  expect((await fetch("http://localhost/v1/reload", foreign)).status).toBe(403);
});

test("silences are changed with a token or on the Unix socket, and not from another site", async () => {
  const server = await start({ ...loopback, listenTokens: [TOKEN] }, join(folder, "run"));
  const unix = join(folder, "run/wgmon.sock");
  const url = new URL("/v1/silences", server.url!).href;
  const json = { "content-type": "application/json" };
  const body = JSON.stringify({ matchers: ["peer=x"], for: "2h", comment: "\u00e9".repeat(500) });
  const bearer = { ...json, authorization: `Bearer ${TOKEN}` };
  const post = { method: "POST", body };
  expect(await status(url, { ...post, headers: json })).toBe(401);
  expect(await status(url, { ...post, headers: bearer })).toBe(201);
  const own = { ...post, headers: json, unix } as RequestInit;
  expect(await status("http://localhost/v1/silences", own)).toBe(201);
  const origin = { ...bearer, origin: "https://evil.example" };
  expect(await status(url, { ...post, headers: origin })).toBe(403);
  const remove = { method: "DELETE", headers: origin };
  expect(await status(`${url}/silence-1`, remove)).toBe(403);
  expect(await status(`${url}/silence-1`, { ...remove, headers: bearer })).toBe(200);
  expect(source.alerts.silences()).toHaveLength(1);
});
