/**
 * `npm run demo`: a peer connects, roams and disconnects at a real WireGuard gateway, and ./wgmon
 * reports it to its log and to a webhook. Everything runs in temporary network namespaces, or in the virtual machine
 * if this kernel has no WireGuard.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Event } from "../src/events/event-schema.ts";
import { whyNoWireguard } from "./support/kernel.ts";
import { type Client, Lab } from "./support/lab.ts";
import { Receiver } from "./support/receiver.ts";
import { ownFolders } from "./support/state.ts";
import { runInVm, whyNoVm } from "./support/vm.ts";

const ROOT = join(import.meta.dir, "..");
const WGMON = join(ROOT, "wgmon");
/** The argument with which this program starts itself in the namespace. */
const INSIDE = "--inside";
const PROGRAMS = ["ip", "wg", "nft", "ping", "unshare", "nsenter", "setpriv"];

/** Timeout of each step, generous for emulated processors. */
const WAIT_MS = 60_000;
/** Timeout of the virtual machine, including the download of its kernel and the demo. */
const VM_LIMIT_MS = 10 * 60_000;
/** The idle timeout: more than 10 s, because an active WireGuard peer can be silent for 10 s. */
const IDLE_SECONDS = 15;
/** Pause for the reader after each report. */
const READ_MS = 2000;
const PORT = 51820;
const GROUP = 1;

/** A requirement of the demo is missing, or a step failed. */
class DemoError extends Error {}

const signals = { SIGINT: 130, SIGTERM: 143 } as const;

/** Starts this program again in a new network namespace, or in a virtual machine. Resolves with the exit code. */
async function outside(): Promise<number> {
  if (!existsSync(WGMON)) throw new DemoError("./wgmon is missing; npm run build creates it.");
  const missing = PROGRAMS.filter((program) => Bun.which(program) === null);
  if (missing.length > 0) {
    throw new DemoError(
      `it needs ${missing.join(", ")}; node deploy/setup.mjs --demo installs it.`,
    );
  }
  const again = ["unshare", "--net", process.execPath, import.meta.path, INSIDE];
  const notHere = whyNoWireguard();
  if (notHere === null) return await spawn(again);
  const noVm = whyNoVm();
  if (noVm !== null) {
    throw new DemoError(`it needs root and WireGuard, or a virtual machine: ${notHere}; ${noVm}.`);
  }
  console.log(`The demo starts in a virtual machine, because here: ${notHere}.\n`);
  const { exitCode } = await runInVm(again, { timeoutMs: VM_LIMIT_MS, cwd: ROOT });
  return exitCode;
}

async function spawn(command: readonly string[]): Promise<number> {
  // The child ends with this process for any reason.
  const child = Bun.spawn(["setpriv", "--pdeathsig", "TERM", ...command], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const interrupted: number[] = [];
  for (const [signal, exitCode] of Object.entries(signals)) {
    process.on(signal, () => {
      interrupted.push(exitCode);
      child.kill("SIGTERM");
    });
  }
  const exitCode = await child.exited;
  return interrupted[0] ?? exitCode;
}

/** The demo itself, in a separate network namespace. */
async function inside(): Promise<number> {
  using stack = new DisposableStack();
  for (const [signal, exitCode] of Object.entries(signals)) {
    process.once(signal, () => {
      stack.dispose();
      process.exit(exitCode);
    });
  }

  const lab = stack.use(await Lab.create());
  const wg0 = await lab.device("wg0", { port: PORT });
  const alice = await wg0.client("alice");
  await lab.addPlainRule(PORT, GROUP);

  const folder = stack.adopt(mkdtempSync(join(tmpdir(), "wgmon-demo-")), (path) =>
    rmSync(path, { recursive: true, force: true }),
  );
  const file = join(folder, "wgmon.toml");
  writeFileSync(file, `[peers."${alice.publicKey}"]\nname = "alice"\n`);

  console.log(
    `A gateway with WireGuard on port ${PORT}, a firewall rule that logs that port to NFLOG group ` +
      `${GROUP},\nand a peer of it, alice's phone. On the gateway:\n`,
  );
  const receiver = stack.use(new Receiver());
  const settings = `--config ${file} --host gw1 --idle-timeout ${IDLE_SECONDS}s --tick 1s`;
  const command = `./wgmon --webhook ${receiver.url("/")} ${settings}`;
  const wgmon = stack.use(new Terminal(command.split(" ")));
  await wgmon.waitFor("ready");
  await Bun.sleep(READ_MS);

  /** Waits for the report, in the log and at the webhook, and shows what the webhook received. */
  const report = async (type: Event["type"], words: string, sinceMs: number, since: string) => {
    const isReport = ({ event }: { event: Event | null }) => event?.type === type;
    await wgmon.waitFor(words);
    await receiver
      .waitFor((requests) => requests.some(isReport), WAIT_MS)
      .catch(() => {
        throw new DemoError(`the webhook did not receive ${type} within ${WAIT_MS / 1000} s.`);
      });
    const { event, atMs } = receiver.requests.find(isReport)!;
    const afterMs = atMs - performance.timeOrigin - sinceMs;
    const after =
      afterMs < 1000 ? `${Math.max(0, afterMs).toFixed(1)} ms` : `${(afterMs / 1000).toFixed(1)} s`;
    console.log(`webhook, ${after} after ${since}: ${inShort(event!)}`);
    await Bun.sleep(READ_MS);
  };

  tell("alice's phone sends its first packet through the tunnel.");
  const first = await arrival(alice);
  await report("peer.connected", "alice (wg0) connected from", first, "that packet arrived");

  tell("Data flows both ways. The session does not change: wgmon reports nothing.");
  await alice.ping(10);

  tell("alice's phone leaves the Wi-Fi: its packets come from another address and port.");
  await alice.roam("both");
  const moved = await arrival(alice);
  await report("peer.roamed", "alice (wg0) roamed from", moved, "the first packet from there");

  tell(
    `alice's phone is switched off. WireGuard sends no message about it; wgmon reports it after ${IDLE_SECONDS} s without data.`,
  );
  await alice.down();
  const words = "alice (wg0) disconnected after";
  await report("peer.disconnected", words, moved, "the last packet");

  const types = receiver.requests.map(({ event }) => event?.type);
  if (types.join() !== "peer.connected,peer.roamed,peer.disconnected") {
    throw new DemoError(`these events were reported: ${types.join(", ")}.`);
  }
  tell("wgmon is asked to stop.");
  const exitCode = await wgmon.stop();
  if (exitCode !== 0) throw new DemoError(`wgmon exited with ${exitCode}.`);
  tell("End of the demo; all of it is removed. On your own gateway: npm start");
  return 0;
}

/** Sends a packet into the tunnel. Resolves with the time of its arrival at the gateway, by performance.now(). */
async function arrival(client: Client): Promise<number> {
  const { atMs } = await client.connect(WAIT_MS).catch((error: Error) => {
    throw new DemoError(`${error.message}.`);
  });
  return atMs;
}

/** The event as JSON with its most important fields. */
function inShort({ type, host, data }: Event): string {
  if (!("peer" in data)) return JSON.stringify({ type, host, data });
  const { name, endpoint } = data.peer;
  return JSON.stringify({ type, host, data: { ...data, peer: { name, endpoint } } });
}

function tell(line: string): void {
  console.log(`\n> ${line}`);
}

/** A program on a pseudoterminal whose output is printed line by line. */
class Terminal implements Disposable {
  readonly #process: Bun.Subprocess;
  readonly #decoder = new TextDecoder();
  #text = "";
  /** Number of characters of the text that were printed. */
  #shown = 0;
  #wake = Promise.withResolvers<void>();

  constructor(command: readonly string[]) {
    console.log(`$ ${command.join(" ")}`);
    this.#process = Bun.spawn(["setpriv", "--pdeathsig", "KILL", ...command], {
      cwd: ROOT,
      env: {
        PATH: process.env["PATH"],
        ...ownFolders(),
        ...(process.stdout.isTTY ? {} : { NO_COLOR: "1" }),
      },
      terminal: { cols: 100, data: (_terminal, bytes) => this.#print(bytes) },
    });
  }

  /** Waits until the output contains `words`. */
  async waitFor(words: string): Promise<void> {
    const deadlineMs = performance.now() + WAIT_MS;
    while (!this.#text.slice(0, this.#shown).includes(words)) {
      const leftMs = deadlineMs - performance.now();
      if (this.#process.exitCode !== null) throw new DemoError("wgmon exited unexpectedly.");
      if (leftMs <= 0)
        throw new DemoError(`wgmon did not print "${words}" within ${WAIT_MS / 1000} s.`);
      this.#wake = Promise.withResolvers();
      await Promise.race([this.#wake.promise, this.#process.exited, Bun.sleep(leftMs)]);
    }
  }

  async stop(): Promise<number> {
    this.#process.kill("SIGTERM");
    return await this.#process.exited;
  }

  #print(bytes: Uint8Array): void {
    this.#text += this.#decoder.decode(bytes, { stream: true }).replaceAll("\r\n", "\n");
    // Whole lines only, because the demo prints its own lines in between.
    const end = this.#text.lastIndexOf("\n") + 1;
    process.stdout.write(this.#text.slice(this.#shown, end));
    this.#shown = end;
    this.#wake.resolve();
  }

  [Symbol.dispose](): void {
    this.#process.kill("SIGKILL");
    this.#process.terminal?.close();
  }
}

process.chdir(ROOT);
/** Names the packages that deploy/setup.mjs has installed for this run; they stay on the machine. */
function tellInstalled(): void {
  const file = join(ROOT, "node_modules/.installed");
  const names = existsSync(file) ? readFileSync(file, "utf8") : "";
  if (names === "") return;
  console.log(`\nThese packages of the system were installed for the demo and stay: ${names}`);
  rmSync(file);
}

try {
  process.exitCode = await (process.argv.includes(INSIDE) ? inside() : outside());
  if (!process.argv.includes(INSIDE)) tellInstalled();
} catch (error) {
  if (!(error instanceof DemoError)) throw error;
  console.log(`\nThe demo failed: ${error.message}`);
  process.exitCode = 1;
}
process.exit();
