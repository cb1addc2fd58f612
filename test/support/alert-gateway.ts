/**
 * The whole program with fake inputs and a real store, for tests of alerts: a test changes the peers of wg0 and lets time
 * pass. As in the kernel, a scan reports only peers whose handshake, endpoint or counters changed.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { AlertEngine } from "../../src/alerts/engine.ts";
import type { Rule } from "../../src/alerts/rule.ts";
import { App } from "../../src/app.ts";
import type { Device, Peer } from "../../src/base/wireguard.ts";
import type { Settings } from "../../src/config/config.ts";
import type { DeliveryResult, Target } from "../../src/delivery/target.ts";
import type { AlertEvent, Event } from "../../src/events/event-schema.ts";
import type { ScanResult } from "../../src/kernel/devices.ts";
import { needsEngine } from "../../src/live-alerts/live-alerts.ts";
import type { Inputs } from "../../src/scan/inputs.ts";
import { Store } from "../../src/store/store.ts";
import { keyOf, MONDAY } from "./alert-story.ts";
import { HandClock } from "./clock.ts";
import { device, peer, ScanMaker } from "./peers.ts";
import { run, webhook } from "./settings.ts";

export const TICK_MS = 10_000;
const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** A clock whose machine can be suspended. */
class GatewayClock extends HandClock {
  #aheadMs: number;

  /** @param aheadMs how much longer the machine has run than the clock. */
  constructor(wallMs: number, aheadMs = 0) {
    super(wallMs);
    this.#aheadMs = aheadMs;
  }

  override bootMs(): number {
    return super.bootMs() + this.#aheadMs;
  }

  suspend(ms: number): void {
    this.#aheadMs += ms;
    this.jump(ms);
  }
}

export class AlertGateway implements AsyncDisposable {
  clock = new GatewayClock(MONDAY);
  readonly folder = mkdtempSync(join(tmpdir(), "wgmon-alerts-"));
  /** The peers of wg0 by name. Their names are in the settings. */
  readonly peers = new Map<string, Peer>();
  /** Peers that send something before each scan. */
  readonly active = new Set<string>();
  isDevicePresent = true;
  isUnreadable = false;
  scans = 0;
  lists = 0;
  /** Events that were sent, each once for a target. */
  readonly sent: { readonly target: string; readonly event: Event }[] = [];
  readonly verdicts = new Map<string, DeliveryResult>();
  #rules: readonly Rule[];
  #monitor: "poll" | "nflog" = "poll";
  #toml = "";
  #index = 3;
  #maker = new ScanMaker();
  #app: App | null = null;
  #store: Store | null = null;
  #mute: ReadonlySet<string> = new Set();

  constructor(rules: readonly Rule[]) {
    this.#rules = rules;
  }

  get app(): App {
    return this.#app!;
  }

  get store(): Store {
    return this.#store!;
  }

  get alerts() {
    return this.app.stages.alerts;
  }

  /** The sent events about alerts, as texts. */
  get texts(): string[] {
    return this.sent.flatMap(({ target, event }) => {
      if (!("alerts" in event.data)) return [];
      const { type, data } = event as AlertEvent;
      const kind = "reminder" in data && data.reminder ? "reminder" : type.slice("alert.".length);
      return `${target}: ${kind} ${data.rule}: ${data.sentence}`;
    });
  }

  add(name: string, fields: Parameters<typeof peer>[0] = {}): void {
    const publicKey = keyOf(name);
    const allowedIps = [`10.0.0.${this.peers.size + 2}/32`];
    this.peers.set(name, peer({ publicKey, allowedIps, endpoint: null, ...fields }));
  }

  set(name: string, fields: Partial<Peer>): void {
    this.peers.set(name, { ...this.peers.get(name)!, ...fields });
  }

  /** The peer completes a handshake, and sends something before each scan from now on. */
  connect(name: string): void {
    this.#handshake(name);
    this.active.add(name);
  }

  mute(...names: string[]): void {
    this.#mute = new Set(names);
  }

  /** Deletes wg0 and creates it again, without peers. */
  recreate(): void {
    this.#index++;
    this.peers.clear();
    this.active.clear();
  }

  async start(monitor: "poll" | "nflog" = this.#monitor, toml = this.#toml): Promise<void> {
    this.#monitor = monitor;
    this.#toml = toml;
    const { clock } = this;
    this.#maker = new ScanMaker();
    const store = await Store.open({
      directory: this.folder,
      clock,
      log: silent,
      boot: clock.bootId,
    });
    this.#store = store;
    const settings = this.#settings();
    this.#app = new App(settings, {
      clock,
      machine: clock,
      log: silent,
      inputs: this.#inputs(),
      store,
      firewall: null,
      makeTargets: ({ targets }) => targets.map(({ name }) => this.#target(name!)),
      reverseLookup: () => Promise.resolve([]),
      engineClass: needsEngine(settings.alerts, store.alerts.loadState()) ? AlertEngine : null,
    });
    this.#app.start();
    // The scans that warm the program up.
    for (let count = 0; count < 24; count++) {
      clock.advance(25);
      await settled();
    }
  }

  async reload(rules: readonly Rule[]): Promise<void> {
    this.#rules = rules;
    this.app.reload(this.#settings());
    await settled();
  }

  /** The rules of the next start. */
  setRules(rules: readonly Rule[]): void {
    this.#rules = rules;
  }

  async stop(): Promise<void> {
    await this.#app?.stop();
    this.#app = null;
  }

  /** Ends the program without any chance to save something. */
  kill(): void {
    // The timers of the killed program never fire.
    this.clock = new GatewayClock(this.clock.now().wallMs, this.clock.bootMs());
    this.#app = null;
    this.#store![Symbol.dispose]();
  }

  /** Lets time pass while wgmon runs. */
  async pass(ms: number): Promise<void> {
    for (let leftMs = ms; leftMs > 0; leftMs -= TICK_MS) {
      for (const name of this.active) this.#beActive(name);
      this.clock.advance(Math.min(leftMs, TICK_MS));
      await settled();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true });
  }

  #beActive(name: string): void {
    const known = this.peers.get(name);
    if (known === undefined) return;
    this.set(name, { rxBytes: known.rxBytes + 1000, txBytes: known.txBytes + 1000 });
    if (this.clock.now().wallMs - (known.lastHandshakeMs ?? 0) >= 120_000) this.#handshake(name);
  }

  #handshake(name: string): void {
    const known = this.peers.get(name)!;
    const endpoint = known.endpoint ?? peer().endpoint;
    const rest = { rxBytes: known.rxBytes + 1000, txBytes: known.txBytes + 1000 };
    this.set(name, { ...rest, endpoint, lastHandshakeMs: this.clock.now().wallMs });
  }

  get #device(): Device {
    return device({ index: this.#index });
  }

  #scan(): ScanResult {
    this.scans++;
    if (this.isUnreadable) {
      const problems = [new Error("unused")].slice(1);
      return { devices: [], removed: [], present: null, problems, failed: ["wg0"] };
    }
    const found = this.isDevicePresent ? [[this.#device, [...this.peers.values()]] as const] : [];
    const { devices, removed } = this.#maker.scan(...found);
    const reported = devices.map((each) => ({
      ...each,
      changed: each.changed.filter(({ peer: now, before }) =>
        before === null
          ? now.lastHandshakeMs !== null
          : now.rxBytes !== before.rxBytes ||
            now.txBytes !== before.txBytes ||
            now.lastHandshakeMs !== before.lastHandshakeMs,
      ),
    }));
    const present = new Set(devices.map((each) => each.device.name));
    return { devices: reported, removed, present, problems: [] };
  }

  #inputs(): Inputs {
    const lastScanned = () => (this.isDevicePresent ? [this.#device] : []);
    return {
      devices: {
        get lastScanned() {
          return lastScanned();
        },
        count: () => this.peers.size,
        needsNewDump: () => true,
        peers: () => {
          this.lists++;
          return [...this.peers.values()];
        },
        scan: () => Promise.resolve(this.#scan()),
        [Symbol.dispose]() {},
      },
      capture: { setPorts() {}, select() {} },
      openSentTap: () => null,
      openSample: () => Promise.resolve({ setPorts() {}, close() {} }),
      wakeUp: { monitor: this.#monitor, reason: null },
      checkWakeUp: () => Promise.resolve([]),
      firstScan: this.#scan(),
      start() {},
      close() {},
    } as unknown as Inputs;
  }

  #settings(): Settings {
    const { settings } = run([], {
      toml: `names = "off"\nmonitor = "${this.#monitor}"\n${this.#toml}`,
    });
    const names = [...this.peers.keys(), "alice", "bob", "carol"];
    const peers = new Map(
      names.map((name) => [
        keyOf(name),
        { name, tags: [], mute: this.#mute.has(name), idleTimeoutMs: null },
      ]),
    );
    const targets = ["pager", "mail"].map((name) =>
      webhook(`https://${name}.example`, "json", { name }),
    );
    return { ...settings, peers, targets, alerts: this.#rules } as Settings;
  }

  #target(name: string): Target {
    return {
      key: name,
      channel: {
        name: `${name} (json https://${name}.example)`,
        attempt: ({ events }) => {
          const verdict = this.verdicts.get(name) ?? { type: "delivered" };
          if (verdict.type === "delivered") {
            // After a crash, an event may come again.
            const isKnown = ({ id }: Event) =>
              this.sent.some(({ target, event }) => target === name && event.id === id);
            const news = events.filter((event) => !isKnown(event));
            this.sent.push(...news.map((event) => ({ target: name, event })));
          }
          return Promise.resolve(verdict);
        },
      },
      accepts: ({ type }) => type.startsWith("alert."),
      digestMs: 0,
    };
  }
}

/** Lets all pending promise callbacks run. */
async function settled(): Promise<void> {
  for (let i = 0; i < 6; i++) await new Promise((resolve) => setImmediate(resolve));
}
