/** What a target of events is: one attempt, and the verdict on it. The outbox owns order and retries. */

import type { Event } from "../contract.ts";

export type Verdict =
  | { readonly type: "delivered" }
  /** Worth another try; `afterMs`: the target's own wish, null: it has none. */
  | { readonly type: "retry"; readonly reason: string; readonly afterMs: number | null }
  /** This message will never be taken; the next one may be. */
  | { readonly type: "drop"; readonly reason: string }
  /** The target is gone for good. */
  | { readonly type: "stop"; readonly reason: string };

/** What is sent at once: one event, or several where the settings want a digest. */
export interface Message {
  /** The same in every attempt: the event's, or for several `msg_` and 32 hexadecimal digits. */
  readonly id: string;
  /** In the order in which they happened. */
  readonly events: readonly [Event, ...Event[]];
}

export interface Channel {
  /** Safe to log: `webhook https://hooks.example.net/...`. */
  readonly name: string;
  /** Sends the message once. An expected failure is a verdict, whose reason holds no secret. */
  attempt(message: Message, signal: AbortSignal): Promise<Verdict>;
  /** Gets ready for the first attempt, while there is time for it, and sends nothing. */
  warmUp?(sample: Message): void;
}

/** Where events go, and which of them. */
export interface Target {
  /** Which target it is, also after a restart: its name in the settings, or a hash of its address. */
  readonly key: string;
  readonly channel: Channel;
  /** Whether it wants the event. */
  accepts(event: Event): boolean;
  /** How long events are gathered into one message; 0: each goes alone. */
  readonly digestMs: number;
}
