/** What a reload changes: most settings at once, some only after a restart. Pure. */

import type { Settings } from "./config.ts";

/** Settings that cannot change at run time, and the names that users know them by. */
const FIXED = [
  ["monitor", "monitor"],
  ["group", "group"],
  ["captureInterface", "interface"],
  ["manageRules", "manage-rules"],
  ["filter", "filter"],
  ["devices", "device"],
  ["stateDir", "state-dir"],
  ["logFormat", "log-format"],
  ["listen", "listen"],
  ["listenTls", "listen-tls-cert"],
] as const;

interface Reloaded {
  /** The settings in effect. */
  readonly settings: Settings;
  /** Names of the changed settings that need a restart. */
  readonly needRestart: readonly string[];
}

export function mergeReloaded(current: Settings, wanted: Settings): Reloaded {
  const changed = FIXED.filter(
    ([key]) => JSON.stringify(wanted[key]) !== JSON.stringify(current[key]),
  );
  const kept = Object.fromEntries(FIXED.map(([key]) => [key, current[key]]));
  // A new address may need no token, but the old address, which stays open, does.
  const isMoved = changed.some(([key]) => key === "listen");
  const { listenTokens } = isMoved ? current : wanted;
  return {
    settings: { ...wanted, ...kept, listenTokens },
    needRestart: changed.map(([, name]) => name),
  };
}
