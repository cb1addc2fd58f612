/**
 * The binary on faulty machines: it ends with one sentence and exit code 1, or continues. It neither hangs
 * nor ends because of its standard error.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { needs } from "../support/kernel.ts";
import { ownFolders } from "../support/state.ts";
import { REPORT_MS, TEST_MS, until, untilRuns } from "../support/until.ts";
import { startWgmon } from "../support/wgmon.ts";

const BINARY = join(import.meta.dir, "../../wgmon");

const root = needs("root");
const compiler = needs("gcc");

const READY = /\bready\b/;
const POLL = ["--monitor", "poll", "--tick", "100ms"];

setDefaultTimeout(TEST_MS);

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "wgmon-failures-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

type Env = Readonly<Record<string, string>>;

function options(env: Env) {
  return {
    cwd: folder,
    env: { PATH: process.env["PATH"], ...ownFolders(), ...env },
    stdin: "ignore",
    stdout: "pipe",
    timeout: REPORT_MS,
    killSignal: "SIGKILL",
  } as const;
}

function spawn(command: readonly string[], env: Env = {}) {
  return Bun.spawn([...command], { ...options(env), stderr: "pipe" });
}

/** With `pipe` as standard error. */
function spawnInto(pipe: FullPipe, command: readonly string[], env: Env = {}) {
  return Bun.spawn([...command], { ...options(env), stderr: pipe.descriptor });
}

/** Observes, through its Unix socket, a wgmon whose standard error cannot be read. */
class SocketObserver {
  readonly env = ownFolders();

  /** Waits until wgmon has taken `count` scans on the tick since its start. */
  async ticks(count: number): Promise<void> {
    await until(`${count} scans on the tick`, async () => (await this.#ticks()) >= count);
  }

  async #ticks(): Promise<number> {
    const unix = join(this.env.RUNTIME_DIRECTORY, "wgmon.sock");
    // There is no socket until wgmon listens.
    const response = await fetch("http://localhost/metrics", { unix }).catch(() => null);
    const metrics = (await response?.text()) ?? "";
    return Number(/^wgmon_scans_total\{reason="tick"\} (\d+)$/m.exec(metrics)?.[1] ?? 0);
  }
}

async function run(command: readonly string[], env?: Env) {
  const child = spawn(command, env);
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

/** Expects that the program fails at its start with one sentence. The first line of the log may precede it. */
async function expectFailure(command: readonly string[], sentence: RegExp | string, env?: Env) {
  const { stderr: text, ...rest } = await run(command, env);
  const stderr = text.replace(/^time=\S+ level=info msg="wgmon \d[^\n]*\n/, "");
  expect(stderr).toMatch(/^wgmon: [^\n]+\n$/);
  if (typeof sentence === "string") expect(stderr).toBe(`wgmon: ${sentence}\n`);
  else expect(stderr).toMatch(sentence);
  expect(rest).toEqual({ exitCode: 1, stdout: "" });
}

/** Expects that the program starts, is ready and ends on SIGTERM. Returns its standard error. */
async function expectStart(command: readonly string[], env?: Env): Promise<string> {
  const child = spawn(command, env);
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of child.stderr) {
    if (!READY.test(text)) {
      text += decoder.decode(chunk);
      if (READY.test(text)) child.kill("SIGTERM");
    } else text += decoder.decode(chunk);
  }
  expect({ exitCode: await child.exited, text }).toEqual({ exitCode: 0, text });
  return text;
}

/** The command in a new network namespace, because these tests must not change the network of the machine. */
function isolated(...args: readonly string[]): string[] {
  return root.missing ? [...args] : ["unshare", "--net", ...args];
}

describe("a process without executable memory", () => {
  const noJit =
    "cannot call C libraries: this process may not make executable memory, which bun:ffi needs; " +
    "remove MemoryDenyWriteExecute=, LimitAS= or BUN_JSC_useJIT=0";

  test.each([[], ["--version"], ["--help"], ["--tick", "3"]])(
    "without executable memory, wgmon fails with one sentence, with the arguments %s",
    async (...args) => {
      await expectFailure([BINARY, ...args], noJit, { BUN_JSC_useJIT: "0" });
    },
  );

  test("without executable memory because of a limit, wgmon fails with one sentence", async () => {
    await expectFailure(["prlimit", "--as=1073741824", BINARY], noJit);
  });
});

const libraries = [
  {
    sonames: ["libmnl.so.0"],
    args: ["--monitor", "poll"],
    install: "libmnl (Debian, Ubuntu: libmnl0; Fedora, Alpine, Arch: libmnl)",
  },
  {
    sonames: ["libnetfilter_log.so.1"],
    args: ["--monitor", "nflog"],
    install:
      "libnetfilter_log (Debian, Ubuntu: libnetfilter-log1; Fedora, Alpine, Arch: libnetfilter_log)",
  },
  {
    // Without a device, libpcap is not used yet, but it is required for the filter of a later device.
    sonames: ["libpcap.so.0.8", "libpcap.so.1"],
    args: ["--monitor", "bpf", "--interface", "lo"],
    install: "libpcap (Debian, Ubuntu: libpcap0.8; Fedora, Alpine, Arch: libpcap)",
  },
] as const;

describe.each(libraries)("the library $sonames.0", ({ sonames, args, install }) => {
  test.skipIf(root.missing)(
    root.title(`wgmon fails with one sentence if ${sonames[0]} is missing`),
    async () => {
      const hide = `
      for library in ${sonames.join(" ")}; do
        ldconfig -p | sed -n "s|.*$library .*=> ||p" | while read -r path; do
          mount --bind /dev/null "$(readlink -f "$path")" || exit 99
        done
      done
      exec "$0" "$@"`;
      await expectFailure(
        isolated("--mount", "sh", "-c", hide, BINARY, ...args),
        new RegExp(
          `^wgmon: cannot load ${RegExp.escape(sonames.join(" or "))} .*; install ${RegExp.escape(install)}\\n$`,
        ),
      );
    },
  );

  test.skipIf(compiler.missing || root.missing)(
    compiler.title(
      root.title(`wgmon fails with one sentence if ${sonames[0]} does not have its functions`),
    ),
    async () => {
      const libraryFolder = await mkdtemp(join(folder, "lib-"));
      const file = join(libraryFolder, sonames[0]);
      const compile = ["gcc", "-shared", "-xc", "/dev/null", "-o", file];
      expect(await run(compile)).toMatchObject({ exitCode: 0 });
      await expectFailure(
        isolated("env", `LD_LIBRARY_PATH=${libraryFolder}`, BINARY, ...args),
        new RegExp(
          `^wgmon: ${RegExp.escape(sonames[0])} is too old or broken \\(.*_.*\\); update ${RegExp.escape(install)}\\n$`,
        ),
      );
    },
  );
});

describe.skipIf(root.missing)(root.title("wgmon without a capability"), () => {
  const without = (capability: string, ...args: readonly string[]) =>
    isolated("setpriv", `--bounding-set=-${capability}`, BINARY, ...args);

  test("nflog fails with one sentence without CAP_NET_ADMIN", async () => {
    await expectFailure(
      without("net_admin", "--monitor", "nflog"),
      "bind NFLOG group 1: EPERM (not permitted; wgmon needs CAP_NET_ADMIN, run it as root or give it that capability)",
    );
  });

  test("bpf fails with one sentence without CAP_NET_RAW", async () => {
    await expectFailure(
      without("net_raw", "--monitor", "bpf", "--interface", "lo"),
      "open a packet socket: EPERM (not permitted; wgmon needs CAP_NET_RAW, run it as root or give it that capability, or use --monitor poll)",
    );
  });

  test("nflog starts without CAP_NET_RAW, and bpf starts without CAP_NET_ADMIN if there is no device", async () => {
    await expectStart(without("net_raw", "--monitor", "nflog"));
    await expectStart(without("net_admin", "--monitor", "bpf", "--interface", "lo"));
    await expectStart(without("net_raw,-net_admin", ...POLL));
  });
});

describe.skipIf(root.missing)(root.title("an NFLOG group that another wgmon owns"), () => {
  test("an NFLOG group that another wgmon owns is reported with the process that owns it, and is taken once it is free", async () => {
    await using network = Bun.spawn(isolated("sleep", "3600"));
    await untilRuns(network.pid, "sleep");
    const inNamespace = ["--target", String(network.pid), "--net", BINARY, "--monitor", "nflog"];
    await using first = startWgmon(inNamespace, { binary: "nsenter" });
    await first.ready;
    const second = ["nsenter", ...inNamespace];
    const message =
      `bind NFLOG group 1: EBUSY (another program uses it (process ${first.pid}, wgmon); stop that program, or ` +
      "choose another number with --group and in the firewall rule)";
    await expectFailure(second, message);
    {
      await using other = startWgmon([...inNamespace, "--group", "65535"], { binary: "nsenter" });
      await other.ready;
      await expectFailure(second, message);
    }
    expect(await first.stop()).toBe(0);
    await expectStart(second);
  });
});

describe.skipIf(root.missing)(root.title("the limit of open files"), () => {
  // With fewer, Bun itself does not start.
  test.each([6, 7, 8])(
    "a limit of %i open files is too low, and reported with one sentence",
    async (files) => {
      await expectFailure(
        isolated("prlimit", `--nofile=${files}`, BINARY),
        /too many open files.*; raise LimitNOFILE/,
      );
    },
  );

  test("a limit of 32 open files is enough", async () => {
    await expectStart(isolated("prlimit", "--nofile=32", BINARY));
  });
});

/** A full pipe. This process has both ends open, so that closing one of them does not affect the program. */
class FullPipe implements Disposable {
  /** The end for the program that writes. */
  readonly descriptor: number;
  readonly #reader: number;

  private constructor(path: string, flags: number) {
    this.#reader = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    this.descriptor = openSync(path, constants.O_RDWR | flags);
    for (const size of [4096, 1]) {
      try {
        for (;;) writeSync(this.#reader, Buffer.alloc(size, "."));
      } catch (error) {
        if ((error as { code?: string }).code !== "EAGAIN") throw error;
      }
    }
  }

  static async create(flags: number): Promise<FullPipe> {
    const path = join(await mkdtemp(join(folder, "pipe-")), "fifo");
    Bun.spawnSync(["mkfifo", path]);
    return new FullPipe(path, flags);
  }

  /** Reads the present content, without the filling. */
  read(): string {
    const buffer = Buffer.alloc(1 << 20);
    let text = "";
    try {
      for (;;) text += buffer.toString("utf8", 0, readSync(this.#reader, buffer));
    } catch {
      return text.replace(/^\.+/, "");
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#reader);
    closeSync(this.descriptor);
  }
}

describe("a full pipe that is not read, as standard error", () => {
  test.each([
    ["blocking", 0],
    ["non-blocking", constants.O_NONBLOCK],
  ])("a full pipe as standard error does not block wgmon if it is %s", async (_kind, flags) => {
    using pipe = await FullPipe.create(flags);
    const args = [...POLL, "--log-level", "debug", "--log-format", "journal"];
    const observer = new SocketObserver();
    await using child = spawnInto(pipe, isolated(BINARY, ...args), observer.env);
    // wgmon scans on each tick, and logs a line for each scan.
    await observer.ticks(10);
    pipe.read();
    let text = "";
    await until("a scan is logged", () => (text += pipe.read()).includes("tick"));
    const lines = text.split("\n");
    // The first line says how many lines are missing.
    expect(lines[0]).toMatch(
      /^<4>log lines were lost here, because standard error did not accept them lines=\d+$/,
    );
    expect(Number(/\d+$/.exec(lines[0]!))).toBeGreaterThanOrEqual(10);
    expect(lines).toContain("<7>scan reason=tick changes=0");
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  });

  test("a full pipe as standard error does not delay the end of wgmon", async () => {
    using pipe = await FullPipe.create(0);
    const observer = new SocketObserver();
    await using child = spawnInto(pipe, isolated(BINARY, ...POLL), observer.env);
    await observer.ticks(1);
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  });

  test("a full pipe as standard error does not block an error message at the start", async () => {
    using pipe = await FullPipe.create(0);
    await using child = spawnInto(pipe, [BINARY, "--tick", "3"]);
    expect(await child.exited).toBe(2);
  });
});

describe.skipIf(root.missing)(root.title("standard error"), () => {
  test.concurrent.each(["2>&-", "2</dev/null", "2>/dev/full", "2>&- >&- <&-"])(
    "wgmon works with its standard error redirected by %s",
    async (redirected) => {
      const observer = new SocketObserver();
      const script = `exec "$0" "$@" ${redirected}`;
      await using child = spawn(isolated("sh", "-c", script, BINARY, ...POLL), observer.env);
      const written = Promise.all([child.stdout.text(), child.stderr.text()]);
      await observer.ticks(1);
      child.kill("SIGTERM");
      expect(await written).toEqual(["", ""]);
      expect(await child.exited).toBe(0);
    },
  );

  test("wgmon works if its standard error is a pipe whose reader is gone", async () => {
    const observer = new SocketObserver();
    await using child = spawn(isolated(BINARY, ...POLL, "--log-level", "debug"), observer.env);
    await child.stderr.cancel();
    await observer.ticks(3);
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  });

  test("wgmon logs in the format of the journal, if set or if systemd set JOURNAL_STREAM", async () => {
    const journal = /^<6>ready monitor=poll devices=none$/m;
    const setting = await expectStart(isolated(BINARY, ...POLL, "--log-format", "journal"));
    expect(setting).toMatch(journal);
    for (const line of setting.trimEnd().split("\n")) expect(line).toMatch(/^<[3467]>\S/);
    const stream = 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$0" "$@"';
    expect(await expectStart(isolated("sh", "-c", stream, BINARY, ...POLL))).toMatch(journal);
  });

  test("wgmon logs with colours on a terminal unless NO_COLOR is set", async () => {
    const seen = async (env: Env): Promise<string> => {
      const decoder = new TextDecoder();
      let text = "";
      const child = Bun.spawn(isolated(BINARY, ...POLL), {
        env: { PATH: process.env["PATH"], ...ownFolders(), ...env },
        terminal: {
          data(_terminal, bytes) {
            text += decoder.decode(bytes);
            if (text.includes("ready")) child.kill("SIGTERM");
          },
        },
      });
      expect(await child.exited).toBe(0);
      return text;
    };
    const green = "\u001b[32minfo \u001b[0m";
    const colourful = (await seen({})).slice("hh:mm:ss ".length);
    expect(colourful).toStartWith(`${green} wgmon `);
    expect(colourful).toContain(`${green} ready `);
    const plain = (await seen({ NO_COLOR: "1" })).slice("hh:mm:ss ".length);
    expect(plain).toStartWith("info  wgmon ");
    expect(plain).toContain("info  ready ");
  });
});
