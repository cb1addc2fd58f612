/**
 * The current settings, for `GET /v1/settings` on the Unix socket; `wgmon doctor` compares them with the
 * machine. They contain no secrets: a target is shown by its origin or program, a file by its path. Pure.
 */

import type { TargetSettings } from "../channels/target-settings.ts";
import type { Settings } from "../config/config.ts";

/** Settings that are returned unchanged. */
const COPIED = [
  "file",
  "monitor",
  "group",
  "captureInterface",
  "filter",
  "manageRules",
  "devices",
  "names",
  "places",
  "stateDir",
  "maxStoreBytes",
  "listenTls",
] as const satisfies readonly (keyof Settings)[];

/** A target as `GET /v1/settings` describes it: where its events go, and which events it receives. */
export interface TargetPlace {
  /** Its name in the settings; null if it has no name there. */
  readonly name: string | null;
  /** For display: `webhook https://hooks.example.net/...`. */
  readonly label: string;
  /** Scheme, host and port of a webhook; null for a program. */
  readonly origin: string | null;
  /** The path of a program; null for a webhook. */
  readonly program: string | null;
  /** An empty list selects all. */
  readonly selection: Pick<TargetSettings["selection"], "devices" | "peers">;
}

export interface SettingsView extends Pick<Settings, (typeof COPIED)[number]> {
  /** Names in the settings, by public key; null if the peer has no name there. */
  readonly peers: Readonly<Record<string, string | null>>;
  /** All tags that peers have. */
  readonly tags: readonly string[];
  readonly targets: readonly TargetPlace[];
  /** Where the hub is, and the certificate of its authority in PEM; null: there is no hub. */
  readonly hub: { readonly origin: string; readonly ca: string | null } | null;
  /** The rules, with what they select. */
  readonly alerts: readonly Pick<
    Settings["alerts"][number],
    "name" | "kind" | "devices" | "peers" | "tags"
  >[];
}

/** @param labels labels of the targets, in the order of the settings. */
export function viewSettings(settings: Settings, labels: readonly string[]): SettingsView {
  const copied = Object.fromEntries(COPIED.map((key) => [key, settings[key]]));
  return {
    ...(copied as Pick<Settings, (typeof COPIED)[number]>),
    peers: Object.fromEntries([...settings.peers].map(([key, { name }]) => [key, name])),
    tags: [...new Set([...settings.peers.values()].flatMap(({ tags }) => tags))],
    alerts: settings.alerts.map(({ name, kind, devices, peers, tags }) => ({
      name,
      kind,
      devices,
      peers,
      tags,
    })),
    hub:
      settings.hub === null
        ? null
        : settings.hub.type === "nats"
          ? { origin: settings.hub.url, ca: null }
          : { origin: new URL(settings.hub.url).origin, ca: settings.hub.ca },
    targets: settings.targets.map((target, index) => viewTarget(target, labels[index] ?? "")),
  };
}

function viewTarget({ name, destination, selection }: TargetSettings, label: string): TargetPlace {
  const { devices, peers } = selection;
  const common = { name, label, selection: { devices, peers } };
  return destination.type === "exec"
    ? { ...common, origin: null, program: destination.command[0] }
    : { ...common, origin: new URL(destination.url).origin, program: null };
}
