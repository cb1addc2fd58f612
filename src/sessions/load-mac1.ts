/** Loads the check of mac1 on demand: its library takes 3 ms to load, and few gateways report unknown handshakes. */

import type { hasValidMac1 } from "./mac1.ts";

let check: typeof hasValidMac1 | null = null;
let loading: Promise<void> | null = null;

/** Returns the check; null until it is loaded. The first call begins to load it. */
export function mac1Check(): typeof hasValidMac1 | null {
  loading ??= import("./mac1.ts").then((module) => {
    check = module.hasValidMac1;
  });
  return check;
}
