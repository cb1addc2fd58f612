/**
 * The command line. Each case is run twice, with the binary and from the source: their output and exit
 * code must be the same.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { version } from "../../package.json";
import { helpText } from "../../src/cli/help.ts";
import { needs } from "../support/kernel.ts";
import { ownFolders } from "../support/state.ts";
import { REPORT_MS, TEST_MS } from "../support/until.ts";

const ROOT = join(import.meta.dir, "../..");
const BINARY = [join(ROOT, "wgmon")];
const SOURCE = [process.execPath, join(ROOT, "src/main.ts")];

/** Part of the URL of every webhook. It must never be printed. */
const SECRET = "t0k3n";
const URL_WITH_SECRET = `https://user:${SECRET}@hooks.example.net/${SECRET}?key=${SECRET}`;

const MORE_HELP = "wgmon run --help lists all settings.\n";

const root = needs("root");

interface Result {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface Case {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Files in the working directory, by name. */
  readonly files?: Readonly<Record<string, string>>;
  readonly exitCode: 0 | 1 | 2;
  /** Default: nothing. A list: its lines; with exit code 2 the line that mentions --help follows. */
  readonly stdout?: string | RegExp;
  readonly stderr?: readonly string[] | RegExp;
}

// Processes start slowly on a busy machine.
setDefaultTimeout(TEST_MS);

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "wgmon-cli-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** Makes a working directory that contains only these files. */
async function makeWorkingDirectory(files: Case["files"] = {}): Promise<string> {
  const cwd = await mkdtemp(join(folder, "cwd-"));
  for (const [name, text] of Object.entries(files)) await Bun.write(join(cwd, name), text);
  return cwd;
}

async function run(
  command: readonly string[],
  { cwd, env = {} }: { cwd: string; env?: Case["env"] },
) {
  const child = Bun.spawn([...command], {
    cwd,
    env: { PATH: process.env["PATH"], ...ownFolders(), ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: REPORT_MS,
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr } satisfies Result;
}

/** Runs the case with the binary and from the source, and checks the conditions that all cases share. */
async function check({
  args,
  env,
  files,
  exitCode,
  stdout = "",
  stderr = [],
}: Case): Promise<void> {
  const results: Result[] = [];
  for (const program of [BINARY, SOURCE]) {
    const cwd = await makeWorkingDirectory(files);
    const result = await run([...program, ...args], { cwd, ...(env && { env }) });
    expect(result.stderr).not.toContain(SECRET);
    // The log's first lines come before a start fails, each with its own time.
    results.push({ ...result, stderr: result.stderr.replaceAll(/^time=\S+ level=\w+ .*\n/gm, "") });
    expect(await readdir(cwd)).toEqual(Object.keys(files ?? {}));
  }
  const [binary, source] = results;
  expect(binary).toEqual(source!);
  if (stdout instanceof RegExp) expect(binary!.stdout).toMatch(stdout);
  else expect(binary!.stdout).toBe(stdout);
  if (stderr instanceof RegExp) expect(binary!.stderr).toMatch(stderr);
  else {
    const lines = stderr.map((line) => `wgmon: ${line}\n`);
    expect(binary!.stderr).toBe([...lines, ...(exitCode === 2 ? [MORE_HELP] : [])].join(""));
  }
  expect(binary!.exitCode).toBe(exitCode);
  const all = binary!.stdout + binary!.stderr;
  expect(all).not.toContain(SECRET);
  expect(all).not.toMatch(/^\s+at |^\w*Error: |Bun v\d/m);
}

describe("wgmon", () => {
  const versions = new RegExp(
    `^wgmon ${RegExp.escape(version)}\\nBun ${RegExp.escape(Bun.version)}\\nlibmnl \\d[\\d.]+\\n` +
      `libnetfilter_log \\d[\\d.]+\\nlibpcap \\d.+\\n$`,
  );
  const help = helpText();

  const cases: Readonly<Record<string, Case>> = {
    "--version": { args: ["--version"], exitCode: 0, stdout: versions },
    version: { args: ["version"], exitCode: 0, stdout: versions },
    "-version": { args: ["-version"], exitCode: 0, stdout: versions },
    "check with a correct file": {
      args: ["check", "w.toml"],
      files: { "w.toml": `[[alert]]\nname = "a"\nkind = "down"\npeers = ["${SECRET}://x"]\n` },
      exitCode: 0,
      stdout: /^w\.toml: correct; 0 targets, 1 alert, 0 peers\n[^]* {4}fires when /,
      stderr:
        /^wgmon: warning: alerts are only recorded: there are no targets; add a \[\[target\]\]\n$/,
    },
    "check with mistakes": {
      args: ["check", "w.toml"],
      files: { "w.toml": `webhook = "${SECRET}"\n[[alert]]\nkind = "down"\n` },
      exitCode: 2,
      stdout: "w.toml: 2 mistakes\n",
      stderr:
        /^wgmon: w\.toml: webhook: \(hidden\) .*\nwgmon: w\.toml, line 2: alert 1: has no name.*\n$/,
    },
    "--help": { args: ["--help"], exitCode: 0, stdout: help },
    "-h": { args: ["-h"], exitCode: 0, stdout: help },
    help: { args: ["help"], exitCode: 0, stdout: help },
    "__complete with wrong flags and a wrong variable": {
      args: ["__complete", "--moniter", "x\n", "--monitor="],
      env: { WGMON_TICK: "never" },
      exitCode: 0,
      stdout: "--monitor=auto\n--monitor=nflog\n--monitor=bpf\n--monitor=poll\n",
    },
    "--help with a wrong flag": { args: ["--moniter", "--help"], exitCode: 0, stdout: help },
    "an unknown flag": {
      args: ["--moniter", "bpf"],
      exitCode: 2,
      stderr: ["--moniter: there is no such flag; did you mean --monitor?"],
    },
    "an unknown flag with one dash": {
      args: ["-moniter=bpf"],
      exitCode: 2,
      stderr: ["-moniter: there is no such flag; did you mean --monitor?"],
    },
    "an unknown command": {
      args: ["versoin"],
      exitCode: 2,
      stderr:
        /^wgmon: "versoin" is not a command; did you mean version\?\nwgmon --help lists the commands\.\n$/,
    },
    "an unknown flag of a command": {
      args: ["events", "--folow"],
      exitCode: 2,
      stderr:
        /^wgmon: --folow: there is no such flag; did you mean --follow\?\nwgmon events --help lists its flags\.\n$/,
    },
    "several errors, which are all reported": {
      args: ["-tick", "3", "--monitor=bpff", "--group", "65536", "--device", "a/b"],
      env: { WGMON_HOLD: "soon" },
      exitCode: 2,
      stderr: [
        '--monitor: "bpff" is not auto, nflog, bpf or poll; did you mean bpf?',
        '--group: "65536" is not a whole number from 0 to 65535',
        '--tick: "3" has no unit; write "3s" for seconds',
        'WGMON_HOLD: "soon" is not a duration; write it like 250ms, 90s or 1m30s',
        '--device: "a/b" is not the name of a network interface (1 to 15 bytes, no / : or space)',
      ],
    },
    "an unknown variable": {
      args: [],
      env: { WGMON_MONITER: "bpf" },
      exitCode: 2,
      stderr: ["WGMON_MONITER: there is no such variable; did you mean WGMON_MONITOR?"],
    },
    "a file that is not TOML": {
      args: ["--config", "wgmon.toml"],
      files: { "wgmon.toml": `monitor = "poll"\nwebhook = "${URL_WITH_SECRET}\n` },
      exitCode: 2,
      stderr:
        /^wgmon: wgmon\.toml, line 2, column \d+: [^\n]+\nwgmon run --help lists all settings\.\n$/,
    },
    "a file with errors at a relative path": {
      args: ["--config=./wgmon.toml"],
      files: {
        "wgmon.toml": `tick = 3\nwebhoook = "${URL_WITH_SECRET}"\nwebhook = "${SECRET}"\n`,
      },
      exitCode: 2,
      stderr: [
        './wgmon.toml: there is no key "webhoook"; did you mean webhook?',
        "./wgmon.toml: webhook: (hidden) is not a URL that starts with http:// or https://",
        './wgmon.toml: tick: "3" has no unit; write "3s" for seconds',
      ],
    },
    "a file that does not exist": {
      args: ["-config", "/nosuch/wgmon.toml"],
      exitCode: 2,
      stderr: ["--config: there is no file /nosuch/wgmon.toml"],
    },
    "a folder instead of a file": {
      args: ["--config", "/"],
      exitCode: 2,
      stderr: ["/: cannot be read: EISDIR"],
    },
    "a filter that libpcap refuses, with libpcap's message": {
      args: ["--monitor", "bpf", "--interface", "lo", "--filter", "udp portt 3"],
      exitCode: 2,
      stderr: [
        `--filter: "udp portt 3" is not a tcpdump expression for IP packets: can't parse filter expression: syntax error`,
      ],
    },
    "the Go program's variables": {
      args: [],
      env: { monitor: "bpf", interface: "lo", filter: "foo bar", webhook: URL_WITH_SECRET },
      exitCode: 2,
      stderr: /"foo bar" is not a tcpdump expression/,
    },
    // Secrets in the right setting and in wrong ones. `check` searches the output for them.
    "a webhook without a scheme": {
      args: ["--webhook", `hooks.example.net/${SECRET}`],
      exitCode: 2,
      stderr: ["--webhook: (hidden) is not a URL that starts with http:// or https://"],
    },
    "a webhook under a misspelt flag": {
      args: ["--webhok", URL_WITH_SECRET],
      exitCode: 2,
      stderr: ["--webhok: there is no such flag; did you mean --webhook?"],
    },
    "a webhook under a misspelt flag, by =": {
      args: [`--webhok=${URL_WITH_SECRET}`],
      exitCode: 2,
      stderr: ["--webhok: there is no such flag; did you mean --webhook?"],
    },
    "a webhook without its flag": {
      args: [URL_WITH_SECRET],
      exitCode: 2,
      stderr:
        /^wgmon: "https\.\.\." is not a command; there are run, [\w, -]+\nwgmon --help lists the commands\.\n$/,
    },
    "a webhook as the value of all other settings": {
      args: [
        "--filter",
        "--interface",
        "--device",
        "--host",
        "--config",
        "--monitor",
        "--tick",
      ].flatMap((flag) => [flag, URL_WITH_SECRET]),
      env: { WGMON_GROUP: URL_WITH_SECRET, WGMON_WEBHOOKS: URL_WITH_SECRET },
      exitCode: 2,
      stderr: /--tick: /,
    },
    "a webhook as the filter": {
      args: ["--monitor", "bpf", "--interface", "lo", "--filter", URL_WITH_SECRET],
      exitCode: 2,
      stderr: /^wgmon: --filter: .* is a URL, not a tcpdump expression\n/,
    },
  };

  test.each(Object.entries(cases))(
    "wgmon has the expected output and exit code for %s",
    async (_name, each) => await check(each),
  );

  test.skipIf(root.missing)(
    root.title("wgmon fails with one sentence if the interface does not exist"),
    async () => {
      await check({
        args: ["--monitor", "bpf", "--interface", "nosuch0", "--webhook", URL_WITH_SECRET],
        exitCode: 1,
        stderr: [
          "capture on interface nosuch0: ENODEV (there is no such interface; --interface takes a name from `ip link`, or any)",
        ],
      });
    },
  );

  test("wgmon reports an output that cannot be written with one sentence", async () => {
    const cwd = await makeWorkingDirectory();
    for (const program of [BINARY, SOURCE]) {
      const command = (redirected: string) => ["sh", "-c", `"$0" "$@" ${redirected}`, ...program];
      expect(await run([...command(">/dev/full"), "--help"], { cwd })).toEqual({
        exitCode: 1,
        stdout: "",
        stderr: "wgmon: write to standard output: ENOSPC\n",
      });
      // A reader that ends early, such as `| head -1`, is not an error.
      expect(await run([...command("| true"), "--help"], { cwd })).toEqual({
        exitCode: 0,
        stdout: "",
        stderr: "",
      });
      expect(await run([...command("2>/dev/full"), "--tick", "3"], { cwd })).toEqual({
        exitCode: 2,
        stdout: "",
        stderr: "",
      });
    }
  });
});

const compiler = needs("gcc");

/** The files that another user could put into a directory. Each creates the file `mark` if it is used. */
describe.skipIf(compiler.missing)(compiler.title("a hostile working directory"), () => {
  let cwd: string;
  let mark: string;

  beforeAll(async () => {
    cwd = await makeWorkingDirectory();
    mark = join(folder, "mark");
    const library = join(folder, "hostile.c");
    // The library has none of the symbols, so loading it would also fail.
    await Bun.write(
      library,
      `#include <fcntl.h>
       __attribute__((constructor)) static void loaded(void) { open("${mark}", O_CREAT, 0600); }`,
    );
    const names = ["libc.so.6", "libmnl.so.0", "libnetfilter_log.so.1", "libpcap.so.0.8"];
    for (const name of [...names, "libpcap.so.1"]) {
      const compile = ["gcc", "-shared", "-fPIC", "-o", join(cwd, name), library];
      expect(await run(compile, { cwd })).toEqual({ exitCode: 0, stdout: "", stderr: "" });
    }
    const code = `require("node:fs").writeFileSync(${JSON.stringify(mark)}, "");`;
    await Bun.write(join(cwd, "hostile.ts"), code);
    await Bun.write(join(cwd, "bunfig.toml"), `preload = ["./hostile.ts"]\n`);
    await Bun.write(
      join(cwd, ".env"),
      `WGMON_MONITOR=hostile\nBUN_OPTIONS=--preload=./hostile.ts\n`,
    );
    await Bun.write(join(cwd, ".env.production"), `WGMON_MONITOR=hostile\n`);
    await Bun.write(join(cwd, "wgmon.toml"), `monitor = "hostile"\n`);
    await mkdir(join(cwd, "node_modules/bun"), { recursive: true });
    for (const name of ["index.ts", "preload.ts"]) await Bun.write(join(cwd, name), code);
    await Bun.write(join(cwd, "tsconfig.json"), `{ "extends": "./hostile.ts" }`);
    await Bun.write(join(cwd, "package.json"), `{ "type": "module", "main": "./hostile.ts" }`);
    await chmod(cwd, 0o777);
  });

  async function expectHarmless(command: readonly string[], expected: Partial<Result>) {
    expect(await run(command, { cwd })).toMatchObject(expected);
    expect(await Bun.file(mark).exists()).toBe(false);
  }

  test("a hostile working directory is not a source of settings, code or libraries", async () => {
    await expectHarmless([...BINARY, "--version"], { exitCode: 0, stderr: "" });
    // This command loads libpcap before it fails.
    await expectHarmless(
      [...BINARY, "--monitor", "bpf", "--interface", "lo", "--filter", "no expression"],
      { exitCode: 2, stderr: expect.stringContaining("not a tcpdump expression") as string },
    );
  });

  test("a hostile working directory would create the mark if it were used", async () => {
    const env = { LD_PRELOAD: join(cwd, "libmnl.so.0") };
    await run([...BINARY, "--version"], { cwd, env });
    expect(await Bun.file(mark).exists()).toBe(true);
    await rm(mark);
    await run([process.execPath, join(cwd, "hostile.ts")], { cwd: folder });
    expect(await Bun.file(mark).exists()).toBe(true);
    await rm(mark);
  });

  // If the loader does not find a library, its name is also tried as a path.
  test.skipIf(root.missing)(
    root.title("a hostile working directory is not searched for a missing library"),
    async () => {
      const hide = `
      set -e
      for library in libmnl.so.0 libnetfilter_log.so.1 libpcap.so.0.8 libpcap.so.1; do
        ldconfig -p | sed -n "s|.*$library .*=> ||p" | while read -r path; do
          mount --bind /dev/null "$(readlink -f "$path")"
        done
      done
      exec "$0" "$@"`;
      const hidden = ["unshare", "--mount", "sh", "-c", hide];
      await expectHarmless([...hidden, ...BINARY, "--version"], {
        exitCode: 0,
        stdout: expect.stringMatching(/libmnl not usable.*\n.*log not usable.*\n.*pcap not usable/),
      });
      await expectHarmless([...hidden, ...BINARY, "--monitor", "poll"], {
        exitCode: 1,
        stderr: expect.stringContaining("install libmnl") as string,
      });
    },
  );
});
