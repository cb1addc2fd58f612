/** `wgmon doctor`: the settings, the files with secrets that they are in, and the files with names. */

import { type Stats, statSync } from "node:fs";

import { systemClock } from "../clock.ts";
import { fileName } from "../config/words.ts";
import type { SettingsView } from "../http/settings.ts";
import { NameBook } from "../namebook.ts";
import { readTextFile } from "../system.ts";
import type { PublicKey } from "../wireguard.ts";
import { type Finding, ok, problem, skipped, warning } from "./check.ts";
import type { DeviceFacts } from "./devices.ts";

export function judgeSettings({
  file,
  isOfDaemon,
  problems,
  notes,
}: {
  /** null: none was read. */
  readonly file: string | null;
  /** The settings are those of the wgmon that runs. */
  readonly isOfDaemon: boolean;
  readonly problems: readonly string[];
  readonly notes: readonly string[];
}): Finding[] {
  const findings = [
    ...problems.map((each) =>
      problem(
        each,
        each.endsWith("EACCES")
          ? "run this as root, or as the user that wgmon runs as; what follows goes by the rest"
          : "correct it, or wgmon does not start; what follows goes by the rest",
      ),
    ),
    ...notes.map((each) => warning(each, null)),
  ];
  if (findings.length > 0) return findings;
  const read = file === null ? "no file; flags, variables and defaults" : fileName(file);
  return [ok(isOfDaemon ? `those of the running wgmon: ${read}` : read)];
}

/** @param files that the settings were read from: as they were given, and their absolute paths. */
export function checkSecrets(
  files: ReadonlyMap<string, string>,
  { file, listenTls }: Pick<SettingsView, "file" | "listenTls">,
): Finding[] {
  // The daemon may have another file, which has been read by nothing here.
  const others = [file, listenTls?.key ?? null].filter((path) => path?.startsWith("/") === true);
  const all = new Map([...others.map((path) => [path!, path!] as const), ...files]);
  const findings = [...all].flatMap(([given, path]) => {
    const stat = statOf(path);
    // Without one there is nothing to see: the settings have told already what is wrong with that.
    if (stat?.isFile() !== true) return [];
    const isSettings = given === file;
    // Of the settings alone, most are no secret: a URL may be one.
    const isSecret = !isSettings || /^[^#\n]*https?:\/\//m.test(readTextFile(path) ?? "");
    return [judgeMode({ path, bits: stat.mode & 0o777, isSecret, isSettings })];
  });
  const wrong = findings.filter(({ verdict }) => verdict !== "ok");
  if (wrong.length > 0) return wrong;
  const read = findings.length === 1 ? "1 file is" : `${findings.length} files are`;
  return findings.length === 0 ? [] : [ok(`${read} only for those who should`)];
}

function statOf(path: string): Stats | null {
  try {
    return statSync(path);
  } catch {
    return null;
  }
}

export function judgeMode({
  path,
  bits,
  isSecret,
  isSettings,
}: {
  readonly path: string;
  /** `0o644` */
  readonly bits: number;
  readonly isSecret: boolean;
  /** The service's own user must be able to read them: src/cli/settingsfile.ts. */
  readonly isSettings: boolean;
}): Finding {
  const shown = fileName(path);
  const mode = bits.toString(8).padStart(3, "0");
  if ((bits & 0o002) !== 0) {
    const rest = isSettings ? "o-w" : "o-rwx";
    return problem(`all users can change ${shown}, mode ${mode}`, `chmod ${rest} ${shown}`);
  }
  if (isSecret && (bits & 0o004) !== 0) {
    return warning(
      `all users can read ${shown}, mode ${mode}, and there may be secrets in it`,
      isSettings
        ? "move its URLs to a file with mode 600: webhook_file, or the service's /etc/credstore/wgmon.webhooks"
        : `chmod o-rwx ${shown}`,
    );
  }
  return ok(`${shown}, mode ${mode}`);
}

export function checkNames(
  { names, peers: named }: Pick<SettingsView, "names" | "peers">,
  devices: readonly DeviceFacts[],
): Finding[] {
  const complaints: string[] = [];
  const log = { debug() {}, info() {}, error() {}, warn: (what: string) => complaints.push(what) };
  const peers = new Map(
    Object.entries(named).map(([key, name]) => [key as PublicKey, { name }] as const),
  );
  using book = new NameBook({ clock: systemClock, log });
  book.setSources({ names, peers });
  book.watch(devices.map(({ name }) => name));
  const isNamed = devices.flatMap(({ name, publicKeys }) =>
    publicKeys.map((key) => book.nameOf(key as PublicKey, name) !== null),
  );
  return judgeNames({ complaints, isNamed });
}

export function judgeNames({
  complaints,
  isNamed,
}: {
  readonly complaints: readonly string[];
  /** For each peer. */
  readonly isNamed: readonly boolean[];
}): Finding[] {
  if (complaints.length > 0) {
    return complaints.map((each) =>
      warning(each.replace(/^names: /, ""), "make it readable for wgmon, or set names"),
    );
  }
  if (isNamed.length === 0) return [skipped("there is no peer that could have one")];
  const named = isNamed.filter(Boolean).length;
  return [ok(`${named} of ${isNamed.length} peers have one`)];
}
