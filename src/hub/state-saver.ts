/** Saves what the next run of the hub needs: the progress of sessions, and the state of each gateway. */

import type { Clock } from "../base/clock.ts";
import { saved, type Session } from "../sessions/session.ts";
import type { Store } from "../store/store.ts";
import type { EnrolledGateways, GatewayState } from "./enrolled.ts";
import type { FleetState, GatewayCondition } from "./fleet-state.ts";

/** Maximum number of sessions saved in one step; more would delay messages. */
const SLICE = 200;

interface Options {
  readonly clock: Clock;
  readonly store: Store;
  readonly enrolled: EnrolledGateways;
  readonly fleet: FleetState;
  /** Whether a gateway reports to the hub that works; null: this one works. */
  readonly conditionAtOther: (gateway: string) => GatewayCondition | null;
}

export class StateSaver {
  readonly #options: Options;
  /** Sessions that are stored in their current state. A session is a new object after each change. */
  readonly #saved = new WeakSet<Session>();
  readonly #states = new Map<string, string>();
  #cancel = () => {};

  constructor(options: Options) {
    this.#options = options;
  }

  /** Begins to save what has changed. */
  save(): void {
    this.saveStates();
    this.#saveSlice([...this.#options.fleet.sessions]);
  }

  /** Saves everything now. */
  saveAll(): void {
    this.#cancel();
    this.saveStates();
    this.#put([...this.#options.fleet.sessions]);
  }

  /** Saves the states of the gateways: their conditions must survive a crash of the hub. */
  saveStates(): void {
    const { enrolled, fleet, store, conditionAtOther } = this.#options;
    const changed = new Map<string, string>();
    // The rows in memory do not survive, and those of gateways are not copied back to the file.
    if (store.problem !== null) this.#states.clear();
    for (const { name, signedAtSeconds } of enrolled.all) {
      const condition = conditionAtOther(name) ?? fleet.condition(name);
      const state: GatewayState = { saved: fleet.saved(name), condition, signedAtSeconds };
      const text = JSON.stringify(state);
      if (this.#states.get(name) === text) continue;
      this.#states.set(name, text);
      changed.set(name, text);
    }
    store.fleet.saveStates(changed);
    // The file failed just now.
    if (store.problem !== null) this.#states.clear();
  }

  /** Saves one slice now and the rest later, so that messages are answered in between. */
  #saveSlice(sessions: readonly Session[]): void {
    this.#cancel();
    const changed = sessions.filter((session) => !this.#saved.has(session));
    if (changed.length === 0) return;
    this.#put(changed.slice(0, SLICE));
    const rest = changed.slice(SLICE);
    this.#cancel = this.#options.clock.after(0, () => this.#saveSlice(rest));
  }

  #put(sessions: readonly Session[]): void {
    const { clock, store, fleet } = this.#options;
    const now = clock.now();
    const rows = sessions.flatMap((session) => {
      const { device, peer } = session;
      // It may have ended, or changed, since the slice was made.
      if (fleet.session(device, peer.publicKey) !== session) return [];
      this.#saved.add(session);
      return saved(fleet.storedSession(device, peer.publicKey)!, now);
    });
    if (rows.length > 0) store.sessions.save(rows);
  }
}
