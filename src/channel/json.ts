/** The event as JSON, as it is. Pure. */

import type { Event } from "../contract.ts";

export const json = {
  contentType: "application/json",
  encode: (event: Event): string => JSON.stringify(event),
};
