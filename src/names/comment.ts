/**
 * Classifies the text of one comment: a name in the form of a program, a name beside its peer, a marker, or nothing.
 * docs/settings.md, "Names of peers", lists the forms. Pure.
 */

import { sanitize, truncate } from "../base/text.ts";

/** The same limit as in the settings, in UTF-16 units, so at most as many characters. */
const NAME_MAX = 64;
/** A plain comment with more words is not a name. */
const NAME_WORDS_MAX = 6;
/** Base64 of 32 bytes without its padding. */
export const KEY_CHARACTERS = 43;
/** Finds a key in a comment that had an invisible character or an escape within the key. */
const KEY = new RegExp(`[a-z0-9+/]{${KEY_CHARACTERS}}`, "i");

/** A comment by its meaning. */
export type Comment =
  /** A name in the form of a program or with a label, such as `friendly_name = alice`. */
  | { readonly type: "marked"; readonly text: string }
  /** May be a name, depending on its position. */
  | { readonly type: "plain"; readonly text: string }
  | Marker
  /** A header or a setting that was commented out. */
  | { readonly type: "header" | "setting" | "nothing" };

/** A comment that a program writes before or after a block: `### begin alice ###`, `# alice end`. */
export interface Marker {
  readonly type: "begin" | "end";
  /** The text between the markers. */
  readonly text: string;
  /** The text of the comment, which may be a name if the other marker is missing; null if it is certainly a marker. */
  readonly plain: string | null;
}

export const NOTHING: Comment = { type: "nothing" };

/** @param marks number of `#` or `;` before the text. */
export function parseComment(comment: string, marks: number): Comment {
  // PiVPN disables a line like this.
  const text = comment.replace(/^\[disabled\] ?/i, "");
  if (/^\[ ?(peer|wireguardpeer|interface) ?\]/i.test(text)) return { type: "header" };
  const marked = markedName(text, marks);
  if (marked !== null) {
    const fullName = sanitize(marked);
    const name = truncate(fullName, NAME_MAX);
    return isReadable(name) && !KEY.test(fullName) ? { type: "marked", text: name } : NOTHING;
  }
  if (/^[\w.-]+ ?=/.test(text)) return { type: "setting" };
  return markerOf(text) ?? { type: "plain", text };
}

/** Returns the name in a comment that has the form of a program or a label; null if the comment has neither. */
function markedName(text: string, marks: number): string | null {
  // prometheus_wireguard_exporter, wg-portal, OPNsense
  const friendly = /^friendly[_ -]?name ?[=:](.*)$/i.exec(text);
  if (friendly !== null) return friendly[1]!;
  const json = /^friendly[_ -]?json ?[=:](.*)$/i.exec(text);
  if (json !== null) return nameInJson(json[1]!);
  // WGDashboard: #Name# = alice
  const dashboard = /^name# ?=(.*)$/i.exec(text);
  if (dashboard !== null) return dashboard[1]!;
  // wg-portal; the id of a peer is often its public key, which is not decoded.
  const portal = /^-WGP- (?:Display name|Peer):(.*)$/i.exec(text);
  if (portal !== null) return textBefore(portal[1]!, / \/ Updated:/i);
  // angristan's wireguard-install and scripts made from it: ### Client alice
  if (marks > 1 && /^client /i.test(text)) return textBefore(text.slice(7), / \| Expires:/i);
  // wg-gen-web: # alice / alice@example.net / Updated: ... / Created: ...
  const slash = text.indexOf(" / ");
  if (slash > 0 && /Updated:/i.test(text.slice(slash))) return text.slice(0, slash);
  // A label. wg-easy adds an id in brackets, a number or a UUID.
  const label = /^(?:(?:peer|client|user)?[ _-]?name|peer|client|user) ?[:=](.*)$/i.exec(
    undecorated(text),
  );
  return label === null ? null : label[1]!.replace(/ \((?:\d+|[\da-f-]{36})\)$/i, "");
}

/**
 * A marker of PiVPN (`### begin alice ###`), Nyr's wireguard-install (`# BEGIN_PEER alice`),
 * wireguard-manager (`# alice start`), or of a program whose markers contain no name (`# BEGIN ANSIBLE MANAGED BLOCK`).
 */
function markerOf(text: string): Comment | null {
  const inner = undecorated(text);
  const typeOf = (word: string) => (/end/i.test(word) ? "end" : "begin");
  const [, word, peer, after = ""] = /^(begin|start|end)([_ ]peer)?(?: (.*))?$/i.exec(inner) ?? [];
  if (word !== undefined) {
    const type = typeOf(word);
    const isNaming = peer !== undefined || text.endsWith("#");
    const isCapital = word === word.toUpperCase();
    if (type === "begin" && isCapital && !isNaming) return NOTHING;
    return { type, text: after, plain: isNaming || isCapital ? null : text };
  }
  const [, name, side] = /^(.+) (start|end)$/i.exec(inner) ?? [];
  return name === undefined ? null : { type: typeOf(side!), text: name, plain: text };
}

/** The string members that may contain a peer's name, in order of precedence; the exporter accepts any member. */
const JSON_NAMES = [
  "name",
  "friendlyname",
  "peername",
  "displayname",
  "clientname",
  "fullname",
  "username",
  "user",
  "peer",
  "client",
  "devicename",
  "device",
  "hostname",
  "host",
];

/** The name in `friendly_json`; empty if it has none. */
function nameInJson(json: string): string {
  let members: Readonly<Record<string, unknown>>;
  try {
    members = Object(JSON.parse(json)) as Readonly<Record<string, unknown>>;
  } catch {
    return "";
  }
  const texts = new Map<string, string>();
  for (const [key, value] of Object.entries(members)) {
    const plainKey = key.replace(/[ _-]/g, "").toLowerCase();
    if (typeof value === "string" && isReadable(value)) texts.set(plainKey, value);
  }
  const fullName = ["firstname", "lastname"].flatMap((key) => texts.get(key) ?? []).join(" ");
  return JSON_NAMES.map((key) => texts.get(key)).find((text) => text !== undefined) ?? fullName;
}

/** Returns the name in a plain comment; null if the comment is not a name. */
export function plainName(comment: string): string | null {
  const text = undecorated(comment);
  if (text.length > NAME_MAX || text.split(" ").length > NAME_WORDS_MAX) return null;
  return isReadable(text) && !NO_NAMES.some((pattern) => pattern.test(text)) ? text : null;
}

/** Patterns of plain comments that are not names. docs/settings.md lists the same. */
const NO_NAMES: readonly RegExp[] = [
  KEY,
  // A label and its value, a URL, a sentence.
  /[:=]|[.,;!?\u2026]$/,
  /^(peers?|clients?|users?|devices?)$/i,
  /^(todo|fixme)\b/i,
  /\b((managed|generated) by|ansible managed|do not edit)\b/i,
  // A note about a key or a password, which may contain it.
  /\b(public|private|preshared)[ _-]?keys?\b|\bpubkey\b|\bpsk\b|password/i,
];

/** Removes decoration around a comment: `--- alice ---`, `alice ###`. */
function undecorated(text: string): string {
  const words = text.split(" ");
  const hasText = (word: string) => !/^[#=*~<>+-]*$/.test(word);
  return words.slice(words.findIndex(hasText), words.findLastIndex(hasText) + 1).join(" ");
}

function textBefore(text: string, mark: RegExp): string {
  const at = text.search(mark);
  return at === -1 ? text : text.slice(0, at);
}

/** Whether the text has a letter, a digit or an emoji, and not only punctuation. */
function isReadable(text: string): boolean {
  return /[\p{L}\p{N}\p{Extended_Pictographic}]/u.test(text);
}
