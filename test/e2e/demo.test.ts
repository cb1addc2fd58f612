/** `npm run demo` prints the expected lines in order, and leaves no processes, namespaces, devices or files. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { skipIf, whyNoUserspaceWireguard, whyNoWireguard } from "../support/kernel.ts";
import { TEST_MS, until } from "../support/until.ts";
import { whyNoVm } from "../support/vm.ts";

const ROOT = join(import.meta.dir, "../..");

const notHere = whyNoWireguard();
const noUserspace = notHere === null ? null : whyNoUserspaceWireguard();
const noVm = noUserspace === null ? null : whyNoVm();
const tools = skipIf(noVm === null ? null : `here, ${notHere}; ${noUserspace}; ${noVm}`);
const stayTools = skipIf(noUserspace);

describe.skipIf(tools.missing)(tools.title("the demo"), () => {
  /** Is in the environment of all processes that the demo starts. */
  const mark = `WGMON_TEST_DEMO=${crypto.randomUUID()}`;
  let folder = "";
  let before: unknown;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "wgmon-demo-test-"));
    before = traces();
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function start(...options: readonly string[]) {
    const [name, value] = mark.split("=");
    return Bun.spawn([process.execPath, "test/demo.ts", ...options], {
      cwd: ROOT,
      env: { ...process.env, TMPDIR: folder, [name!]: value },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
      // In its own process group, to which a terminal sends Ctrl-C.
      detached: true,
    });
  }

  /** The processes (which keep network namespaces alive), named namespaces, devices and files that exist now. */
  function traces() {
    const namespaces = "/run/netns";
    return {
      processes: readdirSync("/proc").filter((entry) => /^\d+$/.test(entry) && isMarked(entry)),
      namespaces: existsSync(namespaces) ? readdirSync(namespaces) : [],
      devices: readdirSync("/sys/class/net"),
      files: readdirSync(folder),
    };
  }

  function isMarked(pid: string): boolean {
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").includes(mark);
    } catch {
      return false; // the process has ended, or belongs to another user
    }
  }

  async function expectNoTraces() {
    // The kernel removes namespaces and devices some time after their processes are killed.
    await until("no traces are left", () => Bun.deepEquals(traces(), before)).catch(() => {});
    expect(traces()).toEqual(before as ReturnType<typeof traces>);
  }

  test(
    "a peer connects, roams and disconnects, and each event is logged and received",
    async () => {
      const demo = start();
      const text = await new Response(demo.stdout).text();
      expect({ text, exitCode: await demo.exited }).toEqual({ text, exitCode: 0 });
      const lines = text.split("\n").filter((line) => /^(>|\d\d:\d\d:\d\d|webhook)/.test(line));
      const expected = [
        /info {2}wgmon \d/,
        /info {2}ready/,
        /^> alice's phone sends its first packet/,
        /info {2}alice \(wg0\) connected from 10\.[\d.]+:\d+$/,
        /^webhook, [\d.]+ m?s after .*"peer\.connected".*"name":"alice"/,
        /^> Data flows/,
        /^> alice's phone leaves the Wi-Fi/,
        /info {2}alice \(wg0\) roamed from 10\.[\d.]+:\d+ to 10\.[\d.]+:\d+$/,
        /^webhook, [\d.]+ m?s after .*"peer\.roamed".*"previousEndpoint"/,
        /^> alice's phone is switched off/,
        /info {2}alice \(wg0\) disconnected after \d+s$/,
        /^webhook, [\d.]+ s after .*"peer\.disconnected".*"reason":"idle"/,
        /^> wgmon is asked to stop/,
        /info {2}stopping/,
        /^> End of the demo/,
      ];
      const unlike = lines.filter((line, index) => !expected[index]?.test(line));
      expect({ text, unlike, lines: lines.length }).toEqual({
        text,
        unlike: [],
        lines: expected.length,
      });
      await expectNoTraces();
    },
    TEST_MS,
  );

  test(
    "Ctrl-C ends the demo and all processes that it started",
    async () => {
      const demo = start();
      let text = "";
      const decoder = new TextDecoder();
      let interrupted = false;
      for await (const chunk of demo.stdout) {
        text += decoder.decode(chunk, { stream: true });
        if (interrupted || !text.includes("connected from")) continue;
        interrupted = true;
        expect(traces().processes).not.toEqual([]);
        process.kill(-demo.pid, "SIGINT");
      }
      expect({ text, exitCode: await demo.exited }).toEqual({ text, exitCode: 130 });
      expect(text).not.toContain("roamed");
      await expectNoTraces();
    },
    TEST_MS,
  );
});

describe.skipIf(stayTools.missing)(stayTools.title("the demo with --stay"), () => {
  test(
    "serves the page at the printed address until Ctrl-C, and answers the printed commands",
    async () => {
      const demo = Bun.spawn([process.execPath, "test/demo.ts", "--stay"], {
        cwd: ROOT,
        stdin: "ignore",
        stdout: "pipe",
        stderr: "inherit",
        detached: true,
      });
      let text = "";
      let page = "";
      let status = "";
      const decoder = new TextDecoder();
      for await (const chunk of demo.stdout) {
        text += decoder.decode(chunk, { stream: true });
        const url = /Its web page: (\S+)/.exec(text)?.[1];
        const folder = /RUNTIME_DIRECTORY=(\S+)/.exec(text)?.[1];
        if (page !== "" || url === undefined || !text.includes("bob (wg0) connected")) continue;
        page = await (await fetch(url)).text();
        const command = Bun.spawn(["./wgmon", "peer", "bob"], {
          cwd: ROOT,
          env: { RUNTIME_DIRECTORY: folder },
          stdout: "pipe",
        });
        status = await new Response(command.stdout).text();
        process.kill(-demo.pid, "SIGINT");
      }
      expect({ text, exitCode: await demo.exited }).toEqual({ text, exitCode: 130 });
      expect(page).toContain("bob");
      expect(status).toStartWith("bob: connected for ");
    },
    TEST_MS,
  );
});

test("the demo names missing programs", async () => {
  const demo = Bun.spawn([process.execPath, "test/demo.ts"], {
    cwd: ROOT,
    env: { PATH: "/nowhere" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(demo.stdout).text();
  expect(text).toMatch(/^\s*The demo failed: .*(needs ip, wg|\.\/wgmon is missing).*\.\n$/);
  expect(await demo.exited).toBe(1);
});
