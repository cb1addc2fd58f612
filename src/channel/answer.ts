/** What services say in the body of their answer, beyond status and headers. Pure. */

import type { Verdict } from "./channel.ts";

/** As for Retry-After: who asks for more patience is asked again all the same. */
const RETRY_AFTER_MAX_MS = 15 * 60_000;

/** The members of a JSON object; none, where the body is something else. */
export function membersOf(body: string): Readonly<Record<string, unknown>> {
  try {
    return asMembers(JSON.parse(body));
  } catch {
    return {};
  }
}

export function asMembers(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

/** The verdict on a 429 whose body says how many seconds to wait; null: it does not say. */
export function waitFor(seconds: unknown): Verdict | null {
  if (typeof seconds !== "number" || !(seconds >= 0)) return null;
  const afterMs = Math.min(Math.ceil(seconds * 1000), RETRY_AFTER_MAX_MS);
  return { type: "retry", reason: "429", afterMs };
}
