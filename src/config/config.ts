/**
 * Combines the command line, the environment and the settings file into a command with its settings; more than 400 lines
 * because each command combines them in its own way. settings-table.ts defines the settings. Pure except for `Sources`. Webhook URLs contain secrets, so no message shows one.
 */

import type { Rule } from "../alerts/rule.ts";
import { ConfigError } from "../base/errors.ts";
import { noSuch } from "../base/redact.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { TargetSettings } from "../channels/target-settings.ts";
import type { NatsLogin } from "../fleet/nats-url.ts";
import { HUB_KEY, type HubSettings } from "../uplink/hub-settings.ts";
import { readAlerts } from "./alerts.ts";
import { parseArgs, type ParsedArgs } from "./argv.ts";
import {
  type AlertExplainRequest,
  type AlertListRequest,
  alertsRequest,
  type AlertTestRequest,
  commandFlag,
  type DoctorRequest,
  doctorRequest,
  type EventsRequest,
  eventsRequest,
  type HubRequest,
  hubRequest,
  type OutboxRequest,
  outboxRequest,
  type PeerRequest,
  peerRequest,
  type ReceiveRequest,
  receiveRequest,
  type RulesAction,
  rulesAction,
  type SchemaName,
  schemaOf,
  type SessionsRequest,
  sessionsRequest,
  type Shell,
  shellOf,
  type SilenceRequest,
  silenceRequest,
  type StatusRequest,
  statusRequest,
  type TopRequest,
  topRequest,
} from "./command-requests.ts";
import { COMMAND_NAMES, type CommandName, commandOf, commands } from "./commands-table.ts";
import { describe } from "./describe-settings.ts";
import { readLegacyVariables, readVariables } from "./env.ts";
import { readHub } from "./hub.ts";
import { type ListenSettings, readListen } from "./listen.ts";
import { readNats } from "./nats.ts";
import { type NamedFile, type RawSettings, ResolvedSettings, type Sources } from "./resolve.ts";
import { DEFAULT_STATE_DIR, namesOf, stateDirOf } from "./setting-paths.ts";
import { warningsOf } from "./setting-warnings.ts";
import { inFile, type PeerSettings, readSettingsFile, type SettingsFile } from "./settings-file.ts";
import { SETTING_NAMES, type SettingName } from "./settings-table.ts";
import { readTargets, targetAt, targetWords } from "./targets.ts";
import { deviceName } from "./value-types.ts";

export interface Settings extends ListenSettings {
  /** Other exporters under whose metric names /metrics also exports the peers. */
  readonly metrics: readonly ("mdlayher" | "mindflavor")[];
  /** auto: see wakeup/wakeup.ts. */
  readonly monitor: "auto" | "nflog" | "bpf" | "poll";
  readonly group: number;
  readonly captureInterface: string;
  readonly manageRules: boolean;
  /** null: the default filter, which passes only handshakes and first data messages. */
  readonly filter: string | null;
  /** Empty: all devices. */
  readonly devices: readonly string[];
  readonly targets: readonly TargetSettings[];
  /** null: this gateway reports to no hub. */
  readonly hub: HubSettings | null;
  /** On a hub: how it connects to NATS; null: it does not. */
  readonly nats: NatsLogin | null;
  readonly idleTimeoutMs: number;
  readonly tickMs: number;
  /** 0: off. */
  readonly reconcileMs: number;
  /** 0: off. */
  readonly holdMs: number;
  readonly announceExisting: boolean;
  readonly reportUnknown: boolean;
  readonly resolveEndpoints: boolean;
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
  /** The rules of the [[alert]] tables. Their names are unique. */
  readonly alerts: readonly Rule[];
  /** Absolute paths of MMDB files with the countries and autonomous systems of addresses. Empty: no lookups. */
  readonly places: readonly string[];
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
  /** `target`: a word that `targetAt` accepts; null: all targets. */
  | ({ readonly type: "test-webhook"; readonly target: string | null } & Configured)
  | ({ readonly type: "outbox" } & OutboxRequest & Configured)
  | ({ readonly type: "rules"; readonly action: RulesAction } & Configured)
  /** `errors`: the mistakes in the settings. Invalid values are left out of `settings`. */
  | ({ readonly type: "doctor"; readonly errors: readonly string[] } & DoctorRequest & Configured)
  | { readonly type: "health" }
  | { readonly type: "completion"; readonly shell: Shell }
  | ({ readonly type: "receive" } & ReceiveRequest)
  | { readonly type: "install-service" | "uninstall-service" | "extract-names" }
  /** `errors` and `settings` as for doctor. */
  | ({ readonly type: "check"; readonly errors: readonly string[] } & Configured)
  | { readonly type: "schema"; readonly of: SchemaName }
  | { readonly type: "alerts"; readonly action: "examples" }
  | ({ readonly type: "status" } & StatusRequest & Configured)
  | ({ readonly type: "peer" } & PeerRequest & Configured)
  | ({ readonly type: "sessions" } & SessionsRequest & Configured)
  | ({ readonly type: "events" } & EventsRequest & Configured)
  | ({ readonly type: "alerts" } & (AlertListRequest | AlertExplainRequest) & Configured)
  /** `rules`: those to test. */
  | ({ readonly type: "alerts"; readonly rules: readonly Rule[] } & AlertTestRequest & Configured)
  | ({ readonly type: "silence" } & SilenceRequest & Configured)
  | ({ readonly type: "top" } & TopRequest & Configured)
  | ({ readonly type: "hub" } & HubRequest & Configured)
  /** `command`: the command to describe; null: print the short help. `subcommand`: describe only this one. */
  | { readonly type: "help"; readonly command: CommandName | null; readonly subcommand?: string }
  | { readonly type: "version" | "licenses" };

/**
 * Combines the command line, the environment and the settings file into a command.
 *
 * @throws ConfigError with all errors.
 */
export function parseCommand(sources: Sources): Command {
  const line = parseArgs(sources.argv);
  if (line.help) return helpCommand(line);
  if (line.version) return { type: "version" };
  if (line.licenses) return { type: "licenses" };
  const errors = [...line.errors];
  const command = readCommand(line, sources, errors);
  if (errors.length > 0) {
    const isUnknown = line.commandWord === "unknown";
    const hint = isUnknown ? "wgmon --help lists the commands." : helpHint(line.command);
    throw new ConfigError(errors, hint);
  }
  return command;
}

/** The line after an error in the flags of a command, or in the settings. */
export function helpHint(command: CommandName): string {
  if (command === "run") return "wgmon run --help lists all settings.";
  const hasFlags = Object.keys(commandOf(command).flags).length > 0;
  return `wgmon ${command} --help ${hasFlags ? "lists its flags" : "describes it"}.`;
}

function readCommand(line: ParsedArgs, sources: Sources, errors: string[]): Command {
  switch (line.command) {
    case "run":
      return { type: "run", ...configure(line.found, sources, errors, null, daemonDefaults) };
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
      return doctorCommand(line, sources, errors);
    case "check":
      return checkCommand(line, sources, errors);
    case "schema":
      return { type: "schema", of: schemaOf(line, errors) };
    case "health":
      return { type: "health" };
    case "completion":
      return { type: "completion", shell: shellOf(line, errors) };
    case "receive":
      return { type: "receive", ...receiveRequest(line, sources, errors) };
    case "install-service":
    case "uninstall-service":
    case "extract-names":
      return { type: line.command };
    case "status": {
      const request = statusRequest(line, errors);
      return { type: "status", ...request, ...configure(line.found, sources, errors) };
    }
    case "peer": {
      const request = peerRequest(line, errors);
      return { type: "peer", ...request, ...configure(line.found, sources, errors) };
    }
    case "sessions": {
      const request = sessionsRequest(line, errors);
      return { type: "sessions", ...request, ...configure(line.found, sources, errors) };
    }
    case "events": {
      const request = eventsRequest(line, errors);
      return { type: "events", ...request, ...configure(line.found, sources, errors) };
    }
    case "alerts":
      return alertsCommand(line, sources, errors);
    case "silence": {
      const request = silenceRequest(line, errors);
      return { type: "silence", ...request, ...configure(line.found, sources, errors) };
    }
    case "top": {
      const request = topRequest(line, errors);
      return { type: "top", ...request, ...configure(line.found, sources, errors) };
    }
    case "hub": {
      const request = hubRequest(line, errors);
      // The doctor reports them, and runs nevertheless.
      const mistakes = request.action === "doctor" ? request.errors : errors;
      return { type: "hub", ...request, ...configureHub(line.found, sources, mistakes) };
    }
    case "help":
      return helpCommand(line);
    case "version":
      return { type: "version" };
  }
}

/** The settings of a hub: in a file of their own, because its machine may also be a gateway. */
function configureHub(flags: RawSettings, sources: Sources, errors: string[]): Configured {
  return configure(flags, sources, errors, null, hubDefaults);
}

/** What differs between a gateway and a hub. */
interface Defaults {
  readonly stateDir: string;
  /** null: that of the table. */
  readonly file: string | null;
  /** Settings that are refused. */
  readonly without: readonly SettingName[];
  /** Why they are refused. */
  readonly reason: string;
  /** Whether `device` names interfaces of this machine only. */
  readonly hasOwnDevices?: true;
}

const gatewayDefaults: Defaults = {
  stateDir: DEFAULT_STATE_DIR,
  file: null,
  without: ["nats", "nats-file", "nats-ca"],
  reason: "is a setting of wgmon hub; a gateway has the setting hub",
};
/** A gateway watches its own devices. For the commands, a name such as `berlin/wg0` is a device that a hub has. */
const daemonDefaults: Defaults = { ...gatewayDefaults, hasOwnDevices: true };
const hubDefaults: Defaults = {
  stateDir: "/var/lib/wgmon-hub",
  file: "/etc/wgmon/hub.toml",
  without: [
    "monitor",
    "group",
    "interface",
    "filter",
    "manage-rules",
    "device",
    "names",
    "idle-timeout",
    "tick",
    "reconcile",
    "hold",
    "announce-existing",
    "report-unknown",
  ],
  reason: "is a setting of gateways; a hub has no devices",
};

/** @param besides settings whose targets and MMDB files the rules can use, too; null: only those that are read. */
function configure(
  flags: RawSettings,
  sources: Sources,
  errors: string[],
  besides: Settings | null = null,
  defaults: Defaults = gatewayDefaults,
): Configured {
  const { env, hostname } = sources;
  const warnings: string[] = [];
  const variables = readVariables(env, errors, warnings);
  const bare = readLegacyVariables(env, variables);
  const path = settingsPath([flags, variables], errors, defaults.file);
  const file = readSettingsFile(sources, path, errors);
  const resolved = new ResolvedSettings(
    [flags, variables, bare, file.found],
    SETTING_NAMES.filter(inFile),
    errors,
  );
  for (const name of defaults.without) {
    const where = resolved.given(name)?.where;
    if (where !== undefined) errors.push(`${where}: ${defaults.reason}`);
  }
  for (const { where, value } of defaults.hasOwnDevices === true ? resolved.parsed("device") : []) {
    const parsed = deviceName("wg0").parse(value);
    if ("problem" in parsed) errors.push(`${where}: "${value}" ${parsed.problem}`);
  }
  warnings.push(...warningsOf(resolved));
  const targets = readTargets({ sources, resolved, file, errors, warnings });
  const stateDir = stateDirOf(resolved, env, errors, defaults.stateDir);
  const listen = readListen({ sources, resolved, errors, warnings });
  const names = namesOf(resolved, errors);
  const base = settingsOf(resolved, hostname, file);
  const context = { sources, resolved, file, errors, warnings };
  const alerts = readAlerts(context, {
    targets: [...targets, ...(besides?.targets ?? [])],
    places: [...base.places, ...(besides?.places ?? [])],
    reportUnknown: base.reportUnknown || besides?.reportUnknown === true,
  });
  const hub = readHub(context, { host: base.host, targets: targets.map(({ name }) => name) });
  const nats = readNats(context);
  return {
    settings: { ...base, ...listen, targets, hub, nats, alerts, stateDir, names },
    warnings,
  };
}

/** The path of the settings file; null: the given path is invalid. */
function settingsPath(
  given: readonly RawSettings[],
  errors: string[],
  defaultPath: string | null,
): NamedFile | null {
  const resolved = new ResolvedSettings(given, ["config"], errors);
  const [path] = resolved.parsed("config");
  if (path === undefined) return null;
  const isOptional = resolved.given("config") === null;
  const value = isOptional && defaultPath !== null ? defaultPath : path.value;
  return { path: value, where: path.where, isOptional };
}

function settingsOf(
  resolved: ResolvedSettings,
  hostname: string,
  file: SettingsFile,
): Omit<
  Settings,
  "targets" | "hub" | "nats" | "alerts" | "stateDir" | "names" | keyof ListenSettings
> {
  return {
    monitor: resolved.value("monitor"),
    group: resolved.value("group"),
    captureInterface: resolved.value("interface"),
    manageRules: resolved.value("manage-rules"),
    filter: resolved.values("filter")[0] ?? null,
    devices: [...new Set(resolved.values("device"))],
    idleTimeoutMs: resolved.value("idle-timeout"),
    tickMs: resolved.value("tick"),
    reconcileMs: resolved.value("reconcile"),
    holdMs: resolved.value("hold"),
    announceExisting: resolved.value("announce-existing"),
    reportUnknown: resolved.value("report-unknown"),
    resolveEndpoints: resolved.value("resolve-endpoints"),
    metrics: resolved.values("metrics").filter((name) => name !== "none"),
    keepMs: resolved.value("keep"),
    maxStoreBytes: resolved.value("max-store"),
    logFormat: resolved.value("log-format"),
    logLevel: resolved.value("log-level"),
    host: resolved.values("host")[0] ?? hostname,
    peers: file.peers,
    places: [...new Set(resolved.values("places"))],
    file: file.path,
  };
}

// ---- Commands ----

function helpCommand(line: ParsedArgs): Command {
  const { command, subcommand, argument, commandWord, found } = line;
  if (command !== "help") {
    if (commandWord !== "known") return { type: "help", command: null };
    return { type: "help", command, ...(subcommand === null ? {} : { subcommand }) };
  }
  // The help of run lists all settings.
  const all = found.get("all")?.texts[0] === "true" ? "run" : undefined;
  return {
    type: "help",
    command: COMMAND_NAMES.find((name) => name === subcommand) ?? all ?? null,
    ...(argument === null ? {} : { subcommand: argument }),
  };
}

function testTarget(line: ParsedArgs, { settings }: Configured, errors: string[]): string | null {
  const word = commandFlag(line, "target", commands["test-webhook"].flags.target, errors);
  // If the settings have an error, the target may be missing because of it.
  const isHub = word === HUB_KEY && settings.hub !== null;
  const isKnown = word === null || isHub || targetAt(settings.targets, word) !== null;
  if (isKnown || errors.length > 0) return word;
  const words = [...targetWords(settings.targets), ...(settings.hub === null ? [] : [HUB_KEY])];
  errors.push(noSuch({ flag: "target", what: "target", word }, words));
  return word;
}

function alertsCommand(line: ParsedArgs, sources: Sources, errors: string[]): Command {
  const request = alertsRequest(line, errors);
  // The examples are printed also if the settings have mistakes.
  if (request.action === "examples") return { type: "alerts", action: request.action };
  const configured = configure(line.found, sources, errors);
  if (request.action !== "test") return { type: "alerts", ...request, ...configured };
  const rules = testedRules(request, configured, { line, sources, errors });
  const { rule } = request;
  const wanted = rule === null ? rules : rules.filter(({ name }) => name === rule);
  if (wanted.length === 0 && rule !== null && errors.length === 0) {
    const names = rules.map(({ name }) => name);
    errors.push(noSuch({ flag: "rule", what: "rule", word: rule }, names));
  }
  return { type: "alerts", ...request, rules: wanted, ...configured };
}

/** The rules of the file, or of the settings. The store and the targets are always those of the settings. */
function testedRules(
  { file }: AlertTestRequest,
  { settings }: Configured,
  { line, sources, errors }: { line: ParsedArgs; sources: Sources; errors: string[] },
): readonly Rule[] {
  if (file === null) return settings.alerts;
  const config = { origin: "flag", where: "wgmon alerts test", texts: [file] } as const;
  const found = new Map([...line.found, ["config", config] as const]);
  return configure(found, sources, errors, settings).settings.alerts;
}

/** Collects the errors in the settings separately: doctor reports them and runs nevertheless. */
function doctorCommand(line: ParsedArgs, sources: Sources, errors: string[]): Command {
  const request = doctorRequest(line, errors);
  const settingsErrors: string[] = [];
  const configured = configure(line.found, sources, settingsErrors);
  return { type: "doctor", ...request, errors: settingsErrors, ...configured };
}

/** Like doctor, it runs with mistakes in the settings, to print the warnings too. */
function checkCommand(line: ParsedArgs, sources: Sources, errors: string[]): Command {
  const found: RawSettings = new Map(line.found);
  if (line.argument !== null) {
    if (found.has("config")) errors.push("FILE and --config: give only one of them");
    found.set("config", { origin: "flag", where: "FILE", texts: [line.argument] });
  }
  const settingsErrors: string[] = [];
  const configured = configure(found, sources, settingsErrors);
  return { type: "check", errors: settingsErrors, ...configured };
}

// ---- For the log ----

/** Returns the settings that differ from the defaults, for one line of the log. */
export function describeSettings(settings: Settings, hostname: string): Record<string, unknown> {
  const noSources = {
    argv: [],
    env: {},
    hostname,
    readFile: () => null,
    listFolder: () => [],
    folderOpenToOthers: () => null,
  };
  const defaults = describe(configure(new Map(), noSources, []).settings);
  return Object.fromEntries(
    Object.entries(describe(settings)).filter(
      ([key, value]) => !Bun.deepEquals(value, defaults[key]),
    ),
  );
}
