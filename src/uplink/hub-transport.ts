/** The interface of a transport to the hub: one request, and its result. The uplink is responsible for order and retries. */

import type { DeliveryResult } from "../delivery/target.ts";
import type { EventsMessage, HubAnswer, StateMessage } from "../fleet/messages.ts";

export type HubResult =
  | { readonly type: "answer"; readonly answer: HubAnswer }
  /**
   * A stream has the events up to the sequence number `upTo`; `streamSeq` is the place of the last one in the stream.
   * Whether the hub has them is not known yet.
   */
  | { readonly type: "stored"; readonly upTo: number; readonly streamSeq: number }
  | Extract<DeliveryResult, { type: "retry" }>;

/** Each method makes one attempt. An expected failure is a result, not an exception; its reason contains no secret. */
export interface HubTransport {
  /** Safe to log: `hub https://hub.example.net`. */
  readonly name: string;
  /** Whether `sendEvents` passes the events to a stream. Then only answers to the other two messages confirm them. */
  readonly isStream: boolean;
  /** @param streamSeq of the last result "stored"; null: there was none. */
  sendEvents(
    message: EventsMessage,
    signal: AbortSignal,
    streamSeq: number | null,
  ): Promise<HubResult>;
  /** Sends events again that the hub asked for. */
  replayEvents(message: EventsMessage, signal: AbortSignal): Promise<HubResult>;
  sendState(message: StateMessage, signal: AbortSignal): Promise<HubResult>;
  close(): void;
}
