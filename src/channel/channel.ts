/** What a target of events is: one attempt, and the verdict on it. The outbox owns order and retries. */

import type { Event } from "../contract.ts";

export type Verdict =
  | { readonly type: "delivered" }
  /** Worth another try; `afterMs`: the target's own wish, null: it has none. */
  | { readonly type: "retry"; readonly reason: string; readonly afterMs: number | null }
  /** This event will never be taken; the next one may be. */
  | { readonly type: "drop"; readonly reason: string }
  /** The target is gone for good. */
  | { readonly type: "stop"; readonly reason: string };

export interface Channel {
  /** Safe to log: `webhook https://hooks.example.net/...`. */
  readonly name: string;
  /** Tells it from others whose names look alike; may hold secrets. Left out: the name. */
  readonly address?: string;
  /** Sends the event once. An expected failure is a verdict, whose reason holds no secret. */
  attempt(event: Event, signal: AbortSignal): Promise<Verdict>;
}
