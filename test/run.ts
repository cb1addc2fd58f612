/**
 * Runs the whole test suite: builds the binary, runs each test file in a separate process (those of test/netns in
 * separate network and mount namespaces), then the kernel tests in separate network namespaces (in a virtual machine if
 * this kernel has no WireGuard), then the packaging tests. The last line counts all tests. Options: --no-kernel,
 * --no-packaging, --only PATTERN (a part of the path).
 */

import { appendFileSync, existsSync, rmSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { whyNoNamespaces, whyNoWireguard } from "./support/kernel.ts";
import { TEST_MS } from "./support/until.ts";
import { runInVm, whyNoVm } from "./support/vm.ts";

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

interface Result extends Counts {
  readonly file: string;
  /** For the summary: the output of bun just before each failed test. */
  readonly failures?: string;
}

/**
 * Timeouts, so that one hanging process does not stop the suite. They allow for a machine that is ten times slower than
 * an idle one, on which the slowest file takes two minutes and the virtual machine eight.
 */
const FILE_LIMIT_MS = 60 * 60_000;
const BUILD_LIMIT_MS = 10 * 60_000;
const VM_LIMIT_MS = 120 * 60_000;
const PACKAGING_LIMIT_MS = 60 * 60_000;
const PACKAGING = "test/packaging/run.ts";

/** Number of output lines before a failure that the summary repeats: the error and its location. */
const FAILURE_LINES = 15;

/** Number of test files that run at the same time. */
const AT_A_TIME = 2;
/**
 * Above this load (processes that want to run, for each processor), the virtual machine runs one file at a time: its
 * emulated processors are then so slow that a peer's keepalives come later than the idle timeouts of the tests.
 */
const BUSY_LOAD = 2;

const ROOT = join(import.meta.dir, "..");
process.chdir(ROOT);

const { values: options } = parseArgs({
  options: {
    "no-kernel": { type: "boolean", default: false },
    "no-packaging": { type: "boolean", default: false },
    only: { type: "string", default: "" },
    /** Set when this program runs itself in the virtual machine: kernel tests only, results to this file. */
    "guest-results": { type: "string" },
    "guest-at-a-time": { type: "string", default: String(AT_A_TIME) },
  },
});

const required =
  process.env["WGMON_KERNEL_TESTS"] === "require" || /^(true|1)$/.test(process.env["CI"] ?? "");
if (required) process.env["WGMON_KERNEL_TESTS"] = "require";

const running = new Set<number>();
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  process.on(signal, () => {
    for (const pid of running) killGroup(pid);
    process.exit(code);
  });
}

const guestResults = options["guest-results"];
if (guestResults === undefined) {
  const count = testFiles("test").filter((file) => !file.startsWith("test/bench/")).length;
  console.log(`${count} test files, ${AT_A_TIME} at a time`);
  const results = [
    ...(await build()),
    ...(await nativeTests()),
    ...(await kernelTests()),
    ...(await packagingTests()),
  ];
  const { passed, failed, skipped } = total(results);
  const failures = results.filter((each) => each.failed > 0);
  for (const each of failures) console.log(`\nfailed: ${each.file}\n${each.failures ?? ""}`);
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  process.exit(failed > 0 ? 1 : 0);
} else {
  await runKernelFiles(
    testFiles("test/real-kernel"),
    (result) => appendFileSync(guestResults, `${JSON.stringify(result)}\n`),
    Number(options["guest-at-a-time"]),
  );
  process.exit(0);
}

async function build(): Promise<Result[]> {
  if (!existsSync("build.ts")) return [];
  const { exitCode, output, seconds } = await run([process.execPath, "build.ts"], BUILD_LIMIT_MS);
  if (exitCode === 0) {
    console.log(`built  ./wgmon  ${seconds} s`);
    return [];
  }
  console.log(`FAILED build.ts\n${output}`);
  return [{ file: "build.ts", passed: 0, failed: 1, skipped: 0 }];
}

function testCommand(file: string): string[] {
  return [process.execPath, "test", "--timeout", String(TEST_MS), `./${file}`];
}

async function nativeTests(): Promise<Result[]> {
  const files = testFiles("test").filter((file) => !/^test\/(real-kernel|bench)\//.test(file));
  const isPossible = whyNoNamespaces() === null;
  return await runFiles(files, (file) =>
    isPossible && file.startsWith("test/netns/") ? namespaceCommand(file) : testCommand(file),
  );
}

/** In new network and mount namespaces, with a private folder for the sockets of userspace devices. */
function namespaceCommand(file: string): string[] {
  const script = `
    ip link set lo up
    mkdir -p /var/run/wireguard
    mount -t tmpfs none /var/run/wireguard
    export WGMON_TEST_NAMESPACES="$(readlink /proc/self/ns/net /proc/self/ns/mnt)"
    exec "$@"`;
  return ["unshare", "--net", "--mount", "sh", "-ec", script, "sh", ...testCommand(file)];
}

/** On this kernel if it has WireGuard, else in the virtual machine, else skipped with a reason in each title. */
async function kernelTests(): Promise<Result[]> {
  const files = options["no-kernel"] ? [] : testFiles("test/real-kernel");
  if (files.length === 0) return [];
  const notHere = whyNoWireguard();
  if (notHere === null) return await runKernelFiles(files);
  const noVm = whyNoVm();
  if (noVm === null) {
    const atATime = loadavg()[0]! > BUSY_LOAD * cpus().length ? 1 : AT_A_TIME;
    console.log(`kernel tests run in a virtual machine, ${atATime} at a time: here, ${notHere}`);
    return await runKernelFilesInVm(files, atATime);
  }
  console.log(`kernel tests cannot run: here, ${notHere}; ${noVm}`);
  return await runFiles(files, testCommand);
}

/** Runs each file in a separate network namespace; files marked `// @serial`, which measure, run alone at the end. */
async function runKernelFiles(
  files: readonly string[],
  onResult: (result: Result) => void = () => undefined,
  atATime = AT_A_TIME,
): Promise<Result[]> {
  const script = `ip link set lo up && exec "$0" test --timeout ${TEST_MS} "$1"`;
  const command = (file: string): string[] =>
    ["unshare", "--net", "sh", "-c", script].concat(process.execPath, `./${file}`);
  const serial = new Set<string>();
  for (const file of files) {
    const head = (await Bun.file(file).text()).split("\n").slice(0, 5);
    if (head.includes("// @serial")) serial.add(file);
  }
  const together = files.filter((file) => !serial.has(file));
  return [
    ...(await runFiles(together, command, atATime, onResult)),
    ...(await runFiles([...serial], command, 1, onResult)),
  ];
}

async function runKernelFilesInVm(files: readonly string[], atATime: number): Promise<Result[]> {
  const resultsFolder = await mkdtemp(join(tmpdir(), "wgmon-results-"));
  const cleanUp = (): void => rmSync(resultsFolder, { recursive: true, force: true });
  process.once("exit", cleanUp);
  try {
    const results = join(resultsFolder, "results");
    const command = [process.execPath, "test/run.ts", "--guest-results", results];
    command.push("--guest-at-a-time", String(atATime));
    if (options.only !== "") command.push("--only", options.only);
    let failure = "";
    try {
      const { exitCode } = await runInVm(command, {
        timeoutMs: VM_LIMIT_MS,
        resultsFolder,
        cwd: ROOT,
      });
      if (exitCode !== 0) failure = `the runner in the virtual machine exited with ${exitCode}`;
    } catch (error) {
      failure = String(error);
    }
    if (failure !== "") console.log(`FAILED ${failure}`);
    const text = await readFile(results, "utf8").catch(() => "");
    const finished = text
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Result);
    const names = new Set(finished.map(({ file }) => file));
    const lost = files.filter((file) => !names.has(file));
    return [...finished, ...lost.map((file) => ({ file, passed: 0, failed: 1, skipped: 0 }))];
  } finally {
    process.off("exit", cleanUp);
    cleanUp();
  }
}

/** Runs the packaging tests, which print one line for each step. */
async function packagingTests(): Promise<Result[]> {
  if (options["no-packaging"] || !PACKAGING.includes(options.only)) return [];
  const { exitCode, output, seconds } = await run(
    [process.execPath, PACKAGING],
    PACKAGING_LIMIT_MS,
  );
  console.log(`${output.trim()}  ${seconds} s`);
  const end = /(\d+) passed, (\d+) failed, (\d+) skipped\s*$/.exec(output);
  const [passed = 0, failed = 0, skipped = 0] = (end?.slice(1) ?? []).map(Number);
  const broken = exitCode !== 0 || end === null ? 1 : 0;
  return [{ file: PACKAGING, passed, failed: Math.max(failed, broken), skipped }];
}

function testFiles(folder: string): string[] {
  const files = [...new Bun.Glob(`${folder}/**/*.test.{ts,tsx}`).scanSync(".")];
  return files.filter((file) => file.includes(options.only)).sort();
}

async function runFiles(
  files: readonly string[],
  command: (file: string) => readonly string[],
  atATime = AT_A_TIME,
  onResult: (result: Result) => void = () => undefined,
): Promise<Result[]> {
  const waiting = [...files];
  const results: Result[] = [];
  const worker = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const { exitCode, output, seconds } = await run(command(file), FILE_LIMIT_MS);
      const counts = countsOf(output, exitCode);
      const failed = counts.failed > 0;
      const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
      console.log(
        `${failed ? "FAILED" : "ok    "} ${file}  ${counts.passed} passed${skipped}  ${seconds} s`,
      );
      if (failed) console.log(output);
      const result = { file, ...counts, ...(failed ? { failures: failuresOf(output) } : {}) };
      results.push(result);
      onResult(result);
    }
  };
  await Promise.all(Array.from({ length: atATime }, worker));
  return results;
}

/**
 * Parses bun's summary at the end of the output. bun's junit file is not an alternative: it is not written if a file
 * cannot be imported. Output without a summary counts as a crash even with exit code 0, because a test may call
 * process.exit(0).
 */
function countsOf(output: string, exitCode: number): Counts {
  const end = /\nRan \d+ tests? across 1 file\..*\s*$/.exec(output);
  const summary = end === null ? "" : output.slice(0, end.index).split("\n").slice(-8).join("\n");
  const count = (word: string): number =>
    Number(new RegExp(`^ *(\\d+) ${word}$`, "m").exec(summary)?.[1] ?? 0);
  const broken = exitCode !== 0 || end === null ? 1 : 0;
  return {
    passed: count("pass"),
    failed: Math.max(count("fail"), broken),
    skipped: count("skip") + count("todo"),
  };
}

/** The lines before each failed test; the end of the output if the file failed without a failed test. */
function failuresOf(output: string): string {
  const lines = output.trimEnd().split("\n");
  const ends = [...lines.keys()].filter((index) => lines[index]!.startsWith("(fail)"));
  if (ends.length === 0) return lines.slice(-FAILURE_LINES).join("\n");
  return ends
    .map((end) => {
      const before = lines.slice(Math.max(0, end - FAILURE_LINES), end + 1);
      return before.slice(before.findLastIndex((line) => line.startsWith("(pass)")) + 1).join("\n");
    })
    .join("\n");
}

function total(results: readonly Counts[]): Counts {
  const sum = (key: keyof Counts): number => results.reduce((so, result) => so + result[key], 0);
  return { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
}

/** Runs a command in a new process group, so that all its child processes can be killed. */
async function run(command: readonly string[], limitMs: number) {
  const startedAtMs = performance.now();
  const child = Bun.spawn([...command], {
    env: { ...process.env, NO_COLOR: "1" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  running.add(child.pid);
  let output = "";
  const collect = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) output += decoder.decode(chunk, { stream: true });
  };
  const closed = Promise.all([collect(child.stdout), collect(child.stderr)]);
  const timer = setTimeout(() => {
    output += `\nkilled after ${limitMs / 1000} s\n`;
    killGroup(child.pid);
  }, limitMs);
  const exitCode = await child.exited;
  clearTimeout(timer);
  // Processes that it left running would hold the pipes open.
  killGroup(child.pid);
  running.delete(child.pid);
  await closed;
  return { exitCode, output, seconds: ((performance.now() - startedAtMs) / 1000).toFixed(1) };
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The process group is already empty.
  }
}
