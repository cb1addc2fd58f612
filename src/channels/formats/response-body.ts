/** Reads response bodies of services. Pure. */

import type { DeliveryResult } from "../../delivery/target.ts";

/** As for Retry-After: a longer pause is shortened to this maximum. */
const RETRY_AFTER_MAX_MS = 15 * 60_000;

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
  const afterMs = Math.min(Math.ceil(seconds * 1000), RETRY_AFTER_MAX_MS);
  return { type: "retry", reason: "429", afterMs };
}
