/** A transport to a FakeHub: each request meets the next of a list of fates. */

import type { EventsMessage, HubAnswer, StateMessage } from "../../src/fleet/messages.ts";
import type { HubResult, HubTransport } from "../../src/uplink/hub-transport.ts";
import type { FakeHub } from "./fake-hub.ts";

/** What happens to a request: it arrives, it is lost, its answer is lost, or nothing is heard any more. */
export type Fate = "ok" | "lost" | "answer-lost" | "hang" | "answer-hangs";

export class FakeTransport implements HubTransport {
  readonly name = "hub https://hub.example.net";
  readonly isStream: boolean;
  readonly hub: FakeHub;
  readonly #nextFate: () => Fate;
  /** The sizes of the messages with events. */
  readonly sent: number[] = [];
  requests = 0;
  #inFlight = 0;
  /** The stream's events that the hub has not received, if `isStream`. */
  readonly stream: EventsMessage[] = [];
  #streamSeq = 0;

  constructor(
    hub: FakeHub,
    {
      nextFate = () => "ok",
      isStream = false,
    }: { readonly nextFate?: () => Fate; readonly isStream?: boolean } = {},
  ) {
    this.hub = hub;
    this.isStream = isStream;
    this.#nextFate = nextFate;
  }

  sendEvents(message: EventsMessage): Promise<HubResult> {
    this.sent.push(message.events.length);
    if (!this.isStream) return this.#request(() => this.hub.receiveEvents(message));
    return this.#attempt(() => {
      this.stream.push(message);
      this.#streamSeq += message.events.length;
      const upTo = message.events.at(-1)!.seq;
      return { type: "stored", upTo, streamSeq: this.#streamSeq };
    });
  }

  replayEvents(message: EventsMessage): Promise<HubResult> {
    return this.#request(() => this.hub.receiveEvents(message));
  }

  sendState(message: StateMessage): Promise<HubResult> {
    return this.#request(() => this.hub.receiveState(message));
  }

  close(): void {}

  #request(receive: () => HubAnswer): Promise<HubResult> {
    return this.#attempt(() => ({ type: "answer", answer: receive() }));
  }

  async #attempt(receive: () => HubResult): Promise<HubResult> {
    if (++this.#inFlight > 1) throw new Error("two requests are in flight");
    this.requests++;
    await Promise.resolve();
    const fate = this.#nextFate();
    const lost: HubResult = { type: "retry", reason: "ECONNRESET", afterMs: null };
    const isReceived = fate !== "lost" && fate !== "hang";
    const result = isReceived ? receive() : lost;
    await Promise.resolve();
    if (fate === "hang" || fate === "answer-hangs") await new Promise(() => {});
    this.#inFlight--;
    return fate === "ok" ? result : lost;
  }
}
