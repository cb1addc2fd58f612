/** Which settings a reload changes, and which need a restart. Pure. */

import { SigningSecret } from "../channels/signature.ts";
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
  ["nats", "nats"],
] as const;

interface Reloaded {
  /** The settings in effect after the reload. */
  readonly settings: Settings;
  /** Names of the changed settings that need a restart. */
  readonly needRestart: readonly string[];
}

/** Flags, or keys of the settings file, whose names do not follow from the name of the property. */
const NAMES: Partial<Record<keyof Settings, string>> = {
  captureInterface: "interface",
  devices: "device",
  targets: "target",
  alerts: "alert",
  listenTokens: "listen-token-file",
  file: "config",
};

/** The names of the settings whose values differ: flags, or keys of the settings file. No values, which may be secrets. */
export function changedSettings(before: Settings, after: Settings): string[] {
  const keys = Object.keys(after) as (keyof Settings)[];
  return keys
    .filter((key) => comparable(before[key]) !== comparable(after[key]))
    .map((key) => NAMES[key] ?? kebab(key.replace(/(Ms|Bytes)$/, "")));
}

/** Equal secrets sign it equally. */
const NOTHING = { id: "", timestamp: "0", body: new Uint8Array() };

/** A text that is the same for equal values. Functions are left out, because those of equal formats differ. */
function comparable(value: unknown): string {
  return JSON.stringify(value, function (this: Readonly<Record<string, unknown>>, key, each) {
    // `each` is what toJSON returned, which hides a secret.
    const original = this[key];
    if (original instanceof Map) return [...original];
    if (original instanceof SigningSecret) return original.sign(NOTHING);
    return each as unknown;
  });
}

/** `idle-timeout` of `idleTimeout` */
function kebab(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
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
