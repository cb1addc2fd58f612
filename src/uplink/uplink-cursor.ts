/** The place up to which the hub has the events of the store, and the next message with events. */

import {
  EVENTS_MAX,
  type EventsMessage,
  FLEET_VERSION,
  MESSAGE_BYTES_MAX,
} from "../fleet/messages.ts";
import type { Epoch } from "../store/epoch-rows.ts";
import type { Store } from "../store/store.ts";
import type { StoredEvent } from "../store/stored-events.ts";
import type { UplinkPosition } from "../store/uplink-rows.ts";

/** The bytes of a message around its events, and of `{"seq":...,"event":...},` around each event, at most. */
const MESSAGE_OVERHEAD = 300;
const EVENT_OVERHEAD = 40;

/** The epoch that the hub receives at present, and how far it has its events. */
export interface UplinkPlace {
  readonly epoch: Epoch;
  readonly position: UplinkPosition;
}

/** An event, and the bytes that it takes in a message. */
interface SizedEvent extends StoredEvent {
  readonly bytes: number;
}

export class UplinkCursor {
  readonly #store: Pick<Store, "epochs" | "uplinks">;
  readonly #target: string;
  readonly #onTooLong: (seq: number) => void;
  #warnedSeq = 0;

  /**
   * @param target the key of the hub in the store.
   * @param onTooLong called once with the number of an event that is left out, because no message can hold it.
   */
  constructor(
    store: Pick<Store, "epochs" | "uplinks">,
    target: string,
    onTooLong: (seq: number) => void = () => {},
  ) {
    this.#onTooLong = onTooLong;
    this.#store = store;
    this.#target = target;
  }

  /**
   * Read from the store at each call, because the epochs change when the file of the store fails. An epoch is over when
   * the hub has all events of it that exist.
   */
  place(): UplinkPlace {
    const { epochs, uplinks } = this.#store;
    const all = epochs.all();
    const saved = uplinks.position(this.#target);
    let index = all.findIndex(({ epoch }) => epoch === saved?.epoch);
    let position = saved;
    if (index === -1) {
      index = 0;
      position = null;
    }
    for (;;) {
      const epoch = all[index]!;
      position ??= {
        epoch: epoch.epoch,
        sent: epoch.first - 1,
        confirmed: epoch.first - 1,
        streamSeq: saved?.streamSeq ?? null,
      };
      const isOver =
        epoch.end !== null && this.#events(position.confirmed, epoch.end, 1).length === 0;
      if (!isOver) return { epoch, position };
      index++;
      position = null;
    }
  }

  save(position: UplinkPosition): void {
    this.#store.uplinks.save(this.#target, position);
  }

  /** The last number that the store has used in the epoch; `first` - 1: none. */
  last({ first, end }: Epoch): number {
    return Math.max(first - 1, this.#store.uplinks.last(end));
  }

  /**
   * The events of the epoch that follow `after`, as many as fit into one message; null: there are none.
   *
   * @param upTo the last event to send; omitted: the last that exists.
   */
  message(
    { epoch, first, end }: Epoch,
    after: number,
    upTo = Number.MAX_SAFE_INTEGER,
  ): EventsMessage | null {
    const { uplinks } = this.#store;
    const limit = Math.min(end ?? Number.MAX_SAFE_INTEGER, upTo + 1);
    const events = this.#events(after, limit, EVENTS_MAX);
    if (events.length === 0) return null;
    let bytes = MESSAGE_OVERHEAD;
    const count = events.findIndex((each, index) => {
      bytes += each.bytes;
      return index > 0 && bytes > MESSAGE_BYTES_MAX;
    });
    const id = after < first ? null : uplinks.idOf(after);
    return {
      version: FLEET_VERSION,
      epoch,
      first,
      after: id === null ? null : { seq: after, id },
      events: events
        .slice(0, count === -1 ? events.length : count)
        .map(({ seq, event }) => ({ seq, event })),
    };
  }

  /** As `UplinkRows.events`, without events that no message can hold: the hub records their numbers as a gap. */
  #events(after: number, end: number | null, limit: number): SizedEvent[] {
    for (let last = after; ;) {
      const events = this.#store.uplinks
        .events(last, end, limit)
        .map((each) => ({ ...each, bytes: bytesOf(each.event) }));
      const fitting = events.filter(({ bytes }) => bytes + MESSAGE_OVERHEAD <= MESSAGE_BYTES_MAX);
      if (fitting.length < events.length)
        this.#warnOf(events.find((each) => !fitting.includes(each))!);
      if (fitting.length > 0 || events.length === 0) return fitting;
      last = events.at(-1)!.seq;
    }
  }

  #warnOf({ seq }: StoredEvent): void {
    if (seq <= this.#warnedSeq) return;
    this.#warnedSeq = seq;
    this.#onTooLong(seq);
  }

  /** The time of the oldest event that the hub has not confirmed; null: it has confirmed all. */
  unconfirmedAtMs(): number | null {
    return this.#store.uplinks.next(this.place().position.confirmed)?.atMs ?? null;
  }

  /** The events that the hub, or the stream on the way to it, does not have yet: their number and the oldest time. */
  waiting(): { readonly count: number; readonly oldestAtMs: number | null } {
    const { epochs, uplinks } = this.#store;
    const { position } = this.place();
    const next = uplinks.next(position.sent);
    if (next === null) return { count: 0, oldestAtMs: null };
    // By the numbers, because counting the rows would read all events. Events that retention deleted are the oldest.
    const count = epochs
      .all()
      .map((epoch) => Math.max(0, this.last(epoch) - Math.max(next.seq, epoch.first) + 1))
      .reduce((sum, each) => sum + each, 0);
    return { count, oldestAtMs: next.atMs };
  }
}

function bytesOf(event: StoredEvent["event"]): number {
  return Buffer.byteLength(JSON.stringify(event)) + EVENT_OVERHEAD;
}
