/**
 * Where events go: the webhooks of all sources, and the tables [[target]] of the settings file. A key that a
 * table omits has the value of the setting webhook-..., if there is one.
 */

import { SystemError } from "../base/errors.ts";
import { fileName, formatList } from "../base/redact.ts";
import type { Format } from "../channels/formats/format.ts";
import { parseTemplate, templateFormat } from "../channels/formats/template.ts";
import { type Destination, type TargetSettings } from "../channels/target-settings.ts";
import { matchesNothing } from "../events/event-filter.ts";
import { isTable, type NamedFile, type Parsed, readNamedFile, typeName } from "./resolve.ts";
import { readFields } from "./settings-file.ts";
import { table } from "./settings-table.ts";
import {
  choice,
  duration,
  executablePath,
  FORMAT_CHOICES,
  type FormatChoice,
  secretFile,
  targetName,
  type ValueType,
  type Webhook,
  webhookUrl,
} from "./value-types.ts";
import {
  type Context,
  type Defaults,
  readDefaults,
  readSecrets,
  readWebhookFile,
  readWebhooks,
  TIMEOUT_MS,
  webhook,
} from "./webhooks.ts";

/** Maximum number of targets: each has a queue of its own. */
const TARGETS_MAX = 100;

/** The index of the target that `word` means, by its name or its number from 1; null: no target matches. */
export function targetAt(targets: readonly TargetSettings[], word: string): number | null {
  const named = targets.findIndex(({ name }) => name === word);
  if (named !== -1) return named;
  const number = /^[1-9]\d{0,2}$/.test(word) ? Number(word) : 0;
  return number >= 1 && number <= targets.length ? number - 1 : null;
}

/** The words that `targetAt` accepts: each target's name, or its number if it has no name. */
export function targetWords(targets: readonly TargetSettings[]): string[] {
  return targets.map(({ name }, index) => name ?? String(index + 1));
}

export function readTargets(context: Context): readonly TargetSettings[] {
  const { chosen, file, errors } = context;
  const defaults = readDefaults(context);
  const webhooks = readWebhooks(context, defaults);
  if (webhooks.length > 0 && matchesNothing(defaults.selection)) {
    errors.push(
      "together, webhook-events and webhook-peers select nothing: events of devices have no peer",
    );
  }
  const targets = [
    ...webhooks,
    ...(file.target === undefined ? [] : readTables(context, defaults)),
  ];
  if (targets.length > TARGETS_MAX) {
    errors.push(`there are ${targets.length} targets; the maximum is ${TARGETS_MAX}`);
  }
  const secretFileGiven = chosen.given("webhook-secret-file");
  const signs = ({ destination }: TargetSettings) =>
    destination.type === "webhook" && destination.format.isSigned === true;
  if (secretFileGiven !== null && !targets.some(signs)) {
    context.warnings.push(
      `${secretFileGiven.where} has no effect: the format of no target is signed`,
    );
  }
  return targets;
}

/** A function, so that starts without [[target]] tables do not create these. */
const tableKinds = () => ({
  name: targetName(),
  url: webhookUrl(),
  url_file: secretFile("/etc/wgmon/ops.url"),
  format: choice(...FORMAT_CHOICES, "template"),
  template: templateText(),
  template_file: secretFile("/etc/wgmon/ops.json"),
  secret_file: secretFile("/etc/wgmon/ops.secret"),
  events: table["webhook-events"],
  devices: table["webhook-devices"],
  peers: table["webhook-peers"],
  digest: table["webhook-digest"],
  timeout: duration(1000, "60s"),
});

/** The keys for an address. A target has exactly one of them. */
export const ADDRESSES = ["url", "url_file", "exec"];

/** The optional keys of a target. */
export function targetOptions(): string[] {
  return Object.keys(tableKinds()).filter((key) => !ADDRESSES.includes(key));
}

/** Keys that do not apply to an exec target. */
const NOT_FOR_EXEC = ["format", "template", "template_file", "secret_file"];

function templateText(): ValueType<Format> {
  return {
    placeholder: "JSON",
    example: `'{ "text": "{{text}}" }'`,
    tomlTypes: ["string"],
    secret: true,
    read(text) {
      const reading = parseTemplate(text);
      return "value" in reading ? { value: templateFormat(reading.value) } : reading;
    },
  };
}

function readTables(context: Context, defaults: Defaults): TargetSettings[] {
  const { file, errors } = context;
  if (!Array.isArray(file.target)) {
    errors.push(`${file.where}: target must be a list of tables, such as [[target]]`);
    return [];
  }
  const kinds = tableKinds();
  const targets: TargetSettings[] = [];
  const names = new Map<string, number>();
  for (const [index, fields] of (file.target as readonly unknown[]).entries()) {
    const place = `${file.where}: target ${index + 1}`;
    if (!isTable(fields)) {
      errors.push(`${place}: must be a table, not ${typeName(fields)}`);
      continue;
    }
    const reading = typeof fields["name"] === "string" ? kinds.name.read(fields["name"]) : null;
    const name = reading !== null && "value" in reading ? reading.value : null;
    const where = name === null ? place : `${place} (${name})`;
    const earlier = name === null ? undefined : names.get(name);
    if (earlier !== undefined) errors.push(`${where}: target ${earlier} has this name already`);
    else if (name !== null) names.set(name, index + 1);
    const target = readTable(fields, { ...context, defaults, kinds, name, where });
    if (target !== null) targets.push(target);
  }
  if (targets.some(({ destination }) => destination.type === "exec")) checkMode(context);
  return targets;
}

interface TableContext extends Context {
  readonly defaults: Defaults;
  readonly kinds: ReturnType<typeof tableKinds>;
  readonly name: string | null;
  readonly where: string;
}

function readTable(
  fields: Readonly<Record<string, unknown>>,
  context: TableContext,
): TargetSettings | null {
  const { defaults, kinds, name, where, errors } = context;
  const reads = readFields(kinds, { fields, where, mark: ": ", others: ["exec"] }, errors);
  const valuesOf = <Value>(several: readonly Parsed<Value>[] | null): readonly Value[] | null =>
    several === null ? null : several.map(({ value }) => value);
  const selection = {
    events: valuesOf(reads.events) ?? defaults.selection.events,
    devices: valuesOf(reads.devices) ?? defaults.selection.devices,
    peers: valuesOf(reads.peers) ?? defaults.selection.peers,
  };
  if (matchesNothing(selection)) {
    errors.push(
      `${where}: together, events and peers select nothing: events of devices have no peer`,
    );
  }
  const given = ADDRESSES.filter((key) => Object.hasOwn(fields, key));
  if (given.length !== 1) {
    const has = given.length === 0 ? "has no address" : `has ${formatList(given, "and")}`;
    errors.push(`${where}: ${has}; give exactly one of ${formatList(ADDRESSES, "and")}`);
    return null;
  }
  const destination = Object.hasOwn(fields, "exec")
    ? readExec(fields, context)
    : readAddress(reads, context);
  if (destination === null) return null;
  return {
    name,
    destination,
    selection,
    digestMs: reads.digest?.[0]?.value ?? defaults.digestMs,
    timeoutMs: reads.timeout?.[0]?.value ?? TIMEOUT_MS,
  };
}

type TableReads = ReturnType<typeof readFields<ReturnType<typeof tableKinds>>>;

function readAddress(reads: TableReads, context: TableContext): Destination | null {
  const { sources, where, defaults, errors, warnings } = context;
  const secretPath = reads.secret_file?.[0];
  const secrets =
    secretPath === undefined ? defaults.secrets : readSecrets(sources, named(secretPath), errors);
  const template = readTemplate(reads, context);
  const address = reads.url?.[0] ?? readUrlFile(reads.url_file?.[0], context);
  if (address === null) return null;

  const { format: prefix } = address.value;
  const key = reads.format?.[0]?.value ?? null;
  const wanted = [
    ...(prefix === null ? [] : [`${prefix}: before its URL`]),
    ...(key === null || (key === "template" && template !== null) ? [] : [`format ${key}`]),
    ...(template === null ? [] : ["a template"]),
  ];
  if (wanted.length > 1) {
    errors.push(`${where}: has ${formatList(wanted, "and")}; give only one of them`);
  }
  if (key === "template" && template === null) {
    if (reads.template === null && reads.template_file === null) {
      errors.push(`${where}: format template needs template or template_file`);
    }
    return null;
  }
  const format = template ?? prefix ?? (key as FormatChoice | null) ?? defaults.format;
  const destination = webhook(address.value, { format, secrets, where: address.where }, errors);
  if (secretPath !== undefined && destination.type === "webhook" && !destination.format.isSigned) {
    warnings.push(
      `${secretPath.where} has no effect: format ${destination.formatName} is not signed`,
    );
  }
  return destination;
}

function readTemplate(reads: TableReads, context: TableContext): Format | null {
  const { sources, where, kinds, errors } = context;
  if (reads.template !== null && reads.template_file !== null) {
    errors.push(`${where}: has template and template_file; give only one of them`);
  }
  const path = reads.template_file?.[0];
  if (path === undefined) return reads.template?.[0]?.value ?? null;
  const text = readNamedFile(sources, named(path), errors);
  if (text === null) return null;
  const reading = kinds.template.read(text);
  if ("value" in reading) return reading.value;
  errors.push(`${path.where}: the file ${reading.problem}`);
  return null;
}

function readUrlFile(
  path: Parsed<string> | undefined,
  context: TableContext,
): Parsed<Webhook> | null {
  if (path === undefined) return null;
  const before = context.errors.length;
  const webhooks = readWebhookFile(named(path), { ...context, warnings: [] });
  if (webhooks.length === 1) return webhooks[0]!;
  if (context.errors.length === before) {
    context.errors.push(`${path.where}: the file has ${webhooks.length} webhooks, not one`);
  }
  return null;
}

function named({ value, where }: Parsed<string>): NamedFile {
  return { path: value, where, isOptional: false };
}

function readExec(
  fields: Readonly<Record<string, unknown>>,
  { where, errors }: TableContext,
): Destination | null {
  for (const key of NOT_FOR_EXEC) {
    if (Object.hasOwn(fields, key)) errors.push(`${where}: ${key} does not apply to exec`);
  }
  const list = fields["exec"];
  const { example, read } = executablePath();
  if (
    !Array.isArray(list) ||
    list.length === 0 ||
    !list.every((item) => typeof item === "string")
  ) {
    errors.push(`${where}: exec: must be a list of strings, such as ["${example}", "--urgent"]`);
    return null;
  }
  const [path, ...args] = list as readonly string[];
  const reading = read(path!);
  if ("problem" in reading) {
    errors.push(`${where}: exec: (hidden) ${reading.problem}`);
    return null;
  }
  if (args.some((text) => text.includes("\0"))) {
    errors.push(`${where}: exec: (hidden) contains a NUL character`);
    return null;
  }
  return { type: "exec", command: [reading.value, ...args] };
}

/** A user who can write to the file or replace it could make wgmon run any program, often as root. */
function checkMode({ file, sources, errors }: Context): void {
  const refused = `${file.where}: exec is refused, because`;
  if (file.mode === null) {
    errors.push(`${refused} the mode of this file cannot be read`);
    return;
  }
  const { bits, isOwnedByUsOrRoot } = file.mode;
  if (!isOwnedByUsOrRoot) {
    errors.push(
      `${refused} this file belongs to neither root nor the user that wgmon runs as; chown it`,
    );
  }
  if ((bits & 0o022) !== 0) {
    errors.push(
      `${refused} other users can write to this file, its mode is ${bits.toString(8)}; chmod go-w it`,
    );
  }
  try {
    const folder = sources.folderOpenToOthers(file.path!);
    if (folder === null) return;
    errors.push(
      `${refused} other users can replace files in the folder ${fileName(folder)}; chown it to root and chmod go-w it, or move the settings to /etc/wgmon`,
    );
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    errors.push(`${refused} its parent folders cannot be examined: ${error.code}`);
  }
}
