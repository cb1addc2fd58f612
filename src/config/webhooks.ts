/**
 * Targets that consist of one text each: the URLs of the setting webhook, of its file and of tables; and what
 * all targets have in common.
 */

import type { Format } from "../channels/formats/format.ts";
import { formatFor, formats } from "../channels/formats/index.ts";
import { parseSecrets, type SigningSecret } from "../channels/signature.ts";
import type { Destination, TargetSettings } from "../channels/target-settings.ts";
import type { EventFilter } from "../events/event-filter.ts";
import {
  type NamedFile,
  type Parsed,
  readNamedFile,
  type ResolvedSettings,
  type Sources,
} from "./resolve.ts";
import type { SettingsFile } from "./settings-file.ts";
import { type FormatChoice, type Webhook, webhookUrl } from "./value-types.ts";

/** The limit of the Go program and of wg-portal. A slower receiver should answer before it does its work. */
export const TIMEOUT_MS = 10_000;

export interface Context {
  readonly sources: Sources;
  readonly chosen: ResolvedSettings;
  readonly file: SettingsFile;
  readonly errors: string[];
  readonly warnings: string[];
}

/** The values for a target that does not set its own. */
export interface Defaults {
  readonly format: FormatChoice;
  readonly secrets: readonly SigningSecret[];
  readonly selection: EventFilter;
  readonly digestMs: number;
}

export function readDefaults(context: Context): Defaults {
  const { chosen, sources, errors } = context;
  const secrets = fileOf("webhook-secret-file", "webhook-secret", context);
  return {
    format: chosen.one("webhook-format"),
    secrets: secrets === null ? [] : readSecrets(sources, secrets, errors),
    selection: {
      events: chosen.values("webhook-events"),
      devices: chosen.values("webhook-devices"),
      peers: chosen.values("webhook-peers"),
    },
    digestMs: chosen.one("webhook-digest"),
  };
}

/** The file that a setting names, or else the credential that systemd provides, if there is one. */
function fileOf(
  name: "webhook-file" | "webhook-secret-file",
  credential: string,
  { chosen, sources }: Context,
): NamedFile | null {
  const read = chosen.several(name)[0];
  if (read !== undefined) return { path: read.value, where: read.where, isOptional: false };
  const folder = sources.env["CREDENTIALS_DIRECTORY"];
  if (folder === undefined || !folder.startsWith("/")) return null;
  const path = `${folder}/${credential}`;
  return { path, where: `$CREDENTIALS_DIRECTORY/${credential}`, isOptional: true };
}

export function readWebhooks(context: Context, defaults: Defaults): TargetSettings[] {
  const { chosen, errors } = context;
  const isFromGo = chosen.given("webhook")?.origin === "bare variable";
  const format = isFromGo && chosen.given("webhook-format") === null ? "form" : defaults.format;
  const named = fileOf("webhook-file", "webhooks", context);
  const inFile = named === null ? [] : readWebhookFile(named, context);
  const { selection, digestMs, secrets } = defaults;
  return [
    ...chosen.several("webhook").map((read) => ({ read, format })),
    ...inFile.map((read) => ({ read, format: defaults.format })),
  ].map(({ read: { value, where }, format: otherwise }) => ({
    name: null,
    destination: webhook(value, { format: value.format ?? otherwise, secrets, where }, errors),
    selection,
    digestMs,
    timeoutMs: TIMEOUT_MS,
  }));
}

/** One webhook per line. Blank lines and lines that begin with # are ignored. */
export function readWebhookFile(file: NamedFile, context: Context): Parsed<Webhook>[] {
  const text = readNamedFile(context.sources, file, context.errors);
  if (text === null) return [];
  const { read } = webhookUrl();
  let lines = 0;
  const webhooks = text.split("\n").flatMap((line, index) => {
    const written = line.trim();
    if (written === "" || written.startsWith("#")) return [];
    lines++;
    const where = `${file.where}, line ${index + 1}`;
    const reading = read(written);
    if ("value" in reading) return [{ where, value: reading.value }];
    context.errors.push(`${where}: (hidden) ${reading.problem}`);
    return [];
  });
  if (lines === 0) context.warnings.push(`${file.where}: there is no webhook in the file`);
  return webhooks;
}

export function webhook(
  { url }: Webhook,
  from: {
    readonly format: FormatChoice | Format;
    readonly secrets: readonly SigningSecret[];
    readonly where: string;
  },
  errors: string[],
): Destination {
  const address = new URL(url);
  const choice = from.format === "auto" ? formatFor(address) : from.format;
  const format: Format = typeof choice === "string" ? formats[choice] : choice;
  const problem = format.validateUrl?.(address) ?? null;
  if (problem !== null) errors.push(`${from.where}: (hidden) ${problem}`);
  return {
    type: "webhook",
    url,
    formatName: typeof choice === "string" ? choice : "template",
    format,
    secrets: format.isSigned === true ? from.secrets : [],
  };
}

export function readSecrets(
  sources: Sources,
  file: NamedFile,
  errors: string[],
): readonly SigningSecret[] {
  const text = readNamedFile(sources, file, errors);
  if (text === null) return [];
  const reading = parseSecrets(text);
  if ("value" in reading) return reading.value;
  errors.push(`${file.where}: the file ${reading.problem}`);
  return [];
}
