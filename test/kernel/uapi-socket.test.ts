/** Queries at the socket of a program that ends while it answers, is silent, or sends an endless answer. */

import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Clock, systemClock } from "../../src/base/clock.ts";
import { queryUapi } from "../../src/kernel/uapi-socket.ts";
import { UapiParser } from "../../src/kernel/userspace-device.ts";
import { TEST_MS } from "../support/until.ts";

const folder = mkdtempSync(join(tmpdir(), "wgmon-uapi-"));
const path = join(folder, "wg0.sock");
let close = () => {};
afterEach(() => close());
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

/** Sends these answers, one for each connection; the last one is repeated. null: closes without an answer. */
function serve(...answers: readonly (string | null)[]): void {
  let count = 0;
  const server = Bun.listen({
    unix: path,
    socket: {
      open(socket) {
        const answer = answers[Math.min(count++, answers.length - 1)] ?? null;
        if (answer === null) {
          // The request is not read, so the client gets ECONNRESET.
          if (count === answers.length) server.stop();
          socket.terminate();
        } else socket.end(answer);
      },
      data() {},
    },
  });
  close = () => server.stop(true);
}

/** Answers with `text`, repeated `times` times, as fast as the client reads. */
function serveRepeated(text: string, times: number): void {
  const bytes = Buffer.from(text);
  let left =
    times === Infinity
      ? Number.MAX_SAFE_INTEGER - (Number.MAX_SAFE_INTEGER % bytes.length)
      : bytes.length * times;
  const fill = (socket: { write(data: Uint8Array): number }) => {
    while (left > 0) {
      const written = socket.write(
        bytes.subarray(bytes.length - (left % bytes.length || bytes.length)),
      );
      if (written <= 0) return;
      left -= written;
    }
  };
  const server = Bun.listen({
    unix: path,
    socket: { open: fill, drain: fill, data() {}, error() {} },
  });
  close = () => server.stop(true);
}

const ask = (clock = systemClock) => queryUapi("ask wg0", path, clock, () => new UapiParser("wg0"));

const listenPort = async () => (await ask())?.device.listenPort;

/** A clock that advances by `stepMs` each time that it is read. */
function fastClock(stepMs: number): Clock {
  let monotonicMs = 0;
  const now = () => ({ wallMs: 0, monotonicMs: (monotonicMs += stepMs) });
  return { now, after: (_, callback) => systemClock.after(0, callback) };
}

test("an answer is read to its end", async () => {
  serve("listen_port=1\nerrno=0\n\n");
  expect(await listenPort()).toBe(1);
});

test("an answer that is larger than the buffer is read to its end", async () => {
  const peers = Array.from(
    { length: 3000 },
    (_, i) => `public_key=${i.toString(16).padStart(64, "0")}\nallowed_ip=10.0.0.1/32\n`,
  );
  serveRepeated(`listen_port=7\n${peers.join("")}errno=0\n\n`, 1);
  const answer = await ask();
  expect(answer?.device.listenPort).toBe(7);
  expect(new Set(answer?.peers.map(({ publicKey }) => publicKey)).size).toBe(3000);
});

test("a program that ends during an answer and is restarted is queried again", async () => {
  serve(null, "errno=0\n\n");
  expect(await listenPort()).toBe(0);
  close();
  serve("listen_po", "listen_port=2\nerrno=0\n\n");
  expect(await listenPort()).toBe(2);
});

test("a program that ends during an answer and is not restarted has a null answer", async () => {
  serve(null);
  expect(await ask()).toBeNull();
});

test("a program that ends during each answer is an error", async () => {
  serve("listen_po");
  expect(ask()).rejects.toThrow("ECONNRESET (the other side closed the connection before the end)");
  await ask().catch(() => {});
});

test("a silent program is an error after a second", async () => {
  const server = Bun.listen({ unix: path, socket: { data() {} } });
  close = () => server.stop(true);
  const answer = ask(fastClock(400));
  expect(answer).rejects.toThrow("its program does not answer");
  await answer.catch(() => {});
});

test("an answer that is incomplete after five seconds is an error", async () => {
  serveRepeated("listen_port=1\n".repeat(5000), Infinity);
  const answer = ask(fastClock(900));
  expect(answer).rejects.toThrow("ETIMEDOUT (the answer was incomplete after 5 s)");
  await answer.catch(() => {});
});

test(
  "an endless answer is an error after 16 MB, and does not block the event loop",
  async () => {
    serveRepeated(`unknown=${"1".repeat(65_000)}\n`, Infinity);
    let turns = 0;
    let isOver = false;
    const turn = () => {
      turns++;
      if (!isOver) setImmediate(turn);
    };
    turn();
    const answer = ask({ ...systemClock, now: () => ({ wallMs: 0, monotonicMs: 0 }) });
    expect(answer).rejects.toThrow("ask wg0: the answer has more than 16777216 bytes");
    await answer.catch(() => {});
    isOver = true;
    // It is read in pieces of at most 64 KiB, and the event loop runs after each of them.
    expect(turns).toBeGreaterThanOrEqual(256);
  },
  TEST_MS,
);

test("an endless line is an error at once", async () => {
  serveRepeated("9".repeat(1000), Infinity);
  const answer = ask();
  expect(answer).rejects.toThrow("ask wg0: a line is too long");
  await answer.catch(() => {});
});
