/** A target of events: one attempt, and its result. The outbox is responsible for order and retries. */

import type { Event } from "../events/event-schema.ts";

export type DeliveryResult =
  | { readonly type: "delivered" }
  /** Another attempt may succeed. `afterMs`: the pause that the target requests; null: it requests none. */
  | { readonly type: "retry"; readonly reason: string; readonly afterMs: number | null }
  /** The target will never accept this message, but may accept the next one. */
  | { readonly type: "drop"; readonly reason: string }
  /** The target no longer exists, and accepts no message any more. */
  | { readonly type: "stop"; readonly reason: string };

/** The content of one attempt: one event, or several if the settings enable digests. */
export interface Message {
  /** The same in every attempt: the event's id, or for several events `msg_` and 32 hexadecimal digits. */
  readonly id: string;
  /** In the order in which they happened. */
  readonly events: readonly [Event, ...Event[]];
}

export interface Channel {
  /** Safe to log: `webhook https://hooks.example.net/...`. */
  readonly name: string;
  /** Sends the message once. An expected failure is a result, not an exception; its reason contains no secret. */
  attempt(message: Message, signal: AbortSignal): Promise<DeliveryResult>;
  /** Prepares the first attempt without sending anything. */
  warmUp?(sample: Message): void;
}

/** A destination of events, and its filter. */
export interface Target {
  /** Identifies the target across restarts: its name in the settings, or a hash of its address. */
  readonly key: string;
  readonly channel: Channel;
  /** Whether the target's filter selects the event. */
  accepts(event: Event): boolean;
  /** How long events are collected into one message; 0: each event is sent alone. */
  readonly digestMs: number;
}
