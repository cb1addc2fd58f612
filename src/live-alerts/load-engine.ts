/** Loads the alert engine only if there are rules: it takes time and memory. */

import type { AlertEngine } from "../alerts/engine.ts";

export type EngineClass = typeof AlertEngine;

export async function loadEngine(): Promise<EngineClass> {
  return (await import("../alerts/engine.ts")).AlertEngine;
}
