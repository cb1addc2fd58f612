/**
 * The settings in force, for `GET /v1/settings` on the Unix socket: what `wgmon doctor` compares with the
 * machine. No secret is among them: of a target its origin or its program, of a file its path. Pure.
 */

import type { Settings, TargetSettings } from "../config.ts";

/** As the settings have them. */
const PLAIN = [
  "file",
  "monitor",
  "group",
  "captureInterface",
  "filter",
  "manageRules",
  "devices",
  "names",
  "stateDir",
  "maxStoreBytes",
  "listenTls",
] as const satisfies readonly (keyof Settings)[];

/** Where a target's events go, and which. */
export interface TargetPlace {
  /** Of the settings; null: it has none. */
  readonly name: string | null;
  /** For people: `webhook https://hooks.example.net/...`. */
  readonly label: string;
  /** Scheme, host and port of a webhook; null: it is a program. */
  readonly origin: string | null;
  /** The path of the program; null: it is a webhook. */
  readonly program: string | null;
  /** Empty: all. */
  readonly selection: Pick<TargetSettings["selection"], "devices" | "peers">;
}

export interface SettingsView extends Pick<Settings, (typeof PLAIN)[number]> {
  /** Those of the settings, by public key; null: the peer has no name there. */
  readonly peers: Readonly<Record<string, string | null>>;
  readonly targets: readonly TargetPlace[];
}

/** @param labels of the targets, in their order. */
export function viewSettings(settings: Settings, labels: readonly string[]): SettingsView {
  const plain = Object.fromEntries(PLAIN.map((key) => [key, settings[key]]));
  return {
    ...(plain as Pick<Settings, (typeof PLAIN)[number]>),
    peers: Object.fromEntries([...settings.peers].map(([key, { name }]) => [key, name])),
    targets: settings.targets.map((target, index) => placeOf(target, labels[index] ?? "")),
  };
}

function placeOf({ name, destination, selection }: TargetSettings, label: string): TargetPlace {
  const { devices, peers } = selection;
  const common = { name, label, selection: { devices, peers } };
  return destination.type === "exec"
    ? { ...common, origin: null, program: destination.command[0] }
    : { ...common, origin: new URL(destination.url).origin, program: null };
}
