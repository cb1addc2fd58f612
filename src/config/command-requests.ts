/** The requests of the commands: the values of the flags that are not settings. */

import { formatList } from "../base/redact.ts";
import { SEARCH_MAX } from "../base/text.ts";
import type { SigningSecret } from "../channels/signature.ts";
import type { EventPattern } from "../events/event-filter.ts";
import type { ParsedArgs } from "./argv.ts";
import { commands } from "./commands-table.ts";
import { parseAll, parseDefault, type Sources } from "./resolve.ts";
import { isSettingName, type Setting, table } from "./settings-table.ts";
import type { Time } from "./value-types.ts";
import { readSecrets } from "./webhooks.ts";

/** nft and iptables: print the rules. */
export type RulesAction = "nft" | "iptables" | "install" | "remove";

/** Selects messages. Neither target nor id: all messages; for retry and drop, outboxRequest() then requires --all. */
export interface OutboxRequest {
  readonly action: "list" | "retry" | "drop";
  /** The value of --target, which may name a target that is no longer in the settings; null: any target. */
  readonly target: string | null;
  /** null: any id. */
  readonly id: string | null;
  /** Select dead letters only. */
  readonly dead: boolean;
  readonly json: boolean;
}

/** The options that all commands have that query the daemon. */
export interface QueryRequest {
  /** The values of the flag --device. These devices must exist; devices of the settings may be added later. */
  readonly requestedDevices: readonly string[];
}

export interface StatusRequest extends QueryRequest {
  /** Only peers with this text in their name, key, tags or addresses; null: all peers. */
  readonly search: string | null;
  readonly json: boolean;
}

export interface PeerRequest extends QueryRequest {
  /** A name, a public key, a tunnel address or an endpoint. */
  readonly word: string;
  /** Maximum number of sessions, and of events. */
  readonly limit: number;
  readonly json: boolean;
}

/** Selects sessions or events of the past. */
export interface HistoryRequest extends QueryRequest {
  /** A name or a public key; null: all peers. */
  readonly peer: string | null;
  /** null: from the beginning. */
  readonly since: Time | null;
  /** null: until now. */
  readonly until: Time | null;
  /** Maximum number of sessions or events, the latest ones; null: no limit. */
  readonly limit: number | null;
}

export interface SessionsRequest extends HistoryRequest {
  readonly format: "text" | "json" | "csv";
}

export interface EventsRequest extends HistoryRequest {
  readonly follow: boolean;
  /** Empty: all types. */
  readonly types: readonly EventPattern[];
  readonly json: boolean;
}

export interface TopRequest extends QueryRequest {
  readonly intervalMs: number;
}

export interface DoctorRequest {
  readonly json: boolean;
  /** Whether it may connect to the targets. */
  readonly network: boolean;
  /** Whether flags of settings were given. If so, doctor checks the settings of this process, not the daemon's. */
  readonly hasSettings: boolean;
}

export interface ReceiveRequest {
  /** 0: any free port. */
  readonly port: number;
  readonly address: string;
  /** Empty: signatures are not checked. */
  readonly secrets: readonly SigningSecret[];
}

export type AlertsAction = "examples";

export type SchemaName = "config" | "event";

export type Shell = "bash" | "zsh" | "fish";

/** Default limits of `sessions` and `events`, if neither --limit nor --since is given. */
const SESSIONS_LIMIT = 50;

const EVENTS_LIMIT = 20;

export function outboxRequest(line: ParsedArgs, errors: string[]): OutboxRequest {
  const { flags } = commands.outbox;
  const { subcommand } = line;
  const action = subcommand === "retry" || subcommand === "drop" ? subcommand : "list";
  const target = commandFlag(line, "target", flags.target, errors);
  const id = commandFlag(line, "id", flags.id, errors);
  const all = commandFlag(line, "all", flags.all, errors) === true;
  const isSelective = line.found.has("target") || line.found.has("id");
  if (action === "list" && all) {
    errors.push("--all: works only with wgmon outbox retry and drop");
  } else if (isSelective && all) {
    errors.push("--all: cannot be combined with --target or --id");
  } else if (action !== "list" && !isSelective && !all) {
    // Retrying or deleting all messages requires --all, so that an omitted option cannot cause it.
    errors.push(`wgmon outbox ${action} needs --target NAME, --id ID or --all`);
  }
  const dead = commandFlag(line, "dead", flags.dead, errors) === true;
  const json = commandFlag(line, "json", flags.json, errors) === true;
  return { action, target, id, dead, json };
}

export function rulesAction(line: ParsedArgs, errors: string[]): RulesAction {
  const { flags } = commands.rules;
  const actions = ["nft", "iptables", "install", "remove"] as const;
  const asked = actions.filter((name) => commandFlag(line, name, flags[name], errors) === true);
  if (asked.length > 1) {
    errors.push(`${asked.map((name) => `--${name}`).join(" and ")}: give only one of them`);
  }
  return asked[0] ?? "nft";
}

export function receiveRequest(
  line: ParsedArgs,
  sources: Sources,
  errors: string[],
): ReceiveRequest {
  const { flags } = commands.receive;
  const port = commandFlag(line, "port", flags.port, errors) ?? 0;
  const address = commandFlag(line, "address", flags.address, errors) ?? "";
  const path = commandFlag(line, "secret-file", flags["secret-file"], errors);
  const file = { path, where: "--secret-file", isOptional: false };
  const secrets = path === null ? [] : readSecrets(sources, { ...file, path }, errors);
  return { port, address, secrets };
}

export function statusRequest(line: ParsedArgs, errors: string[]): StatusRequest {
  const json = commandFlag(line, "json", commands.status.flags.json, errors) === true;
  const search = line.argument;
  if (search !== null && search.length > SEARCH_MAX) {
    errors.push(`the text to search for is too long; the maximum is ${SEARCH_MAX} characters`);
  }
  return { search, json, ...queryRequest(line) };
}

export function peerRequest(line: ParsedArgs, errors: string[]): PeerRequest {
  const { flags } = commands.peer;
  if (line.argument === null) {
    errors.push("wgmon peer needs a peer: its name, public key, tunnel address or endpoint");
  }
  return {
    ...queryRequest(line),
    word: line.argument ?? "",
    limit: commandFlag(line, "limit", flags.limit, errors) ?? 0,
    json: commandFlag(line, "json", flags.json, errors) === true,
  };
}

export function topRequest(line: ParsedArgs, errors: string[]): TopRequest {
  const { interval } = commands.top.flags;
  const intervalMs = commandFlag(line, "interval", interval, errors) ?? 0;
  return { intervalMs, ...queryRequest(line) };
}

export function doctorRequest(line: ParsedArgs, errors: string[]): DoctorRequest {
  const { flags } = commands.doctor;
  const json = commandFlag(line, "json", flags.json, errors) === true;
  const network = commandFlag(line, "no-network", flags["no-network"], errors) !== true;
  const hasSettings = [...line.found.keys()].some(isSettingName);
  return { json, network, hasSettings };
}

function queryRequest(line: ParsedArgs): QueryRequest {
  const given = line.found.get("device");
  // configure() reports an invalid name: device is also a setting.
  const parsed = given === undefined ? [] : parseAll(table.device, given, []);
  return { requestedDevices: parsed.map(({ value }) => value) };
}

export function sessionsRequest(line: ParsedArgs, errors: string[]): SessionsRequest {
  const { flags } = commands.sessions;
  const history = historyRequest(line, flags, SESSIONS_LIMIT, errors);
  const json = commandFlag(line, "json", flags.json, errors) === true;
  const csv = commandFlag(line, "csv", flags.csv, errors) === true;
  if (json && csv) errors.push("--json and --csv: give only one of them");
  return { ...history, format: json ? "json" : csv ? "csv" : "text" };
}

export function eventsRequest(line: ParsedArgs, errors: string[]): EventsRequest {
  const { flags } = commands.events;
  const given = line.found.get("type");
  const follow = commandFlag(line, "follow", flags.follow, errors) === true;
  if (follow && line.found.has("until")) errors.push("--follow and --until: give only one of them");
  return {
    ...historyRequest(line, flags, EVENTS_LIMIT, errors),
    follow,
    types: given === undefined ? [] : parseAll(flags.type, given, errors).map(({ value }) => value),
    json: commandFlag(line, "json", flags.json, errors) === true,
  };
}

function historyRequest(
  line: ParsedArgs,
  flags: Pick<typeof commands.events.flags, "peer" | "since" | "until" | "limit">,
  defaultLimit: number,
  errors: string[],
): HistoryRequest {
  const since = commandFlag(line, "since", flags.since, errors);
  return {
    ...queryRequest(line),
    peer: commandFlag(line, "peer", flags.peer, errors),
    since,
    until: commandFlag(line, "until", flags.until, errors),
    limit:
      commandFlag(line, "limit", flags.limit, errors) ?? (since === null ? defaultLimit : null),
  };
}

export function alertsAction({ subcommand }: ParsedArgs, errors: string[]): AlertsAction {
  if (subcommand === null) errors.push("wgmon alerts needs one more word: examples");
  return "examples";
}

export function schemaOf({ subcommand }: ParsedArgs, errors: string[]): SchemaName {
  if (subcommand === "config" || subcommand === "event") return subcommand;
  const { subcommands } = commands.schema;
  errors.push(`wgmon schema needs one more word: ${formatList(subcommands, "or")}`);
  return "config";
}

export function shellOf({ subcommand }: ParsedArgs, errors: string[]): Shell {
  const { subcommands } = commands.completion;
  if (subcommand === "bash" || subcommand === "zsh" || subcommand === "fish") return subcommand;
  errors.push(`wgmon completion needs one more word: ${formatList(subcommands, "or")}`);
  return "bash";
}

/** The value of a flag that is not a setting, or its default; null: not given and without default, or invalid. */
export function commandFlag<Value>(
  line: ParsedArgs,
  name: string,
  setting: Setting<Value>,
  errors: string[],
): Value | null {
  const given = line.found.get(name);
  const parsed = given === undefined ? parseDefault(setting) : parseAll(setting, given, errors);
  return parsed[0]?.value ?? null;
}
