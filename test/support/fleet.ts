/** A hub on a hand clock, and gateways that report to it. */

import type { Settings } from "../../src/config/config.ts";
import type { Target } from "../../src/delivery/target.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { eventOf } from "../../src/events/event.ts";
import type {
  EventsMessage,
  HubAnswer,
  PeerReport,
  StateMessage,
} from "../../src/fleet/messages.ts";
import { checkEvents, checkState } from "../../src/hub/check-messages.ts";
import { Hub } from "../../src/hub/hub.ts";
import { loadEngine } from "../../src/live-alerts/load-engine.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "./clock.ts";
import { ALICE, peer } from "./peers.ts";

interface HubSetup {
  readonly clock?: HandClock;
  /** null: in memory. */
  readonly directory?: string | null;
  readonly settings: Settings;
  readonly targets?: readonly Target[];
}

export interface Line {
  readonly level: string;
  readonly text: string;
}

/** Call `hub.stop()` at the end, unless the hub is to crash. */
export async function startHub({ clock = new HandClock(), directory = null, ...rest }: HubSetup) {
  const lines: Line[] = [];
  const write = (level: string) => (text: string) => void lines.push({ level, text });
  const log = {
    debug: write("debug"),
    info: write("info"),
    warn: write("warn"),
    error: write("error"),
  };
  const store = await Store.open({ directory, clock, log, boot: "boot", isHub: true });
  const hub = new Hub(rest.settings, {
    clock,
    machine: clock,
    log,
    store,
    makeTargets: () => rest.targets ?? [],
    reverseLookup: () => Promise.reject(new Error()),
    engineClass: rest.settings.alerts.length === 0 ? null : await loadEngine(),
    lookup: () => null,
  });
  hub.start();
  return { hub, clock, store, lines };
}

type Running = Awaited<ReturnType<typeof startHub>>;

/** A gateway with its store: it numbers its events, and keeps those that it did not lose. */
export class TestGateway {
  readonly name: string;
  epoch = "00000001";
  first = 1;
  readonly events: { seq: number; event: Event }[] = [];
  order = 0;
  last = 0;
  host: string;
  startedAtMs: number;
  /** The gateway's clock minus that of the test. */
  offsetMs = 0;
  peers: PeerReport[] = [];
  readonly #clock: HandClock;

  constructor(name: string, clock: HandClock) {
    this.name = name;
    this.host = name;
    this.#clock = clock;
    this.startedAtMs = clock.now().wallMs;
  }

  get nowMs(): number {
    return this.#clock.now().wallMs + this.offsetMs;
  }

  record(event: Event): Event {
    this.last++;
    this.events.push({ seq: this.last, event });
    return event;
  }

  /** A peer connects. */
  connect(fields: { readonly atMs?: number; readonly id?: string } = {}): Event {
    const { atMs = this.nowMs } = fields;
    const alice = peer({ publicKey: ALICE, endpoint: "198.51.100.7:40001" });
    const session = { startedAtMs: atMs, rxBytes: 148, txBytes: 92, roams: 0 };
    const change = { type: "peer.connected", atMs, device: "wg0", peer: alice, session } as const;
    return this.record(eventOf({ ...change, initial: false }, this.#head(fields.id)));
  }

  disconnect(fields: {
    readonly startedAtMs: number;
    readonly atMs?: number;
    readonly rxBytes?: number;
  }): Event {
    const { startedAtMs, atMs = this.nowMs, rxBytes = 5000 } = fields;
    const alice = peer({ publicKey: ALICE, endpoint: "198.51.100.7:40001" });
    const session = { startedAtMs, rxBytes, txBytes: 3000, roams: 0 };
    const change = {
      type: "peer.disconnected",
      atMs,
      device: "wg0",
      peer: alice,
      session,
      endedAtMs: atMs,
      durationMs: atMs - startedAtMs,
      reason: "idle",
    } as const;
    return this.record(eventOf(change, this.#head()));
  }

  device(atMs = this.nowMs): Event {
    const change = { type: "device.added", atMs, device: "wg0", listenPort: 51820 } as const;
    return this.record(eventOf(change, this.#head()));
  }

  /** The message that continues after a number. */
  message(after: number, max = 500): EventsMessage {
    const events = this.events.filter(({ seq }) => seq > after).slice(0, max);
    const before = this.events.find(({ seq }) => seq === after);
    const { epoch, first } = this;
    return JSON.parse(
      JSON.stringify({
        version: 1,
        epoch,
        first,
        after: before === undefined ? null : { seq: after, id: before.event.id },
        events,
      }),
    ) as EventsMessage;
  }

  state(fields: Partial<StateMessage> = {}): StateMessage {
    this.order++;
    const { epoch, first, last, host, order, peers, nowMs, startedAtMs } = this;
    return {
      version: 1,
      epoch,
      first,
      last: Math.max(last, first - 1),
      host,
      program: "0.1.0",
      startedAtMs,
      nowMs,
      order,
      isStopping: false,
      isComplete: order === 1,
      hasMore: false,
      devices: [{ name: "wg0", listenPort: 51820, publicKey: null, problem: null }],
      peers,
      removed: [],
      ...fields,
    };
  }

  report(to: Running, fields: Partial<StateMessage> = {}): HubAnswer {
    const checked = checkState(JSON.parse(JSON.stringify(this.state(fields))));
    if ("problem" in checked) throw new Error(checked.problem);
    return to.hub.stages.intake.state(this.name, checked.message);
  }

  send(to: Running, message: EventsMessage): HubAnswer {
    const checked = checkEvents(message);
    if ("problem" in checked) throw new Error(checked.problem);
    return to.hub.stages.intake.events(this.name, checked.message);
  }

  /** Sends all events from what the hub has confirmed on, as a gateway does. Returns the last answer. */
  sendAll(to: Running, max = 500): HubAnswer {
    let answer = this.send(to, this.message(this.first - 1, max));
    for (let tries = 0; tries < 1000; tries++) {
      if (answer.problem === "diverged") {
        this.epoch = (Number.parseInt(this.epoch, 16) + 1).toString(16).padStart(8, "0");
        this.first = this.events[0]?.seq ?? this.last + 1;
        answer = this.send(to, this.message(this.first - 1, max));
        continue;
      }
      if (answer.problem !== null || answer.confirmed === null) return answer;
      if (answer.confirmed >= (this.events.at(-1)?.seq ?? 0)) return answer;
      answer = this.send(to, this.message(answer.confirmed, max));
    }
    throw new Error("the hub does not confirm all events");
  }

  #head(id = `evt_${crypto.randomUUID().replaceAll("-", "")}`) {
    return { id, host: this.host, name: "alice" };
  }
}

/** A peer as its gateway reports it. */
export function aliceReport(fields: Partial<PeerReport> = {}): PeerReport {
  return {
    device: "wg0",
    publicKey: ALICE,
    name: "alice",
    tags: ["staff"],
    allowedIps: ["10.0.0.2/32"],
    endpoint: "198.51.100.7:40001",
    lastHandshakeMs: null,
    rxBytes: 0,
    txBytes: 0,
    persistentKeepaliveSeconds: 0,
    session: null,
    ...fields,
  };
}
