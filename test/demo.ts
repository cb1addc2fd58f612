/**
 * `npm run demo`: a peer connects, roams and disconnects at a real WireGuard gateway, and ./wgmon
 * reports it to its log and to a webhook. Everything runs in temporary network namespaces, or in the virtual machine
 * if there is neither a kernel with WireGuard nor wireguard-go. With --stay, the gateway, its peers and the web page
 * stay until Ctrl-C.
 */

import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import {
  type AddressInfo,
  connect,
  createServer,
  type ListenOptions,
  type NetConnectOpts,
  type Server,
} from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Event } from "../src/events/event-schema.ts";
import { whyNoUserspaceWireguard, whyNoWireguard } from "./support/kernel.ts";
import { type Client, Lab } from "./support/lab.ts";
import { Receiver } from "./support/receiver.ts";
import { ownFolders } from "./support/state.ts";
import { runInVm, whyNoVm } from "./support/vm.ts";

const ROOT = join(import.meta.dir, "..");
const WGMON = join(ROOT, "wgmon");
/** The argument with which this program starts itself in the namespace. */
const INSIDE = "--inside";
/** The machine's own network namespace. */
const OUTSIDE = "WGMON_DEMO_OUTSIDE";
/** The argument that makes it use wireguard-go. */
const USERSPACE = "--userspace";
/** The user's argument: keep everything running. */
const STAY = "--stay";
/** The folder for the socket of wgmon's page and for wgmon's own socket; both processes know it. */
const SHARED_FOLDER = "WGMON_DEMO_FOLDER";
/** The address of the page, outside. */
const PAGE_URL = "WGMON_DEMO_PAGE";
/** The Unix socket through which the page leaves the namespace, in the shared folder. */
const PAGE_SOCKET = "page.sock";
/** Gives this process's mount namespace a folder of its own for wireguard-go's sockets. */
const OWN_SOCKET_FOLDER =
  "[ -d /run/wireguard ] || { mount -t tmpfs tmpfs /run && mkdir /run/wireguard; }; mount -t tmpfs tmpfs /run/wireguard";
/** Pause between the packets of the peer that stays. */
const STAY_PAUSE_MS = 3000;
/** The port of the page, in the namespace and outside. If it is taken outside, the page has another one there. */
const PAGE_PORT = 9586;
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
  const unknown = process.argv.slice(2).find((word) => word !== STAY);
  if (unknown !== undefined) throw new DemoError(`it takes ${STAY}, not ${unknown}.`);
  const stays = process.argv.includes(STAY);
  const self = [process.execPath, import.meta.path, INSIDE, ...(stays ? [STAY] : [])];
  const notHere = whyNoWireguard();
  const noUserspace = notHere === null ? null : whyNoUserspaceWireguard();
  if (notHere === null) return await spawn(["unshare", "--net", ...self]);
  // wireguard-go's sockets are in a folder, which must not be that of this machine's own devices.
  if (noUserspace === null) return await spawn(["unshare", "--net", "--mount", ...self, USERSPACE]);
  const noVm = whyNoVm();
  if (noVm !== null) {
    throw new DemoError(
      `it needs root and WireGuard, wireguard-go or a virtual machine: ${notHere}; ${noUserspace}; ${noVm}.`,
    );
  }
  if (stays) {
    throw new DemoError(
      `${STAY} needs a kernel with WireGuard, or wireguard-go, because the page in a virtual machine cannot be reached: ${notHere}; ${noUserspace}.`,
    );
  }
  console.log(`The demo starts in a virtual machine, because here: ${notHere}.\n`);
  const command = ["unshare", "--net", ...self];
  const { exitCode } = await runInVm(command, { timeoutMs: VM_LIMIT_MS, cwd: ROOT });
  return exitCode;
}

async function spawn(command: readonly string[]): Promise<number> {
  using stack = new DisposableStack();
  const folder = temporaryFolder(stack);
  const page = command.includes(STAY) ? stack.use(await pageOutside(folder)) : null;
  // The child ends with this process for any reason.
  const child = Bun.spawn(["setpriv", "--pdeathsig", "TERM", ...command], {
    stdio: ["ignore", "inherit", "inherit"],
    env: {
      ...process.env,
      [SHARED_FOLDER]: folder,
      [PAGE_URL]: page?.url,
      [OUTSIDE]: readlinkSync("/proc/self/ns/net"),
    },
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

  const stays = process.argv.includes(STAY);
  const isUserspace = process.argv.includes(USERSPACE);
  if (isUserspace) Bun.spawnSync(["sh", "-c", OWN_SOCKET_FOLDER]);
  const lab = stack.use(await Lab.create({ isUserspace, outside: process.env[OUTSIDE] }));
  const wg0 = await lab.device("wg0", { port: PORT });
  const alice = await wg0.client("alice");
  const others = stays ? await wg0.clients(["bob", "carol"]) : [];
  await lab.addPlainRule(PORT, GROUP);

  // In the virtual machine, there is no process outside.
  const folder = process.env[SHARED_FOLDER] ?? temporaryFolder(stack);
  const file = join(folder, "wgmon.toml");
  const named = [alice, ...others].map(
    (client) => `[peers."${client.publicKey}"]\nname = "${client.name}"\n`,
  );
  writeFileSync(file, named.join(""));
  if (stays) stack.use(await pageInside(folder));

  console.log(
    `A gateway with WireGuard on port ${PORT}, a firewall rule that logs that port to NFLOG group ` +
      `${GROUP},\nand a peer of it, alice's phone. On the gateway:\n`,
  );
  const receiver = stack.use(new Receiver());
  const settings = `--config ${file} --host gw1 --idle-timeout ${IDLE_SECONDS}s --tick 1s`;
  const listen = stays ? ` --listen 127.0.0.1:${PAGE_PORT}` : "";
  const command = `./wgmon --webhook ${receiver.url("/")}${listen} ${settings}`;
  const runtime = join(folder, "run");
  const wgmon = stack.use(new Terminal(command.split(" "), runtime));
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
  if (stays) await stay(others[0]!, runtime);
  tell("wgmon is asked to stop.");
  const exitCode = await wgmon.stop();
  if (exitCode !== 0) throw new DemoError(`wgmon exited with ${exitCode}.`);
  tell("End of the demo; all of it is removed. Next:");
  console.log(`  npm run demo -- ${STAY}   keeps it running, with the web page at ${pageUrl()}
  npm start                watches the WireGuard devices of this machine
  ./wgmon --help           lists the commands`);
  return 0;
}

/** Lets bob use his tunnel until a signal ends this process. */
async function stay(bob: Client, runtime: string): Promise<never> {
  tell(`The gateway stays until Ctrl-C. Its web page: ${pageUrl()}`);
  console.log(`  In another terminal, as root:
  export RUNTIME_DIRECTORY=${runtime}
  ./wgmon status           who is connected
  ./wgmon peer bob         everything about one peer
  ./wgmon top              the same, live
  ./wgmon events -f        events as they happen`);
  for (;;) {
    await bob.ping(5);
    await Bun.sleep(STAY_PAUSE_MS);
  }
}

function pageUrl(): string {
  return process.env[PAGE_URL] ?? `http://127.0.0.1:${PAGE_PORT}/`;
}

/** Removed with the stack. */
function temporaryFolder(stack: DisposableStack): string {
  return stack.adopt(mkdtempSync(join(tmpdir(), "wgmon-demo-")), (path) =>
    rmSync(path, { recursive: true, force: true }),
  );
}

/** Serves the page outside the namespace: passes connections on to the socket of `pageInside`. */
async function pageOutside(folder: string): Promise<Disposable & { readonly url: string }> {
  const to = { path: join(folder, PAGE_SOCKET) };
  const listen = (port: number) => forward({ host: "127.0.0.1", port }, to);
  const server = await listen(PAGE_PORT).catch(() => listen(0));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, [Symbol.dispose]: () => void server.close() };
}

/** Passes connections to a Unix socket, which can be reached from outside the namespace, on to wgmon's page. */
async function pageInside(folder: string): Promise<Disposable> {
  const to = { host: "127.0.0.1", port: PAGE_PORT };
  const server = await forward({ path: join(folder, PAGE_SOCKET) }, to);
  return { [Symbol.dispose]: () => void server.close() };
}

/** Passes the bytes of each connection on, in both directions. @throws if it cannot listen. */
async function forward(from: ListenOptions, to: NetConnectOpts): Promise<Server> {
  const server = createServer((near) => {
    const far = connect(to);
    near.pipe(far).pipe(near);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.on("error", () => other.destroy());
      socket.on("close", () => other.destroy());
    }
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).listen(from, resolve);
  await promise;
  return server;
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
  if (!("session" in data)) return JSON.stringify({ type, host, data });
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

  /** @param runtime the folder of wgmon's socket. */
  constructor(command: readonly string[], runtime: string) {
    console.log(`$ ${command.join(" ")}`);
    this.#process = Bun.spawn(["setpriv", "--pdeathsig", "KILL", ...command], {
      cwd: ROOT,
      env: {
        PATH: process.env["PATH"],
        ...ownFolders(),
        RUNTIME_DIRECTORY: runtime,
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
