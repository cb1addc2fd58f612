/**
 * Sends the gateway's events and its state to the hub; more than 400 lines because each result of a request changes the
 * same state. The events in the store are the queue: the uplink keeps the place up to which the hub has them, and the
 * hub's answers move this place, forward or back. So a lost request, a lost answer, a crash on either side, and a hub that
 * lost its store all mean the same: sending continues after the events that the hub has. One request is in flight at a
 * time.
 */

import type { Clock } from "../base/clock.ts";
import { counted } from "../base/text.ts";
import { pauseBeforeRetry } from "../delivery/backoff.ts";
import type { QueueState } from "../delivery/target-queue.ts";
import type { DeliveryResult } from "../delivery/target.ts";
import { type EventsMessage, type HubAnswer, STATE_INTERVAL_MS } from "../fleet/messages.ts";
import type { Log } from "../platform/log.ts";
import type { Store } from "../store/store.ts";
import type { HubResult, HubTransport } from "./hub-transport.ts";
import type { StateReport } from "./state-report.ts";
import { UplinkCursor, type UplinkPlace } from "./uplink-cursor.ts";

/** A change of connected peers is reported after this, with others that happen meanwhile. */
const CHANGE_MS = 1000;
/** After this many retries the pause does not grow any more. */
const PAUSE_RETRIES_MAX = 5;
/** Pause after the answer duplicate-name: equal to the time after which a gateway is lost. */
const DUPLICATE_PAUSE_MS = 60_000;
/** New epochs begin at most this often. */
const RENEWAL_MS = 60_000;

export interface UplinkOptions {
  /** The key of the hub in the store, in metrics and in the API. */
  readonly key: string;
  /** The key of the place in the store, which depends on the hub's address. */
  readonly placeKey: string;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly transport: HubTransport;
  readonly report: StateReport;
  /** 0 <= random() < 1 */
  readonly random?: () => number;
  /** Called with each attempt's target and result. */
  readonly attempted?: (target: string, result: DeliveryResult["type"]) => void;
}

/** How far the hub is. */
export interface UplinkProgress {
  readonly epoch: string;
  /** The last sequence number that the store has used. */
  readonly last: number;
  readonly sent: number;
  readonly confirmed: number;
  /** The time of the oldest event that was not sent; null: all were sent. */
  readonly oldestAtMs: number | null;
  /** The time of the oldest event that the hub has not confirmed; null: it has confirmed all. */
  readonly unconfirmedAtMs: number | null;
  /** The clock of this gateway minus that of the hub; null: the hub has not answered yet. */
  readonly clockOffsetMs: number | null;
  /** When a pause after a failure ends; 0: no pause is running. */
  readonly nextAtMs: number;
}

type Request =
  | { readonly type: "state"; readonly place: UplinkPlace; readonly isStopping: boolean }
  | {
      readonly type: "events" | "replay";
      readonly place: UplinkPlace;
      /** The events in the message follow this one. */
      readonly after: number;
      readonly message: EventsMessage;
    };

type Kind = "state" | "events";

export class Uplink {
  readonly #options: UplinkOptions;
  readonly #cursor: UplinkCursor;
  readonly #abort = new AbortController();
  /** When the next state is due, by the monotonic clock. */
  #stateDueMs = 0;
  /** Whether a state must be answered before events are sent: the answer says where to continue. */
  #needsState = true;
  #wasEvents = false;
  /** The hub asked for the events after this one, up to the ones that were sent, again; null: it did not. */
  #replayAfter: number | null = null;
  #isSending = false;
  #currentSend: Promise<void> = Promise.resolve();
  /** Cancels the timer of the next state, or of a pause. */
  #cancelTimer = () => {};
  #isPausing = false;
  /** When the pause ends. */
  #nextAtMs = 0;
  #isStarted = false;
  #isStopping = false;
  #hasSaidGoodbye = false;
  #wasAnswered = false;
  #isClosed = false;
  /** Requests of which kinds failed when they were sent last. */
  readonly #failing = new Set<Kind>();
  #failures = 0;
  #retries = 0;
  #lastReason = "";
  #clockOffsetMs: number | null = null;
  #renewedMs = -Infinity;
  #externalDataVersion: string;
  /** Called with the result of the next state. */
  #testers: ((result: DeliveryResult) => void)[] = [];

  constructor(options: UplinkOptions) {
    this.#options = options;
    const { store, key, placeKey } = options;
    this.#cursor = new UplinkCursor(store, placeKey, (seq) =>
      options.log.warn(`${this.#name}: an event is too long to be sent, and is left out`, { seq }),
    );
    this.#externalDataVersion = store.externalDataVersion;
    const state = store.outbox.targetState(key);
    this.#failures = state?.failures ?? 0;
    this.#lastReason = state?.reason ?? "";
  }

  start(): void {
    this.#isStarted = true;
    this.#options.store.uplinks.keepOnly(this.#options.placeKey);
    this.#send();
  }

  get key(): string {
    return this.#options.key;
  }

  get #name(): string {
    return this.#options.transport.name;
  }

  /** As that of a target. */
  get state(): QueueState {
    return {
      key: this.key,
      label: this.#name,
      waiting: this.#cursor.waiting().count,
      isStopped: false,
      failures: this.#failures,
      reason: this.#lastReason,
    };
  }

  get progress(): UplinkProgress {
    const { epoch, position } = this.#cursor.place();
    const { sent, confirmed } = position;
    return {
      epoch: epoch.epoch,
      last: this.#cursor.last(epoch),
      sent,
      confirmed,
      oldestAtMs: this.#cursor.waiting().oldestAtMs,
      unconfirmedAtMs: this.#cursor.unconfirmedAtMs(),
      clockOffsetMs: this.#clockOffsetMs,
      nextAtMs: this.#isPausing ? this.#nextAtMs : 0,
    };
  }

  /** New events are in the store. */
  eventsAdded(): void {
    this.#send();
  }

  /** Reports the state within a second, because connected peers have changed. */
  stateChanged(): void {
    this.#reportBy(CHANGE_MS);
  }

  /** Tries at once instead of after a pause. */
  retry(): void {
    this.#isPausing = false;
    this.#reportBy(0);
  }

  /** Tries at once after `wgmon outbox retry`, which writes to the store. */
  refresh(): void {
    const version = this.#options.store.externalDataVersion;
    if (version === this.#externalDataVersion) return;
    this.#externalDataVersion = version;
    if (this.#isPausing) this.retry();
  }

  /** Sends the state now, and returns whether the hub accepted it. */
  test(): Promise<DeliveryResult> {
    const tested = new Promise<DeliveryResult>((resolve) => void this.#testers.push(resolve));
    this.#needsState = true;
    this.retry();
    if (this.#isClosed) this.#reportTest();
    return tested;
  }

  /** Sends what is left, and says that the gateway stops. Stops after the first failure, and after `withinMs`. */
  async stop(withinMs: number): Promise<void> {
    this.#isStopping = true;
    this.#isPausing = false;
    this.#cancelTimer();
    this.#send();
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(withinMs, resolve);
      void this.#currentSend.then(() => {
        cancel();
        resolve();
      });
    });
    this.close();
    const { count } = this.#cursor.waiting();
    if (count === 0) return;
    const outcome = this.#options.store.isInMemory ? "not delivered" : "kept for the next start";
    this.#options.log.warn(`${this.#name}: stopping, ${counted(count, "event")} ${outcome}`);
  }

  /** Ends without a word to the hub. */
  close(): void {
    this.#isClosed = true;
    this.#cancelTimer();
    this.#abort.abort();
    this.#options.transport.close();
    this.#reportTest();
  }

  /** After a state was answered, or when none will be. */
  #reportTest(): void {
    const result: DeliveryResult =
      !this.#failing.has("state") && !this.#isClosed
        ? { type: "delivered" }
        : { type: "retry", reason: this.#lastReason || "stopping", afterMs: null };
    for (const report of this.#testers.splice(0)) report(result);
  }

  #reportBy(delayMs: number): void {
    const { monotonicMs } = this.#options.clock.now();
    this.#stateDueMs = Math.min(this.#stateDueMs, monotonicMs + delayMs);
    this.#send();
  }

  /** Starts sending if there is something to send, no request is in flight, and no pause is running. */
  #send(): void {
    if (!this.#isStarted || this.#isClosed) return;
    if (this.#isSending || this.#isPausing) return;
    this.#isSending = true;
    this.#currentSend = this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    for (let request = this.#next(); request !== null; request = this.#next()) {
      const result = await this.#attempt(request);
      if (this.#isClosed) break;
      const mayContinue = this.#handleResult(request, result);
      if (request.type === "state") this.#reportTest();
      if (!mayContinue) break;
    }
    // Clear synchronously after the last #next(), otherwise an event added in between would not be sent.
    this.#isSending = false;
    this.#schedule();
  }

  /** Waits for the next state. New events do not wait. */
  #schedule(): void {
    if (this.#isClosed || this.#isPausing || this.#isStopping) return;
    const { clock } = this.#options;
    this.#cancelTimer();
    const delayMs = Math.max(0, this.#stateDueMs - clock.now().monotonicMs);
    this.#cancelTimer = clock.after(delayMs, () => this.#send());
  }

  /** The next request; null: there is nothing to send now. */
  #next(): Request | null {
    if (this.#isClosed) return null;
    const { monotonicMs } = this.#options.clock.now();
    const place = this.#cursor.place();
    const state = { type: "state", place, isStopping: false } as const;
    if (this.#needsState) return state;
    const isDue = monotonicMs >= this.#stateDueMs && !this.#isStopping;
    // In turns, so that neither many events nor a long list of peers delays the other.
    if (isDue && this.#wasEvents) return state;
    const events = this.#nextReplay(place) ?? this.#nextEvents(place);
    if (events !== null) return events;
    if (this.#isStopping) {
      return this.#hasSaidGoodbye ? null : { type: "state", place, isStopping: true };
    }
    return isDue ? state : null;
  }

  #nextEvents(place: UplinkPlace): Request | null {
    const { sent: after } = place.position;
    const message = this.#cursor.message(place.epoch, after);
    return message === null ? null : { type: "events", place, after, message };
  }

  #nextReplay(place: UplinkPlace): Request | null {
    const after = this.#replayAfter;
    if (after === null) return null;
    const message = this.#cursor.message(place.epoch, after, place.position.sent);
    if (message === null) this.#replayAfter = null;
    return message === null ? null : { type: "replay", place, after, message };
  }

  #attempt(request: Request): Promise<HubResult> {
    const { transport, report } = this.#options;
    const { signal } = this.#abort;
    const { position, epoch } = request.place;
    this.#wasEvents = request.type !== "state";
    switch (request.type) {
      case "events":
        return transport.sendEvents(request.message, signal, position.streamSeq);
      case "replay":
        return transport.replayEvents(request.message, signal);
      case "state": {
        this.#stateDueMs = this.#options.clock.now().monotonicMs + STATE_INTERVAL_MS;
        const message = report.next({
          epoch: epoch.epoch,
          first: epoch.first,
          last: this.#cursor.last(epoch),
          isStopping: request.isStopping,
          isProbe: this.#failing.has("state"),
        });
        return transport.sendState(message, signal);
      }
    }
  }

  /** Returns whether the next request may be sent at once. */
  #handleResult(request: Request, result: HubResult): boolean {
    const { key, log, attempted = () => {} } = this.#options;
    const isStored = result.type === "answer" || result.type === "stored";
    attempted(key, isStored ? "delivered" : result.type);
    if (request.type === "state" && result.type !== "answer") this.#options.report.failed();
    switch (result.type) {
      case "answer":
        return this.#answered(request, result.answer);
      case "stored": {
        const { upTo: sent, streamSeq } = result;
        this.#cursor.save({ ...request.place.position, sent, streamSeq });
        log.debug(`${this.#name}: the stream has the events`, { upTo: sent });
        this.#succeeded(request);
        return true;
      }
      case "retry":
        this.#pause(request, result.reason, result.afterMs);
        return false;
    }
  }

  #answered(request: Request, answer: HubAnswer): boolean {
    const { report, clock } = this.#options;
    this.#clockOffsetMs = Math.round(clock.now().wallMs - answer.nowMs);
    if (answer.problem !== null) {
      report.failed();
      this.#needsState = true;
      return this.#handleProblem(request, answer.problem);
    }
    if (request.type === "state") {
      this.#hasSaidGoodbye ||= request.isStopping;
      this.#needsState = false;
      if (report.answered()) this.#stateDueMs = 0;
    }
    if (answer.wantsAllPeers) {
      report.wantAll();
      this.#stateDueMs = 0;
    }
    const { epoch } = request.place;
    // Another epoch began while the request was in flight, because the file of the store failed or works again.
    const { epoch: now, position } = this.#cursor.place();
    if (now.epoch !== epoch.epoch || answer.confirmed === null) {
      this.#succeeded(request);
      return true;
    }
    if (answer.confirmed > this.#cursor.last(epoch) && answer.confirmed >= (epoch.end ?? 0)) {
      this.#needsState = true;
      return this.#handleProblem(request, "diverged");
    }
    const confirmed = Math.max(answer.confirmed, epoch.first - 1);
    const after = this.#continueAfter(request, answer, confirmed);
    const { isStream } = this.#options.transport;
    const sent = isStream ? Math.max(position.sent, confirmed) : after;
    this.#cursor.save({ ...position, sent, confirmed });
    if (isStream) this.#replayAfter = answer.replayAfter === null ? null : after;
    if (request.type !== "state" && after === request.after) {
      const isReplayed = request.type === "replay" && this.#replayAfter === null;
      if (!isReplayed) {
        this.#pause(request, "the hub has not stored the events", null);
        return false;
      }
    }
    this.#succeeded(request);
    return true;
  }

  /** The event after which to continue. */
  #continueAfter(request: Request, { replayAfter }: HubAnswer, confirmed: number): number {
    return Math.max(request.place.epoch.first - 1, Math.min(replayAfter ?? confirmed, confirmed));
  }

  /** Returns whether the next request may be sent at once. */
  #handleProblem(request: Request, problem: NonNullable<HubAnswer["problem"]>): boolean {
    const { clock, log, store } = this.#options;
    if (problem === "duplicate-name") {
      const reason =
        "another gateway with this name reports to the hub; give one of them another --host, and enroll it";
      this.#pause(request, reason, DUPLICATE_PAUSE_MS);
      return false;
    }
    const { monotonicMs } = clock.now();
    const reason =
      "the hub has other events under the same numbers; the store was probably restored from a backup";
    if (monotonicMs - this.#renewedMs < RENEWAL_MS) {
      this.#pause(request, reason, RENEWAL_MS);
      return false;
    }
    this.#renewedMs = monotonicMs;
    log.warn(`${this.#name}: ${reason}. All events are sent again in a new epoch`);
    store.epochs.renew();
    this.#replayAfter = null;
    this.#stateDueMs = 0;
    return true;
  }

  #succeeded(request: Request): void {
    const { log } = this.#options;
    this.#failing.delete(kindOf(request));
    // The events that the hub did not take may have been deleted, or it may have got them in another way.
    const haveEventsFailed = this.#failing.has("events");
    if (haveEventsFailed && this.#replayAfter === null && this.#cursor.waiting().count === 0) {
      this.#failing.delete("events");
    }
    if (!this.#wasAnswered) log.info(`${this.#name}: connected`);
    this.#wasAnswered = true;
    if (this.#failing.size > 0) return;
    this.#retries = 0;
    if (this.#failures === 0) return;
    log.info(`${this.#name}: works again after ${counted(this.#failures, "failed attempt")}`);
    this.#failures = 0;
    this.#lastReason = "";
    this.#saveState(0);
  }

  #pause(request: Request, reason: string, afterMs: number | null): void {
    const { clock, random = Math.random } = this.#options;
    this.#failing.add(kindOf(request));
    this.#retries++;
    const retries = Math.min(this.#retries, PAUSE_RETRIES_MAX);
    const delayMs = pauseBeforeRetry(retries, afterMs, random);
    this.#recordFailure(reason, `next in ${Math.ceil(delayMs / 1000)} s`);
    if (this.#isStopping) {
      this.#hasSaidGoodbye = true;
      return;
    }
    this.#nextAtMs = clock.now().wallMs + delayMs;
    this.#saveState(this.#nextAtMs);
    this.#isPausing = true;
    this.#cancelTimer();
    this.#cancelTimer = clock.after(delayMs, () => {
      this.#isPausing = false;
      this.#send();
    });
  }

  /** Logs the first failure and each new reason as warnings, and repetitions as debug lines. */
  #recordFailure(reason: string, next: string): void {
    this.#failures++;
    const isKnown = reason === this.#lastReason;
    this.#lastReason = reason;
    this.#options.log[isKnown ? "debug" : "warn"](
      `${this.#name}: ${reason}, attempt ${this.#failures}, ${next}`,
    );
  }

  #saveState(nextAtMs: number): void {
    const { key, store } = this.#options;
    store.outbox.saveTarget(key, this.#name, {
      failures: this.#failures,
      retries: this.#retries,
      nextAtMs,
      reason: this.#lastReason,
    });
    this.#externalDataVersion = store.externalDataVersion;
  }
}

/** Events and replayed events fail for the same reasons; a state may fail, or be accepted, apart from them. */
function kindOf({ type }: Request): Kind {
  return type === "state" ? "state" : "events";
}
