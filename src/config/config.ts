/**
 * Parses the settings and the command line. config/table.ts defines the settings; this file combines all sources. Pure
 * except for `Sources`. Webhook URLs contain secrets, so no message shows one.
 */

import { formatDuration } from "../base/duration.ts";
import { ConfigError } from "../base/errors.ts";
import { listed, noSuch, quoted, redactUrl, withoutSecrets } from "../base/redact.ts";
import { formatSize } from "../base/size.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { SigningSecret } from "../channels/signature.ts";
import type { TargetSettings } from "../channels/target-settings.ts";
import type { EventPattern } from "../events/event-filter.ts";
import { type Line, readLine } from "./argv.ts";
import { readBareVariables, readVariables } from "./env.ts";
import { type ListenSettings, readListen } from "./listen.ts";
import {
  Chosen,
  type Found,
  type NamedFile,
  readAll,
  readInitial,
  type Sources,
} from "./resolve.ts";
import { inFile, type PeerSettings, readSettingsFile, type SettingsFile } from "./settings-file.ts";
import {
  type CommandName,
  commandOf,
  COMMANDS,
  commands,
  isName,
  NAMES,
  type Setting,
  table,
  variableOf,
} from "./settings-table.ts";
import { readTargets, targetAt, targetWords } from "./targets.ts";
import type { Since } from "./value-types.ts";
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
  readonly notes: readonly string[];
}

export type Command =
  | ({ readonly type: "run" } & Configured)
  /** `target`: a word that `targetAt` finds; null: all targets. */
  | ({ readonly type: "test-webhook"; readonly target: string | null } & Configured)
  | ({ readonly type: "outbox" } & OutboxRequest & Configured)
  | ({ readonly type: "rules"; readonly action: RulesAction } & Configured)
  /** `problems`: mistakes in the settings; the settings are otherwise as if the wrong ones were not given. */
  | ({ readonly type: "doctor"; readonly problems: readonly string[] } & DoctorRequest & Configured)
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

/** nft and iptables print the rules. */
export type RulesAction = "nft" | "iptables" | "install" | "remove";

/** Message selector. No target and no id means all; for retry and drop the parser has required --all. */
export interface OutboxRequest {
  readonly action: "list" | "retry" | "drop";
  /** The word as typed; it may name a target that is no longer in the settings. null: any target. */
  readonly target: string | null;
  /** null: any id. */
  readonly id: string | null;
  /** Select dead letters only. */
  readonly dead: boolean;
  readonly json: boolean;
}

/** Options that the commands that query the daemon have in common. */
interface AskingRequest {
  /** Devices of the flag --device, which must exist; devices of the settings may be added later. */
  readonly askedDevices: readonly string[];
}

export interface StatusRequest extends AskingRequest {
  readonly json: boolean;
}

/** Selects sessions or events of the past. */
export interface PastRequest extends AskingRequest {
  /** A name or a public key; null: all peers. */
  readonly peer: string | null;
  /** null: from the beginning. */
  readonly since: Since | null;
  /** Maximum number, the latest ones; null: no limit. */
  readonly limit: number | null;
}

export interface SessionsRequest extends PastRequest {
  readonly format: "text" | "json" | "csv";
}

export interface EventsRequest extends PastRequest {
  readonly follow: boolean;
  /** Empty: all. */
  readonly types: readonly EventPattern[];
  readonly json: boolean;
}

export interface TopRequest extends AskingRequest {
  readonly intervalMs: number;
}

/** Default limits of `sessions` and `events`, if neither --limit nor --since is given. */
const SESSIONS_LIMIT = 50;
const EVENTS_LIMIT = 20;

export interface DoctorRequest {
  readonly json: boolean;
  /** Whether it may connect to the targets. */
  readonly network: boolean;
  /** Whether flags of settings were given. Then doctor checks those settings and not the daemon's. */
  readonly hasSettings: boolean;
}

export type Shell = "bash" | "zsh" | "fish";

/** The same folder as systemd's StateDirectory=wgmon. */
export const DEFAULT_STATE_DIR = "/var/lib/wgmon";

/**
 * Combines the command line, the environment and the settings file into a command.
 *
 * @throws ConfigError with all problems.
 */
export function parseCommand(sources: Sources): Command {
  const line = readLine(sources.argv);
  if (line.help) return helpOf(line);
  if (line.version) return { type: "version" };
  if (line.licenses) return { type: "licenses" };
  const problems = [...line.problems];
  const command = readCommand(line, sources, problems);
  if (problems.length > 0) throw new ConfigError(problems, helpOn(line.command));
  return command;
}

function helpOn(command: CommandName): string | undefined {
  const { flags } = commandOf(command);
  return Object.keys(flags).length === 0 ? undefined : `wgmon ${command} --help lists its flags.`;
}

function readCommand(line: Line, sources: Sources, problems: string[]): Command {
  switch (line.command) {
    case "run":
      return { type: "run", ...configure(line.found, sources, problems) };
    case "test-webhook": {
      const configured = configure(line.found, sources, problems);
      return {
        type: "test-webhook",
        target: testTarget(line, configured, problems),
        ...configured,
      };
    }
    case "outbox": {
      const request = outboxRequest(line, problems);
      return { type: "outbox", ...request, ...configure(line.found, sources, problems) };
    }
    case "rules": {
      const action = rulesAction(line, problems);
      return { type: "rules", action, ...configure(line.found, sources, problems) };
    }
    case "doctor":
      return doctor(line, sources, problems);
    case "health":
      return { type: "health" };
    case "completion":
      return { type: "completion", shell: shellOf(line, problems) };
    case "receive":
      return receive(line, sources, problems);
    case "install-service":
    case "uninstall-service":
    case "extract-names":
      return { type: line.command };
    case "status": {
      const json = own(line, "json", commands.status.flags.json, problems) === true;
      const request = { json, ...askingRequest(line) };
      return { type: "status", ...request, ...configure(line.found, sources, problems) };
    }
    case "sessions": {
      const request = sessionsRequest(line, problems);
      return { type: "sessions", ...request, ...configure(line.found, sources, problems) };
    }
    case "events": {
      const request = eventsRequest(line, problems);
      return { type: "events", ...request, ...configure(line.found, sources, problems) };
    }
    case "top": {
      const { interval } = commands.top.flags;
      const intervalMs = own(line, "interval", interval, problems) ?? 0;
      const request = { intervalMs, ...askingRequest(line) };
      return { type: "top", ...request, ...configure(line.found, sources, problems) };
    }
    case "help":
      return helpOf(line);
    case "version":
      return { type: "version" };
  }
}

function configure(flags: Found, sources: Sources, problems: string[]): Configured {
  const { env, hostname } = sources;
  const notes: string[] = [];
  const variables = readVariables(env, problems, notes);
  const bare = readBareVariables(env, variables);
  const file = readSettingsFile(sources, settingsPath([flags, variables], problems), problems);
  const chosen = new Chosen([flags, variables, bare, file.found], NAMES.filter(inFile), problems);
  notes.push(...notesOf(chosen));
  const targets = readTargets({ sources, chosen, file, problems, notes });
  const stateDir = stateDirOf(chosen, env, problems);
  const listen = readListen({ sources, chosen, problems, notes });
  const names = namesOf(chosen, problems);
  const base = settingsOf(chosen, hostname, file);
  return { settings: { ...base, ...listen, targets, stateDir, names }, notes };
}

/** Returns null if the path itself is a mistake. */
function settingsPath(given: readonly Found[], problems: string[]): NamedFile | null {
  const chosen = new Chosen(given, ["config"], problems);
  const [read] = chosen.several("config");
  if (read === undefined) return null;
  return { path: read.value, where: read.where, isOptional: chosen.given("config") === null };
}

function settingsOf(
  chosen: Chosen,
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

function stateDirOf(chosen: Chosen, env: Sources["env"], problems: string[]): string {
  const wanted = chosen.values("state-dir")[0];
  if (wanted !== undefined) return wanted;
  // Several are separated by colons: systemd.exec(5).
  const folder = env["STATE_DIRECTORY"]?.split(":")[0] ?? "";
  if (folder === "") return DEFAULT_STATE_DIR;
  const reading = table["state-dir"].read(folder);
  if ("value" in reading) return reading.value;
  problems.push(`variable STATE_DIRECTORY: ${quoted(folder)} ${reading.problem}`);
  return DEFAULT_STATE_DIR;
}

function namesOf(chosen: Chosen, problems: string[]): readonly string[] {
  const paths = [...new Set(chosen.values("names"))];
  if (!paths.includes("off")) return paths;
  const where = chosen.given("names")?.where ?? "names";
  if (paths.length > 1) problems.push(`${where}: off does not go with a path`);
  return [];
}

function notesOf(chosen: Chosen): string[] {
  const notes: string[] = [];
  for (const name of NAMES) {
    if (chosen.given(name)?.origin !== "bare variable") continue;
    const format =
      name === "webhook" && chosen.given("webhook-format") === null
        ? `, with form: before a URL to keep the old format`
        : "";
    notes.push(`variable ${name} is deprecated: use ${variableOf(name)} instead${format}`);
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
    notes.push(`${given.where} has no effect with monitor ${monitor}: it is for ${onlyFor[name]}`);
  }
  if (monitor === "poll" && chosen.one("report-unknown")) {
    const where = chosen.given("report-unknown")?.where ?? "report-unknown";
    notes.push(`${where} has no effect with monitor poll: it needs packets`);
  }
  return notes;
}

// ---- Commands ----

function helpOf({ command, word }: Line): Command {
  const asked = command === "help" ? COMMANDS.find((name) => name === word) : command;
  // The general help is that of run.
  const isGeneral = asked === undefined || asked === "run" || asked === "help";
  return { type: "help", command: isGeneral ? null : asked };
}

function testTarget(line: Line, { settings }: Configured, problems: string[]): string | null {
  const word = own(line, "target", commands["test-webhook"].flags.target, problems);
  // If the settings have a mistake, the target may be missing because of it.
  const isKnown = word === null || targetAt(settings.targets, word) !== null;
  if (isKnown || problems.length > 0) return word;
  problems.push(noSuch({ flag: "target", what: "target", word }, targetWords(settings.targets)));
  return word;
}

function outboxRequest(line: Line, problems: string[]): OutboxRequest {
  const { flags } = commands.outbox;
  const action = line.word === "retry" || line.word === "drop" ? line.word : "list";
  const target = own(line, "target", flags.target, problems);
  const id = own(line, "id", flags.id, problems);
  const all = own(line, "all", flags.all, problems) === true;
  const isNarrowed = line.found.has("target") || line.found.has("id");
  if (action === "list" && all) {
    problems.push("--all: is for wgmon outbox retry and drop");
  } else if (isNarrowed && all) {
    problems.push("--all: does not go with --target or --id");
  } else if (action !== "list" && !isNarrowed && !all) {
    // An omitted option must not affect all messages.
    problems.push(`wgmon outbox ${action} needs --target NAME, --id ID or --all`);
  }
  const dead = own(line, "dead", flags.dead, problems) === true;
  const json = own(line, "json", flags.json, problems) === true;
  return { action, target, id, dead, json };
}

function rulesAction(line: Line, problems: string[]): RulesAction {
  const { flags } = commands.rules;
  const actions = ["nft", "iptables", "install", "remove"] as const;
  const asked = actions.filter((name) => own(line, name, flags[name], problems) === true);
  if (asked.length > 1) {
    problems.push(`${asked.map((name) => `--${name}`).join(" and ")}: give one of them`);
  }
  return asked[0] ?? "nft";
}

function askingRequest(line: Line): AskingRequest {
  const given = line.found.get("device");
  // A problem with a name is already reported with the settings.
  const reads = given === undefined ? [] : readAll(table.device, given, []);
  return { askedDevices: reads.map(({ value }) => value) };
}

function sessionsRequest(line: Line, problems: string[]): SessionsRequest {
  const { flags } = commands.sessions;
  const past = pastRequest(line, flags, SESSIONS_LIMIT, problems);
  const json = own(line, "json", flags.json, problems) === true;
  const csv = own(line, "csv", flags.csv, problems) === true;
  if (json && csv) problems.push("--json and --csv: give one of them");
  return { ...past, format: json ? "json" : csv ? "csv" : "text" };
}

function eventsRequest(line: Line, problems: string[]): EventsRequest {
  const { flags } = commands.events;
  const given = line.found.get("type");
  return {
    ...pastRequest(line, flags, EVENTS_LIMIT, problems),
    follow: own(line, "follow", flags.follow, problems) === true,
    types:
      given === undefined ? [] : readAll(flags.type, given, problems).map(({ value }) => value),
    json: own(line, "json", flags.json, problems) === true,
  };
}

function pastRequest(
  line: Line,
  flags: Pick<typeof commands.events.flags, "peer" | "since" | "limit">,
  usual: number,
  problems: string[],
): PastRequest {
  const since = own(line, "since", flags.since, problems);
  return {
    ...askingRequest(line),
    peer: own(line, "peer", flags.peer, problems),
    since,
    limit: own(line, "limit", flags.limit, problems) ?? (since === null ? usual : null),
  };
}

/** doctor reports mistakes in the settings, so they do not stop it. */
function doctor(line: Line, sources: Sources, problems: string[]): Command {
  const { flags } = commands.doctor;
  const json = own(line, "json", flags.json, problems) === true;
  const network = own(line, "no-network", flags["no-network"], problems) !== true;
  const inSettings: string[] = [];
  const configured = configure(line.found, sources, inSettings);
  const hasSettings = [...line.found.keys()].some(isName);
  return { type: "doctor", json, network, hasSettings, problems: inSettings, ...configured };
}

function shellOf({ word }: Line, problems: string[]): Shell {
  const { words } = commands.completion;
  if (word === "bash" || word === "zsh" || word === "fish") return word;
  problems.push(`wgmon completion needs one more word: ${listed(words, "or")}`);
  return "bash";
}

function receive(line: Line, sources: Sources, problems: string[]): Command {
  const { flags } = commands.receive;
  const port = own(line, "port", flags.port, problems) ?? 0;
  const address = own(line, "address", flags.address, problems) ?? "";
  const path = own(line, "secret-file", flags["secret-file"], problems);
  const file = { path, where: "--secret-file", isOptional: false };
  const secrets = path === null ? [] : readSecrets(sources, { ...file, path }, problems);
  return { type: "receive", port, address, secrets };
}

/** Returns the value of a flag that only this command has; null if it was not given. */
function own<Value>(
  line: Line,
  name: string,
  setting: Setting<Value>,
  problems: string[],
): Value | null {
  const given = line.found.get(name);
  const reads = given === undefined ? readInitial(setting) : readAll(setting, given, problems);
  return reads[0]?.value ?? null;
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

function describe(settings: Settings): Record<string, unknown> {
  const { monitor, group, captureInterface, filter, devices, targets, peers, file } = settings;
  return {
    file: file === null ? null : withoutSecrets(file),
    host: withoutSecrets(settings.host),
    monitor,
    group,
    manageRules: settings.manageRules,
    interface: captureInterface,
    filter: filter === null ? "default" : withoutSecrets(filter),
    devices: devices.length === 0 ? "all" : devices,
    targets: targets.map(describeTarget),
    idleTimeout: formatDuration(settings.idleTimeoutMs),
    tick: formatDuration(settings.tickMs),
    reconcile: settings.reconcileMs === 0 ? "off" : formatDuration(settings.reconcileMs),
    hold: settings.holdMs === 0 ? "off" : formatDuration(settings.holdMs),
    announceExisting: settings.announceExisting,
    reportUnknown: settings.reportUnknown,
    peersInSettings: peers.size,
    names: settings.names.length === 0 ? "off" : settings.names.map(withoutSecrets),
    metrics: settings.metrics.length === 0 ? "none" : settings.metrics,
    listen: describeListen(settings),
    stateDir: withoutSecrets(settings.stateDir),
    keep: formatDuration(settings.keepMs),
    maxStore: formatSize(settings.maxStoreBytes),
    logFormat: settings.logFormat,
    logLevel: settings.logLevel,
  };
}

/** `127.0.0.1:9587 (TLS; 2 tokens)` */
function describeListen({ listen, listenTls, listenTokens }: ListenSettings): string {
  if (listen === null) return "off";
  const { address, port } = listen;
  const tokens = listenTokens.length;
  const details = [
    ...(listenTls === null ? [] : ["TLS"]),
    ...(tokens === 0 ? [] : [`${tokens} token${tokens === 1 ? "" : "s"}`]),
  ];
  const place = `${address.includes(":") ? `[${address}]` : address}:${port}`;
  return details.length === 0 ? place : `${place} (${details.join("; ")})`;
}

/** `ops slack:https://hooks.slack.com/... (peers laptop; digest 5m)` */
function describeTarget(target: TargetSettings, index: number): string {
  const { name, destination, selection, digestMs } = target;
  const address =
    destination.type === "exec"
      ? `exec:${withoutSecrets(destination.command[0])}`
      : `${destination.formatName}:${redactUrl(destination.url)}`;
  const filters = Object.entries<readonly string[]>({ ...selection })
    .filter(([, wanted]) => wanted.length > 0)
    .map(([what, wanted]) => `${what} ${wanted.map(withoutSecrets).join("|")}`);
  const details = [
    ...filters,
    ...(digestMs > 0 ? [`digest ${formatDuration(digestMs)}`] : []),
    ...(destination.type === "webhook" && destination.secrets.length > 0 ? ["signed"] : []),
  ];
  const shown = details.length === 0 ? "" : ` (${details.join("; ")})`;
  return `${name ?? index + 1} ${address}${shown}`;
}
