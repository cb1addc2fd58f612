/**
 * Reads the targets: the webhooks of all sources, and the [[target]] tables of the settings file. If a table omits a
 * key, the corresponding setting webhook-... applies.
 */

import { SystemError } from "../base/errors.ts";
import { fileName, formatList } from "../base/redact.ts";
import type { Format } from "../channels/formats/format.ts";
import { parseTemplate, templateFormat } from "../channels/formats/template.ts";
import { type Destination, type TargetSettings, TIMEOUT_MS } from "../channels/target-settings.ts";
import { matchesNothing } from "../events/event-filter.ts";
import { isTable, type NamedFile, type Parsed, readNamedFile, typeName } from "./resolve.ts";
import { readFields, type SettingsPart } from "./settings-file.ts";
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
  webhookDestination,
} from "./webhooks.ts";

/** Maximum number of targets. Each has its own queue. */
export const TARGETS_MAX = 100;

/** The index of the target whose name, or number counted from 1, is `word`; null: no target matches. */
export function targetAt(targets: readonly TargetSettings[], word: string): number | null {
  const named = targets.findIndex(({ name }) => name === word);
  if (named !== -1) return named;
  const number = /^[1-9]\d{0,2}$/.test(word) ? Number(word) : 0;
  return number >= 1 && number <= targets.length ? number - 1 : null;
}

/** The words that `targetAt` accepts: each target's name, or its number if it has no name. */
export function targetWords(targets: readonly Pick<TargetSettings, "name">[]): string[] {
  return targets.map(({ name }, index) => name ?? String(index + 1));
}

export function readTargets(context: Context): readonly TargetSettings[] {
  const { resolved, file, errors } = context;
  const defaults = readDefaults(context);
  const webhooks = readWebhooks(context, defaults);
  if (webhooks.length > 0 && matchesNothing(defaults.selection)) {
    errors.push(
      "together, webhook-events and webhook-peers select nothing: events of devices have no peer",
    );
  }
  const targets = [
    ...webhooks,
    ...(file.parts.some(({ target }) => target !== undefined) ? readTables(context, defaults) : []),
  ];
  if (targets.length > TARGETS_MAX) {
    errors.push(`there are ${targets.length} targets; the maximum is ${TARGETS_MAX}`);
  }
  const secretFileGiven = resolved.given("webhook-secret-file");
  const signs = ({ destination }: TargetSettings) =>
    destination.type === "webhook" && destination.format.isSigned === true;
  if (secretFileGiven !== null && !targets.some(signs)) {
    context.warnings.push(
      `${secretFileGiven.where} has no effect: the format of no target is signed`,
    );
  }
  return targets;
}

/** The types of the keys. A function, so that they are created only if the settings file has [[target]] tables. */
export const keyTypes = () => ({
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

/** The keys that contain the address. A target has exactly one of them. */
export const ADDRESSES = ["url", "url_file", "exec"];

/** The optional keys of a target. */
export function targetOptions(): string[] {
  return Object.keys(keyTypes()).filter((key) => !ADDRESSES.includes(key));
}

/** Keys that do not apply to an exec target. */
const NOT_FOR_EXEC = ["format", "template", "template_file", "secret_file"];

function templateText(): ValueType<Format> {
  return {
    placeholder: "JSON",
    example: `'{ "text": "{{text}}" }'`,
    tomlTypes: ["string"],
    secret: true,
    parse(text) {
      const result = parseTemplate(text);
      return "value" in result ? { value: templateFormat(result.value) } : result;
    },
  };
}

/** The tables of all files. Names are unique in all of them. */
function readTables(context: Context, defaults: Defaults): TargetSettings[] {
  const types = keyTypes();
  const names = new Map<string, string>();
  return context.file.parts.flatMap((part) =>
    part.target === undefined ? [] : readPart({ ...context, defaults, types, part, names }),
  );
}

function readPart(context: PartContext): TargetSettings[] {
  const { part, types, names, errors } = context;
  if (!Array.isArray(part.target)) {
    errors.push(`${part.where}: target must be a list of tables, such as [[target]]`);
    return [];
  }
  const targets: TargetSettings[] = [];
  for (const [index, fields] of (part.target as readonly unknown[]).entries()) {
    const place = `${part.where}: target ${index + 1}`;
    if (!isTable(fields)) {
      errors.push(`${place}: must be a table, not ${typeName(fields)}`);
      continue;
    }
    const result = typeof fields["name"] === "string" ? types.name.parse(fields["name"]) : null;
    const name = result !== null && "value" in result ? result.value : null;
    const where = name === null ? place : `${place} (${name})`;
    const earlier = name === null ? undefined : names.get(name);
    if (earlier !== undefined) {
      const shown = earlier.replace(`${part.where}: `, "");
      errors.push(`${where}: ${shown} has this name already`);
    } else if (name !== null) names.set(name, place);
    const target = readTable(fields, { ...context, name, where });
    if (target !== null) targets.push(target);
  }
  if (targets.some(({ destination }) => destination.type === "exec")) checkMode(context);
  return targets;
}

interface PartContext extends Context {
  readonly defaults: Defaults;
  readonly types: ReturnType<typeof keyTypes>;
  readonly part: SettingsPart;
  /** The place of each name so far. */
  readonly names: Map<string, string>;
}

interface TableContext extends PartContext {
  readonly name: string | null;
  readonly where: string;
}

function readTable(
  fields: Readonly<Record<string, unknown>>,
  context: TableContext,
): TargetSettings | null {
  const { defaults, types, name, where, errors } = context;
  const values = readFields(types, { fields, where, mark: ": ", others: ["exec"] }, errors);
  const valuesOf = <Value>(parsed: readonly Parsed<Value>[] | null): readonly Value[] | null =>
    parsed === null ? null : parsed.map(({ value }) => value);
  const selection = {
    events: valuesOf(values.events) ?? defaults.selection.events,
    devices: valuesOf(values.devices) ?? defaults.selection.devices,
    peers: valuesOf(values.peers) ?? defaults.selection.peers,
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
    : readAddress(values, context);
  if (destination === null) return null;
  return {
    name,
    destination,
    selection,
    digestMs: values.digest?.[0]?.value ?? defaults.digestMs,
    timeoutMs: values.timeout?.[0]?.value ?? TIMEOUT_MS,
  };
}

type TableValues = ReturnType<typeof readFields<ReturnType<typeof keyTypes>>>;

function readAddress(values: TableValues, context: TableContext): Destination | null {
  const { sources, where, defaults, errors, warnings } = context;
  const secretPath = values.secret_file?.[0];
  const secrets =
    secretPath === undefined ? defaults.secrets : readSecrets(sources, fileOf(secretPath), errors);
  const template = readTemplate(values, context);
  const address = values.url?.[0] ?? readUrlFile(values.url_file?.[0], context);
  if (address === null) return null;

  const { format: prefix } = address.value;
  const key = values.format?.[0]?.value ?? null;
  const given = [
    ...(prefix === null ? [] : [`${prefix}: before its URL`]),
    ...(key === null || (key === "template" && template !== null) ? [] : [`format ${key}`]),
    ...(template === null ? [] : ["a template"]),
  ];
  if (given.length > 1) {
    errors.push(`${where}: has ${formatList(given, "and")}; give only one of them`);
  }
  if (key === "template" && template === null) {
    if (values.template === null && values.template_file === null) {
      errors.push(`${where}: format template needs template or template_file`);
    }
    return null;
  }
  const format = template ?? prefix ?? (key as FormatChoice | null) ?? defaults.format;
  const destination = webhookDestination(
    address.value,
    { format, secrets, where: address.where },
    errors,
  );
  if (secretPath !== undefined && destination.type === "webhook" && !destination.format.isSigned) {
    warnings.push(
      `${secretPath.where} has no effect: format ${destination.formatName} is not signed`,
    );
  }
  return destination;
}

function readTemplate(values: TableValues, context: TableContext): Format | null {
  const { sources, where, types, errors } = context;
  if (values.template !== null && values.template_file !== null) {
    errors.push(`${where}: has template and template_file; give only one of them`);
  }
  const path = values.template_file?.[0];
  if (path === undefined) return values.template?.[0]?.value ?? null;
  const text = readNamedFile(sources, fileOf(path), errors);
  if (text === null) return null;
  const result = types.template.parse(text);
  if ("value" in result) return result.value;
  errors.push(`${path.where}: the file ${result.problem}`);
  return null;
}

function readUrlFile(
  path: Parsed<string> | undefined,
  context: TableContext,
): Parsed<Webhook> | null {
  if (path === undefined) return null;
  const errorsBefore = context.errors.length;
  const webhooks = readWebhookFile(fileOf(path), { ...context, warnings: [] });
  if (webhooks.length === 1) return webhooks[0]!;
  if (context.errors.length === errorsBefore) {
    context.errors.push(`${path.where}: the file has ${webhooks.length} webhooks, not one`);
  }
  return null;
}

function fileOf({ value, where }: Parsed<string>): NamedFile {
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
  const { example, parse } = executablePath();
  if (
    !Array.isArray(list) ||
    list.length === 0 ||
    !list.every((item) => typeof item === "string")
  ) {
    errors.push(`${where}: exec: must be a list of strings, such as ["${example}", "--urgent"]`);
    return null;
  }
  const [path, ...args] = list as readonly string[];
  const result = parse(path!);
  if ("problem" in result) {
    errors.push(`${where}: exec: (hidden) ${result.problem}`);
    return null;
  }
  if (args.some((text) => text.includes("\0"))) {
    errors.push(`${where}: exec: (hidden) contains a NUL character`);
    return null;
  }
  return { type: "exec", command: [result.value, ...args] };
}

/**
 * Refuses exec targets if another user can write to or replace their file, because that user could make wgmon
 * run any program, often as root.
 */
function checkMode({ part, sources, errors }: PartContext): void {
  const refused = `${part.where}: exec is refused, because`;
  if (part.mode === null) {
    errors.push(`${refused} the mode of this file cannot be read`);
    return;
  }
  const { bits, isOwnedByUsOrRoot } = part.mode;
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
    const folder = sources.folderOpenToOthers(part.path);
    if (folder === null) return;
    errors.push(
      `${refused} other users can replace files in the folder ${fileName(folder)}; chown it to root and chmod go-w it, or move the settings to /etc/wgmon`,
    );
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    errors.push(`${refused} its parent folders cannot be examined: ${error.code}`);
  }
}
