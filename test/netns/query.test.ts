/**
 * The binary's `status`, `sessions`, `events` and `top`, on a fake device whose peers connect and roam: without a
 * daemon, with one, and with one that is killed meanwhile. The tests depend on each other, in this order.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import type { Event } from "../../src/events/event-schema.ts";
import type { PeerView } from "../../src/http/schemas.ts";
import { FakeUapiDevice, publicKeyOf } from "../support/fake-uapi-device.ts";
import { needs } from "../support/kernel.ts";
import { newStateFolder, ownFolders } from "../support/state.ts";
import { TEST_MS, until } from "../support/until.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

setDefaultTimeout(TEST_MS);

const BINARY = join(import.meta.dir, "../../wgmon");
/** Escape sequences: to the alternate screen, without a cursor; and back. */
const [ENTER, LEAVE] = ["\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"];
/** termios.h: ICANON and ECHO. */
const COOKED = 0x2 | 0x8;
const KEY = /^[A-Za-z0-9+/]{8}… /;
const [ALICE, BOB] = [1, 2];
/** The text for alice on the screen. */
const NAME = publicKeyOf(ALICE).slice(0, 8);

const environment = ownFolders();
const tools = needs("own namespaces", "bash");

describe.skipIf(tools.missing)(tools.title("the query commands"), () => {
  let device: FakeUapiDevice;

  beforeAll(async () => {
    device = await FakeUapiDevice.create("fake0");
    device.add(ALICE, BOB);
    device.connect(ALICE);
  });

  afterAll(async () => {
    await device[Symbol.asyncDispose]();
  });

  test("without a daemon, status shows from the kernel which peers are connected, but not since when", async () => {
    const status = await run("status");
    expect(status.exitCode).toBe(0);
    expect(status.stderr).toBe("wgmon: wgmon is not running here; showing data from the kernel\n");
    expect(status.stdout).toStartWith("fake0, port 51820: 1 of 2 peers connected\n");
    expect(status.stdout).toMatch(/^\S{8}… +connected +10\.0\.0\.1 +\?  .*  \?$/m);
    expect(status.stdout).toMatch(/^\S{8}… +never  /m);
    const sessions = await run("sessions");
    expect(sessions.exitCode).toBe(1);
    expect(sessions.stderr).toMatch(
      /^wgmon: wgmon is not running here\nwgmon: open \S+\/wgmon\.db: there is no store yet: start wgmon first, .*\n$/,
    );
    const top = await run("top");
    expect(top).toMatchObject({ exitCode: 1, stdout: "" });
    expect(top.stderr).toMatch(/^wgmon: top: ENOTTY \(it needs a terminal; wgmon status .*\n$/);
  });

  describe("a running daemon", () => {
    let daemon: Wgmon;
    let follow: Bun.Subprocess<"ignore", "pipe", "pipe">;
    let followed = "";
    let followEnded: Promise<void>;

    beforeAll(async () => {
      daemon = await startDaemon();
      follow = Bun.spawn([BINARY, "events", "--follow", "--json"], {
        env: environment,
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      });
      followEnded = (async () => {
        for await (const bytes of follow.stdout) followed += new TextDecoder().decode(bytes);
      })();
      device.connect(BOB);
      const isConnected = async () =>
        (await run("status")).stdout.includes("2 of 2 peers connected");
      await until("both are connected", isConnected);
    });

    afterAll(async () => {
      await daemon.stop();
    });

    test("with a daemon, status prints both peers", async () => {
      const status = await run("status");
      expect(status).toMatchObject({ exitCode: 0, stderr: "" });
      expect(status.stdout).toMatch(
        /^gw1: wgmon \d\S+, up \d+s\nwoken by poll\n\nfake0, port 51820: 2 of 2 peers/,
      );
      expect(status.stdout).not.toContain("\x1b");
      const peers = parseLines<PeerView>((await run("status", "--json")).stdout);
      expect(peers).toHaveLength(2);
      for (const peer of peers) {
        expect(peer).toMatchObject({ device: "fake0", state: "connected", name: null });
        expect(peer.session).toMatchObject({ roams: 0 });
      }
    });

    test("with a daemon, sessions prints the sessions of both peers", async () => {
      const sessions = await run("sessions");
      expect(sessions).toMatchObject({ exitCode: 0, stderr: "" });
      const lines = sessions.stdout.trimEnd().split("\n");
      expect(lines).toHaveLength(3);
      expect(lines[0]).toMatch(
        /^PEER +ADDRESS +DEVICE +STARTED +LASTED +END +ENDPOINT +FROM PEER +TO PEER +ROAMS$/,
      );
      for (const line of lines.slice(1)) expect(line).toMatch(KEY);
      const csv = await run("sessions", "--csv", "--peer", publicKeyOf(BOB));
      expect(csv.stdout).toMatch(/^device,.*\r\nfake0,\S{44},,.*\r\n$/);
    });

    test("with a daemon, events prints both connects, and ends when its reader is gone", async () => {
      const events = await run("events", "--type", "peer.connected");
      expect(events).toMatchObject({ exitCode: 0, stderr: "" });
      const lines = events.stdout.trimEnd().split("\n");
      expect(lines).toHaveLength(2);
      for (const line of lines) {
        expect(line).toMatch(
          /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d 10\.0\.0\.[12] +\S{8}… \(fake0\) connected from 192\./,
        );
      }
      const ended = runCommand("sh", "-c", `"$0" events -f --since 1h | head -n 1`, BINARY);
      device.roam(ALICE);
      const piped = await ended;
      expect(piped).toMatchObject({ exitCode: 0, stderr: "" });
      expect(piped.stdout.split("\n")).toHaveLength(2);
    });

    test("with a daemon, an unknown name is refused with exit code 2", expectRefusals);

    describe("wgmon top", () => {
      test("top restores the terminal if it is ended with q", async () => {
        await expectRestored(0, NAME, (terminal) => terminal.type("q"));
      });

      test("top restores the terminal if it is ended with Ctrl-C", async () => {
        await expectRestored(0, NAME, (terminal) => terminal.type("\x03"));
      });

      test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
        "top restores the terminal if it is ended with %s",
        async (signal) => {
          await expectRestored(0, NAME, (terminal) => terminal.program.kill(signal));
        },
      );

      test("top restores the terminal after it was resized, sorted and filtered", async () => {
        await expectRestored(0, NAME, async (terminal) => {
          terminal.resize(60, 12);
          await terminal.writes("\x1b[12;1H");
          terminal.type("s/");
          await terminal.writes("filter: _");
          terminal.type("nobody\r");
          await terminal.writes("0 peers by SEEN, descending; filter: nobody");
          const filtered = terminal.shown.length;
          terminal.type("\x1b");
          await terminal.writes("2 peers by SEEN, descending", filtered);
          terminal.type("q");
        });
      });

      test("top restores the terminal if it fails because of a bug", async () => {
        const folder = newStateFolder();
        const server = Bun.serve({
          unix: `${folder}/wgmon.sock`,
          fetch: () => Response.json({}),
        });
        await expectRestored(1, ENTER, () => {}, folder);
        void server.stop(true);
      });

      test("top restores the terminal while it is stopped with Ctrl-Z, in a shell with job control", async () => {
        const script = `set -m; ${BINARY} top; echo "STOPPED"; read -r; fg; echo "ENDED $?"`;
        using terminal = new OnTerminal(["bash", "--norc", "-c", script]);
        await terminal.writes(NAME);
        terminal.type("\x1a");
        await terminal.writes("STOPPED");
        expect(terminal.isCooked).toBe(true);
        const before = terminal.shown.length;
        terminal.type("\r");
        await terminal.writes(ENTER, before);
        await terminal.writes(NAME, before);
        terminal.type("q");
        await terminal.writes("ENDED 0", before);
      });
    });

    describe("a killed daemon", () => {
      let top: OnTerminal;

      beforeAll(async () => {
        top = new OnTerminal([BINARY, "top", "--interval", "200ms"]);
        await top.writes(NAME);
        await daemon.stop("SIGKILL");
        await top.writes("connection to wgmon lost; waiting for it");
        device.roam(BOB);
      });

      afterAll(() => top[Symbol.dispose]());

      test("after the daemon was killed, status reads the start of sessions from the store", async () => {
        const { stdout, stderr } = await run("status");
        expect(stderr).toContain("wgmon is not running here");
        expect(stdout).toContain("fake0, port 51820: 2 of 2 peers connected");
        expect(stdout).not.toMatch(/connected +\?/);
      });

      test("without a daemon, an unknown name is refused with exit code 2", expectRefusals);

      test("top and events --follow continue with the next daemon, and each event is printed once", async () => {
        const seen = top.shown.length;
        daemon = await startDaemon();
        await daemon.waitForLog(({ event }) => event === "peer.roamed");
        await top.writes("2 peers by SINCE", seen);
        const stored = async () =>
          parseLines<Event>((await run("events", "--json", "--since", "1h")).stdout);
        const before = (await stored()).length;
        device.roam(ALICE);
        await until("one more is in the store", async () => (await stored()).length > before);
        const ids = (await stored()).map(({ id }) => id);
        await until(
          "`wgmon events --follow` has printed all events",
          () => followed.split("\n").length > ids.length,
        );
        follow.kill("SIGINT");
        const [exitCode, stderr] = await Promise.all([follow.exited, follow.stderr.text()]);
        await followEnded;
        expect({ exitCode, stderr }).toEqual({
          exitCode: 0,
          stderr:
            "wgmon: connection to wgmon lost; waiting for it\nwgmon: connected to wgmon again\n",
        });
        const events = parseLines<Event>(followed);
        // The store lists them oldest first, too.
        expect(events.map(({ id }) => id)).toEqual(ids);
        const roams = events.filter(({ type }) => type === "peer.roamed");
        expect(roams.length).toBeGreaterThanOrEqual(3);
      });
    });
  });
});

interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(...args: readonly string[]): Promise<Ran> {
  return await runCommand(BINARY, ...args);
}

async function runCommand(...command: readonly string[]): Promise<Ran> {
  const env = { ...environment, PATH: process.env["PATH"] ?? "" };
  const child = Bun.spawn([...command], { env, stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

function parseLines<Value>(text: string): Value[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Value);
}

async function startDaemon(): Promise<Wgmon> {
  const args = ["--monitor", "poll", "--tick", "200ms", "--host", "gw1", "--names", "off"];
  const wgmon = startWgmon([...args, "--log-level", "debug"], { environment });
  await wgmon.waitForLog(({ msg }) => msg === "listening");
  return wgmon;
}

/** Commands whose flags name unknown peers, devices, targets or types. */
async function expectRefusals(): Promise<void> {
  const peer = /^wgmon: --peer: there is no peer "alcie"\nwgmon status lists the peers\.\n$/m;
  const device =
    /^wgmon: --device: there is no device "fak0"; did you mean fake0\?\nwgmon status lists the devices\.\n$/m;
  const target =
    /^wgmon: --target: there is no target "foo"\nwgmon (outbox list shows the targets that have events|test-webhook --help lists its flags)\.\n$/m;
  const type =
    /^wgmon: --type: "peer\.conected" is not .*; did you mean peer\.connected\?\nwgmon events --help lists its flags\.\n$/m;
  for (const [command, complaint] of [
    ["events --peer alcie", peer],
    ["events --peer alcie --since 1h", peer],
    ["sessions --peer alcie", peer],
    ["events --device fak0", device],
    ["sessions --device fak0", device],
    ["status --device fak0", device],
    ["outbox list --target foo", target],
    ["outbox retry --target foo", target],
    ["outbox drop --target foo", target],
    ["test-webhook --target foo", target],
    ["events --type peer.conected", type],
  ] as const) {
    const ran = await run(...command.split(" "));
    expect({ command, ...ran }).toEqual({
      command,
      exitCode: 2,
      stdout: "",
      stderr: expect.stringMatching(complaint),
    });
  }
}

/** A program on a pseudoterminal, and all its output. */
class OnTerminal implements Disposable {
  shown = "";
  readonly program: Bun.Subprocess;
  readonly #terminal: Bun.Terminal;

  constructor(command: readonly string[], runtimeFolder = environment.RUNTIME_DIRECTORY) {
    const decoder = new TextDecoder();
    this.#terminal = new Bun.Terminal({
      cols: 100,
      rows: 30,
      data: (_terminal, bytes) => void (this.shown += decoder.decode(bytes, { stream: true })),
    });
    const env = {
      ...environment,
      RUNTIME_DIRECTORY: runtimeFolder,
      TERM: "xterm",
      PATH: process.env["PATH"] ?? "",
    };
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

  [Symbol.dispose](): void {
    this.program.kill("SIGKILL");
    this.#terminal.close();
  }
}

/**
 * Runs `wgmon top` until it shows a text, ends it, and expects that its last output switches back from the alternate
 * screen, and that the terminal is in canonical mode.
 */
async function expectRestored(
  exitCode: number,
  shows: string,
  end: (terminal: OnTerminal) => void | Promise<void>,
  runtimeFolder?: string,
): Promise<void> {
  using terminal = new OnTerminal([BINARY, "top", "--interval", "200ms"], runtimeFolder);
  await terminal.writes(shows);
  // A program that fails may have ended already.
  if (exitCode === 0) {
    expect(terminal.isCooked).toBe(false);
    expect(terminal.shown).toContain(ENTER);
  }
  await end(terminal);
  expect(await terminal.program.exited).toBe(exitCode);
  await terminal.writes(LEAVE);
  // An error message follows on the normal screen.
  const [, afterwards = LEAVE] = terminal.shown.split(LEAVE);
  expect(afterwards).not.toContain("\x1b[?");
  expect(terminal.isCooked).toBe(true);
}
