/**
 * Keeps wgmon's own nftables table up to date while the daemon runs (--manage-rules): a level-triggered reconcile. The
 * desired state is a table for the current ports. Whenever the ports change, and at each check, it is compared with the
 * state that was applied last, and loaded if they differ or if the table was removed by another program.
 */

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import type { Log } from "../platform/log.ts";
import { tableName } from "./nft-rules.ts";
import {
  areRulesInstalled,
  installRules,
  type Nft,
  removeRules,
  type RunOptions,
  wasKilled,
} from "./nft.ts";

/** How long shutdown waits for nft. A slow shutdown is better than rules that remain. */
const CLOSE_MS = 3000;

interface ManagerOptions {
  readonly group: number;
  readonly clock: Clock;
  readonly log: Pick<Log, "info" | "warn">;
  /** Replaced in tests. */
  readonly nft?: Nft;
}

/**
 * Create it after the NFLOG group is bound: the group's owner also owns the table of that name, so a table that already
 * exists is from a daemon that was killed. One nft process runs at a time, and no caller but `close` waits for it.
 */
export class FirewallManager {
  /** Called after rules were loaded. The new rules do not log the end of a handshake that was answered before. */
  onLoaded = (): void => {};
  readonly #options: ManagerOptions;
  readonly #table: string;
  readonly #closing = new AbortController();
  /** The ports that the table must have, as a sorted list; empty: no table. null until `setPorts` is called. */
  #desired: string | null = null;
  /** The ports that the table has; null if unknown, which differs from every list. */
  #applied: string | null = null;
  /** Whether a table that this process loaded may exist. */
  #isInstalled = false;
  /** The reconcile that runs now. */
  #running: Promise<void> | null = null;
  #lastWarning = "";

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.#table = tableName(options.group);
  }

  /** Sets the ports that WireGuard listens on. Called after every scan: unchanged ports cost nothing. */
  setPorts(ports: readonly number[]): void {
    const listening = new Set(ports);
    const desired = [...listening].toSorted((a, b) => a - b).join();
    if (desired === this.#desired) return;
    this.#desired = desired;
    if (desired !== this.#applied) this.#start();
  }

  /** Loads the table if it was removed, for example by a firewall reload, or if loading it failed. Called every minute. */
  check(): void {
    if (this.#isInstalled || this.#desired !== this.#applied) this.#start();
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
      const command = `nft delete table ${this.#table}`;
      this.#warn(`not removed within ${CLOSE_MS / 1000} s; if it remains: ${command}`);
    }
    cancel();
  }

  /**
   * Starts a reconcile unless one is running. The running one notices changed ports; a check is repeated a minute
   * later.
   */
  #start(): void {
    if (this.#running === null && !this.#closing.signal.aborted) this.#running = this.#reconcile();
  }

  async #reconcile(): Promise<void> {
    if (this.#applied === this.#desired) await this.#verify();
    while (this.#desired !== this.#applied && !this.#closing.signal.aborted) {
      const desired = this.#desired ?? "";
      const isLoaded = await this.#load(desired);
      // The next check tries the same ports again.
      if (!isLoaded && this.#desired === desired) break;
    }
    this.#running = null;
  }

  async #verify(): Promise<void> {
    try {
      if (await areRulesInstalled(this.#options.group, this.#runOptions())) return;
      this.#isInstalled = false;
      this.#applied = null;
      this.#warn("table is gone (firewall reload?); reloading it");
    } catch (error) {
      this.#failed(error);
    }
  }

  async #load(desired: string): Promise<boolean> {
    const { group, log } = this.#options;
    const ports = desired === "" ? [] : desired.split(",").map(Number);
    try {
      await installRules({ ports, group }, this.#runOptions());
    } catch (error) {
      this.#applied = null;
      this.#failed(error);
      return false;
    }
    this.#applied = desired;
    this.#isInstalled = ports.length > 0;
    this.#lastWarning = "";
    if (ports.length > 0) {
      log.info("firewall rules loaded", { table: this.#table, ports: desired });
      this.onLoaded();
    }
    return true;
  }

  async #remove(): Promise<void> {
    await this.#running;
    if (!this.#isInstalled) return;
    const { group, nft } = this.#options;
    try {
      await removeRules(group, { nft });
    } catch (error) {
      this.#failed(error);
    }
  }

  #runOptions(): RunOptions {
    return { nft: this.#options.nft, signal: this.#closing.signal };
  }

  #failed(error: unknown): void {
    if (!(error instanceof SystemError)) throw error;
    const isKilled = wasKilled(error);
    if (isKilled) this.#isInstalled = true;
    // If `close` killed nft, that is not a failure.
    if (!(isKilled && this.#closing.signal.aborted)) this.#warn(error.message);
  }

  /** Logs a repeated message once: after a failure, each change of the ports usually fails for the same reason. */
  #warn(message: string): void {
    if (message === this.#lastWarning) return;
    this.#lastWarning = message;
    this.#options.log.warn(`firewall rules (table ${this.#table}): ${message}`);
  }
}
