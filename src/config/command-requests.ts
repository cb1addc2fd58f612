/**
 * The requests of the commands: the values of the flags that are not settings; more than 400 lines because all commands
 * are in one list.
 */

import { parseMatcher, SILENCE_LIMITS } from "../alerts/silences.ts";
import { formatList, quoteSafely } from "../base/redact.ts";
import { SEARCH_MAX } from "../base/text.ts";
import type { SigningSecret } from "../channels/signature.ts";
import type { EventPattern } from "../events/event-filter.ts";
import { gatewayName, isGatewayName } from "../fleet/gateway-name.ts";
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

/** `run`: be the hub. `gateway`: its name. */
export type HubRequest =
  | { readonly action: "run" }
  | { readonly action: "init"; readonly isNats: boolean }
  | { readonly action: "gateways"; readonly json: boolean }
  /** `errors`: the mistakes in the settings. */
  | {
      readonly action: "doctor";
      readonly json: boolean;
      readonly network: boolean;
      readonly errors: string[];
    }
  | {
      readonly action: "enroll";
      readonly gateway: string;
      readonly replace: boolean;
      /** The file with the secret that another hub has made; null: a new secret. */
      readonly secretFile: string | null;
    }
  | { readonly action: "forget"; readonly gateway: string }
  | { readonly action: "rebuild"; readonly gateway: string | null };

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

/** `wgmon alerts`: the alerts that fire or are pending, and with a period or a limit also those that are over. */
export interface AlertListRequest extends HistoryRequest {
  readonly action: "list";
  /** Whether the user asked for alerts of the past. */
  readonly isPast: boolean;
  /** null: all rules. */
  readonly rule: string | null;
  readonly json: boolean;
}

/** `wgmon alerts test`: what rules would have sent. */
export interface AlertTestRequest extends Pick<HistoryRequest, "until" | "requestedDevices"> {
  readonly action: "test";
  readonly since: Time;
  /** The settings file with the rules; null: the rules of the settings. */
  readonly file: string | null;
  /** null: all rules. */
  readonly rule: string | null;
  readonly json: boolean;
}

export interface AlertExplainRequest extends QueryRequest {
  readonly action: "explain";
  readonly id: string;
  readonly json: boolean;
}

export type AlertsRequest =
  AlertListRequest | AlertTestRequest | AlertExplainRequest | { readonly action: "examples" };

export type SilenceRequest =
  | { readonly action: "list"; readonly json: boolean }
  | {
      readonly action: "add";
      /** As they are written: `peer=branch-*`. All are valid. */
      readonly matchers: readonly string[];
      readonly end: { readonly forMs: number } | { readonly until: Time };
      readonly comment: string;
      readonly json: boolean;
    }
  | { readonly action: "expire"; readonly id: string; readonly json: boolean };

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

export type SchemaName = "config" | "event";

export type Shell = "bash" | "zsh" | "fish";

/** Default limits of `sessions`, `events` and `alerts`, if neither --limit nor --since is given. */
const SESSIONS_LIMIT = 50;

const EVENTS_LIMIT = 20;

const ALERTS_LIMIT = 50;

/** Default period of `alerts test`. */
const TEST_DAYS = 30;

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

export function alertsRequest(line: ParsedArgs, errors: string[]): AlertsRequest {
  const { flags } = commands.alerts;
  const { subcommand, argument, found } = line;
  const json = commandFlag(line, "json", flags.json, errors) === true;
  const rule = commandFlag(line, "rule", flags.rule, errors);
  const refuse = (...names: readonly string[]) => {
    for (const name of names) {
      if (found.has(name)) errors.push(`--${name}: has no effect on wgmon alerts ${subcommand}`);
    }
  };
  if (subcommand === "examples") return { action: "examples" };
  if (subcommand === "explain") {
    refuse("rule", "peer", "since", "until", "limit");
    const example = "wgmon alerts lists the ids";
    if (argument === null) errors.push(`wgmon alerts explain needs the id of an alert; ${example}`);
    return { action: "explain", id: argument ?? "", json, ...queryRequest(line) };
  }
  const history = historyRequest(line, flags, ALERTS_LIMIT, errors);
  if (subcommand === "test") {
    refuse("peer", "limit");
    const { until, requestedDevices } = history;
    const since = history.since ?? { agoMs: TEST_DAYS * 86_400_000 };
    return { action: "test", file: argument, rule, since, until, requestedDevices, json };
  }
  const isPast = ["since", "until", "limit"].some((name) => found.has(name));
  return { action: "list", ...history, isPast, rule, json };
}

export function silenceRequest(line: ParsedArgs, errors: string[]): SilenceRequest {
  const { flags } = commands.silence;
  const { subcommand, argument, operands, found } = line;
  const json = commandFlag(line, "json", flags.json, errors) === true;
  const forMs = commandFlag(line, "for", flags.for, errors);
  const until = commandFlag(line, "until", flags.until, errors);
  const comment = commandFlag(line, "comment", flags.comment, errors) ?? "";
  if (subcommand !== "add") {
    for (const name of ["for", "until", "comment"]) {
      if (found.has(name)) errors.push(`--${name}: is for wgmon silence add`);
    }
    if (subcommand !== "expire") return { action: "list", json };
    const hint = "wgmon silence list prints the ids";
    if (argument === null) errors.push(`wgmon silence expire needs the id of a silence; ${hint}`);
    return { action: "expire", id: argument ?? "", json };
  }
  if (operands.length === 0) {
    errors.push("wgmon silence add needs which alerts it is for, such as 'peer=branch-*'");
  }
  if (operands.length > SILENCE_LIMITS.matchers) {
    errors.push(
      `wgmon silence add: there are too many matchers; the maximum is ${SILENCE_LIMITS.matchers}`,
    );
  }
  for (const text of operands) {
    const matcher = parseMatcher(text);
    if (typeof matcher === "string") errors.push(`wgmon silence add: ${matcher}`);
  }
  if (comment.length > SILENCE_LIMITS.commentLength) {
    errors.push(
      `--comment: is too long; the maximum is ${SILENCE_LIMITS.commentLength} characters`,
    );
  }
  if (found.has("for") && found.has("until")) {
    errors.push("--for and --until: give only one of them");
  } else if (!found.has("for") && !found.has("until")) {
    errors.push("wgmon silence add needs an end: --for 2h, or --until 18:00");
  } else if (until !== null && "agoMs" in until) {
    const [text = ""] = found.get("until")!.texts;
    errors.push(`--until: ${quoteSafely(text)} is not a time in the future; write --for 2h`);
  }
  const end = until === null ? { forMs: forMs ?? 0 } : { until };
  return { action: "add", matchers: operands, end, comment, json };
}

export function hubRequest(line: ParsedArgs, errors: string[]): HubRequest {
  const { subcommand, argument, found } = line;
  const json = commandFlag(line, "json", commands.hub.flags.json, errors) === true;
  const replace = commandFlag(line, "replace", commands.hub.flags.replace, errors) === true;
  const network =
    commandFlag(line, "no-network", commands.hub.flags["no-network"], errors) !== true;
  if (found.has("json") && subcommand !== "gateways" && subcommand !== "doctor") {
    errors.push("--json: is for wgmon hub gateways and wgmon hub doctor");
  }
  if (found.has("replace") && subcommand !== "enroll") {
    errors.push("--replace: is for wgmon hub enroll");
  }
  if (found.has("no-network") && subcommand !== "doctor") {
    errors.push("--no-network: is for wgmon hub doctor");
  }
  const secretFile = commandFlag(line, "secret-file", commands.hub.flags["secret-file"], errors);
  if (found.has("secret-file") && subcommand !== "enroll") {
    errors.push("--secret-file: is for wgmon hub enroll");
  }
  if (subcommand === "init") {
    if (argument !== null && argument !== "nats") {
      errors.push(`wgmon hub init: ${quoteSafely(argument)} is not nats`);
    }
    return { action: subcommand, isNats: argument !== null };
  }
  if (argument !== null && !isGatewayName(argument)) {
    const guess = gatewayName(argument);
    errors.push(
      `${quoteSafely(argument)} is not the name of a gateway: lower-case letters, digits and hyphens, at most 63${guess === null ? "" : `, such as ${guess}`}`,
    );
  }
  switch (subcommand) {
    case "enroll":
    case "forget": {
      if (argument === null) errors.push(`wgmon hub ${subcommand} needs the name of a gateway`);
      const gateway = argument ?? "";
      return subcommand === "enroll"
        ? { action: subcommand, gateway, replace, secretFile }
        : { action: subcommand, gateway };
    }
    case "rebuild":
      return { action: subcommand, gateway: argument };
    case "gateways":
      return { action: subcommand, json };
    case "doctor":
      return { action: subcommand, json, network, errors: [] };
    case null:
    default:
      return { action: "run" };
  }
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
