/** `wgmon doctor`: checks the settings, and the names of peers. */

import { type Finding, ok, problem, skipped, warning } from "../../base/check.ts";
import { systemClock } from "../../base/clock.ts";
import { SystemError } from "../../base/errors.ts";
import { fileName } from "../../base/redact.ts";
import { counted } from "../../base/text.ts";
import type { PublicKey } from "../../base/wireguard.ts";
import type { SettingsView } from "../../http/settings-view.ts";
import { PeerNames } from "../../names/peer-names.ts";
import { readPlaces } from "../../names/places.ts";
import { presentOf, unmatched } from "../../names/unmatched.ts";
import type { ApiReader } from "../client.ts";
import { listPeers } from "../history-query.ts";
import type { DeviceFacts } from "./devices.ts";

export function judgeSettings({
  file,
  isOfDaemon,
  errors,
  warnings,
}: {
  /** null if no file was read. */
  readonly file: string | null;
  /** Whether the settings are those of the running wgmon. */
  readonly isOfDaemon: boolean;
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}): Finding[] {
  const findings = [
    ...errors.map((each) =>
      problem(
        each,
        each.endsWith("EACCES")
          ? "run this as root, or as the user that wgmon runs as; the other checks use the remaining settings"
          : "correct it, otherwise wgmon does not start; the other checks use the remaining settings",
      ),
    ),
    ...warnings.map((each) => warning(each, null)),
  ];
  if (findings.length > 0) return findings;
  const read = file === null ? "no file; flags, variables and defaults" : fileName(file);
  return [ok(isOfDaemon ? `those of the running wgmon: ${read}` : read)];
}

/** @param daemon the daemon that has these settings; null: it is not running, or other settings are checked. */
export async function checkNames(
  settings: Pick<SettingsView, "names" | "peers" | "tags" | "targets" | "alerts">,
  devices: readonly DeviceFacts[],
  daemon: ApiReader | null,
): Promise<Finding[]> {
  const warnings: string[] = [];
  const log = {
    debug() {},
    info() {},
    error() {},
    warn: (message: string) => warnings.push(message),
  };
  const peers = new Map(
    Object.entries(settings.peers).map(([key, name]) => [key as PublicKey, { name }] as const),
  );
  using files = new PeerNames({ clock: systemClock, log });
  // The service reads a copy of /etc/wireguard from its last start; the files here may contain other names.
  const daemonNames = daemon === null ? null : await namesOf(daemon);
  if (daemonNames === null) {
    files.setSources({ names: settings.names, peers });
    files.setDevices(devices.map(({ name }) => name));
  }
  const names = daemonNames ?? files;
  const isNamed = devices.flatMap(({ name, publicKeys }) =>
    publicKeys.map((key) => names.nameOf(key, name) !== null),
  );
  const { targets, alerts } = settings;
  const watched = { targets, alerts, peers };
  const absent = unmatched(watched, { ...presentOf(watched, devices, names), tags: settings.tags });
  return [
    ...judgeNames({ warnings, isNamed }),
    ...absent.map((each) => warning(each, "correct the name, or add the peer")),
  ];
}

/** The MMDB files. */
export async function checkPlaces(paths: readonly string[]): Promise<Finding[]> {
  const { problems } = await readPlaces(paths);
  if (problems.length === 0) return [ok(counted(paths.length, "file"))];
  return problems.map((each) => {
    const [found, fix = "correct the setting places"] = each.replace(/^places: /, "").split("; ");
    return problem(found!, fix);
  });
}

/** The names of the daemon's peers; null: it does not respond. */
async function namesOf(daemon: ApiReader): Promise<Pick<PeerNames, "nameOf"> | null> {
  const names = new Map<string, string | null>();
  try {
    for await (const { device, publicKey, name } of listPeers(daemon, {})) {
      names.set(`${device} ${publicKey}`, name);
    }
  } catch (error) {
    if (error instanceof SystemError) return null;
    throw error;
  }
  return { nameOf: (publicKey, device) => names.get(`${device} ${publicKey}`) ?? null };
}

export function judgeNames({
  warnings,
  isNamed,
}: {
  readonly warnings: readonly string[];
  /** For each peer, whether it has a name. */
  readonly isNamed: readonly boolean[];
}): Finding[] {
  if (warnings.length > 0) {
    return warnings.map((each) =>
      warning(each.replace(/^names: /, ""), "make it readable for wgmon, or set names"),
    );
  }
  if (isNamed.length === 0) return [skipped("there are no peers to name")];
  const named = isNamed.filter(Boolean).length;
  return [ok(`${named} of ${isNamed.length} peers have a name`)];
}
