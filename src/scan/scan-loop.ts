/**
 * Runs the scans, one at a time. Others request scans, for example for a packet (handshake-watch.ts) or for an open
 * page (viewer-scans.ts). This file starts those without a packet: at the start, after a link change, at each tick
 * while a peer is connected or can return without a handshake, and at each reconcile interval.
 */

import type { Clock } from "../base/clock.ts";
import { isUnreadable } from "../base/errors.ts";
import type { Device } from "../base/wireguard.ts";
import type { ScanResult, ScanScope } from "../kernel/devices.ts";
import { threadCpuMs } from "../platform/clocks.ts";
import type { Log } from "../platform/log.ts";
import type { Metrics } from "../stats/counters.ts";

/**
 * A device is created, then configured, then brought up. rtnetlink reports only the first and the last step, so scans
 * at these times after a link change find its port and its peers.
 */
const LINK_SCANS_MS = [5, 300, 2000];

/**
 * Code that has not run yet is interpreted and takes ten times as long. To report the first peer as fast as later ones,
 * wgmon takes this many scans after the start, this far apart, and stops early if they use more than WARM_UP_MAX_MS of
 * processor time.
 */
const WARM_UP_SCANS = 20;
const WARM_UP_PAUSE_MS = 25;
const WARM_UP_MAX_MS = 200;

/** A repeated error is logged again if it did not occur for this long. Scans may be a minute apart. */
const ERROR_FORGET_MS = 10 * 60_000;

/** Why a scan is taken. */
export type ScanReason =
  "start" | "warm-up" | "packet" | "tick" | "link" | "lost" | "reconcile" | "request" | "viewer";

/** Decides when a tick is needed, and for which devices. Implemented by the tracker. */
export interface TickSource {
  readonly needsTick: boolean;
  readonly tickedDevices: ReadonlySet<string>;
  /** The earliest monotonic time after `afterMs` at which a session ends; null if no session ends after it. */
  nextDeadlineMs(afterMs: number): number | null;
}

export interface ScanLoopOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly devices: {
    readonly lastScanned: readonly Device[];
    scan(scope: ScanScope): Promise<ScanResult>;
  };
  /** true: no packets are captured. Then the tick always runs, and scans all devices. */
  readonly isPolling: boolean;
  readonly tracker: TickSource;
  readonly settings: () => { readonly tickMs: number; readonly reconcileMs: number };
  /** Processes the result; returns the number of changes. */
  readonly onScan: (scan: ScanResult, reason: ScanReason) => number;
}

export class ScanLoop {
  readonly #options: ScanLoopOptions;
  #cancelTick = () => {};
  #cancelReconcile = () => {};
  #cancelWarmUp = () => {};
  #cancelLinkScans: (() => void)[] = [];
  #lastTickMs = -Infinity;
  /** The most recent scan. */
  #lastScan: Promise<unknown> = Promise.resolve();
  #errors: readonly Error[] = [];
  /** Messages of scan errors and when each last occurred, since the last complete scan without errors. */
  readonly #failing = new Map<string, number>();
  #isStopped = false;

  constructor(options: ScanLoopOptions) {
    this.#options = options;
  }

  /** Errors of the last scan. */
  get errors(): readonly Error[] {
    return this.#errors;
  }

  /** Whether the tick runs. */
  get isTicking(): boolean {
    return this.#lastTickMs !== -Infinity;
  }

  /** Processes the scan that was taken when the inputs were opened. */
  start(first: ScanResult): void {
    this.#process(first, "start", "list");
    this.#scheduleReconcile();
    this.#warmUp(WARM_UP_SCANS, 0);
  }

  /** Applies changed settings. */
  reschedule(): void {
    this.#scheduleTick();
    this.#scheduleReconcile();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelTick();
    this.#cancelReconcile();
    this.#cancelWarmUp();
    for (const cancel of this.#cancelLinkScans) cancel();
  }

  /** Scans all devices; resolves with the processor time used, in milliseconds. */
  scanAll(reason: ScanReason): Promise<number> {
    return this.#scan(reason, "list");
  }

  /** Scans the known devices that listen on these ports; resolves with the processor time used, in milliseconds. */
  scanPorts(ports: ReadonlySet<number> | "all"): Promise<number> {
    return this.#scan("packet", this.#devicesAt(ports));
  }

  /** Scans all known devices for a viewer of the counters; resolves with the processor time used, in milliseconds. */
  async scanForViewer(): Promise<number> {
    const { lastScanned } = this.#options.devices;
    return lastScanned.length === 0 ? 0 : await this.#scan("viewer", this.#devicesAt("all"));
  }

  linkChanged(): void {
    for (const cancel of this.#cancelLinkScans) cancel();
    this.#cancelLinkScans = LINK_SCANS_MS.map((delayMs) =>
      this.#options.clock.after(delayMs, () => void this.#scan("link", "list")),
    );
  }

  /** @param spentMs processor time of the warm-up scans so far. */
  #warmUp(scansLeft: number, spentMs: number): void {
    const { clock, log } = this.#options;
    if (scansLeft === 0 || spentMs > WARM_UP_MAX_MS) {
      log.debug("warm");
      return;
    }
    this.#cancelWarmUp = clock.after(WARM_UP_PAUSE_MS, () => {
      void this.#scan("warm-up", "list").then((costMs) =>
        this.#warmUp(scansLeft - 1, spentMs + costMs),
      );
    });
  }

  /**
   * The known devices that listen on these ports. "list" only if a port is unknown: otherwise device discovery is left to
   * rtnetlink, because it dominates the cost.
   */
  #devicesAt(ports: ReadonlySet<number> | "all"): ScanScope {
    const { lastScanned } = this.#options.devices;
    if (ports === "all") return new Set(lastScanned.map(({ name }) => name));
    const names = new Set<string>();
    for (const port of ports) {
      const found = lastScanned.filter(({ listenPort }) => listenPort === port);
      if (found.length === 0) return "list";
      for (const { name } of found) names.add(name);
    }
    return names;
  }

  /** Scans after all earlier scans are complete. */
  #scan(reason: ScanReason, scope: ScanScope): Promise<number> {
    const scan = this.#lastScan.then(() => this.#scanNow(reason, scope));
    // A failed scan must not reject the next one.
    this.#lastScan = scan.catch(() => {});
    return scan;
  }

  async #scanNow(reason: ScanReason, scope: ScanScope): Promise<number> {
    const { clock, devices, metrics } = this.#options;
    if (this.#isStopped) return 0;
    const startMs = clock.now().monotonicMs;
    const startCpuMs = threadCpuMs();
    const scan = await devices.scan(scope);
    const scanMs = threadCpuMs() - startCpuMs;
    metrics.scanSeconds.observe((clock.now().monotonicMs - startMs) / 1000);
    const changes = this.#process(scan, reason, scope);
    // Exclude the cost of reporting a change, so that it does not delay the scan for the next peer.
    return changes > 0 ? scanMs : threadCpuMs() - startCpuMs;
  }

  /** Returns the number of changes. */
  #process(scan: ScanResult, reason: ScanReason, scope: ScanScope): number {
    // The store is closed or about to be. The next run finds the changes of this scan.
    if (this.#isStopped) return 0;
    const { log, metrics, onScan } = this.#options;
    metrics.scans.add([reason]);
    metrics.scanErrors += scan.problems.length;
    this.#errors = scan.problems;
    this.#logErrorsOnce(scan.problems, { includesAll: scope === "list" });
    const changes = onScan(scan, reason);
    log.debug("scan", { reason, changes });
    this.#scheduleTick();
    return changes;
  }

  /** Logs a repeated error once, and logs when all devices can be scanned again. */
  #logErrorsOnce(
    errors: readonly Error[],
    { includesAll }: { readonly includesAll: boolean },
  ): void {
    const { clock, log } = this.#options;
    const { monotonicMs } = clock.now();
    for (const error of errors) {
      if (!isUnreadable(error)) throw error;
      const lastMs = this.#failing.get(error.message) ?? -Infinity;
      if (monotonicMs - lastMs > ERROR_FORGET_MS) log.error(error.message);
      this.#failing.set(error.message, monotonicMs);
    }
    if (!includesAll || errors.length > 0 || this.#failing.size === 0) return;
    this.#failing.clear();
    log.info("all devices can be scanned again");
  }

  #scheduleTick(): void {
    this.#cancelTick();
    const { clock, isPolling, tracker } = this.#options;
    const { tickMs } = this.#options.settings();
    if (this.#isStopped || (!isPolling && !tracker.needsTick)) {
      this.#lastTickMs = -Infinity;
      return;
    }
    const { monotonicMs } = clock.now();
    if (this.#lastTickMs === -Infinity) this.#lastTickMs = monotonicMs;
    // A session already overdue at the last tick belongs to a device that could not be scanned; do not schedule an
    // earlier tick for it.
    const deadlineMs = tracker.nextDeadlineMs(this.#lastTickMs) ?? Infinity;
    const atMs = Math.min(this.#lastTickMs + tickMs, deadlineMs);
    this.#cancelTick = clock.after(Math.max(1, atMs - monotonicMs), () => {
      this.#lastTickMs = clock.now().monotonicMs;
      void this.#scan("tick", isPolling ? "list" : tracker.tickedDevices);
    });
  }

  #scheduleReconcile(): void {
    this.#cancelReconcile();
    const { clock } = this.#options;
    const { reconcileMs } = this.#options.settings();
    if (reconcileMs === 0 || this.#isStopped) return;
    this.#cancelReconcile = clock.after(reconcileMs, () => {
      // This scan includes everything a tick would scan.
      if (this.#lastTickMs !== -Infinity) this.#lastTickMs = clock.now().monotonicMs;
      this.#scheduleTick();
      void this.#scan("reconcile", "list");
      this.#scheduleReconcile();
    });
  }
}

/** Whether the scan was caused by a timer alone. Such scans include all connected peers. */
export function isPeriodic(reason: ScanReason): boolean {
  return reason === "tick" || reason === "reconcile" || reason === "viewer";
}
