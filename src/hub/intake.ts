/**
 * Takes the messages of the gateways, whatever transport they came by, and makes the answers; more than 400 lines because
 * all rules of the protocol meet here.
 */

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { newId } from "../base/new-id.ts";
import type { Event } from "../events/event-schema.ts";
import { deviceOf, isAlert, isFleetEvent } from "../events/event.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import { FLEET_VERSION, type HubAnswer, type StateMessage } from "../fleet/messages.ts";
import type { ScanResult } from "../kernel/devices.ts";
import type { Log } from "../platform/log.ts";
import type { EpochRow } from "../store/fleet-rows.ts";
import type { Store } from "../store/store.ts";
import type { CheckedEvents } from "./check-messages.ts";
import { type Gap, joinedGaps, planCommit } from "./commit-plan.ts";
import type { EnrolledGateways } from "./enrolled.ts";
import type { FleetReporter } from "./fleet-reporter.ts";
import type { FleetState } from "./fleet-state.ts";
import type { GatewayWatch, WatchFinding } from "./gateway-watch.ts";
import { duplicateEvent, eventOfFinding, gapEvent } from "./hub-event.ts";
import { endedWithoutEvent } from "./session-rows.ts";

/** If the current epoch was heard within this time, another epoch is another gateway with the same name. */
const SAME_TIME_MS = 60_000;
/** A duplicate name is reported at most once in this time. */
const DUPLICATE_MS = 3_600_000;
const HOUR_MS = 3_600_000;
/** New epochs of one gateway in an hour: each is a row that is never deleted. */
const EPOCHS_MAX = 50;
/** Events fleet.gap of one gateway in an hour. */
const GAPS_MAX = 100;
/** A gateway's wrong events are logged at most once in this time. */
const WARNING_MS = 60_000;

interface Options {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Store;
  readonly enrolled: EnrolledGateways;
  readonly state: FleetState;
  readonly watch: GatewayWatch;
  readonly reporter: FleetReporter;
  /** The hub's name. */
  readonly host: () => string;
  /** Called when the condition of a gateway has changed. */
  readonly onCondition: () => void;
  /** Receives what a state message says, and what became unknown because a gateway is lost. */
  readonly onScan: (scan: ScanResult) => void;
}

/** What is known of a gateway's epochs. */
interface Epochs {
  /** By the name of the epoch. */
  readonly rows: Map<string, EpochRow>;
  /** The epoch that the gateway reports as now; null: none is known. */
  current: string | null;
  /** The last message of the current epoch. Monotonic. */
  heardMs: number;
  /** The `confirmed` of the last answer; null: none since the hub started. */
  answered: number | null;
  /** The `confirmedSeq` at the last report, if the gateway had more events; null: it had none. */
  missingAfter: number | null;
  duplicateMs: number;
  /** The last warning about its events. Monotonic. */
  warnedMs: number;
  /** What was counted in the present hour. `sinceMs` is monotonic. */
  readonly hour: { sinceMs: number; gaps: number; epochs: number };
}

type Standing =
  | { readonly type: "accepted"; readonly row: EpochRow }
  | { readonly type: "diverged" | "duplicate-name" };

/** The gateway must try again later. */
export class TryLater extends Error {}

export class Intake {
  readonly #options: Options;
  /** Kept in memory, because the rows cannot be read while the store's file fails. */
  readonly #epochs = new Map<string, Epochs>();
  #isStopped = false;

  constructor(options: Options) {
    this.#options = options;
    for (const { name } of options.enrolled.all) this.add(name);
  }

  /** A gateway was enrolled. */
  add(gateway: string): void {
    if (this.#epochs.has(gateway)) return;
    const { store, state } = this.#options;
    const known = store.fleet.epochs(gateway);
    const rows = new Map(known.map((row) => [row.epoch, row]));
    const current = known.at(-1) ?? null;
    const unheard = {
      heardMs: -Infinity,
      answered: null,
      missingAfter: null,
      duplicateMs: -Infinity,
      warnedMs: -Infinity,
      hour: { sinceMs: -Infinity, gaps: 0, epochs: 0 },
    };
    this.#epochs.set(gateway, { rows, current: current?.epoch ?? null, ...unheard });
    if (current !== null) state.setProgress(gateway, current.epoch, current.confirmedSeq);
  }

  /** A gateway is not enrolled any more: its sessions end. Its events stay. */
  forget(gateway: string): void {
    const { state, reporter } = this.#options;
    const ended = [...state.storedSessions()].filter(({ device }) =>
      device.startsWith(`${gateway}/`),
    );
    reporter.endSessions(ended.map(endedWithoutEvent));
    this.#epochs.delete(gateway);
  }

  /** Asks for all events again, of one gateway or of all (null). Returns the number of gateways. */
  rebuild(gateway: string | null): number {
    const { store, state } = this.#options;
    store.fleet.unconfirm(gateway);
    let count = 0;
    for (const [name, epochs] of this.#epochs) {
      if (gateway !== null && gateway !== name) continue;
      count++;
      for (const [epoch, row] of epochs.rows) {
        epochs.rows.set(epoch, { ...row, confirmedSeq: row.firstSeq - 1 });
      }
      const current = currentOf(epochs);
      epochs.answered = null;
      epochs.missingAfter = current?.confirmedSeq ?? null;
      if (current !== null) state.setProgress(name, current.epoch, current.confirmedSeq);
    }
    return count;
  }

  /**
   * Stores events of a gateway, then answers.
   *
   * @param isSignOfLife false: the message waited somewhere, so the gateway may be lost.
   * @throws SystemError if the store cannot keep them. Then nothing is confirmed, and the gateway sends them again.
   */
  events(gateway: string, message: CheckedEvents, { isSignOfLife = true } = {}): HubAnswer {
    this.#checkStore();
    const standing = this.#standing(gateway, message, isSignOfLife);
    if (standing.type !== "accepted") return this.#answer(gateway, standing.type);
    const { row } = standing;
    const epochs = this.#epochs.get(gateway)!;
    const lastSeq = message.events.at(-1)?.seq ?? 0;
    const from = Math.min(message.after?.seq ?? Infinity, message.events[0]?.seq ?? Infinity);
    const ids = this.#options.store.fleet.idsAt(row.id, Math.min(from, lastSeq + 1), lastSeq);
    const plan = planCommit(message, {
      ...row,
      isAnswered: epochs.answered === row.confirmedSeq,
      idAt: (seq) => ids.get(seq) ?? null,
    });
    if (plan.type === "diverged") return this.#answer(gateway, "diverged");
    if (
      plan.type === "commit" &&
      (plan.placed.length > 0 || plan.confirmedSeq !== row.confirmedSeq)
    ) {
      this.#commit(gateway, row, plan);
    }
    if (!isSignOfLife) return this.#answer(gateway, null, false);
    this.#heard(gateway, false);
    return this.#answer(gateway, null);
  }

  /** Applies the state of a gateway, then answers. @throws SystemError if the hub is stopping. */
  state(gateway: string, message: StateMessage): HubAnswer {
    const { state, clock, onScan, reporter } = this.#options;
    this.#checkRunning();
    const standing = this.#standing(gateway, message, true);
    if (standing.type !== "accepted") return this.#answer(gateway, standing.type);
    const applied = state.applyState(gateway, message, clock.now());
    this.#heard(gateway, message.isStopping);
    if (applied.scan !== null) onScan(applied.scan);
    const ended = applied.ended.map((session) =>
      endedWithoutEvent(state.inGatewayTime(gateway, session)),
    );
    reporter.endSessions(ended);
    reporter.restartSessions(
      applied.restarted.map(({ before, session }) => ({
        before: state.inGatewayTime(gateway, before),
        session: state.inGatewayTime(gateway, session),
      })),
    );
    if (applied.isListed && standing.row.confirmedSeq >= message.last) this.#endUnknown(gateway);
    return {
      ...this.#answer(gateway, null),
      replayAfter: this.#replayAfter(gateway, standing.row.confirmedSeq, message.last),
      wantsAllPeers: applied.wantsAllPeers,
    };
  }

  /** From now on messages are refused, because the store is about to be closed. The gateways send them again. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Looks for gateways that are lost. Call it every few seconds. */
  tick(): void {
    const { watch, clock } = this.#options;
    this.#report(watch.tick(clock.now()));
  }

  #checkStore(): void {
    this.#checkRunning();
    const { problem } = this.#options.store;
    if (problem !== null) throw new SystemError("store events", "EIO", problem);
  }

  #checkRunning(): void {
    if (this.#isStopped) throw new SystemError("store events", "ESHUTDOWN");
  }

  /**
   * Finds the epoch of a message. One that is unknown becomes current, and any that is the first to be heard since the
   * hub started. Events that waited somewhere may be of an epoch that is over.
   */
  #standing(
    gateway: string,
    { epoch, first }: { readonly epoch: string; readonly first: number },
    isSignOfLife: boolean,
  ): Standing {
    const { monotonicMs } = this.#options.clock.now();
    const epochs = this.#epochs.get(gateway)!;
    const known = epochs.rows.get(epoch);
    const isHeard = epochs.heardMs !== -Infinity;
    if (isSignOfLife && known !== undefined && epochs.current !== epoch && isHeard) {
      if (monotonicMs - epochs.heardMs >= SAME_TIME_MS) return { type: "diverged" };
      this.#reportDuplicate(gateway, epochs);
      return { type: "duplicate-name" };
    }
    const row = known ?? this.#newEpoch(gateway, epoch, first);
    if (isSignOfLife) epochs.heardMs = monotonicMs;
    if (epochs.current !== epoch && (isSignOfLife || !isHeard)) {
      epochs.current = epoch;
      epochs.answered = null;
      epochs.missingAfter = null;
      this.#options.state.setProgress(gateway, epoch, row.confirmedSeq);
    }
    return { type: "accepted", row };
  }

  #newEpoch(gateway: string, epoch: string, firstSeq: number): EpochRow {
    const { hour } = this.#epochs.get(gateway)!;
    this.#beginHour(hour);
    if (hour.epochs >= EPOCHS_MAX) {
      throw new TryLater(`more than ${EPOCHS_MAX} new epochs in an hour`);
    }
    this.#checkStore();
    hour.epochs++;
    const id = this.#options.store.fleet.addEpoch(gateway, epoch, firstSeq);
    this.#checkStore();
    const row = { id, epoch, firstSeq, confirmedSeq: firstSeq - 1, hadSeq: firstSeq - 1 };
    this.#epochs.get(gateway)!.rows.set(epoch, row);
    return row;
  }

  #commit(
    gateway: string,
    row: EpochRow,
    plan: Extract<ReturnType<typeof planCommit>, { type: "commit" }>,
  ): void {
    const { store, reporter, state, clock, host } = this.#options;
    const { confirmedSeq } = plan;
    const known: { readonly seq: number; readonly event: number }[] = [];
    const fresh: CheckedEvents["events"][number][] = [];
    const gaps = [...plan.gaps];
    let refused = 0;
    for (const each of plan.placed) {
      const { seq, event } = each;
      const stored = store.fleet.eventOf(event.id);
      if (stored !== null) {
        known.push({ seq, event: stored });
      } else if (this.#isOfHub(event)) {
        gaps.push({ firstSeq: seq, lastSeq: seq });
        refused++;
      } else {
        fresh.push(each);
      }
    }
    const atMs = clock.now().wallMs;
    if (refused > 0) this.#warnRefused(gateway, refused);
    const own = this.#reportable(gateway, joinedGaps(gaps)).map((gap) =>
      gapEvent({ gateway, epoch: row.epoch, ...gap }, { id: newId("evt"), host: host(), atMs }),
    );
    reporter.reportEvents({
      gateway,
      fresh,
      own,
      also: (seqs) => {
        for (const { seq, event } of known) store.fleet.addPlace(row.id, seq, event);
        for (const [index, { seq }] of fresh.entries()) {
          store.fleet.addPlace(row.id, seq, seqs[index]!);
        }
        store.fleet.confirm(row.id, confirmedSeq);
      },
    });
    // If the file failed just now, the rows are in memory without their places. The gateway sends the events again.
    this.#checkStore();
    const epochs = this.#epochs.get(gateway)!;
    const hadSeq = Math.max(row.hadSeq, confirmedSeq);
    epochs.rows.set(row.epoch, { ...row, confirmedSeq, hadSeq });
    if (epochs.current === row.epoch) state.setProgress(gateway, row.epoch, confirmedSeq);
  }

  /** Whether only the hub can have recorded the event: it is about a gateway, or about a device such as `paris/wg0`. */
  #isOfHub(event: Event): boolean {
    if (isFleetEvent(event)) return true;
    const devices = [
      deviceOf(event),
      ...(isAlert(event) ? event.data.alerts.map((each) => each.device) : []),
    ];
    return devices.some((device) => device !== null && splitDevice(device).gateway !== null);
  }

  /** Events about gateways are those of the hub. A gateway can send others as fast as it likes. */
  #warnRefused(gateway: string, count: number): void {
    const { clock, log } = this.#options;
    const { monotonicMs } = clock.now();
    const epochs = this.#epochs.get(gateway)!;
    if (monotonicMs - epochs.warnedMs < WARNING_MS) return;
    epochs.warnedMs = monotonicMs;
    log.warn("events were refused, because only a hub can record them", {
      gateway,
      count,
    });
  }

  /** A gateway that is out of order, or stolen, could report gaps without end: at most so many in an hour become events. */
  #reportable(gateway: string, gaps: readonly Gap[]): readonly Gap[] {
    const { hour } = this.#epochs.get(gateway)!;
    this.#beginHour(hour);
    const rest = Math.max(0, GAPS_MAX - hour.gaps);
    const wasReported = hour.gaps > GAPS_MAX;
    hour.gaps += gaps.length;
    if (gaps.length > rest && !wasReported) {
      this.#options.log.warn(
        `more than ${GAPS_MAX} gaps in an hour; further ones are not reported`,
        { gateway },
      );
    }
    return gaps.slice(0, rest);
  }

  #beginHour(hour: Epochs["hour"]): void {
    const { monotonicMs } = this.#options.clock.now();
    if (monotonicMs - hour.sinceMs < HOUR_MS) return;
    Object.assign(hour, { sinceMs: monotonicMs, gaps: 0, epochs: 0 });
  }

  #heard(gateway: string, isStopping: boolean): void {
    const { watch, state, clock } = this.#options;
    const now = clock.now();
    const before = watch.condition(gateway);
    const findings = watch.heard(gateway, { isStopping }, now);
    const condition = watch.condition(gateway);
    state.setCondition(gateway, condition, now.wallMs);
    if (condition !== before) this.#options.onCondition();
    this.#report(findings);
  }

  #report(findings: readonly WatchFinding[]): void {
    const { state, watch, clock, host, reporter, onScan } = this.#options;
    if (findings.length === 0) return;
    const atMs = clock.now().wallMs;
    const events = findings.map((finding) =>
      eventOfFinding(finding, { id: newId("evt"), host: host(), atMs }, (name) =>
        state.gateway(name),
      ),
    );
    const gone = findings.flatMap((finding) => {
      if (finding.type === "partition") return finding.gateways;
      return finding.type === "back" ? [] : [finding.gateway];
    });
    for (const name of gone) state.setCondition(name, watch.condition(name), atMs);
    if (gone.length > 0) this.#options.onCondition();
    reporter.report(events, null);
    const failed = state
      .devices()
      .map(({ name }) => name)
      .filter((name) => gone.some((gateway) => name.startsWith(`${gateway}/`)));
    if (failed.length === 0) return;
    onScan({ devices: [], removed: [], present: null, problems: [], failed });
  }

  #reportDuplicate(gateway: string, epochs: Epochs): void {
    const { clock, host, reporter } = this.#options;
    const { monotonicMs, wallMs } = clock.now();
    if (monotonicMs - epochs.duplicateMs < DUPLICATE_MS) return;
    epochs.duplicateMs = monotonicMs;
    const head = { id: newId("evt"), host: host(), atMs: wallMs };
    reporter.report([duplicateEvent(gateway, head)], null);
  }

  /**
   * Events that were sent are asked for again if two reports in a row find them missing: until then they may be on their
   * way.
   */
  #replayAfter(gateway: string, confirmedSeq: number, lastSeq: number): number | null {
    const epochs = this.#epochs.get(gateway)!;
    const isMissing = confirmedSeq < lastSeq;
    const isDue = isMissing && epochs.missingAfter === confirmedSeq;
    epochs.missingAfter = isMissing ? confirmedSeq : null;
    return isDue ? confirmedSeq : null;
  }

  /** Ends the sessions that are open in the store, and which the gateway does not have. */
  #endUnknown(gateway: string): void {
    const { store, state, reporter } = this.#options;
    const open = store.sessions.openOf(gateway);
    const ended = open.filter(
      ({ device, peer, startedAtMs }) =>
        state.storedSession(device, peer.publicKey)?.startedAtMs !== startedAtMs,
    );
    reporter.endSessions(
      ended.map(({ lastActivityMs, ...session }) => {
        const lastActivity = { wallMs: lastActivityMs };
        return endedWithoutEvent({ ...session, lastActivity });
      }),
    );
  }

  /** @param isSent false: the gateway does not get the answer. */
  #answer(gateway: string, problem: HubAnswer["problem"], isSent = true): HubAnswer {
    const epochs = this.#epochs.get(gateway)!;
    const confirmed = problem === null ? (currentOf(epochs)?.confirmedSeq ?? null) : null;
    if (problem === null && isSent) epochs.answered = confirmed;
    return {
      version: FLEET_VERSION,
      nowMs: this.#options.clock.now().wallMs,
      confirmed,
      replayAfter: null,
      wantsAllPeers: false,
      problem,
    };
  }
}

function currentOf({ rows, current }: Epochs): EpochRow | null {
  return rows.get(current ?? "") ?? null;
}
