/**
 * Reads a submitted form. Any client may submit one, so each has little time, and if too many are pending,
 * the one that has waited longest is cancelled: a form usually arrives together with its header.
 */

import { Slots } from "../http/slots.ts";

/** How long a form may take to arrive; it has a few hundred bytes. */
const PATIENCE_MS = 3000;
const reading = new Slots(32);

/** null if the form did not arrive completely and in time, or was cancelled because too many were pending. */
export async function readForm(request: Request): Promise<URLSearchParams | null> {
  const { promise: givenUp, resolve: giveUp } = Promise.withResolvers<null>();
  // Never null, because all slots here wait for their clients.
  const slot = reading.take(() => giveUp(null))!;
  slot.waits();
  const timer = setTimeout(() => giveUp(null), PATIENCE_MS);
  try {
    const text = await Promise.race([request.text().catch(() => null), givenUp]);
    return text === null ? null : new URLSearchParams(text);
  } finally {
    clearTimeout(timer);
    slot.free();
  }
}
