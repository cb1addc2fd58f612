/**
 * Loads and removes wgmon's own table of firewall rules with nft. nft reads the script from rules.ts on standard input:
 * no shell parses it, and it names no other table.
 */

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { ownCapabilities, whyProgramRefused } from "../platform/capabilities.ts";
import type { Log } from "../platform/log.ts";
import { runProgram, SEARCH_PATH } from "../platform/run-program.ts";
import { nftPresence, nftRemoval, nftRules, type RuleOptions, tableName } from "./nft-rules.ts";

/** Time limit for one run of nft. It takes milliseconds unless another program changes many rules at the same time. */
const RUN_MS = 10_000;
/** How long shutdown waits for nft. A rule that stays behind costs more than a slow shutdown. */
const CLOSE_MS = 3000;
/** Characters of nft's error message that are shown. */
const COMPLAINT_MAX = 200;

/** SystemError's code if a script names a table that does not exist. */
const NOT_THERE = "ENOENT";

/**
 * Runs an nft script, which takes effect as a whole or not at all.
 *
 * @param operation names the operation in errors.
 * @param signal kills nft; the promise still settles only after nft has ended.
 * @throws SystemError
 */
export type Nft = (operation: string, script: string, signal: AbortSignal) => Promise<void>;

export interface RunOptions {
  readonly nft?: Nft;
  readonly signal?: AbortSignal;
}

/**
 * Replaces the table by one for these ports; removes it if there are no ports.
 *
 * @throws SystemError
 */
export async function installRules(rules: RuleOptions, options: RunOptions = {}): Promise<void> {
  await run(`load table ${tableName(rules.group)}`, nftRules(rules), options);
}

/**
 * Removes the table and returns whether it existed.
 *
 * @throws SystemError
 */
export async function removeRules(group: number, options: RunOptions = {}): Promise<boolean> {
  return await isDone(run(`remove table ${tableName(group)}`, nftRemoval(group), options));
}

interface ManagerOptions {
  readonly group: number;
  readonly clock: Clock;
  readonly log: Pick<Log, "info" | "warn">;
  readonly nft?: Nft;
}

/**
 * Keeps the table up to date with the ports while the daemon runs (--manage-rules). Create it after the NFLOG group is
 * bound: the group's owner also owns the table's name, so an existing table was left behind by a daemon that was
 * killed. One nft process runs at a time; changes during a run cause one further run.
 */
export class FirewallManager {
  /** Called after rules were loaded. They do not know handshakes that were answered before. */
  onLoaded = (): void => {};
  readonly #options: ManagerOptions;
  readonly #table: string;
  readonly #closing = new AbortController();
  /** Ports as a sorted list; null until `setPorts` is called. */
  #wanted: string | null = null;
  /** The last list of ports for which loading was attempted. */
  #tried: string | null = null;
  #isDoubted = false;
  #mayBeThere = false;
  /** Whether the last attempt to load the table failed. */
  #hasFailed = false;
  #work: Promise<void> | null = null;
  #lastWarning = "";

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.#table = tableName(options.group);
  }

  /** Sets the ports that WireGuard listens on. Called after every scan: unchanged ports cost nothing. */
  setPorts(ports: readonly number[]): void {
    const listening = new Set(ports.filter((port) => port !== 0));
    const wanted = [...listening].toSorted((a, b) => a - b).join();
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    this.#begin();
  }

  /** Loads the table again if it was removed, for example by a firewall reload, or if the last attempt failed. */
  check(): void {
    if (this.#hasFailed) this.#tried = null;
    else if (this.#mayBeThere) this.#isDoubted = true;
    else return;
    this.#begin();
  }

  /**
   * Removes the table if it was loaded. Waits at most CLOSE_MS, then logs a warning and leaves nft to finish on its
   * own.
   */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    // Otherwise a running nft could load the table after it was removed.
    this.#closing.abort();
    const { promise: deadline, resolve } = Promise.withResolvers<"late">();
    const cancel = this.#options.clock.after(CLOSE_MS, () => resolve("late"));
    const removal = this.#remove().then(() => "done" as const);
    if ((await Promise.race([removal, deadline])) === "late") {
      this.#warn(
        `not removed in ${CLOSE_MS / 1000} s; if it stays: nft delete table ${this.#table}`,
      );
    }
    cancel();
  }

  #begin(): void {
    if (this.#work === null && !this.#closing.signal.aborted) this.#work = this.#followWishes();
  }

  async #followWishes(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      if (this.#wanted !== this.#tried) await this.#load(this.#wanted ?? "");
      else if (this.#isDoubted) await this.#lookForTable();
      else break;
    }
    this.#work = null;
  }

  async #load(wanted: string): Promise<void> {
    const { group, log } = this.#options;
    const ports = wanted === "" ? [] : wanted.split(",").map(Number);
    this.#tried = wanted;
    this.#isDoubted = false;
    try {
      await installRules({ ports, group }, this.#running());
      this.#mayBeThere = ports.length > 0;
      this.#hasFailed = false;
      this.#lastWarning = "";
      if (ports.length > 0) {
        log.info("firewall rules loaded", { table: this.#table, ports: wanted });
        this.onLoaded();
      }
    } catch (error) {
      // nft may have loaded the table before it was killed.
      if (this.#closing.signal.aborted) this.#mayBeThere = true;
      else {
        this.#hasFailed = true;
        this.#failed(error);
      }
    }
  }

  async #lookForTable(): Promise<void> {
    this.#isDoubted = false;
    const script = nftPresence(this.#options.group);
    try {
      if (await isDone(run(`list table ${this.#table}`, script, this.#running()))) return;
      this.#warn("somebody took it away, as a reload of the firewall does; loading it again");
      this.#tried = null;
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#failed(error);
    }
  }

  async #remove(): Promise<void> {
    await this.#work;
    if (!this.#mayBeThere) return;
    const { group, nft = runNft } = this.#options;
    try {
      await removeRules(group, { nft });
    } catch (error) {
      this.#failed(error);
    }
  }

  #running(): RunOptions {
    const { nft = runNft } = this.#options;
    return { nft, signal: this.#closing.signal };
  }

  #failed(error: unknown): void {
    if (!(error instanceof SystemError)) throw error;
    this.#warn(error.message);
  }

  /** Each new port would fail for the same reason, so the reason is logged once. */
  #warn(what: string): void {
    if (what === this.#lastWarning) return;
    this.#lastWarning = what;
    this.#options.log.warn(`firewall rules (table ${this.#table}): ${what}`);
  }
}

async function run(operation: string, script: string, options: RunOptions): Promise<void> {
  const { nft = runNft, signal = new AbortController().signal } = options;
  await nft(operation, script, signal);
}

/** Returns false if the table that the script names does not exist. */
async function isDone(running: Promise<void>): Promise<boolean> {
  try {
    await running;
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === NOT_THERE) return false;
    throw error;
  }
}

async function runNft(operation: string, script: string, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(RUN_MS);
  const either = AbortSignal.any([signal, limit]);
  if (either.aborted) throw new SystemError(operation, "aborted");
  const ran = await runProgram(["nft", "-f", "-"], { input: script, signal: either });
  if (ran === null) {
    throw new SystemError(
      operation,
      "no nft program",
      `none in ${SEARCH_PATH}; install nftables, or take wgmon rules --iptables`,
    );
  }
  if (ran.exitCode === 0) return;
  if (signal.aborted) throw new SystemError(operation, "aborted");
  if (limit.aborted) throw new SystemError(operation, `nft took more than ${RUN_MS / 1000} s`);
  throw failure(operation, ran.complaint);
}

/**
 * Returns the output of a program such as nft or iptables-save; null if it is not installed.
 *
 * @throws SystemError when it fails or is aborted.
 */
export async function readProgram(
  name: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<string | null> {
  const ran = await runProgram([name, ...args], { signal });
  if (ran === null) return null;
  const { exitCode, output, complaint } = ran;
  if (exitCode === 0) return output;
  const operation = [name, ...args].join(" ");
  if (signal.aborted) throw new SystemError(operation, "no answer in time");
  if (/not permitted|ermission denied/.test(complaint)) throw notPermitted(operation);
  throw new SystemError(operation, complaint.trim().slice(0, COMPLAINT_MAX) || "it failed");
}

/** Turns nft's error text into a SystemError. The text is English, because nft runs without LANG. */
function failure(operation: string, output: string): SystemError {
  const complaint = /Error: (.*)/.exec(output)?.[1] ?? (output.trim() || "it says nothing");
  const text = `nft: ${complaint.slice(0, COMPLAINT_MAX)}`;
  if (complaint.includes("Operation not permitted")) {
    return notPermitted(operation, `${text}; `);
  }
  if (complaint.includes("No such file or directory")) {
    const hint =
      "the kernel may lack what the rules use: nf_tables, nft_limit, nft_log, nfnetlink_log";
    return new SystemError(operation, NOT_THERE, `${text}; ${hint}`);
  }
  return new SystemError(operation, "nft failed", text);
}

function notPermitted(operation: string, said = ""): SystemError {
  const why = whyProgramRefused("CAP_NET_ADMIN", ownCapabilities());
  return new SystemError(operation, "EPERM", `${said}${why}`);
}
