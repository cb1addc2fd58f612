/**
 * Runs the commands that query wgmon, with a simulated device: without a daemon, while peers connect, and while the
 * daemon is killed and restarted; and runs `wgmon top` on pseudoterminals. Prints JSON.
 * As root: `unshare --net --mount bun test/support/query-scenarios.ts`.
 * For test/e2e/asking.test.ts.
 */

import { join } from "node:path";

import { $ } from "bun";

import { PlayedGateway } from "./played-gateway.ts";
import { newStateFolder, ownFolders } from "./state.ts";
import { until } from "./until.ts";
import { startWgmon, type Wgmon } from "./wgmon.ts";

const BINARY = join(import.meta.dir, "../../wgmon");
/** Escape sequences: to the alternate screen, without a cursor; and back. */
const [ENTER, LEAVE] = ["\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"];
/** termios.h: ICANON and ECHO. */
const COOKED = 0x2 | 0x8;

interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface AskedFigures {
  readonly without: { readonly status: Ran; readonly sessions: Ran; readonly top: Ran };
  readonly status: Ran;
  readonly statusJson: Ran;
  readonly sessions: Ran;
  readonly csv: Ran;
  readonly events: Ran;
  readonly piped: Ran;
  readonly follow: Ran;
  readonly afterwards: Ran;
  /** Commands whose flags name unknown peers, devices or targets: with the daemon (`beside`) and without it. */
  readonly refused: { readonly beside: readonly Ran[]; readonly without: readonly Ran[] };
  /** Ids of all events, oldest first. */
  readonly stored: readonly string[];
  readonly top: readonly TopFigures[];
  /** Whether the terminal is in canonical mode while `wgmon top` is stopped (Ctrl-Z). */
  readonly wasCooked: boolean;
}

interface TopFigures {
  readonly way: string;
  readonly exitCode: number;
  readonly enteredRaw: boolean;
  /** The last output switches back from the alternate screen, and the terminal is in canonical mode. */
  readonly restored: boolean;
}

const environment = ownFolders();

async function run(...args: readonly string[]): Promise<Ran> {
  const child = Bun.spawn([BINARY, ...args], { env: environment, stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

async function startDaemon(): Promise<Wgmon> {
  const args = ["--monitor", "poll", "--tick", "200ms", "--host", "gw1", "--names", "off"];
  const wgmon = startWgmon([...args, "--log-level", "debug"], { environment });
  await wgmon.waitForLog(({ msg }) => msg === "listening");
  return wgmon;
}

async function refused(): Promise<Ran[]> {
  const found: Ran[] = [];
  for (const words of [
    ["events", "--peer", "alcie"],
    ["events", "--peer", "alcie", "--since", "1h"],
    ["sessions", "--peer", "alcie"],
    ["events", "--device", "playd0"],
    ["sessions", "--device", "playd0"],
    ["status", "--device", "playd0"],
    ["outbox", "list", "--target", "foo"],
    ["outbox", "retry", "--target", "foo"],
    ["outbox", "drop", "--target", "foo"],
    ["test-webhook", "--target", "foo"],
    ["events", "--type", "peer.conected"],
  ]) {
    found.push(await run(...words));
  }
  return found;
}

/** A program on a pseudoterminal, and all its output. */
class OnTerminal {
  shown = "";
  readonly program: Bun.Subprocess;
  readonly #terminal: Bun.Terminal;

  constructor(command: readonly string[]) {
    const decoder = new TextDecoder();
    this.#terminal = new Bun.Terminal({
      cols: 100,
      rows: 30,
      data: (_terminal, bytes) => void (this.shown += decoder.decode(bytes, { stream: true })),
    });
    const env = { ...environment, TERM: "xterm", PATH: process.env["PATH"] ?? "" };
    this.program = Bun.spawn([...command], { env, terminal: this.#terminal });
  }

  get isCooked(): boolean {
    return (this.#terminal.localFlags & COOKED) === COOKED;
  }

  type(text: string): void {
    this.#terminal.write(text);
  }

  resize(columns: number, rows: number): void {
    this.#terminal.resize(columns, rows);
  }

  /** Waits until the output contains `text`, from offset `after`. */
  async writes(text: string, after = 0): Promise<void> {
    await until(`${JSON.stringify(text)} in ${JSON.stringify(this.shown.slice(-2000))}`, () =>
      this.shown.includes(text, after),
    );
  }

  close(): void {
    this.program.kill("SIGKILL");
    this.#terminal.close();
  }
}

async function top(
  way: string,
  shows: string,
  end: (terminal: OnTerminal) => void | Promise<void>,
  runtimeDir: string = environment.RUNTIME_DIRECTORY,
): Promise<TopFigures> {
  const command = [BINARY, "top", "--interval", "200ms"];
  const terminal = new OnTerminal(["env", `RUNTIME_DIRECTORY=${runtimeDir}`, ...command]);
  try {
    await terminal.writes(shows);
    const enteredRaw = !terminal.isCooked && terminal.shown.includes(ENTER);
    await end(terminal);
    const exitCode = await terminal.program.exited;
    await terminal.writes(LEAVE);
    // An error message follows on the normal screen.
    const [, afterwards = LEAVE] = terminal.shown.split(LEAVE);
    const restored = !afterwards.includes("\x1b[?") && terminal.isCooked;
    return { way, exitCode, enteredRaw, restored };
  } finally {
    terminal.close();
  }
}

/** Stops `wgmon top` with Ctrl-Z and resumes it, in a shell with job control. */
async function stopAndResume(peer: string): Promise<boolean> {
  const script = `set -m; ${BINARY} top; echo "STOPPED"; read -r; fg; echo "ENDED $?"`;
  const terminal = new OnTerminal(["bash", "--norc", "-c", script]);
  try {
    await terminal.writes(peer);
    terminal.type("\x1a");
    await terminal.writes("STOPPED");
    const wasCooked = terminal.isCooked;
    const before = terminal.shown.length;
    terminal.type("\r");
    await terminal.writes(ENTER, before);
    await terminal.writes(peer, before);
    terminal.type("q");
    await terminal.writes("ENDED 0", before);
    return wasCooked;
  } finally {
    terminal.close();
  }
}

async function ask(): Promise<AskedFigures> {
  await $`ip link set lo up && mkdir -p /var/run/wireguard && mount -t tmpfs tmpfs /var/run/wireguard`.quiet();
  await using gateway = await PlayedGateway.create();
  const [alice, bob] = await gateway.addPeers(2);
  await alice!.connect();
  const without = {
    status: await run("status"),
    sessions: await run("sessions"),
    top: await run("top"),
  };

  await using daemon = await startDaemon();
  const follow = Bun.spawn([BINARY, "events", "--follow", "--json"], {
    env: environment,
    stdout: "pipe",
    stderr: "pipe",
  });
  let output = "";
  const followed = (async () => {
    for await (const bytes of follow.stdout) output += new TextDecoder().decode(bytes);
  })();
  await bob!.connect();
  const isConnected = async () => (await run("status")).stdout.includes("2 of 2 peers connected");
  await until("both are connected", isConnected);
  const status = await run("status");
  const statusJson = await run("status", "--json");
  const sessions = await run("sessions");
  const csv = await run("sessions", "--csv", "--peer", bob!.publicKey);
  const events = await run("events", "--type", "peer.connected");
  const beside = await refused();
  const shell = Bun.spawn(["sh", "-c", `"$0" events -f --since 1h | head -n 1`, BINARY], {
    env: { ...environment, PATH: process.env["PATH"] ?? "" },
    stdout: "pipe",
    stderr: "pipe",
  });
  await alice!.roam();
  const piped = {
    stdout: await shell.stdout.text(),
    stderr: await shell.stderr.text(),
    exitCode: await shell.exited,
  };

  const figures: TopFigures[] = [];
  const name = alice!.publicKey.slice(0, 8);
  figures.push(await top("q", name, (terminal) => terminal.type("q")));
  figures.push(await top("Ctrl-C", name, (terminal) => terminal.type("\x03")));
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    figures.push(await top(signal, name, (terminal) => terminal.program.kill(signal)));
  }
  const resized = await top("resized, sorted, filtered", name, async (terminal) => {
    terminal.resize(60, 12);
    await terminal.writes("\x1b[12;1H");
    terminal.type("s/");
    await terminal.writes("filter: _");
    terminal.type("nobody\r");
    await terminal.writes("0 peers by SEEN, descending; filter: nobody");
    terminal.type("\x1b");
    await terminal.writes("2 peers by SEEN, descending");
    terminal.type("q");
  });
  figures.push(resized);
  const fakeRuntimeDir = newStateFolder();
  const fakeServer = Bun.serve({
    unix: `${fakeRuntimeDir}/wgmon.sock`,
    fetch: () => Response.json({}),
  });
  figures.push(await top("a bug", ENTER, () => {}, fakeRuntimeDir));
  void fakeServer.stop(true);
  const wasCooked = await stopAndResume(name);

  // The daemon is killed while `wgmon top` and `wgmon events --follow` run.
  const watching = new OnTerminal([BINARY, "top", "--interval", "200ms"]);
  await watching.writes(name);
  await daemon.stop("SIGKILL");
  await watching.writes("connection to wgmon lost; waiting for it");
  await bob!.roam();
  const afterwards = await run("status");
  const withoutDaemon = await refused();
  const seen = watching.shown.length;
  await using again = await startDaemon();
  await again.waitForLog(({ event }) => event === "peer.roamed");
  await watching.writes("2 peers by SINCE", seen);
  watching.close();
  const ids = (text: string) => [...text.matchAll(/"id":"(\w+)"/g)].map(([, id]) => id!);
  const inStore = async () => ids((await run("events", "--json", "--since", "1h")).stdout);
  const before = (await inStore()).length;
  await alice!.roam();
  await until("one more is in the store", async () => (await inStore()).length > before);
  const stored = await inStore();
  await until(
    "`wgmon events --follow` has printed all events",
    () => ids(output).length >= stored.length,
  );
  follow.kill("SIGINT");
  const stderr = await follow.stderr.text();
  await followed;
  return {
    without,
    status,
    statusJson,
    sessions,
    csv,
    events,
    piped,
    follow: { exitCode: await follow.exited, stdout: output, stderr },
    afterwards,
    refused: { beside, without: withoutDaemon },
    stored,
    top: figures,
    wasCooked,
  };
}

if (import.meta.main) {
  console.log(JSON.stringify(await ask()));
  process.exit(0);
}
