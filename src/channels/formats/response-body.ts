/** Reads response bodies of services. Pure. */

import { PAUSE_MAX_MS } from "../../delivery/backoff.ts";
import type { DeliveryResult } from "../../delivery/target.ts";

/** The members of a JSON object; empty if the body is not a JSON object. */
export function membersOf(body: string): Readonly<Record<string, unknown>> {
  try {
    return asObject(JSON.parse(body));
  } catch {
    return {};
  }
}

export function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

/** The result for a 429 whose body contains the pause in seconds; null: `seconds` is not a valid number. */
export function retryAfter(seconds: unknown): DeliveryResult | null {
  if (typeof seconds !== "number" || !(seconds >= 0)) return null;
  const afterMs = Math.min(Math.ceil(seconds * 1000), PAUSE_MAX_MS);
  return { type: "retry", reason: "429", afterMs };
}
