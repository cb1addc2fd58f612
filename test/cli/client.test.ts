/** How commands query wgmon over real sockets, also if no process listens or if it does not answer. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { SystemError } from "../../src/base/errors.ts";
import { ConnectionLost, DaemonClient, DaemonNotRunning } from "../../src/cli/client.ts";
import { problem } from "../../src/http/problem.ts";
import { needs } from "../support/kernel.ts";

const SOON = { responseMs: 300, streamMs: 300 };

let folder: string;
let path: string;
const servers: { stop(force: boolean): unknown }[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "wgmon-daemon-"));
  path = join(folder, "wgmon.sock");
});

afterEach(() => {
  for (const server of servers.splice(0)) server.stop(true);
  rmSync(folder, { recursive: true });
});

function serve(fetch: (request: Request) => Response): void {
  servers.push(Bun.serve({ unix: path, fetch }));
}

/** Serves these bytes to each request; null: ends the connection. */
function serveBytes(...answer: readonly (string | null)[]): void {
  servers.push(
    Bun.listen({
      unix: path,
      socket: {
        data(socket) {
          for (const text of answer) {
            if (text === null) socket.end();
            else socket.write(text);
          }
        },
      },
    }),
  );
}

async function failure(daemon = new DaemonClient(path, SOON)): Promise<SystemError> {
  const error: unknown = await daemon.get("/v1/status?x=y").catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(SystemError);
  return error as SystemError;
}

/** Reads the stream until it ends or fails. */
async function followed(daemon = new DaemonClient(path, SOON)) {
  let text = "";
  try {
    for await (const piece of daemon.follow("/v1/stream")) text += piece;
  } catch (error) {
    expect(error).toBeInstanceOf(SystemError);
    return { text, error: error as SystemError };
  }
  return { text, error: null };
}

test("an answer is parsed as JSON", async () => {
  serve((request) => Response.json({ asked: new URL(request.url).pathname }));
  expect(await new DaemonClient(path).get<unknown>("/v1/peers?limit=1")).toEqual({
    asked: "/v1/peers",
  });
});

test("wgmon is not running if there is no socket, only a stale one, or a file in its place", async () => {
  expect(await failure(new DaemonClient(path))).toBeInstanceOf(DaemonNotRunning);
  expect((await failure(new DaemonClient(path))).message).toBe(
    `ask wgmon at ${path}: ENOENT (wgmon is not running here)`,
  );
  const left = `Bun.serve({unix: ${JSON.stringify(path)}, fetch: () => new Response("")}); process.kill(process.pid, "SIGKILL")`;
  Bun.spawnSync([process.execPath, "-e", left]);
  expect(await failure(new DaemonClient(path))).toBeInstanceOf(DaemonNotRunning);
  rmSync(path);
  writeFileSync(path, "");
  expect(await failure(new DaemonClient(path))).toBeInstanceOf(DaemonNotRunning);
  expect((await followed()).error).toBeInstanceOf(DaemonNotRunning);
});

test("an error has the detail of the response; a 503 is a lost connection, which is retried", async () => {
  serve(() => problem(422, { detail: "invalid cursor" }));
  const refused = await failure();
  expect(refused).not.toBeInstanceOf(ConnectionLost);
  expect(refused.message).toBe("ask wgmon for /v1/status: invalid cursor (422)");
  servers.pop()!.stop(true);
  rmSync(path, { force: true });
  serve(() => problem(503));
  expect(await failure()).toBeInstanceOf(ConnectionLost);
  expect((await followed()).error?.message).toBe(
    "ask wgmon for /v1/stream: Service Unavailable (503)",
  );
});

test.each<[string, readonly (string | null)[]]>([
  ["no answer", []],
  ["half an answer", ['HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"a":']],
])("the request reports a wgmon that hangs if there is %s", async (_name, answer) => {
  serveBytes(...answer);
  const error = await failure();
  expect(error).toBeInstanceOf(ConnectionLost);
  expect(error.message).toBe(`ask wgmon at ${path}: no answer (wgmon hangs, or is suspended)`);
});

test.each<[string, readonly (string | null)[]]>([
  ["before it answers", [null]],
  ["in its answer", ['HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"a":', null]],
])("the connection of a stream is lost if the stream ends %s", async (_name, answer) => {
  serveBytes(...answer);
  expect(await failure()).toBeInstanceOf(ConnectionLost);
});

test("a response that is not JSON is a SystemError", async () => {
  serveBytes("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nxxx");
  expect((await failure()).message).toBe(
    "ask wgmon for /v1/status: 200 (the response is not JSON)",
  );
});

test("a stream is read in pieces, and ends when the server ends it", async () => {
  const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
  const head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
  serveBytes(head + chunk("id: 1\n"), chunk("data: x\n\n"), "0\r\n\r\n");
  expect(await followed()).toEqual({ text: "id: 1\ndata: x\n\n", error: null });
  servers.pop()!.stop(true);
  rmSync(path, { force: true });
  serveBytes(head + chunk("one"), null);
  // The last piece may be lost with it.
  expect((await followed()).error).toBeInstanceOf(ConnectionLost);
});

test("a stream without data for too long is a lost connection", async () => {
  serveBytes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
  const { text, error } = await followed();
  expect(text).toBe("one");
  expect(error).toBeInstanceOf(ConnectionLost);
  expect(error?.message).toContain("no answer");
});

const root = needs("root");

test.skipIf(root.missing)(
  root.title("a user without permission gets EACCES from the socket"),
  async () => {
    serve(() => Response.json({}));
    chmodSync(path, 0o600);
    chmodSync(folder, 0o755);
    const script = `
    import { DaemonClient } from ${JSON.stringify(join(import.meta.dir, "../../src/cli/client.ts"))};
    process.setgid(65534); process.setuid(65534);
    await new DaemonClient(${JSON.stringify(path)}).get("/v1/status").catch((error) => console.log(error.name, error.message));`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
    expect(await child.stdout.text()).toBe(
      `SystemError ask wgmon at ${path}: EACCES (run this as root)\n`,
    );
  },
);
