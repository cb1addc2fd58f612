/**
 * Real NATS servers, in two versions. deploy/setup.mjs fetches them; NATS_SERVERS names other programs, separated by
 * colons.
 */

import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { connect as connectSocket } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";

import { skipIf } from "./kernel.ts";
import { until } from "./until.ts";

const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "wgmon-test-nats");

/** The programs to test with. */
export const natsServers: readonly { readonly version: string; readonly program: string }[] =
  programs().map((program) => ({ version: versionOf(program), program }));

export const natsNeeds = skipIf(
  natsServers.length < 2
    ? "two versions of nats-server are not here; try: node deploy/setup.mjs --test"
    : null,
);

function programs(): string[] {
  const named = process.env["NATS_SERVERS"];
  if (named) return named.split(":");
  const folders = existsSync(cache) ? readdirSync(cache).sort() : [];
  return folders.map((name) => join(cache, name, "nats-server")).filter((path) => existsSync(path));
}

/** `nats-server: v2.10.27` */
function versionOf(program: string): string {
  const { stdout } = Bun.spawnSync([program, "--version"]);
  return /v([\d.]+)/.exec(stdout.toString())?.[1] ?? "of unknown version";
}

export interface NatsFolder {
  readonly port: number;
  readonly storeDir: string;
}

/** One server with a folder of its own, which can be killed and started again. */
export class NatsServer {
  readonly port: number;
  readonly folder: string;
  readonly #program: string;
  #process: Bun.Subprocess | null = null;

  private constructor(program: string, port: number, folder: string) {
    this.#program = program;
    this.port = port;
    this.folder = folder;
  }

  /** @param config Returns the configuration for the port and the folder. */
  static async start(
    program: string,
    config: (place: NatsFolder) => string | Promise<string>,
  ): Promise<NatsServer> {
    const folder = await mkdtemp(join(tmpdir(), "wgmon-nats-"));
    const server = new NatsServer(program, freePort(), folder);
    await server.configure(config);
    await server.start();
    return server;
  }

  get storeDir(): string {
    return join(this.folder, "store");
  }

  /** `127.0.0.1:PORT` */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async configure(config: (place: NatsFolder) => string | Promise<string>): Promise<void> {
    const { port, storeDir } = this;
    await writeFile(join(this.folder, "nats-server.conf"), await config({ port, storeDir }));
  }

  /** Changes the configuration. It is read at the next start. */
  async edit(change: (config: string) => string): Promise<void> {
    const path = join(this.folder, "nats-server.conf");
    await writeFile(path, change(await Bun.file(path).text()));
  }

  /** Makes the running server read its configuration again. */
  reload(): void {
    this.#process?.kill("SIGHUP");
  }

  async start(): Promise<void> {
    const log = join(this.folder, "log");
    const args = ["-c", join(this.folder, "nats-server.conf"), "-l", log];
    this.#process = Bun.spawn([this.#program, ...args], {
      stdio: ["ignore", "ignore", "ignore"],
      cwd: this.folder,
    });
    const child = this.#process;
    await until("nats-server accepts connections", async () => {
      if (child.exitCode !== null) throw new Error(await Bun.file(log).text());
      return await accepts(this.port);
    });
  }

  /** As `kill -9` by an administrator, or a power failure without a loss of files. */
  async kill(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#process?.exited;
  }

  /** The process still exists and answers nothing. */
  pause(isPaused: boolean): void {
    this.#process?.kill(isPaused ? "SIGSTOP" : "SIGCONT");
  }

  /** Cuts the last bytes off the stream's messages on the disk: acknowledged messages are gone. */
  async truncateStream(bytes: number): Promise<void> {
    for (const path of await this.#files(/msgs\/\d+\.blk$/)) {
      const { size } = Bun.file(path);
      await truncate(path, Math.max(0, size - bytes));
    }
    // The server would believe its index, and find the messages missing later.
    for (const path of await this.#files(/msgs\/index\.db$/)) await rm(path);
  }

  async wipe(): Promise<void> {
    await rm(this.storeDir, { recursive: true, force: true });
  }

  async #files(pattern: RegExp): Promise<string[]> {
    const names = await readdir(this.storeDir, { recursive: true });
    return names.filter((name) => pattern.test(name)).map((name) => join(this.storeDir, name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** The configuration needs a number. No other test server listens on a number that was free before. */
function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

async function accepts(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connectSocket(port, "127.0.0.1", () => resolve(true));
  socket.once("error", () => resolve(false));
  const isOpen = await promise;
  socket.destroy();
  return isOpen;
}
