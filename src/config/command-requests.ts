/** What the commands of the command line ask for: the flags that only one command has, as values. */

import { formatList } from "../base/redact.ts";
import type { EventPattern } from "../events/event-filter.ts";
import type { ParsedArgs } from "./argv.ts";
import { readAll, readInitial } from "./resolve.ts";
import { commands, type Setting, table } from "./settings-table.ts";
import type { Since } from "./value-types.ts";

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
export interface QueryRequest {
  /** Devices of the flag --device, which must exist; devices of the settings may be added later. */
  readonly askedDevices: readonly string[];
}

export interface StatusRequest extends QueryRequest {
  readonly json: boolean;
}

/** Selects sessions or events of the past. */
export interface HistoryRequest extends QueryRequest {
  /** A name or a public key; null: all peers. */
  readonly peer: string | null;
  /** null: from the beginning. */
  readonly since: Since | null;
  /** Maximum number, the latest ones; null: no limit. */
  readonly limit: number | null;
}

export interface SessionsRequest extends HistoryRequest {
  readonly format: "text" | "json" | "csv";
}

export interface EventsRequest extends HistoryRequest {
  readonly follow: boolean;
  /** Empty: all. */
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
  /** Whether flags of settings were given. Then doctor checks those settings and not the daemon's. */
  readonly hasSettings: boolean;
}

export type Shell = "bash" | "zsh" | "fish";

/** Default limits of `sessions` and `events`, if neither --limit nor --since is given. */
const SESSIONS_LIMIT = 50;

const EVENTS_LIMIT = 20;

export function outboxRequest(line: ParsedArgs, errors: string[]): OutboxRequest {
  const { flags } = commands.outbox;
  const action = line.word === "retry" || line.word === "drop" ? line.word : "list";
  const target = own(line, "target", flags.target, errors);
  const id = own(line, "id", flags.id, errors);
  const all = own(line, "all", flags.all, errors) === true;
  const isNarrowed = line.found.has("target") || line.found.has("id");
  if (action === "list" && all) {
    errors.push("--all: works only with wgmon outbox retry and drop");
  } else if (isNarrowed && all) {
    errors.push("--all: cannot be combined with --target or --id");
  } else if (action !== "list" && !isNarrowed && !all) {
    // An omitted option must not affect all messages.
    errors.push(`wgmon outbox ${action} needs --target NAME, --id ID or --all`);
  }
  const dead = own(line, "dead", flags.dead, errors) === true;
  const json = own(line, "json", flags.json, errors) === true;
  return { action, target, id, dead, json };
}

export function rulesAction(line: ParsedArgs, errors: string[]): RulesAction {
  const { flags } = commands.rules;
  const actions = ["nft", "iptables", "install", "remove"] as const;
  const asked = actions.filter((name) => own(line, name, flags[name], errors) === true);
  if (asked.length > 1) {
    errors.push(`${asked.map((name) => `--${name}`).join(" and ")}: give only one of them`);
  }
  return asked[0] ?? "nft";
}

export function queryRequest(line: ParsedArgs): QueryRequest {
  const given = line.found.get("device");
  // A problem with a name is already reported with the settings.
  const reads = given === undefined ? [] : readAll(table.device, given, []);
  return { askedDevices: reads.map(({ value }) => value) };
}

export function sessionsRequest(line: ParsedArgs, errors: string[]): SessionsRequest {
  const { flags } = commands.sessions;
  const past = historyRequest(line, flags, SESSIONS_LIMIT, errors);
  const json = own(line, "json", flags.json, errors) === true;
  const csv = own(line, "csv", flags.csv, errors) === true;
  if (json && csv) errors.push("--json and --csv: give only one of them");
  return { ...past, format: json ? "json" : csv ? "csv" : "text" };
}

export function eventsRequest(line: ParsedArgs, errors: string[]): EventsRequest {
  const { flags } = commands.events;
  const given = line.found.get("type");
  return {
    ...historyRequest(line, flags, EVENTS_LIMIT, errors),
    follow: own(line, "follow", flags.follow, errors) === true,
    types: given === undefined ? [] : readAll(flags.type, given, errors).map(({ value }) => value),
    json: own(line, "json", flags.json, errors) === true,
  };
}

function historyRequest(
  line: ParsedArgs,
  flags: Pick<typeof commands.events.flags, "peer" | "since" | "limit">,
  usual: number,
  errors: string[],
): HistoryRequest {
  const since = own(line, "since", flags.since, errors);
  return {
    ...queryRequest(line),
    peer: own(line, "peer", flags.peer, errors),
    since,
    limit: own(line, "limit", flags.limit, errors) ?? (since === null ? usual : null),
  };
}

export function shellOf({ word }: ParsedArgs, errors: string[]): Shell {
  const { subcommands } = commands.completion;
  if (word === "bash" || word === "zsh" || word === "fish") return word;
  errors.push(`wgmon completion needs one more word: ${formatList(subcommands, "or")}`);
  return "bash";
}

/** Returns the value of a flag that only this command has; null if it was not given. */
export function own<Value>(
  line: ParsedArgs,
  name: string,
  setting: Setting<Value>,
  errors: string[],
): Value | null {
  const given = line.found.get(name);
  const reads = given === undefined ? readInitial(setting) : readAll(setting, given, errors);
  return reads[0]?.value ?? null;
}
