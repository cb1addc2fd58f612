/** A hub that keeps what it is sent in memory, and answers as src/fleet/messages.ts says. It checks each message. */

import { Value } from "@sinclair/typebox/value";

import { EventsMessage, FLEET_VERSION, HubAnswer, StateMessage } from "../../src/fleet/messages.ts";

/** A gateway is lost if it was not heard for this long. */
const LOST_MS = 60_000;

interface HubEpoch {
  readonly first: number;
  confirmed: number;
  heardMs: number;
  /** The ids of the events by their numbers. */
  readonly ids: Map<number, string>;
}

export class FakeHub {
  readonly #nowMs: () => number;
  #epochs = new Map<string, HubEpoch>();
  #current: string | null = null;
  #copy = "";
  /** The ids of all events, in the order of their arrival. */
  ids: string[] = [];
  readonly states: StateMessage[] = [];
  /** The peers by device and public key, as far as the messages told. */
  peers = new Map<string, StateMessage["peers"][number]>();
  #isListing = false;
  wantsAllPeers = true;
  /** The next answer asks for the events after this number again. */
  replayAfter: number | null = null;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The ids of the events of an epoch, in the order of their numbers. */
  idsOf(epoch: string): string[] {
    const ids = this.#epochs.get(epoch)?.ids ?? new Map<number, string>();
    return [...ids].toSorted(([a], [b]) => a - b).map(([, id]) => id);
  }

  /** Loses everything. */
  forget(): void {
    this.#epochs.clear();
    this.#current = null;
    this.ids = [];
    this.#restart();
  }

  /** Makes a copy of the store, or puts the copy back. */
  backUp(): void {
    this.#copy = JSON.stringify({
      epochs: [...this.#epochs].map(([epoch, each]) => [epoch, { ...each, ids: [...each.ids] }]),
      current: this.#current,
      ids: this.ids,
    });
  }

  putBack(): void {
    if (this.#copy === "") return;
    const { epochs, current, ids } = JSON.parse(this.#copy);
    this.#epochs = new Map(
      epochs.map(([epoch, each]: [string, HubEpoch]) => [
        epoch,
        { ...each, ids: new Map(each.ids) },
      ]),
    );
    this.#current = current;
    this.ids = ids;
    this.#restart();
  }

  receiveEvents(message: EventsMessage): HubAnswer {
    check(EventsMessage, message);
    const epoch = this.#epochOf(message);
    if (typeof epoch === "string") return this.#answer(null, epoch);
    const { after, events } = message;
    if (after !== null) {
      if (after.seq > epoch.confirmed) return this.#answer(epoch, null);
      const id = epoch.ids.get(after.seq);
      if (id !== undefined && id !== after.id) return this.#answer(epoch, "diverged");
    }
    for (const { seq, event } of events) {
      const id = String(event["id" as keyof typeof event]);
      const known = epoch.ids.get(seq);
      if (known !== undefined && known !== id) return this.#answer(epoch, "diverged");
      if (seq <= epoch.confirmed) continue;
      epoch.ids.set(seq, id);
      epoch.confirmed = seq;
      if (!this.ids.includes(id)) this.ids.push(id);
    }
    return this.#answer(epoch, null);
  }

  receiveState(message: StateMessage): HubAnswer {
    check(StateMessage, message);
    const epoch = this.#epochOf(message);
    if (typeof epoch === "string") return this.#answer(null, epoch);
    this.states.push(message);
    if (message.isComplete && !this.#isListing) this.peers.clear();
    this.#isListing = message.isComplete && message.hasMore;
    if (message.isComplete) this.wantsAllPeers = false;
    for (const peer of message.peers) this.peers.set(`${peer.device} ${peer.publicKey}`, peer);
    for (const { device, publicKey } of message.removed) {
      this.peers.delete(`${device} ${publicKey}`);
    }
    return this.#answer(epoch, null);
  }

  #restart(): void {
    this.wantsAllPeers = true;
    this.#isListing = false;
    this.peers.clear();
  }

  /** The epoch of a message; the problem, if it is another one than the current one. */
  #epochOf(
    message: Pick<EventsMessage, "epoch" | "first">,
  ): HubEpoch | "diverged" | "duplicate-name" {
    const nowMs = this.#nowMs();
    const known = this.#epochs.get(message.epoch);
    if (known !== undefined && message.epoch !== this.#current) {
      const { heardMs } = this.#epochs.get(this.#current!)!;
      return nowMs - heardMs < LOST_MS ? "duplicate-name" : "diverged";
    }
    const { first } = message;
    const epoch = known ?? { first, confirmed: first - 1, heardMs: nowMs, ids: new Map() };
    epoch.heardMs = nowMs;
    this.#epochs.set(message.epoch, epoch);
    this.#current = message.epoch;
    return epoch;
  }

  #answer(epoch: HubEpoch | null, problem: HubAnswer["problem"]): HubAnswer {
    const answer: HubAnswer = {
      version: FLEET_VERSION,
      nowMs: this.#nowMs(),
      confirmed: epoch?.confirmed ?? null,
      replayAfter: this.replayAfter,
      wantsAllPeers: this.wantsAllPeers,
      problem,
    };
    this.replayAfter = null;
    check(HubAnswer, answer);
    return answer;
  }
}

function check(schema: Parameters<typeof Value.Check>[0], message: unknown): void {
  // Both sides read the text, not the object.
  const read: unknown = JSON.parse(JSON.stringify(message));
  if (Value.Check(schema, read)) return;
  throw new Error(
    `invalid message: ${JSON.stringify([...Value.Errors(schema, read)].slice(0, 3))}`,
  );
}
