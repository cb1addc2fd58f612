/**
 * Reads webhooks that are one text, [FORMAT:]URL: those of the setting webhook, of its file, and of url and url_file in
 * [[target]]. Also reads the defaults for all targets.
 */

import type { Format } from "../channels/formats/format.ts";
import { formatFor, formats } from "../channels/formats/index.ts";
import { parseSecrets, type SigningSecret } from "../channels/signature.ts";
import { type Destination, type TargetSettings, TIMEOUT_MS } from "../channels/target-settings.ts";
import type { EventFilter } from "../events/event-filter.ts";
import {
  fileOrCredential,
  type NamedFile,
  type Parsed,
  readNamedFile,
  type ResolvedSettings,
  type Sources,
} from "./resolve.ts";
import type { SettingsFile } from "./settings-file.ts";
import { type FormatChoice, type Webhook, webhookUrl } from "./value-types.ts";

export interface Context {
  readonly sources: Sources;
  readonly resolved: ResolvedSettings;
  readonly file: SettingsFile;
  readonly errors: string[];
  readonly warnings: string[];
}

/** The values for targets that do not set their own. */
export interface Defaults {
  readonly format: FormatChoice;
  readonly secrets: readonly SigningSecret[];
  readonly selection: EventFilter;
  readonly digestMs: number;
}

export function readDefaults(context: Context): Defaults {
  const { resolved, sources, errors } = context;
  const secrets = fileOrCredential("webhook-secret-file", "webhook-secret", context);
  return {
    format: resolved.value("webhook-format"),
    secrets: secrets === null ? [] : readSecrets(sources, secrets, errors),
    selection: {
      events: resolved.values("webhook-events"),
      devices: resolved.values("webhook-devices"),
      peers: resolved.values("webhook-peers"),
    },
    digestMs: resolved.value("webhook-digest"),
  };
}

export function readWebhooks(context: Context, defaults: Defaults): TargetSettings[] {
  const { resolved, errors } = context;
  const isFromGo = resolved.given("webhook")?.origin === "bare variable";
  const format = isFromGo && resolved.given("webhook-format") === null ? "form" : defaults.format;
  const named = fileOrCredential("webhook-file", "webhooks", context);
  const inFile = named === null ? [] : readWebhookFile(named, context);
  const { selection, digestMs, secrets } = defaults;
  return [
    ...resolved.parsed("webhook").map((webhook) => ({ webhook, format })),
    ...inFile.map((webhook) => ({ webhook, format: defaults.format })),
  ].map(({ webhook: { value, where }, format: defaultFormat }) => ({
    name: null,
    destination: webhookDestination(
      value,
      { format: value.format ?? defaultFormat, secrets, where },
      errors,
    ),
    selection,
    digestMs,
    timeoutMs: TIMEOUT_MS,
  }));
}

/** One webhook per line. Blank lines and lines that begin with # are ignored. */
export function readWebhookFile(file: NamedFile, context: Context): Parsed<Webhook>[] {
  const text = readNamedFile(context.sources, file, context.errors);
  if (text === null) return [];
  const { parse } = webhookUrl();
  let count = 0;
  const webhooks = text.split("\n").flatMap((line, index) => {
    const content = line.trim();
    if (content === "" || content.startsWith("#")) return [];
    count++;
    const where = `${file.where}, line ${index + 1}`;
    const result = parse(content);
    if ("value" in result) return [{ where, value: result.value }];
    context.errors.push(`${where}: (hidden) ${result.problem}`);
    return [];
  });
  if (count === 0) context.warnings.push(`${file.where}: there is no webhook in the file`);
  return webhooks;
}

/** The destination of a webhook. `errors` receives the problem of a URL that does not suit its format. */
export function webhookDestination(
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
  const result = parseSecrets(text);
  if ("value" in result) return result.value;
  errors.push(`${file.where}: the file ${result.problem}`);
  return [];
}
