/**
 * Reads what a form sends. Anybody may send one, so each has little time, and of too many the one that has
 * been waited for longest is given up: a form usually arrives together with its header.
 */

import { Slots } from "../http/slots.ts";

/** A form is a few hundred bytes. */
const PATIENCE_MS = 3000;
const reading = new Slots(32);

/** null: it did not arrive completely, in time, or before too many others. */
export async function readForm(request: Request): Promise<URLSearchParams | null> {
  const { promise: givenUp, resolve: giveUp } = Promise.withResolvers<null>();
  // Never null: all of them wait for their clients.
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
