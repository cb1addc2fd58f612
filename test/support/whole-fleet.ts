/** A hub and gateways, all with their real code and stores, on hand clocks and a network whose failures a test chooses. */

import { Database } from "bun:sqlite";
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { newId } from "../../src/base/new-id.ts";
import type { Settings } from "../../src/config/config.ts";
import { eventOf } from "../../src/events/event.ts";
import type { HubAnswer } from "../../src/fleet/messages.ts";
import { checkEvents, checkState } from "../../src/hub/check-messages.ts";
import { Store } from "../../src/store/store.ts";
import type { HubResult, HubTransport } from "../../src/uplink/hub-transport.ts";
import { StateReport } from "../../src/uplink/state-report.ts";
import { Uplink } from "../../src/uplink/uplink.ts";
import { HandClock } from "./clock.ts";
import type { Fate } from "./fake-transport.ts";
import { startHub } from "./fleet.ts";

const STEP_MS = 5000;
const LOST: HubResult = { type: "retry", reason: "ECONNRESET", afterMs: null };
const silent = { debug() {}, info() {}, warn() {}, error() {} };

export interface StoredAtHub {
  readonly gateway: string;
  readonly epoch: string;
  readonly seq: number;
  readonly id: string;
  readonly body: string;
}

/** The hub, which can be killed, and whose store can be copied, put back and deleted. */
export class HubInTest {
  readonly clock = new HandClock();
  readonly #settings: Settings;
  readonly #folder: string;
  #running: Awaited<ReturnType<typeof startHub>> | null = null;
  readonly #names: readonly string[];

  constructor(settings: Settings, folder: string, names: readonly string[]) {
    this.#settings = settings;
    this.#folder = folder;
    this.#names = names;
  }

  async start(): Promise<void> {
    const { clock } = this;
    const settings = this.#settings;
    const directory = newFolder(this.#folder);
    this.#running = await startHub({ clock, settings, directory });
    for (const name of this.#names) {
      if (this.#running.hub.stages.enrolled.get(name) === null) this.#running.hub.enroll(name);
    }
  }

  /** As `kill -9` does: nothing is saved. */
  kill(): void {
    const running = this.#running;
    this.#running = null;
    this.clock.forgetTimers();
    running?.store[Symbol.dispose]();
  }

  async restart(): Promise<void> {
    this.kill();
    await this.start();
  }

  copyStore(): void {
    this.kill();
    copyFolder(this.#folder, "now", "copy");
  }

  /** Puts the copy back; without a copy the store is empty. */
  putBack(): void {
    this.kill();
    copyFolder(this.#folder, "copy", "now");
  }

  wipe(): void {
    this.kill();
    rmSync(join(this.#folder, "now"), { recursive: true, force: true });
  }

  /** null: the hub does not run. */
  receive(gateway: string, type: "events" | "state", json: string): HubAnswer | null {
    const intake = this.#running?.hub.stages.intake;
    if (intake === undefined) return null;
    if (type === "state") {
      const checked = checkState(JSON.parse(json));
      if ("problem" in checked) throw new Error(checked.problem);
      return intake.state(gateway, checked.message);
    }
    const checked = checkEvents(JSON.parse(json));
    if ("problem" in checked) throw new Error(checked.problem);
    return intake.events(gateway, checked.message);
  }

  /** Each place of an event in the file, in the order of the gateways' numbers. */
  get events(): StoredAtHub[] {
    using file = new Database(join(this.#folder, "now", "wgmon.db"), { readonly: true });
    return file
      .query<StoredAtHub, []>(
        `SELECT gateway, epoch, fleet_events.seq AS seq, events.id AS id, body FROM fleet_events
         JOIN fleet_epochs ON fleet_epochs.id = source JOIN events ON events.seq = event
         ORDER BY gateway, source, fleet_events.seq`,
      )
      .all();
  }

  /** The ids of all events of gateways, without their places. */
  get ids(): string[] {
    using file = new Database(join(this.#folder, "now", "wgmon.db"), { readonly: true });
    return file
      .query<{ id: string }, []>("SELECT id FROM events WHERE type = 'device.added'")
      .all()
      .map(({ id }) => id);
  }

  /** The types of the hub's own events, in order. */
  get ownTypes(): string[] {
    const none = { type: null, publicKey: null, sinceMs: null, from: null };
    return this.#running!.store.events.query({ order: "oldest", limit: 1e6, ...none })
      .map(({ event }) => event.type)
      .filter((type) => /^(?:gateway|fleet)\./.test(type));
  }
}

/** A gateway with its store and uplink, which can be killed, and whose store can be copied, put back and deleted. */
export class GatewayInTest {
  readonly name: string;
  readonly clock = new HandClock();
  readonly #folder: string;
  readonly #hub: HubInTest;
  readonly #nextFate: () => Fate;
  #store: Store | null = null;
  #uplink: Uplink | null = null;
  #startedAtMs = 0;

  constructor(name: string, folder: string, hub: HubInTest, nextFate: () => Fate) {
    this.name = name;
    this.#folder = folder;
    this.#hub = hub;
    this.#nextFate = nextFate;
  }

  async start(): Promise<void> {
    const { clock, name } = this;
    const directory = newFolder(this.#folder);
    const store = await Store.open({ directory, clock, log: silent });
    this.#store = store;
    this.#startedAtMs = clock.now().wallMs;
    this.#uplink = new Uplink({
      key: "hub",
      placeKey: "1",
      store,
      clock,
      log: silent,
      transport: this.#transport(),
      report: new StateReport({
        program: "0.1.0",
        startedAtMs: this.#startedAtMs,
        now: () => clock.now(),
        host: () => name,
        devices: () => [],
        count: () => 0,
        peers: () => [],
        inCurrentClock: (peer) => peer,
        session: () => null,
        nameOf: () => null,
        tagsOf: () => [],
      }),
    });
    this.#uplink.start();
  }

  kill(): void {
    this.#uplink?.close();
    this.#uplink = null;
    this.clock.forgetTimers();
    this.#store?.[Symbol.dispose]();
    this.#store = null;
  }

  async restart(): Promise<void> {
    this.kill();
    await this.start();
  }

  copyStore(): void {
    this.kill();
    copyFolder(this.#folder, "now", "copy");
  }

  putBack(): void {
    this.kill();
    copyFolder(this.#folder, "copy", "now");
  }

  /** Records events. Returns their ids. */
  record(count: number): void {
    const { clock, name } = this;
    const atMs = clock.now().wallMs;
    const change = { type: "device.added", atMs, device: "wg0", listenPort: 0 } as const;
    const events = Array.from({ length: count }, () => ({
      event: eventOf(change, { id: newId("evt"), host: name, name: null }),
      targets: [],
    }));
    this.#store!.record({ events, sessions: [], ended: [], devices: null }, 0);
    this.#uplink!.eventsAdded();
  }

  /** Each event in the store: its place, and its body as it is stored. */
  get events(): StoredAtHub[] {
    using file = new Database(join(this.#folder, "now", "wgmon.db"), { readonly: true });
    const rows = file
      .query<Omit<StoredAtHub, "gateway" | "epoch">, []>("SELECT seq, id, body FROM events")
      .all();
    return this.#store!.epochs.all().flatMap(({ epoch, first, end }) =>
      rows
        .filter(({ seq }) => seq >= first && seq < (end ?? Infinity))
        .map((row) => ({ gateway: this.name, epoch, ...row })),
    );
  }

  get reason(): string {
    return this.#uplink!.state.reason;
  }

  #transport(): HubTransport {
    const send = async (type: "events" | "state", message: object): Promise<HubResult> => {
      const json = JSON.stringify(message);
      await Promise.resolve();
      const fate = this.#nextFate();
      if (fate === "lost" || fate === "hang") return LOST;
      const answer = this.#hub.receive(this.name, type, json);
      await Promise.resolve();
      if (answer === null || fate !== "ok") return LOST;
      return { type: "answer", answer: JSON.parse(JSON.stringify(answer)) as HubAnswer };
    };
    return {
      name: "hub https://hub.example.net",
      isStream: false,
      sendEvents: (message) => send("events", message),
      replayEvents: (message) => send("events", message),
      sendState: (message) => send("state", message),
      close() {},
    };
  }
}

/** Lets time pass for all, and lets all messages arrive. */
export async function pass(
  ms: number,
  hub: HubInTest,
  gateways: readonly GatewayInTest[],
): Promise<void> {
  for (let left = ms; left > 0; left -= STEP_MS) {
    const step = Math.min(left, STEP_MS);
    hub.clock.advance(step);
    for (const { clock } of gateways) clock.advance(step);
    await settle();
  }
}

export async function settle(): Promise<void> {
  for (let turn = 0; turn < 40; turn++) await Promise.resolve();
}

function newFolder(folder: string): string {
  const path = join(folder, "now");
  mkdirSync(path, { recursive: true });
  return path;
}

function copyFolder(folder: string, from: string, to: string): void {
  rmSync(join(folder, to), { recursive: true, force: true });
  try {
    cpSync(join(folder, from), join(folder, to), { recursive: true });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
}
