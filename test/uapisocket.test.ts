/** Asking at the socket of a program that ends while it answers. */

import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { askUapi } from "../src/kernel/uapisocket.ts";

const folder = mkdtempSync(join(tmpdir(), "wgmon-uapi-"));
const path = join(folder, "wg0.sock");
let close = () => {};
afterEach(() => close());
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

/** Answers each connection as told, the last one for all that follow; null: ends without a word. */
function serve(...answers: readonly (string | null)[]): void {
  let count = 0;
  const server = Bun.listen({
    unix: path,
    socket: {
      open(socket) {
        const answer = answers[Math.min(count++, answers.length - 1)] ?? null;
        if (answer === null) {
          // What it was asked is not read: the other side gets ECONNRESET.
          if (count === answers.length) server.stop();
          socket.terminate();
        } else socket.end(answer);
      },
      data() {},
    },
  });
  close = () => server.stop(true);
}

const ask = () => askUapi("ask wg0", path, (bytes) => new TextDecoder().decode(bytes));

test("an answer is read to its end", async () => {
  serve("listen_port=1\nerrno=0\n\n");
  expect(await ask()).toBe("listen_port=1\nerrno=0\n\n");
});

test("a program that ends in the middle and is there again has an answer", async () => {
  serve(null, "errno=0\n\n");
  expect(await ask()).toBe("errno=0\n\n");
  close();
  serve("listen_po", "errno=0\n\n");
  expect(await ask()).toBe("errno=0\n\n");
});

test("a program that ends in the middle and is gone is no error", async () => {
  serve(null);
  expect(await ask()).toBeNull();
});

test("a program that ends in the middle again and again is one", async () => {
  serve("listen_po");
  expect(ask()).rejects.toThrow("ECONNRESET (the other side ended in the middle)");
  await ask().catch(() => {});
});
