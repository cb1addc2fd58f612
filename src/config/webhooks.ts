/**
 * Targets that consist of one text each: the URLs of the setting webhook, of its file and of tables; and what
 * all targets have in common.
 */

import type { Format } from "../channels/formats/format.ts";
import { formatFor, formats } from "../channels/formats/index.ts";
import { parseSecrets, type SigningSecret } from "../channels/signature.ts";
import type { Destination, TargetSettings } from "../channels/target-settings.ts";
import type { Selection } from "../events/event-filter.ts";
import { type Chosen, type NamedFile, type Read, readNamedFile, type Sources } from "./resolve.ts";
import type { SettingsFile } from "./settings-file.ts";
import { type FormatChoice, type Webhook, webhookUrl } from "./value-types.ts";

/** The limit of the Go program and of wg-portal. A slower receiver should answer before it does its work. */
export const TIMEOUT_MS = 10_000;

export interface Context {
  readonly sources: Sources;
  readonly chosen: Chosen;
  readonly file: SettingsFile;
  readonly problems: string[];
  readonly notes: string[];
}

/** The values for a target that does not set its own. */
export interface Defaults {
  readonly format: FormatChoice;
  readonly secrets: readonly SigningSecret[];
  readonly selection: Selection;
  readonly digestMs: number;
}

export function readDefaults(context: Context): Defaults {
  const { chosen, sources, problems } = context;
  const secrets = fileOf("webhook-secret-file", "webhook-secret", context);
  return {
    format: chosen.one("webhook-format"),
    secrets: secrets === null ? [] : readSecrets(sources, secrets, problems),
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
  const { chosen, problems } = context;
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
    destination: webhook(value, { format: value.format ?? otherwise, secrets, where }, problems),
    selection,
    digestMs,
    timeoutMs: TIMEOUT_MS,
  }));
}

/** One webhook per line. Blank lines and lines that begin with # are ignored. */
export function readWebhookFile(file: NamedFile, context: Context): Read<Webhook>[] {
  const text = readNamedFile(context.sources, file, context.problems);
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
    context.problems.push(`${where}: (hidden) ${reading.problem}`);
    return [];
  });
  if (lines === 0) context.notes.push(`${file.where}: there is no webhook in the file`);
  return webhooks;
}

export function webhook(
  { url }: Webhook,
  from: {
    readonly format: FormatChoice | Format;
    readonly secrets: readonly SigningSecret[];
    readonly where: string;
  },
  problems: string[],
): Destination {
  const address = new URL(url);
  const choice = from.format === "auto" ? formatFor(address) : from.format;
  const format: Format = typeof choice === "string" ? formats[choice] : choice;
  const problem = format.problem?.(address) ?? null;
  if (problem !== null) problems.push(`${from.where}: (hidden) ${problem}`);
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
  problems: string[],
): readonly SigningSecret[] {
  const text = readNamedFile(sources, file, problems);
  if (text === null) return [];
  const reading = parseSecrets(text);
  if ("value" in reading) return reading.value;
  problems.push(`${file.where}: the file ${reading.problem}`);
  return [];
}
