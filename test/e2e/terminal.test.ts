/** The binary on a terminal, and when the terminal is closed. */

import { expect, test } from "bun:test";
import { join } from "node:path";

import { version } from "../../package.json";
import { ownFolders } from "../support/state.ts";
import { until } from "../support/until.ts";

const binary = join(import.meta.dir, "../../wgmon");

/** Starts wgmon on a new terminal, and waits until it is ready. */
async function onTerminal(): Promise<{ program: Bun.Subprocess; shown: () => string }> {
  let shown = "";
  const { promise, resolve } = Promise.withResolvers<void>();
  const program = Bun.spawn([binary, "--monitor", "poll"], {
    env: { TERM: "xterm", ...ownFolders() },
    terminal: {
      data(_terminal, bytes) {
        shown += new TextDecoder().decode(bytes);
        if (shown.includes("ready")) resolve();
      },
    },
  });
  await promise;
  return { program, shown: () => shown };
}

test("the log on a terminal is in the text format with colours", async () => {
  const { program, shown } = await onTerminal();
  const green = " \x1b[32minfo \x1b[0m ";
  expect(shown().slice("00:00:00".length)).toStartWith(`${green}wgmon ${version} monitor=poll `);
  expect(shown()).toContain(`${green}ready monitor=poll`);
  program.kill("SIGTERM");
  expect(await program.exited).toBe(0);
});

test("closing its terminal ends wgmon", async () => {
  const { program } = await onTerminal();
  program.terminal?.close();
  expect(await program.exited).toBe(0);
});

test("SIGHUP on an open terminal reloads the settings", async () => {
  const { program, shown } = await onTerminal();
  program.kill("SIGHUP");
  await until("the reload is logged", () => shown().includes("settings reloaded"));
  program.kill("SIGINT");
  expect(await program.exited).toBe(0);
});
