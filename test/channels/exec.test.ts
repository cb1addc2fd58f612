/** The exec channel with real programs, correct ones and faulty ones. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";

import fc from "fast-check";

import { createExec } from "../../src/channels/exec.ts";
import { json } from "../../src/channels/formats/json.ts";
import type { DeliveryResult, Message } from "../../src/delivery/target.ts";
import { anEvent, hostileMessage, messageOf } from "../support/events.ts";
import { ALICE, peer } from "../support/peers.ts";
import { until, withLimit } from "../support/until.ts";

const never = new AbortController().signal;
const event = anEvent("peer.connected");

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(`${tmpdir()}/wgmon-exec-`);
});
afterAll(() => rmSync(folder, { recursive: true }));

const file = (name: string): string => `${folder}/${name}`;
const content = (name: string): string => readFileSync(file(name), "utf8");
const retry = (reason: string): DeliveryResult => ({ type: "retry", reason, afterMs: null });

interface Options {
  readonly message?: Message;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Makes one attempt, with a shell script as the program. */
async function run(script: string, options: Options = {}): Promise<DeliveryResult> {
  return await attempt(["/bin/sh", "-c", script, "sh", folder], options);
}

async function attempt(
  command: readonly [string, ...string[]],
  { message = messageOf(event), timeoutMs = 10_000, signal = never }: Options = {},
): Promise<DeliveryResult> {
  return await createExec({ command, label: "exec test", timeoutMs }).attempt(message, signal);
}

/** The environment of the program. */
async function environmentOf(message: Message): Promise<Record<string, string>> {
  expect(await run('cat /proc/self/environ > "$1/env"', { message })).toEqual({
    type: "delivered",
  });
  const pairs = content("env")
    .split("\0")
    .filter((pair) => pair !== "");
  return Object.fromEntries(
    pairs.map((pair) => [pair.split("=", 1)[0]!, pair.replace(/^[^=]*=/, "")]),
  );
}

describe("the input of a program", () => {
  test("a program gets the event and a newline on standard input", async () => {
    expect(await run('cat > "$1/in"')).toEqual({ type: "delivered" });
    expect(content("in")).toBe(`${JSON.stringify(event)}\n`);
  });

  test("a program gets several events in the same form as a webhook", async () => {
    const message = messageOf(event, anEvent("peer.disconnected"));
    await run('cat > "$1/in"', { message });
    const { body } = json.request(message, new URL("https://hooks.example.net/"));
    expect(content("in")).toBe(`${body}\n`);
  });

  test("a program gets a standard input that it can open again", async () => {
    expect(await run('cat /dev/stdin > "$1/in"')).toEqual({ type: "delivered" });
    expect(content("in")).toBe(`${JSON.stringify(event)}\n`);
  });

  test("a program gets a small environment that describes the event", async () => {
    const environment = await environmentOf(messageOf(event));
    const { PWD: _shell, OLDPWD: _too, _: _three, ...rest } = environment;
    expect(rest).toEqual({
      PATH: process.env["PATH"]!,
      ...(process.env["HOME"] === undefined ? {} : { HOME: process.env["HOME"] }),
      LANG: "C.UTF-8",
      WGMON_EVENT_ID: event.id,
      WGMON_EVENT_TYPE: "peer.connected",
      WGMON_TIMESTAMP: event.timestamp,
      WGMON_HOST: "gw1",
      WGMON_DEVICE: "wg0",
      WGMON_PEER: ALICE,
      WGMON_PEER_NAME: "alice",
      WGMON_ENDPOINT: "198.51.100.7:40001",
      WGMON_SEVERITY: "",
      WGMON_RULE: "",
      WGMON_TEXT: "alice (wg0) connected from 198.51.100.7:40001",
      WGMON_COUNT: "1",
    });
  });

  test("a program gets a PATH, even if wgmon has none", async () => {
    const { PATH } = process.env;
    for (const none of [undefined, ""]) {
      if (none === undefined) delete process.env["PATH"];
      else process.env["PATH"] = none;
      const environment = environmentOf(messageOf(event)).finally(() => {
        process.env["PATH"] = PATH;
      });
      expect((await environment)["PATH"]).toStartWith("/usr/local/sbin:");
    }
  });

  test("a program gets the severity, the rule and the peer of an alert", async () => {
    expect(await environmentOf(messageOf(anEvent("alert.firing")))).toMatchObject({
      WGMON_EVENT_TYPE: "alert.firing",
      WGMON_DEVICE: "wg0",
      WGMON_PEER: ALICE,
      WGMON_PEER_NAME: "alice",
      WGMON_ENDPOINT: "",
      WGMON_SEVERITY: "critical",
      WGMON_RULE: "offices",
      WGMON_COUNT: "1",
    });
    const several = anEvent("alert.resolved", { alert: { names: ["bob", "carol"] } });
    expect(await environmentOf(messageOf(several))).toMatchObject({ WGMON_PEER: "" });
  });

  test("a program gets an empty variable for each field that the event does not have", async () => {
    const nameless = anEvent("peer.connected", { name: null, peer: peer({ endpoint: null }) });
    const nothing = { WGMON_PEER_NAME: "", WGMON_ENDPOINT: "" };
    expect(await environmentOf(messageOf(nameless))).toMatchObject({
      WGMON_PEER: ALICE,
      ...nothing,
    });
    expect(await environmentOf(messageOf(anEvent("device.added")))).toMatchObject({
      WGMON_DEVICE: "wg0",
      WGMON_PEER: "",
      ...nothing,
    });
  });

  test("a program gets the common fields of several events and a line of text for each", async () => {
    const message = messageOf(event, anEvent("device.removed"));
    expect(await environmentOf(message)).toMatchObject({
      WGMON_EVENT_ID: message.id,
      WGMON_EVENT_TYPE: "digest",
      WGMON_HOST: "gw1",
      WGMON_DEVICE: "",
      WGMON_PEER: "",
      WGMON_TEXT: "alice (wg0) connected from 198.51.100.7:40001\nwg0 removed",
      WGMON_COUNT: "2",
    });
  });

  test("a program gets a name without its NUL characters", async () => {
    const message = messageOf(anEvent("peer.connected", { name: "a\0b" }));
    expect((await environmentOf(message))["WGMON_PEER_NAME"]).toBe("ab");
  });

  test("a program is started, whatever the names are", async () => {
    await fc.assert(
      fc.asyncProperty(hostileMessage, async (message) => {
        expect(await attempt(["/bin/true"], { message })).toEqual({ type: "delivered" });
      }),
      { numRuns: 30 },
    );
  });

  test("a program gets its arguments as they are, without a shell", async () => {
    const hostile = "$(id) `id` \"; touch x' * ~";
    const printer = 'printf %s "$2" > "$1/argument"';
    await attempt(["/bin/sh", "-c", printer, "sh", folder, hostile]);
    expect(content("argument")).toBe(hostile);
  });

  test("a program gets the root folder, a session without a terminal, and none of wgmon's open files", async () => {
    expect(await run('pwd > "$1/pwd"; cat /proc/$$/stat > "$1/stat"')).toEqual({
      type: "delivered",
    });
    expect(content("pwd")).toBe("/\n");
    // proc_pid_stat(5)
    const [pid, , , , group, session, terminal] = content("stat").split(" ");
    expect([group, session, terminal]).toEqual([pid!, pid!, "0"]);
    const ours = 'for fd in /proc/$$/fd/*; do [ "${fd##*/}" -le 2 ] || readlink "$fd"; done';
    await run(`exec > "$1/descriptors"; ${ours}`);
    expect(content("descriptors")).toBe("");
  });
});

describe("the result of a program", () => {
  const noise = "echo first >&2; echo >&2; ";

  test.each([
    ["exit 0", { type: "delivered" }],
    [`${noise} echo last >&2`, { type: "delivered" }],
    ["exit 65", { type: "drop", reason: "exit code 65" }],
    [
      `${noise} echo no such peer >&2; exit 65`,
      { type: "drop", reason: "exit code 65: no such peer" },
    ],
    ["exit 1", retry("exit code 1")],
    ["exit 64", retry("exit code 64")],
    ["exit 255", retry("exit code 255")],
    ["echo out; exit 1", retry("exit code 1")],
    [`${noise} echo last >&2; echo >&2; exit 3`, retry("exit code 3: last")],
    [`${noise} printf 'no newline' >&2; exit 3`, retry("exit code 3: no newline")],
    ["kill -TERM $$", retry("killed by SIGTERM")],
    ["echo oh >&2; kill -SEGV $$", retry("killed by SIGSEGV: oh")],
  ] satisfies [string, DeliveryResult][])(
    "an exit code and the last line of standard error give the expected result: %s",
    async (script, verdict) => {
      expect(await run(script)).toEqual(verdict);
    },
  );

  test.each([
    ["a progress bar", "10%%\\r20%%\\r\\n", "20%"],
    ["colours and controls", "\\033[1;31merror:\\033[0m \\007 \\b bad\\n", "error: bad"],
    ["half a character", "a\\377b\\n", "a\ufffdb"],
    [
      "a URL",
      "curl: https://hooks.example.net/s3cr3t: 500\\n",
      "curl: https://hooks.example.net/... 500",
    ],
    ["a URL with a password", "get http://u:s3cr3t@192.0.2.1/\\n", "get http://192.0.2.1/..."],
  ])("the last line of standard error is made safe for a log: %s", async (_name, written, line) => {
    const verdict = await run(`printf '${written}' >&2; exit 1`);
    expect(verdict).toEqual(retry(`exit code 1: ${line}`));
  });

  test("a long last line of standard error is cut", async () => {
    const verdict = await run("head -c 150000 /dev/zero | tr '\\0' x >&2; exit 1");
    expect(verdict).toEqual(retry(`exit code 1: ${"x".repeat(199)}\u2026`));
  });
});

describe("a program that cannot be started", () => {
  test.each([
    ["missing", null, 0, /program does not exist.* \(ENOENT\)$/],
    ["not-executable", "#!/bin/sh\n", 0o644, /not executable.* \(EACCES\)$/],
    ["no-interpreter", "#!/no/such/shell\n", 0o755, /interpreter.* \(ENOENT\)$/],
    ["no-first-line", "exit 0\n", 0o755, /#!\/bin\/sh \(ENOEXEC\)$/],
  ])(
    "a program that cannot be started is retried, and the reason says why: %s",
    async (name, text, mode, reason) => {
      if (text !== null) writeFileSync(file(name), text);
      if (text !== null) chmodSync(file(name), mode);
      const verdict = await attempt([file(name), "s3cr3t"]);
      expect(verdict).toEqual({
        type: "retry",
        reason: expect.stringMatching(reason),
        afterMs: null,
      });
      expect(JSON.stringify(verdict)).not.toContain("s3cr3t");
    },
  );

  test("an attempt is retried if the program is a folder", async () => {
    expect(await attempt([folder])).toMatchObject({ type: "retry" });
  });

  test("an attempt is retried if Bun does not take an argument", async () => {
    const verdict = await attempt(["/bin/true", "s3cr3t\0"]);
    expect(verdict).toEqual(retry("the program cannot be started"));
  });

  test("a program that did not exist is started once it exists", async () => {
    expect(await attempt([file("late")])).toMatchObject({ type: "retry" });
    writeFileSync(file("late"), "#!/bin/sh\n");
    chmodSync(file("late"), 0o755);
    expect(await attempt([file("late")])).toEqual({ type: "delivered" });
  });
});

describe("a program that misbehaves", () => {
  /** More than any pipe takes. */
  const large = messageOf(event, ...Array.from({ length: 2000 }, () => event));

  test.each([
    ["never reads", "exit 0"],
    ["closes its input at once", "exec <&-"],
    ["reads a part of its input", "head -c 10 > /dev/null"],
    ["reads all of its input", "cat > /dev/null"],
  ])("a program that %s does not block the attempt", async (_name, script) => {
    expect(await run(script, { message: large })).toEqual({ type: "delivered" });
  });

  test("a program that closes its standard error at once is judged by its exit code", async () => {
    expect(await run("exec 2>&-; exit 4")).toEqual(retry("exit code 4"));
  });

  test("a program that writes for ever is killed, and memory does not grow", async () => {
    const child = Bun.spawn([
      process.execPath,
      Bun.fileURLToPath(import.meta.resolve("../support/flooding-program.ts")),
    ]);
    const { verdict, grownBytes } = JSON.parse(await child.stdout.text());
    // The last line may be half of one.
    expect(verdict).toMatchObject({ type: "retry", reason: expect.stringMatching(/^timeout: e/) });
    expect(grownBytes).toBeLessThan(32 * 2 ** 20);
  });

  test("a program that runs for ever is killed with its children", async () => {
    const script =
      'sleep 1000 & echo $! > "$1/child"; echo $$ > "$1/parent"; echo waiting >&2; wait';
    const verdict = await withLimit(
      200,
      (timeoutMs) => run(script, { timeoutMs }),
      (each) => !Bun.deepEquals(each, retry("timeout")),
    );
    expect(verdict).toEqual(retry("timeout: waiting"));
    for (const who of ["child", "parent"]) await gone(Number(content(who)));
  });

  test("a program that ignores other signals is killed at its timeout", async () => {
    const script = 'trap "" TERM INT HUP; echo $$ > "$1/stubborn"; while :; do sleep 1000; done';
    const verdict = await withLimit(
      200,
      (timeoutMs) => run(script, { timeoutMs }),
      () => readdirSync(folder).includes("stubborn"),
    );
    expect(verdict).toEqual(retry("timeout"));
    await gone(Number(content("stubborn")));
  });

  test("an abort kills the program at once", async () => {
    const stop = new AbortController();
    const script = 'sleep 1000 & echo $! > "$1/aborted"; mv "$1/aborted" "$1/ready"; wait';
    const verdict = run(script, { signal: stop.signal });
    await until("the program has begun", () => readdirSync(folder).includes("ready"));
    stop.abort();
    expect(await verdict).toEqual(retry("aborted"));
    await gone(Number(content("ready")));
  });

  test("no program is started after an abort", async () => {
    const verdict = await run('touch "$1/started"', { signal: AbortSignal.abort() });
    expect(verdict).toEqual(retry("aborted"));
    expect(readdirSync(folder)).not.toContain("started");
  });

  test("a daemon that holds the program's pipes open does not delay the attempt", async () => {
    const script = 'setsid sleep 1000 & echo $! > "$1/daemon"; echo done >&2; exit 7';
    // Too long to end the program in this test.
    expect(await run(script, { timeoutMs: 1_000_000 })).toEqual(retry("exit code 7: done"));
    process.kill(Number(content("daemon")), "SIGKILL");
  });

  test("attempts leave neither zombies nor open files", async () => {
    const files = (): number => readdirSync("/proc/self/fd").length;
    await run("exit 0");
    Bun.gc(true);
    const before = files();
    for (let i = 0; i < 30; i++)
      await run(i % 2 === 0 ? "exit 0" : "sleep 1000", { timeoutMs: 20 });
    // Bun closes the file of standard input when it collects the garbage.
    await until("all files are closed", () => {
      Bun.gc(true);
      return files() <= before + 2 && children().length === 0;
    });
  });
});

async function gone(pid: number): Promise<void> {
  await until(`process ${pid} is gone`, () => ["gone", "Z"].includes(stateOf(pid)));
}

/** State in proc_pid_stat(5): R, S, ...; Z for a zombie, which its parent has not reaped yet. */
function stateOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.slice(0, 1);
  } catch {
    return "gone";
  }
}

/** The child processes of this process. */
function children(): string[] {
  const text = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8");
  return text.split(" ").filter((pid) => pid !== "");
}
