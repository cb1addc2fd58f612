/**
 * Reads a submitted form. Any client can submit forms without a token, so a form has a short timeout, and if too many
 * are pending, the one that has waited longest is cancelled. A browser's form usually arrives together with its header.
 */

import { Slots } from "../http/slots.ts";

/** Timeout for a form, which has a few hundred bytes. */
const TIMEOUT_MS = 3000;
const slots = new Slots(32);

/** Returns null if the form did not arrive in time, or was cancelled because too many were pending. */
export async function readForm(request: Request): Promise<URLSearchParams | null> {
  const { promise: cancelled, resolve: cancel } = Promise.withResolvers<null>();
  // Never null: every taken slot is waiting and can be revoked.
  const slot = slots.take(() => cancel(null))!;
  slot.setWaiting();
  const timer = setTimeout(() => cancel(null), TIMEOUT_MS);
  try {
    const text = await Promise.race([request.text().catch(() => null), cancelled]);
    return text === null ? null : new URLSearchParams(text);
  } finally {
    clearTimeout(timer);
    slot.free();
  }
}
