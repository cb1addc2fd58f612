/**
 * Parses the settings and the command line. settings-table.ts defines the settings; this file combines all sources. Pure
 * except for `Sources`. Webhook URLs contain secrets, so no message shows one.
 */

import { ConfigError } from "../base/errors.ts";
import { noSuch, quoteSafely } from "../base/redact.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { SigningSecret } from "../channels/signature.ts";
import type { TargetSettings } from "../channels/target-settings.ts";
import { parseArgs, type ParsedArgs } from "./argv.ts";
import {
  type DoctorRequest,
  type EventsRequest,
  eventsRequest,
  type OutboxRequest,
  outboxRequest,
  own,
  queryRequest,
  type RulesAction,
  rulesAction,
  type SessionsRequest,
  sessionsRequest,
  type Shell,
  shellOf,
  type StatusRequest,
  type TopRequest,
} from "./command-requests.ts";
import { describe } from "./describe-settings.ts";
import { readLegacyVariables, readVariables } from "./env.ts";
import { type ListenSettings, readListen } from "./listen.ts";
import { type NamedFile, type RawSettings, ResolvedSettings, type Sources } from "./resolve.ts";
import { inFile, type PeerSettings, readSettingsFile, type SettingsFile } from "./settings-file.ts";
import {
  type CommandName,
  commandOf,
  COMMANDS,
  commands,
  isName,
  NAMES,
  table,
  variableOf,
} from "./settings-table.ts";
import { readTargets, targetAt, targetWords } from "./targets.ts";
import { readSecrets } from "./webhooks.ts";

export type { Sources } from "./resolve.ts";
export { commands, keyOf, table, variableOf } from "./settings-table.ts";
export { targetAt, targetWords } from "./targets.ts";

export interface Settings extends ListenSettings {
  /** Other exporters whose metric names are also provided. */
  readonly metrics: readonly ("mdlayher" | "mindflavor")[];
  /** auto: see wakeup/wakeup.ts. */
  readonly monitor: "auto" | "nflog" | "bpf" | "poll";
  readonly group: number;
  readonly captureInterface: string;
  readonly manageRules: boolean;
  /** null: the default filter, which passes only handshakes and first data messages. */
  readonly filter: string | null;
  /** Empty: all. */
  readonly devices: readonly string[];
  readonly targets: readonly TargetSettings[];
  readonly idleTimeoutMs: number;
  readonly tickMs: number;
  /** 0: off. */
  readonly reconcileMs: number;
  /** 0: off. */
  readonly holdMs: number;
  readonly announceExisting: boolean;
  readonly reportUnknown: boolean;
  /** Absolute path of the folder that contains the store. */
  readonly stateDir: string;
  readonly keepMs: number;
  readonly maxStoreBytes: number;
  readonly logFormat: "auto" | "text" | "json" | "journal";
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly host: string;
  readonly peers: ReadonlyMap<PublicKey, PeerSettings>;
  /** Paths of files with names of peers, with `%i`, `*` and `?`. Empty: no files are read. */
  readonly names: readonly string[];
  /** The settings file that was read; null: no file was read. */
  readonly file: string | null;
}

interface Configured {
  readonly settings: Settings;
  /** Warnings, for example about a deprecated variable or a setting without effect. */
  readonly warnings: readonly string[];
}

export type Command =
  | ({ readonly type: "run" } & Configured)
  /** `target`: a word that `targetAt` finds; null: all targets. */
  | ({ readonly type: "test-webhook"; readonly target: string | null } & Configured)
  | ({ readonly type: "outbox" } & OutboxRequest & Configured)
  | ({ readonly type: "rules"; readonly action: RulesAction } & Configured)
  /** `errors`: mistakes in the settings; the settings are otherwise as if the wrong ones were not given. */
  | ({ readonly type: "doctor"; readonly errors: readonly string[] } & DoctorRequest & Configured)
  | { readonly type: "health" }
  | { readonly type: "completion"; readonly shell: Shell }
  | {
      readonly type: "receive";
      /** 0: any free port. */
      readonly port: number;
      readonly address: string;
      /** Empty: signatures are not checked. */
      readonly secrets: readonly SigningSecret[];
    }
  | { readonly type: "install-service" | "uninstall-service" | "extract-names" }
  | ({ readonly type: "status" } & StatusRequest & Configured)
  | ({ readonly type: "sessions" } & SessionsRequest & Configured)
  | ({ readonly type: "events" } & EventsRequest & Configured)
  | ({ readonly type: "top" } & TopRequest & Configured)
  /** `command`: the command to describe; null: the program. */
  | { readonly type: "help"; readonly command: CommandName | null }
  | { readonly type: "version" | "licenses" };

/** The same folder as systemd's StateDirectory=wgmon. */
export const DEFAULT_STATE_DIR = "/var/lib/wgmon";

/**
 * Combines the command line, the environment and the settings file into a command.
 *
 * @throws ConfigError with all errors.
 */
export function parseCommand(sources: Sources): Command {
  const line = parseArgs(sources.argv);
  if (line.help) return helpOf(line);
  if (line.version) return { type: "version" };
  if (line.licenses) return { type: "licenses" };
  const errors = [...line.errors];
  const command = readCommand(line, sources, errors);
  if (errors.length > 0) throw new ConfigError(errors, helpOn(line.command));
  return command;
}

function helpOn(command: CommandName): string | undefined {
  const { flags } = commandOf(command);
  return Object.keys(flags).length === 0 ? undefined : `wgmon ${command} --help lists its flags.`;
}

function readCommand(line: ParsedArgs, sources: Sources, errors: string[]): Command {
  switch (line.command) {
    case "run":
      return { type: "run", ...configure(line.found, sources, errors) };
    case "test-webhook": {
      const configured = configure(line.found, sources, errors);
      return {
        type: "test-webhook",
        target: testTarget(line, configured, errors),
        ...configured,
      };
    }
    case "outbox": {
      const request = outboxRequest(line, errors);
      return { type: "outbox", ...request, ...configure(line.found, sources, errors) };
    }
    case "rules": {
      const action = rulesAction(line, errors);
      return { type: "rules", action, ...configure(line.found, sources, errors) };
    }
    case "doctor":
      return doctor(line, sources, errors);
    case "health":
      return { type: "health" };
    case "completion":
      return { type: "completion", shell: shellOf(line, errors) };
    case "receive":
      return receive(line, sources, errors);
    case "install-service":
    case "uninstall-service":
    case "extract-names":
      return { type: line.command };
    case "status": {
      const json = own(line, "json", commands.status.flags.json, errors) === true;
      const request = { json, ...queryRequest(line) };
      return { type: "status", ...request, ...configure(line.found, sources, errors) };
    }
    case "sessions": {
      const request = sessionsRequest(line, errors);
      return { type: "sessions", ...request, ...configure(line.found, sources, errors) };
    }
    case "events": {
      const request = eventsRequest(line, errors);
      return { type: "events", ...request, ...configure(line.found, sources, errors) };
    }
    case "top": {
      const { interval } = commands.top.flags;
      const intervalMs = own(line, "interval", interval, errors) ?? 0;
      const request = { intervalMs, ...queryRequest(line) };
      return { type: "top", ...request, ...configure(line.found, sources, errors) };
    }
    case "help":
      return helpOf(line);
    case "version":
      return { type: "version" };
  }
}

function configure(flags: RawSettings, sources: Sources, errors: string[]): Configured {
  const { env, hostname } = sources;
  const warnings: string[] = [];
  const variables = readVariables(env, errors, warnings);
  const bare = readLegacyVariables(env, variables);
  const file = readSettingsFile(sources, settingsPath([flags, variables], errors), errors);
  const chosen = new ResolvedSettings(
    [flags, variables, bare, file.found],
    NAMES.filter(inFile),
    errors,
  );
  warnings.push(...notesOf(chosen));
  const targets = readTargets({ sources, chosen, file, errors, warnings });
  const stateDir = stateDirOf(chosen, env, errors);
  const listen = readListen({ sources, chosen, errors, warnings });
  const names = namesOf(chosen, errors);
  const base = settingsOf(chosen, hostname, file);
  return { settings: { ...base, ...listen, targets, stateDir, names }, warnings };
}

/** Returns null if the path itself is a mistake. */
function settingsPath(given: readonly RawSettings[], errors: string[]): NamedFile | null {
  const chosen = new ResolvedSettings(given, ["config"], errors);
  const [read] = chosen.several("config");
  if (read === undefined) return null;
  return { path: read.value, where: read.where, isOptional: chosen.given("config") === null };
}

function settingsOf(
  chosen: ResolvedSettings,
  hostname: string,
  file: SettingsFile,
): Omit<Settings, "targets" | "stateDir" | "names" | keyof ListenSettings> {
  return {
    monitor: chosen.one("monitor"),
    group: chosen.one("group"),
    captureInterface: chosen.one("interface"),
    manageRules: chosen.one("manage-rules"),
    filter: chosen.values("filter")[0] ?? null,
    devices: [...new Set(chosen.values("device"))],
    idleTimeoutMs: chosen.one("idle-timeout"),
    tickMs: chosen.one("tick"),
    reconcileMs: chosen.one("reconcile"),
    holdMs: chosen.one("hold"),
    announceExisting: chosen.one("announce-existing"),
    reportUnknown: chosen.one("report-unknown"),
    metrics: chosen.values("metrics").filter((name) => name !== "none"),
    keepMs: chosen.one("keep"),
    maxStoreBytes: chosen.one("max-store"),
    logFormat: chosen.one("log-format"),
    logLevel: chosen.one("log-level"),
    host: chosen.values("host")[0] ?? hostname,
    peers: file.peers,
    file: file.path,
  };
}

function stateDirOf(chosen: ResolvedSettings, env: Sources["env"], errors: string[]): string {
  const wanted = chosen.values("state-dir")[0];
  if (wanted !== undefined) return wanted;
  // Several are separated by colons: systemd.exec(5).
  const folder = env["STATE_DIRECTORY"]?.split(":")[0] ?? "";
  if (folder === "") return DEFAULT_STATE_DIR;
  const reading = table["state-dir"].read(folder);
  if ("value" in reading) return reading.value;
  errors.push(`variable STATE_DIRECTORY: ${quoteSafely(folder)} ${reading.problem}`);
  return DEFAULT_STATE_DIR;
}

function namesOf(chosen: ResolvedSettings, errors: string[]): readonly string[] {
  const paths = [...new Set(chosen.values("names"))];
  if (!paths.includes("off")) return paths;
  const where = chosen.given("names")?.where ?? "names";
  if (paths.length > 1) errors.push(`${where}: off cannot be combined with a path`);
  return [];
}

function notesOf(chosen: ResolvedSettings): string[] {
  const warnings: string[] = [];
  for (const name of NAMES) {
    if (chosen.given(name)?.origin !== "bare variable") continue;
    const format =
      name === "webhook" && chosen.given("webhook-format") === null
        ? `, with form: before a URL to keep the old format`
        : "";
    warnings.push(`variable ${name} is deprecated: use ${variableOf(name)} instead${format}`);
  }
  const monitor = chosen.one("monitor");
  const onlyFor = {
    group: "nflog",
    "manage-rules": "nflog",
    interface: "bpf",
    filter: "bpf",
  } as const;
  for (const name of ["group", "manage-rules", "interface", "filter"] as const) {
    const given = chosen.given(name);
    if (given === null || monitor === "auto" || monitor === onlyFor[name]) continue;
    warnings.push(
      `${given.where} has no effect with monitor ${monitor}: it is for ${onlyFor[name]}`,
    );
  }
  if (monitor === "poll" && chosen.one("report-unknown")) {
    const where = chosen.given("report-unknown")?.where ?? "report-unknown";
    warnings.push(`${where} has no effect with monitor poll: it needs packets`);
  }
  return warnings;
}

// ---- Commands ----

function helpOf({ command, word }: ParsedArgs): Command {
  const asked = command === "help" ? COMMANDS.find((name) => name === word) : command;
  // The general help is that of run.
  const isGeneral = asked === undefined || asked === "run" || asked === "help";
  return { type: "help", command: isGeneral ? null : asked };
}

function testTarget(line: ParsedArgs, { settings }: Configured, errors: string[]): string | null {
  const word = own(line, "target", commands["test-webhook"].flags.target, errors);
  // If the settings have a mistake, the target may be missing because of it.
  const isKnown = word === null || targetAt(settings.targets, word) !== null;
  if (isKnown || errors.length > 0) return word;
  errors.push(noSuch({ flag: "target", what: "target", word }, targetWords(settings.targets)));
  return word;
}

/** doctor reports mistakes in the settings, so they do not stop it. */
function doctor(line: ParsedArgs, sources: Sources, errors: string[]): Command {
  const { flags } = commands.doctor;
  const json = own(line, "json", flags.json, errors) === true;
  const network = own(line, "no-network", flags["no-network"], errors) !== true;
  const inSettings: string[] = [];
  const configured = configure(line.found, sources, inSettings);
  const hasSettings = [...line.found.keys()].some(isName);
  return { type: "doctor", json, network, hasSettings, errors: inSettings, ...configured };
}

function receive(line: ParsedArgs, sources: Sources, errors: string[]): Command {
  const { flags } = commands.receive;
  const port = own(line, "port", flags.port, errors) ?? 0;
  const address = own(line, "address", flags.address, errors) ?? "";
  const path = own(line, "secret-file", flags["secret-file"], errors);
  const file = { path, where: "--secret-file", isOptional: false };
  const secrets = path === null ? [] : readSecrets(sources, { ...file, path }, errors);
  return { type: "receive", port, address, secrets };
}

// ---- For the log ----

/** Returns the settings that differ from the defaults, for one line of the log. */
export function describeSettings(settings: Settings, hostname: string): Record<string, unknown> {
  const nothing = {
    argv: [],
    env: {},
    hostname,
    readFile: () => null,
    folderOpenToOthers: () => null,
  };
  const usual = describe(configure(new Map(), nothing, []).settings);
  return Object.fromEntries(
    Object.entries(describe(settings)).filter(([key, value]) => !Bun.deepEquals(value, usual[key])),
  );
}
