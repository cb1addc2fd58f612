/** The connection to the hub, if there is one. Its code is loaded only then. */

import type { Clock } from "../base/clock.ts";
import type { QueueState } from "../delivery/target-queue.ts";
import type { DeliveryResult } from "../delivery/target.ts";
import type { ScanResult } from "../kernel/devices.ts";
import type { Log } from "../platform/log.ts";
import type { Change } from "../sessions/change.ts";
import type { Store } from "../store/store.ts";
import { HUB_KEY, type HubSettings } from "./hub-settings.ts";
import type { createUplink } from "./load-uplink.ts";
import type { StateReport, StateSource } from "./state-report.ts";
import type { Uplink, UplinkProgress } from "./uplink.ts";

export interface HubLinkOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Store;
  readonly source: StateSource;
  /** Called with each attempt's target and result. */
  readonly attempted: (target: string, result: DeliveryResult["type"]) => void;
}

interface Loaded {
  readonly uplink: Uplink;
  readonly report: StateReport;
}

/** The hub as one of the targets: no event is queued for it, because it reads the events in the store. */
interface HubTarget {
  readonly key: string;
  readonly state: QueueState;
  accepts(): boolean;
}

const SIGNED = { id: "", timestamp: "0", body: new Uint8Array() };

export class HubLink {
  readonly #options: HubLinkOptions;
  #settings: HubSettings | null = null;
  #loaded: Loaded | null = null;
  /** That of the last hub; null: there was none. */
  #report: StateReport | null = null;
  #isStarted = false;
  #isStopped = false;

  constructor(options: HubLinkOptions) {
    this.#options = options;
  }

  /** null: there is no hub. */
  set(settings: HubSettings | null): void {
    const isSame = identity(settings) === identity(this.#settings);
    this.#settings = settings;
    // Names and tags may have changed.
    if (isSame) this.#loaded?.report.compareSoon();
    else {
      this.#loaded?.uplink.close();
      this.#loaded = null;
      void this.#load();
    }
  }

  /** Call it after the first scan. */
  start(): void {
    this.#isStarted = true;
    void this.#load();
  }

  async #load(): Promise<void> {
    const settings = this.#settings;
    if (settings === null || !this.#isStarted || this.#isStopped) return;
    const { createUplink } = await import("./load-uplink.ts");
    this.#use(settings, createUplink);
  }

  /** The settings may have changed while the code was loaded. */
  #use(settings: HubSettings, create: typeof createUplink): void {
    if (settings !== this.#settings || this.#isStopped || this.#loaded !== null) return;
    this.#loaded = create(settings, this.#options, this.#report);
    this.#report = this.#loaded.report;
    this.#loaded.uplink.start();
  }

  onScan(scan: ScanResult, changes: readonly Change[]): void {
    if (this.#loaded?.report.onScan(scan, changes) === true) this.#loaded.uplink.stateChanged();
  }

  /** New events are in the store. */
  eventsAdded(): void {
    this.#loaded?.uplink.eventsAdded();
  }

  /** The times of the peers have changed. */
  clockSet(): void {
    this.#loaded?.report.compareSoon();
  }

  /** Notices what `wgmon outbox` wrote to the store. */
  refresh(): void {
    this.#loaded?.uplink.refresh();
  }

  /** The hub as a target: empty without a hub. */
  get targets(): readonly HubTarget[] {
    const uplink = this.#loaded?.uplink;
    if (uplink === undefined) return [];
    return [{ key: HUB_KEY, state: uplink.state, accepts: () => false }];
  }

  /** The state of the hub as a target, and how far it has the events. Empty without a hub. */
  get states(): readonly (QueueState & { readonly hub: UplinkProgress })[] {
    const uplink = this.#loaded?.uplink;
    return uplink === undefined ? [] : [{ ...uplink.state, hub: uplink.progress }];
  }

  has(key: string): boolean {
    return key === HUB_KEY && this.#loaded !== null;
  }

  retry(): void {
    this.#loaded?.uplink.retry();
  }

  /** Sends the state, and returns whether the hub accepted it. null: there is no hub. */
  async test(): Promise<DeliveryResult | null> {
    return (await this.#loaded?.uplink.test()) ?? null;
  }

  async stop(withinMs: number): Promise<void> {
    this.#isStopped = true;
    await this.#loaded?.uplink.stop(withinMs);
  }
}

/** Equal for equal settings. */
function identity(settings: HubSettings | null): string {
  if (settings === null) return "";
  if (settings.type === "nats") return JSON.stringify(settings);
  const { secret, ...rest } = settings;
  return JSON.stringify([rest, secret.sign(SIGNED)]);
}
