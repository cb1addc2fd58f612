/**
 * Finds a receiver's explanation in the body of a response that refuses a message, cleans it, and removes the
 * secrets of the URL, which some receivers repeat. Pure.
 */

import { sanitize, truncate } from "../base/text.ts";
import { asObject, membersOf } from "./formats/response-body.ts";

/** UTF-16 units: about two lines of a log. */
const EXPLANATION_MAX = 200;

/** Maximum nesting of objects. Most services nest the explanation two or three levels deep, Discord six. */
const DEPTH_MAX = 8;

/**
 * Members that contain the explanation, the most informative first: those of RFC 9457, Gotify, Telegram, Discord
 * (`_errors`), Mattermost and Google Chat, Pushover, ntfy and Apprise. The value may be a text, a list, or an object
 * with such members.
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

/** A run of characters that may contain a secret or a part of one. */
const RUN = /[\w.~+/=:%@-]{6,}/g;
/** A run is hidden if it has this many consecutive characters of a secret. */
const SHARED_MIN = 6;

/**
 * The receiver's explanation in the body of a response, on one line; null: the body has no readable explanation.
 *
 * @param url the webhook's URL. The parts of it that may be secrets are removed from the explanation.
 * @param publicParts see Format.
 */
export function explanationIn(
  body: string,
  url: URL,
  publicParts: readonly string[],
): string | null {
  const explanation = sanitize(findText(body) ?? "");
  if (explanation === "") return null;
  const secrets = secretsOf(url, publicParts).toSorted((a, b) => b.length - a.length);
  return truncate(withoutSecrets(explanation, secrets), EXPLANATION_MAX);
}

function findText(body: string): string | null {
  const text = body.trim();
  // An HTML page, or JSON that was cut off, has no readable explanation.
  if (/^[<{[]/.test(text)) return textOf(membersOf(text), 0);
  return text.split("\n", 1)[0]!;
}

function textOf(value: unknown, depth: number): string | null {
  if (typeof value === "string") return sanitize(value) === "" ? null : value;
  if (!isObject(value) || depth > DEPTH_MAX) return null;
  if (Array.isArray(value)) return firstText(value, depth);
  const members = asObject(value);
  const names: readonly string[] = MEMBERS;
  const known = firstText(
    names.map((name) => members[name]),
    depth,
  );
  if (known !== null || depth === 0) return known;
  // Discord nests objects that are named like the fields of our request between `errors` and `_errors`.
  const others = Object.keys(members).filter((name) => !names.includes(name));
  return firstText(others.map((name) => members[name]).filter(isObject), depth);
}

function firstText(values: readonly unknown[], depth: number): string | null {
  for (const value of values) {
    const text = textOf(value, depth + 1);
    if (text !== null) return text;
  }
  return null;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

/** @param secrets in lower case, the longest first. */
function withoutSecrets(text: string, secrets: readonly string[]): string {
  const pattern = secrets.map((secret) => secret.replace(/[^\w\s]/g, "\\$&")).join("|");
  const rest = pattern === "" ? text : text.replace(new RegExp(pattern, "gi"), "(hidden)");
  return rest.replace(RUN, (run) => (hasPartOf(run.toLowerCase(), secrets) ? "(hidden)" : run));
}

/** The parts of the URL that may be secrets, in lower case, because some receivers change the case. */
function secretsOf(url: URL, publicParts: readonly string[]): string[] {
  const { username, password, pathname, search, searchParams, hash } = url;
  const known = new Set(publicParts.map((part) => part.toLowerCase()));
  const parts = pathname.split("/").filter((part) => !isPublic(part.toLowerCase(), known));
  // The names of parameters are not secrets, except of a parameter without a value: ?SECRET.
  const values = search
    .slice(1)
    .split("&")
    .map((pair) => pair.replace(/^[^=]*=(?=.)/, ""));
  const encoded = [
    username,
    password,
    ...parts,
    ...searchParams.values(),
    ...values,
    hash.slice(1),
  ];
  const decoded = encoded.map(decode);
  // The value of the Authorization header.
  const basic =
    username + password === ""
      ? ""
      : Buffer.from(`${decode(username)}:${decode(password)}`).toString("base64");
  return [...encoded, ...decoded, basic]
    .filter((secret) => secret.length >= 3)
    .map((secret) => secret.toLowerCase());
}

/** A version in the path (`v10`) is public, too. */
function isPublic(part: string, known: ReadonlySet<string>): boolean {
  return known.has(part) || /^v\d+$/.test(part);
}

function hasPartOf(run: string, secrets: readonly string[]): boolean {
  return secrets.some((secret) => {
    for (let at = 0; at + SHARED_MIN <= secret.length; at++) {
      if (run.includes(secret.slice(at, at + SHARED_MIN))) return true;
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
