/** Which settings a reload changes, and which need a restart. Pure. */

import type { Settings } from "./config.ts";

/** The settings that need a restart, each with its flag, or its flags. */
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
  ["listenTls", "listen-tls-cert or listen-tls-key"],
] as const;

interface Reloaded {
  /** The settings in effect after the reload. */
  readonly settings: Settings;
  /** Names of the changed settings that need a restart. */
  readonly needRestart: readonly string[];
}

export function mergeReloaded(current: Settings, wanted: Settings): Reloaded {
  const changed = FIXED.filter(
    ([key]) => JSON.stringify(wanted[key]) !== JSON.stringify(current[key]),
  );
  const kept = Object.fromEntries(FIXED.map(([key]) => [key, current[key]]));
  // If the address changes, keep the tokens: the old address stays open until the restart, and may need a token even if
  // the new address needs none.
  const hasMoved = changed.some(([key]) => key === "listen");
  const { listenTokens } = hasMoved ? current : wanted;
  return {
    settings: { ...wanted, ...kept, listenTokens },
    needRestart: changed.map(([, name]) => name),
  };
}
