/**
 * Why a receiver refused a message, in its own words: found in the body of its answer, cleaned, and without
 * the secrets of the URL, which some receivers repeat. Pure.
 */

import { sanitize, truncate } from "../base/text.ts";
import { asObject, membersOf } from "./formats/response-body.ts";

/** UTF-16 units: about two lines of a log. */
const WORDS_MAX = 200;

/** Maximum nesting of objects. Services nest their reasons two or three levels deep, Discord six. */
const DEPTH_MAX = 8;

/**
 * Members that contain the reason, the most informative first: RFC 9457, Gotify, Telegram, Discord's
 * `_errors`, Mattermost and Google Chat, Pushover, ntfy and Apprise. The value may be a text, a list, or an
 * object with such members.
 */
const MEMBERS = [
  "detail",
  "errorDescription",
  "error_description",
  "description",
  "errors",
  "_errors",
  "message",
  "error",
  "title",
  "reason",
] as const;

/** Parts of a webhook's path that are the same for all users of a service. */
const PUBLIC_PARTS =
  /^(api|v\d+|webhooks?|services|sendMessage|messages?(\.json)?|notify|workflows|triggers|manual|paths|invoke|spaces|hooks)$/i;

/** A run of characters that may be a secret, or a part of one. */
const RUN = /[\w.~+/=:%@-]{6,}/g;
/** This many consecutive characters of a secret are no coincidence. */
const SHARED = 6;

/**
 * The receiver's words in the body of a refusal; null: the body has no readable reason.
 *
 * @param url its secrets are removed from the words.
 */
export function refusalIn(body: string, url: URL): string | null {
  const words = sanitize(reasonIn(body) ?? "");
  return words === "" ? null : truncate(withoutSecrets(words, url), WORDS_MAX);
}

function reasonIn(body: string): string | null {
  const text = body.trim();
  // An HTML page, or JSON that was cut off, gives no reason.
  if (/^[<{[]/.test(text)) return reasonOf(membersOf(text), 0);
  return text.split("\n", 1)[0]!;
}

function reasonOf(value: unknown, depth: number): string | null {
  if (typeof value === "string") return sanitize(value) === "" ? null : value;
  if (!isObject(value) || depth > DEPTH_MAX) return null;
  if (Array.isArray(value)) return first(value, depth);
  const members = asObject(value);
  const names: readonly string[] = MEMBERS;
  const known = first(
    names.map((name) => members[name]),
    depth,
  );
  if (known !== null || depth === 0) return known;
  // Discord has the names of our fields between `errors` and `_errors`.
  const others = Object.keys(members).filter((name) => !names.includes(name));
  return first(others.map((name) => members[name]).filter(isObject), depth);
}

function first(values: readonly unknown[], depth: number): string | null {
  for (const value of values) {
    const reason = reasonOf(value, depth + 1);
    if (reason !== null) return reason;
  }
  return null;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

function withoutSecrets(text: string, url: URL): string {
  const secrets = secretsOf(url).toSorted((a, b) => b.length - a.length);
  const whole = secrets.map((secret) => secret.replace(/[^\w\s]/g, "\\$&")).join("|");
  const rest = whole === "" ? text : text.replace(new RegExp(whole, "gi"), "(hidden)");
  return rest.replace(RUN, (run) => (isPartOf(run.toLowerCase(), secrets) ? "(hidden)" : run));
}

/** In lower case, because some receivers change the case. */
function secretsOf({ username, password, pathname, search, searchParams, hash }: URL): string[] {
  const parts = pathname.split("/").filter((part) => !PUBLIC_PARTS.test(part));
  const written = [
    username,
    password,
    ...parts,
    ...searchParams.values(),
    search.slice(1),
    hash.slice(1),
  ];
  const decoded = written.map(decode);
  // As in the Authorization header.
  const basic =
    username + password === ""
      ? ""
      : Buffer.from(`${decode(username)}:${decode(password)}`).toString("base64");
  return [...written, ...decoded, basic]
    .filter((secret) => secret.length >= 3)
    .map((secret) => secret.toLowerCase());
}

function isPartOf(run: string, secrets: readonly string[]): boolean {
  return secrets.some((secret) => {
    for (let at = 0; at + SHARED <= secret.length; at++) {
      if (run.includes(secret.slice(at, at + SHARED))) return true;
    }
    return false;
  });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
