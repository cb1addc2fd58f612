/**
 * A user-defined body: JSON with `{{variable}}` in its strings. It is parsed once, and values are inserted only
 * into its strings, so a value cannot change the structure of the JSON. Pure.
 */

import { suggest } from "../../base/suggest.ts";
import { sanitize, shortName } from "../../base/text.ts";
import type { Message } from "../../delivery/target.ts";
import type { Event } from "../../events/event-schema.ts";
import type { Format } from "./format.ts";
import { jsonText, USUAL_PARTS } from "./json.ts";
import { formatLines, titleOf } from "./message-text.ts";

/**
 * The names allowed between the braces. The first three describe the whole message; the others are fields of
 * its first event.
 */
export const templateVariables = [
  "text",
  "title",
  "count",
  "id",
  "version",
  "type",
  "timestamp",
  "host",
  "device",
  "peer.publicKey",
  "peer.name",
  "peer.tags",
  "peer.allowedIps",
  "peer.endpoint",
  "previousEndpoint",
  "initial",
  "reason",
  "session.startedAt",
  "session.endedAt",
  "session.durationMs",
  "session.rxBytes",
  "session.txBytes",
  "session.roams",
  "listenPort",
  "rule",
  "kind",
  "severity",
  "since",
  "sentence",
  "cause",
  "reminder",
] as const;

type Variable = (typeof templateVariables)[number];
type Value = string | number | boolean | null | readonly string[];
type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** A checked template: all its variables are known. */
export interface Template {
  readonly json: Json;
}

/** `problem` is worded to follow the file's name: `is not JSON`. */
export function parseTemplate(
  text: string,
): { readonly value: Template } | { readonly problem: string } {
  let json: Json;
  try {
    json = JSON.parse(text) as Json;
  } catch {
    return { problem: "is not JSON" };
  }
  const problems: string[] = [];
  const check = (text: string): string => {
    problems.push(...problemsOf(text));
    return text;
  };
  const checkKey = (key: string): void => {
    if (key.includes("{{")) problems.push("has a variable in a key; only values can have them");
  };
  mapStrings(json, check, checkKey);
  return problems.length === 0 ? { value: { json } } : { problem: problems[0]! };
}

export function templateFormat({ json }: Template): Format {
  return {
    publicParts: USUAL_PARTS,
    isSigned: true,
    template: json,
    request(message, url) {
      const body = jsonText(mapStrings(json, (part) => fillIn(part, message)));
      return { url: url.href, contentType: "application/json", body };
    },
  };
}

/** The problems of a string of the template. They quote only parts that look like variables. */
function problemsOf(text: string): string[] {
  const names = [...text.matchAll(PLACEHOLDER)].map(([, inside]) => inside!.trim());
  const problems = names.filter((name) => !isVariable(name)).map(unknownVariable);
  if (text.replace(PLACEHOLDER, "").includes("{{")) problems.push("has a {{ without a }}");
  return problems;
}

function unknownVariable(name: string): string {
  if (!/^[\w.]{1,40}$/.test(name)) return "has a {{ }} without a variable name";
  const near = suggest(name, templateVariables);
  const guess = near === null ? "" : ` (did you mean {{${near}}}?)`;
  return `has an unknown variable {{${name}}}${guess}`;
}

/** A string that is only one variable becomes the value of the variable, with its type. */
function fillIn(text: string, message: Message): Value {
  const [, only] = /^\{\{\s*([\w.]+)\s*\}\}$/.exec(text) ?? [];
  if (only !== undefined) return valueOf(only as Variable, message);
  return text.replace(PLACEHOLDER, (_whole, inside: string) =>
    asText(valueOf(inside.trim() as Variable, message)),
  );
}

function valueOf(variable: Variable, message: Message): Value {
  if (variable === "text") return formatLines(message).join("\n");
  if (variable === "title") return titleOf(message);
  if (variable === "count") return message.events.length;
  return fieldOf(message.events[0], variable);
}

/** The value of a field; null: events of this type do not have the field. */
function fieldOf(event: Event, variable: Variable): Value {
  let value: unknown = { ...event, ...event.data };
  for (const name of variable.split(".")) {
    value = (value as Readonly<Record<string, unknown>> | null)?.[name] ?? null;
  }
  if (Array.isArray(value)) return value.map((part) => shortName(String(part)));
  if (typeof value !== "string") return value as Value;
  // As in {{text}}, remove line ends and bidirectional controls.
  return variable === "sentence" ? sanitize(value) : shortName(value);
}

function asText(value: Value): string {
  if (value === null) return "";
  return typeof value === "object" ? value.join(", ") : String(value);
}

/** Returns a copy of the JSON with its strings replaced, and calls `onKey` with each key. */
function mapStrings(
  json: Json,
  replace: (text: string) => Json,
  onKey: (key: string) => void = () => {},
): Json {
  if (typeof json === "string") return replace(json);
  if (typeof json !== "object" || json === null) return json;
  if (Array.isArray(json)) return json.map((part: Json) => mapStrings(part, replace, onKey));
  return Object.fromEntries(
    Object.entries(json).map(([key, part]) => {
      onKey(key);
      return [key, mapStrings(part as Json, replace, onKey)];
    }),
  );
}

function isVariable(name: string): name is Variable {
  return templateVariables.some((variable) => variable === name);
}

/** Matches `{{`, the shortest text, and `}}`. */
const PLACEHOLDER = /\{\{(.*?)\}\}/gs;
