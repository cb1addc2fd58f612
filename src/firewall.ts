/**
 * Puts wgmon's own table of firewall rules in place and takes it away, by nft. What rules.ts has
 * written goes to its standard input; no shell reads it, and no other table is named in it.
 */

import { ownCapabilities, whyProgramRefused } from "./capabilities.ts";
import type { Clock } from "./clock.ts";
import { SystemError } from "./errors.ts";
import type { Log } from "./log.ts";
import { runProgram, SEARCH_PATH } from "./program.ts";
import { nftPresence, nftRemoval, nftRules, type RuleOptions, tableOf } from "./rules.ts";

/** It takes milliseconds, unless another program is changing many rules. */
const RUN_MS = 10_000;
/** How long the daemon's end waits for nft; a rule that stays costs more than a slow end. */
const CLOSE_MS = 3000;
/** How much of nft's complaint is shown. */
const COMPLAINT_MAX = 200;

/** What SystemError's code is when a script names a table that is not there. */
const NOT_THERE = "ENOENT";

/**
 * Runs a script of nft's, which takes effect as a whole or not at all.
 *
 * @param operation what it is for, in errors.
 * @param signal kills nft; the answer comes when it has ended all the same.
 * @throws SystemError
 */
export type Nft = (operation: string, script: string, signal: AbortSignal) => Promise<void>;

export interface RunOptions {
  readonly nft?: Nft;
  readonly signal?: AbortSignal;
}

/**
 * Replaces the table by one for these ports; without ports there is none.
 *
 * @throws SystemError
 */
export async function installRules(rules: RuleOptions, options: RunOptions = {}): Promise<void> {
  await run(`load table ${tableOf(rules.group)}`, nftRules(rules), options);
}

/**
 * Whether there was a table to take away.
 *
 * @throws SystemError
 */
export async function removeRules(group: number, options: RunOptions = {}): Promise<boolean> {
  return await isDone(run(`remove table ${tableOf(group)}`, nftRemoval(group), options));
}

interface ManagerOptions {
  readonly group: number;
  readonly clock: Clock;
  readonly log: Pick<Log, "info" | "warn">;
  readonly nft?: Nft;
}

/**
 * Keeps the table in step with the ports while the daemon runs (--manage-rules). To be made once the
 * group is ours: then nobody else's table can have its name, and one that is there was left behind by
 * a daemon that was killed. One nft runs at a time; what changes meanwhile is one more run.
 */
export class ManagedRules {
  /** Called when rules were loaded: they do not know the handshakes that were answered before. */
  onLoaded = (): void => {};
  readonly #options: ManagerOptions;
  readonly #table: string;
  readonly #closing = new AbortController();
  /** Ports as a list in order; null: nobody has told them yet. */
  #wanted: string | null = null;
  /** The last list that was loaded, or could not be. */
  #tried: string | null = null;
  #isDoubted = false;
  #mayBeThere = false;
  /** The last attempt to load it. */
  #hasFailed = false;
  #work: Promise<void> | null = null;
  #lastWarning = "";

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.#table = tableOf(options.group);
  }

  /** The ports that WireGuard listens to now. For every look: the same ports again cost nothing. */
  setPorts(ports: readonly number[]): void {
    const listening = new Set(ports.filter((port) => port !== 0));
    const wanted = [...listening].toSorted((a, b) => a - b).join();
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    this.#begin();
  }

  /**
   * Loads the table again if somebody took it away, as a reload of the whole firewall does, or if it
   * could not be loaded before.
   */
  check(): void {
    if (this.#hasFailed) this.#tried = null;
    else if (this.#mayBeThere) this.#isDoubted = true;
    else return;
    this.#begin();
  }

  /**
   * Takes the table away if it was loaded. It is waited for half a second at most; an nft that takes
   * longer is left to finish by itself.
   */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    // It would otherwise bring the table back after it was removed.
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
      // Killed at the end, it may have been done with its work.
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
      if (await isDone(run(`look for table ${this.#table}`, script, this.#running()))) return;
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

  /** Each new port would fail for the same reason; that is one line. */
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

/** false: what the script names is not there. */
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
 * What a program such as nft or iptables-save prints; null: it is not installed.
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

/** From nft's words, which are the C library's, in English: it gets no LANG. */
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
