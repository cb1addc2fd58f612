/** Reads the [[alert]] tables of the settings file and of wgmon.d. Each becomes a rule. Their keys are in alert-keys.ts. */

import type { QuotaPeriod } from "../alerts/quota-period.ts";
import { type Rule, type RuleKind, ruleOf } from "../alerts/rule.ts";
import type { TimeInterval } from "../alerts/times.ts";
import { formatList, noSuch } from "../base/redact.ts";
import type { TargetSettings } from "../channels/target-settings.ts";
import {
  commonKeys,
  isRefused,
  type Keys,
  kindKeys,
  KINDS,
  kindsWith,
  QUOTA_PERCENTS,
  RATE_OVER_MS,
} from "./alert-keys.ts";
import type { GivenInterval } from "./alert-types.ts";
import { withoutReceiver } from "./receivers.ts";
import { isTable, type Parsed, typeName } from "./resolve.ts";
import { alertLines, type Fields, readFields } from "./settings-file.ts";
import { targetWords } from "./targets.ts";
import type { Context } from "./webhooks.ts";

/** Maximum number of rules; the engine's speed is measured with so many. */
const RULES_MAX = 1000;
/** Maximum number of times, percents or places of a rule. */
const LIST_MAX = 100;

/** The settings that rules depend on. */
interface AlertContext {
  readonly targets: readonly TargetSettings[];
  /** Names of targets that are not in `targets` because of a mistake, which is already reported. */
  readonly invalidTargets: ReadonlySet<string>;
  readonly places: readonly string[];
  readonly reportUnknown: boolean;
}

export function readAlerts(
  context: Context,
  given: Omit<AlertContext, "invalidTargets">,
): readonly Rule[] {
  const settings = { ...given, invalidTargets: invalidTargets(context, given.targets) };
  const rules: Rule[] = [];
  const names = new Map<string, string>();
  let count = 0;
  // After a mistake, a target may be missing because of it.
  const hasAllTargets = context.errors.length === 0;
  for (const part of context.file.parts) {
    if (part.alert === undefined) continue;
    if (!Array.isArray(part.alert)) {
      context.errors.push(`${part.where}: alert must be a list of tables, such as [[alert]]`);
      continue;
    }
    const lines = alertLines(part, part.alert.length);
    for (const [index, fields] of (part.alert as readonly unknown[]).entries()) {
      // Rules beyond the limit are only counted.
      if (++count > RULES_MAX) continue;
      const line = lines?.[index];
      const file = line === undefined ? part.where : `${part.where}, line ${line}`;
      const place = `${file}: alert ${index + 1}`;
      const rule = readTable(fields, { ...context, settings, names, place });
      if (rule === null) continue;
      rules.push(rule);
      const problem = hasAllTargets ? withoutReceiver(rule, given.targets) : null;
      if (problem !== null) context.warnings.push(`${place} (${rule.name}): ${problem}`);
    }
  }
  if (hasAllTargets && given.targets.length === 0 && rules.some(({ dryRun }) => !dryRun)) {
    context.warnings.push("alerts are only recorded: there are no targets; add a [[target]]");
  }
  if (count > RULES_MAX) {
    context.errors.push(`there are ${count} alerts; the maximum is ${RULES_MAX}`);
  }
  return rules;
}

function invalidTargets(
  { file }: Context,
  targets: readonly TargetSettings[],
): ReadonlySet<string> {
  const tables = file.parts.flatMap(({ target }): readonly unknown[] =>
    Array.isArray(target) ? target : [],
  );
  const names = tables.flatMap((fields) =>
    isTable(fields) && typeof fields["name"] === "string" ? [fields["name"]] : [],
  );
  return new Set(names.filter((name) => !targets.some((each) => each.name === name)));
}

interface TableContext extends Context {
  readonly settings: AlertContext;
  /** The place of each rule so far, by its name. */
  readonly names: Map<string, string>;
  readonly place: string;
}

/** What the readers of the kinds use. */
interface Reader {
  /** Whether the table has the key, even with an invalid value. */
  has(key: string): boolean;
  readonly error: (problem: string) => void;
  readonly warn: (problem: string) => void;
  /** With the rule's time zone if they have none. null: the key is absent. */
  intervals(key: string, parsed: Values<GivenInterval>): readonly TimeInterval[] | null;
  /** The rule's time zone. */
  readonly zone: string;
  readonly settings: AlertContext;
}

type Values<Value> = readonly Parsed<Value>[] | null;

function readTable(fields: unknown, context: TableContext): Rule | null {
  const { place, errors } = context;
  if (!isTable(fields)) {
    errors.push(`${place}: must be a table, not ${typeName(fields)}`);
    return null;
  }
  const name = parseName(fields);
  const where = name === null ? place : `${place} (${name})`;
  const error = (problem: string) => void errors.push(`${where}: ${problem}`);
  checkName(fields, name, { ...context, error });
  const kind = KINDS.find((each) => each === fields["kind"]) ?? null;
  if (fields["kind"] === undefined) error(`has no kind; there are ${formatList(KINDS, "and")}`);
  const own = kind === null ? allKindKeys() : kindKeys[kind]();
  const foreign = kind === null ? [] : foreignKeys(kind, fields);
  for (const key of foreign) {
    const owners = kindsWith(key);
    const use = owners.length === 0 ? "remove it" : `it is for ${formatList(owners, "and")}`;
    error(`${key} does not apply to kind ${kind}; ${use}`);
  }
  const read = { fields, where, mark: ": ", others: foreign };
  const commonValues = readFields(
    commonKeys(),
    { ...read, others: [...foreign, ...Object.keys(own)] },
    errors,
  );
  const known = Object.fromEntries(
    Object.entries(fields).filter(([key]) => Object.hasOwn(own, key)),
  );
  const values = readFields(own, { ...read, fields: known }, errors);
  for (const [key, value] of Object.entries(fields)) {
    const isKnown = Object.hasOwn(commonKeys(), key) || Object.hasOwn(own, key);
    if (!isKnown || foreign.includes(key) || !Array.isArray(value) || value.length > 0) continue;
    error(`${key} is empty; give at least one value, or remove ${key}`);
  }
  if (kind === null) return null;

  const reader = readerOf(fields, {
    ...context,
    where,
    zone: first(commonValues.time_zone),
    error,
  });
  const base = readCommon(commonValues, reader);
  const special = readKind(kind, values, reader);
  return name === null || special === null ? null : ruleOf(kind, name, { ...base, ...special });
}

/** Returns the name of a rule, by which messages call it; null: it has none that is valid. `readFields` reports that. */
function parseName(fields: Readonly<Record<string, unknown>>): string | null {
  const text = fields["name"];
  const result = typeof text === "string" ? commonKeys().name.parse(text) : null;
  return result !== null && "value" in result ? result.value : null;
}

/** Reports a name that is missing or is not unique. */
function checkName(
  fields: Readonly<Record<string, unknown>>,
  name: string | null,
  { place, names, error }: Pick<TableContext, "place" | "names"> & Pick<Reader, "error">,
): void {
  if (fields["name"] === undefined) error("has no name; give it one that is unique");
  if (name === null) return;
  const other = names.get(name);
  if (other === undefined) names.set(name, place);
  else error(`has the same name as ${other}; names must be unique`);
}

/** The keys of all kinds, for a table whose kind is unknown. */
function allKindKeys(): Keys {
  return Object.assign({}, ...KINDS.map((kind) => kindKeys[kind]())) as Keys;
}

/** The given keys that exist, but not for this kind. */
function foreignKeys(kind: RuleKind, fields: Readonly<Record<string, unknown>>): string[] {
  const common = commonKeys();
  return Object.keys(fields).filter((key) =>
    Object.hasOwn(common, key)
      ? isRefused(kind, key)
      : !Object.hasOwn(kindKeys[kind](), key) && kindsWith(key).length > 0,
  );
}

function readerOf(
  fields: Readonly<Record<string, unknown>>,
  {
    where,
    zone,
    error,
    settings,
    warnings,
  }: TableContext & {
    readonly where: string;
    readonly zone: string | null;
    readonly error: Reader["error"];
  },
): Reader {
  const warn = (problem: string) => void warnings.push(`${where}: ${problem}`);
  return {
    has: (key) => Object.hasOwn(fields, key),
    error,
    warn,
    zone: zone ?? "UTC",
    settings,
    intervals(key, parsed) {
      if (parsed === null) return null;
      if (parsed.length > LIST_MAX) {
        error(`${key}: there are ${parsed.length}; the maximum is ${LIST_MAX}`);
      }
      // Many users expect the local time of the machine, which is often UTC too.
      if (zone === null && parsed.some(({ value }) => value.zone === null)) {
        warn(`${key} has no time zone, so it is in UTC; add one, such as Europe/Berlin`);
      }
      return parsed.map(({ value }) => ({ ...value, zone: value.zone ?? zone ?? "UTC" }));
    },
  };
}

type CommonValues = Fields<ReturnType<typeof commonKeys>>;
type Base = Omit<Extract<Rule, { kind: "target" }>, "kind" | "name">;

function readCommon(values: CommonValues, reader: Reader): Partial<Base> {
  const { targets, invalidTargets } = reader.settings;
  const words = targetWords(targets);
  for (const word of new Set(all(values.targets))) {
    if (words.includes(word) || invalidTargets.has(word)) continue;
    reader.error(`targets: ${noSuch({ flag: null, what: "target", word }, words)}`);
  }
  return defined<Base>({
    peers: unique(values.peers),
    tags: unique(values.tags),
    devices: unique(values.devices),
    forMs: first(values.for),
    resolveAfterMs: first(values.resolve_after),
    waitMs: first(values.wait),
    repeatMs: first(values.repeat),
    severity: first(values.severity),
    targets: unique(values.targets),
    times: reader.intervals("times", values.times),
    dryRun: first(values.dry_run),
  });
}

type ValuesOf<K extends RuleKind> = Fields<ReturnType<(typeof kindKeys)[K]>>;
type Own<K extends RuleKind> = Omit<Extract<Rule, { kind: K }>, keyof Base | "kind" | "name">;

/** The readers of the kinds' own keys. They return null if the rule cannot be made, and have reported why. */
const readers: {
  readonly [K in RuleKind]: (values: ValuesOf<K>, reader: Reader) => Partial<Own<K>> | null;
} = {
  down: ({ everywhere }) => defined({ everywhere: first(everywhere) }),
  flapping: ({ disconnects, within }) =>
    defined({ disconnects: first(disconnects), withinMs: first(within) }),
  "no-return-traffic": ({ steady_for }) => defined({ steadyForMs: first(steady_for) }),
  "shared-key": ({ turns, within }) => defined({ turns: first(turns), withinMs: first(within) }),
  traffic: readTraffic,

  hours({ allowed }, reader) {
    if (!reader.has("allowed")) {
      reader.error(
        `has no allowed times; an example is allowed = "mon-fri 08:00-18:00 Europe/Berlin"`,
      );
      return null;
    }
    const intervals = reader.intervals("allowed", allowed) ?? [];
    return { allowed: intervals };
  },

  place(values, reader) {
    if (reader.settings.places.length === 0) {
      reader.error(
        "kind place needs the setting places: the path of an MMDB file with countries or autonomous systems",
      );
    }
    const allowed = unique(values.allowed) ?? [];
    if (allowed.length > LIST_MAX) {
      reader.error(`allowed: there are ${allowed.length}; the maximum is ${LIST_MAX}`);
    }
    // With a list, the places on it need no alert when a peer is there for the first time.
    const wanted = first(values.new) ?? (reader.has("allowed") ? "none" : "country");
    if (wanted === "none" && !reader.has("allowed")) {
      reader.error(`reports nothing; give allowed, or new = "country"`);
    }
    return { allowed, unseen: wanted === "none" ? null : wanted };
  },

  unused: ({ days, at, everywhere }, { zone }) => ({
    ...defined<Own<"unused">>({
      days: first(days),
      atMinute: first(at),
      everywhere: first(everywhere),
    }),
    zone,
  }),
  changed: ({ changes }) => defined({ changes: unique(changes) }),

  handshakes({ messages, within }, reader) {
    if (!reader.settings.reportUnknown) {
      reader.warn("has no effect: kind handshakes needs report_unknown = true");
    }
    return defined({ messages: first(messages), withinMs: first(within) });
  },

  target: () => ({}),
};

/** Reads the keys of a kind. The type checker cannot check that the values and the reader are those of the kind. */
function readKind(kind: RuleKind, values: unknown, reader: Reader): Partial<Base> | null {
  const read = readers[kind] as (values: unknown, reader: Reader) => Partial<Base> | null;
  return read(values, reader);
}

function readTraffic(values: ValuesOf<"traffic">, reader: Reader): Partial<Own<"traffic">> | null {
  if (!reader.has("quota") && !reader.has("rate")) {
    reader.error(`has neither quota nor rate; an example is quota = "50GB"`);
  }
  for (const key of ["per", "reset_day", "percents"]) {
    if (reader.has(key) && !reader.has("quota"))
      reader.error(`${key} has no meaning without quota`);
  }
  if (reader.has("over") && !reader.has("rate")) reader.error("over has no meaning without rate");
  const bytes = first(values.quota);
  const bytesPerSecond = first(values.rate);
  const period = readPeriod(values, reader);
  if (period === null) return null;
  const percents = [...new Set(all(values.percents))].sort((a, b) => a - b);
  if (percents.length > LIST_MAX) {
    reader.error(`percents: there are ${percents.length}; the maximum is ${LIST_MAX}`);
  }
  return {
    ...defined<Own<"traffic">>({ direction: first(values.direction) }),
    quota:
      bytes === null
        ? null
        : { bytes, period, percents: percents.length === 0 ? QUOTA_PERCENTS : percents },
    rate:
      bytesPerSecond === null
        ? null
        : { bytesPerSecond, overMs: first(values.over) ?? RATE_OVER_MS },
  };
}

function readPeriod(
  { per, reset_day }: ValuesOf<"traffic">,
  { zone, error }: Reader,
): QuotaPeriod | null {
  const unit = first(per) ?? "month";
  const reset = first(reset_day);
  if (unit === "day") {
    if (reset === null) return { unit, zone };
    error("reset_day has no meaning for a quota per day; remove it");
    return null;
  }
  const isWeek = unit === "week";
  if (reset !== null && (isWeek ? reset.day > 7 : reset.isWeekday)) {
    error(
      isWeek
        ? `reset_day: "${reset.day}" is not a day of the week: mon to sun, or 1 (Monday) to 7`
        : "reset_day of a quota per month is a number from 1 to 31",
    );
    return null;
  }
  return { unit, resetDay: reset?.day ?? 1, zone };
}

function all<Value>(parsed: Values<Value>): readonly Value[] {
  return (parsed ?? []).map(({ value }) => value);
}

function first<Value>(parsed: Values<Value>): Value | null {
  return parsed?.[0]?.value ?? null;
}

function unique<Value>(parsed: Values<Value>): readonly Value[] | null {
  return parsed === null ? null : [...new Set(all(parsed))];
}

/** Without the absent values, for which the defaults apply. */
function defined<Type extends object>(values: {
  readonly [Key in keyof Type]?: Type[Key] | null;
}): Partial<Type> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== null),
  ) as Partial<Type>;
}
