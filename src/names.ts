/**
 * Names of peers, as people and programs write them into the comments of wg-quick's files and of
 * systemd's .netdev files. What is odd in one block is no matter for the others; where it is not clear
 * whose name it is, nobody gets it. Private keys stand in these files: only headers, public keys and
 * comments without a key become text. Pure.
 */

import { clean, cut } from "./channel/text.ts";
import { isPublicKey } from "./config/file.ts";
import type { PublicKey } from "./wireguard.ts";

/** As in the settings. UTF-16 units, so no more characters than these. */
const NAME_MAX = 64;
/** Longer ones are no names, and would take long. */
const COMMENT_BYTES_MAX = 1024;
/** The base64 of 32 bytes has so many characters, and its padding. */
const KEY_CHARACTERS = 43;
const PUBLIC_KEY_LENGTH = 44;

/** How much a comment means to be a name; the least wins. */
const Rank = { friendly: 0, json: 1, tagged: 2, id: 3, bare: 4, beside: 5 } as const;

interface Name {
  readonly type: "name";
  readonly text: string;
  readonly rank: number;
  /**
   * before: it announces the block that follows; within: it belongs to the block that it stands in,
   * wherever; near: to the one that it touches.
   */
  readonly place: "before" | "within" | "near";
}

/** A comment. `header` and `setting` are of a block that was taken out by making it a comment. */
type Note = Name | { readonly type: "header" | "setting" | "end" | "nothing" };

type Line =
  | { readonly type: "blank" }
  | { readonly type: "comment"; readonly note: Note }
  | { readonly type: "header"; readonly isPeer: boolean; readonly beside: Note }
  | { readonly type: "setting" }
  | { readonly type: "public-key"; readonly key: PublicKey | null; readonly beside: Note };

interface Block {
  /** null: what stands there is none. */
  readonly keys: Set<PublicKey | null>;
  readonly inside: Name[];
  /** In the comments directly above the header, or announced before. */
  readonly above: readonly Name[];
  /** The same, where these comments touch the block before, too. */
  readonly between: readonly Name[];
}

const NOTHING: Note = { type: "nothing" };

/** The name of each peer that has one. */
export function parseNames(bytes: Uint8Array): Map<PublicKey, string> {
  const names = new Map<PublicKey, string>();
  for (const { keys, inside, above, between } of blocksOf(bytes)) {
    const [key, another] = keys;
    // With two keys, most likely a header is missing.
    if (key === undefined || key === null || another !== undefined) continue;
    const found = [...inside, ...above, ...between];
    if (found.length === 0) continue;
    names.set(key, found.reduce((best, next) => (next.rank < best.rank ? next : best)).text);
  }
  return names;
}

function blocksOf(bytes: Uint8Array): Block[] {
  const blocks: Block[] = [];
  let block: Block | null = null;
  /** Comments without a blank line among them. */
  let run: Note[] = [];
  /** There is no blank line before them either. */
  let isTouching = false;
  /** What was announced, and no block yet. */
  let announced: Name[] = [];

  /** Says whose the comments are that end at a line like this. */
  const settle = (next: "header" | "setting" | "blank"): Name[] => {
    if (run.length === 0) return [];
    if (run.some(({ type }) => type === "header" || type === "end")) announced = [];
    const found = namesOf(run);
    run = [];
    if (next === "header") return found;
    for (const name of found) {
      if (next === "blank" && name.place === "before") announced.push(name);
      else if (next === "setting" || isTouching || name.place === "within")
        block?.inside.push(name);
    }
    return found;
  };

  for (let start = textStart(bytes), end; start < bytes.length; start = end + 1) {
    const newline = bytes.indexOf(NEWLINE, start);
    end = newline === -1 ? bytes.length : newline;
    const line = lineAt(bytes, start, end);
    switch (line.type) {
      case "comment":
        run.push(line.note);
        continue;
      case "blank":
        settle("blank");
        isTouching = false;
        continue;
      case "header": {
        const found = settle("header");
        const isBetween = (name: Name) => isTouching && block !== null && name.place !== "before";
        const next: Block = {
          keys: new Set(),
          inside: [],
          above: [...announced, ...found.filter((name) => !isBetween(name))],
          between: found.filter(isBetween),
        };
        block = line.isPeer ? next : null;
        if (line.isPeer) blocks.push(next);
        break;
      }
      case "public-key":
        settle("setting");
        block?.keys.add(line.key);
        break;
      case "setting":
        settle("setting");
        break;
    }
    isTouching = true;
    announced = [];
    if (block !== null && "beside" in line && line.beside.type === "name") {
      block.inside.push(line.beside);
    }
  }

  const isAtEnd = isTouching && block !== null;
  const last = settle("blank").filter(({ place }) => place !== "before");
  return isAtEnd && last.length > 0 && isNameLast(blocks) ? blocks.map(takeBack) : blocks;
}

/**
 * Without blank lines a name may stand at the end of its own block as well as above its header. It is
 * the former if the first header has none above and the last block, as all others, one at its end.
 */
function isNameLast([first, ...others]: readonly Block[]): boolean {
  const isWithout = first?.above.length === 0 && first.between.length === 0;
  return isWithout && others.every(({ between }) => between.length > 0);
}

function takeBack(block: Block, index: number, blocks: readonly Block[]): Block {
  const inside = [...block.inside, ...(blocks[index + 1]?.between ?? [])];
  return { ...block, inside, between: [] };
}

/** Those that belong to no block that was made a comment. */
function namesOf(run: readonly Note[]): Name[] {
  let names: Name[] = [];
  let isTakenOut = false;
  for (const note of run) {
    if (note.type === "name") names.push(note);
    if (note.type === "header" || note.type === "end" || (note.type === "setting" && isTakenOut)) {
      names = [];
      isTakenOut ||= note.type === "header";
    }
  }
  return names;
}

// ---- Bytes ----

const decoder = new TextDecoder();

const [NEWLINE, SPACE, HASH, SEMICOLON, EQUALS] = [0x0a, 0x20, 0x23, 0x3b, 0x3d];
const [OPENING, CLOSING] = [0x5b, 0x5d];

/** Behind the mark that some editors put at the beginning of UTF-8. */
function textStart(bytes: Uint8Array): number {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
}

function lineAt(bytes: Uint8Array, lineStart: number, end: number): Line {
  const start = skipBlank(bytes, lineStart, end);
  if (start === end) return { type: "blank" };
  const first = bytes[start];
  if (first === HASH || first === SEMICOLON) {
    return { type: "comment", note: noteAt(bytes, start, end, null) };
  }
  if (first === OPENING) {
    const beside = noteAt(bytes, start, end, Rank.bare);
    return { type: "header", isPeer: isPeerHeader(bytes, start), beside };
  }
  return isPublicKeyAt(bytes, start, end) ? publicKeyAt(bytes, start, end) : { type: "setting" };
}

function isPeerHeader(bytes: Uint8Array, opening: number): boolean {
  const closing = bytes.indexOf(CLOSING, opening);
  // Longer ones may be anything.
  if (closing === -1 || closing - opening > KEY_CHARACTERS) return false;
  return /^[ \t]*(peer|wireguardpeer)[ \t]*$/i.test(textOf(bytes, opening + 1, closing));
}

/** By its bytes: what stands there may be a private key. */
function isPublicKeyAt(bytes: Uint8Array, start: number, end: number): boolean {
  const word = "publickey";
  for (let i = 0; i < word.length; i++) {
    // Capitals have one bit less.
    if (((bytes[start + i] ?? 0) | 0x20) !== word.charCodeAt(i)) return false;
  }
  const equals = skipBlank(bytes, start + word.length, end);
  return equals < end && bytes[equals] === EQUALS;
}

function publicKeyAt(bytes: Uint8Array, start: number, end: number): Line {
  const value = skipBlank(bytes, bytes.indexOf(EQUALS, start) + 1, end);
  let after = value;
  while (after < end && bytes[after]! > SPACE && bytes[after] !== HASH) after++;
  const rest = skipBlank(bytes, after, end);
  const isAlone = rest === end || bytes[rest] === HASH;
  const text = isAlone && after - value === PUBLIC_KEY_LENGTH ? textOf(bytes, value, after) : "";
  const beside = noteAt(bytes, after, end, Rank.beside);
  return { type: "public-key", key: isPublicKey(text) ? text : null, beside };
}

function skipBlank(bytes: Uint8Array, start: number, end: number): number {
  let at = Math.min(start, end);
  while (at < end && bytes[at]! <= SPACE) at++;
  return at;
}

/**
 * The comment on a line. With a key in it, it is never made a text: it may be a private one.
 *
 * @param leastRank of one beside something else; null: it is the line.
 */
function noteAt(bytes: Uint8Array, start: number, end: number, leastRank: number | null): Note {
  let marks = start;
  const isMark = (at: number) => bytes[at] === HASH || bytes[at] === SEMICOLON;
  while (marks < end && !isMark(marks)) marks++;
  let text = marks;
  while (text < end && isMark(text)) text++;
  if (text === end || end - text > COMMENT_BYTES_MAX) return NOTHING;
  if (hasKey(bytes, text, end)) return { type: "setting" };
  const note = noteOf(textOf(bytes, text, end).trim(), text - marks);
  if (leastRank === null || note.type !== "name") return note;
  return { ...note, rank: Math.max(note.rank, leastRank), place: "near" };
}

function hasKey(bytes: Uint8Array, start: number, end: number): boolean {
  let run = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    const letter = byte | 0x20;
    const isBase64 =
      (letter >= 0x61 && letter <= 0x7a) ||
      // Digits and the slash before them.
      (byte >= 0x2f && byte <= 0x39) ||
      byte === 0x2b;
    run = isBase64 ? run + 1 : 0;
    if (run === KEY_CHARACTERS) return true;
  }
  return false;
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  return decoder.decode(bytes.subarray(start, end));
}

// ---- Conventions ----

/** How programs mark a name; the first group is the name. */
const conventions: readonly {
  readonly pattern: RegExp;
  readonly rank: number;
  readonly place: Name["place"];
}[] = [
  // prometheus_wireguard_exporter, wg-portal
  { pattern: /^friendly[_ -]?name\s*[=:](.*)$/is, rank: Rank.friendly, place: "within" },
  // WGDashboard: #Name# = alice
  { pattern: /^name#\s*=(.*)$/is, rank: Rank.tagged, place: "within" },
  { pattern: /^-WGP- Display name:(.*)$/is, rank: Rank.tagged, place: "within" },
  // An id is often the public key; then it is not read.
  { pattern: /^-WGP- Peer:(.*?)(?: \/ Updated:.*)?$/is, rank: Rank.id, place: "near" },
  // wireguard-ui
  { pattern: /^name\s*[:=](.*)$/is, rank: Rank.tagged, place: "near" },
  // wg-easy; the id in brackets is a number or a UUID.
  { pattern: /^client:(.*?)(?: \((?:\d+|[\da-f-]{36})\))?$/is, rank: Rank.tagged, place: "before" },
  // angristan's script and those made from it: ### Client alice
  { pattern: /^#client\s(.*?)(?: \| Expires:.*)?$/is, rank: Rank.tagged, place: "before" },
  // wg-gen-web
  { pattern: /^(?!-WGP-)(.+?) \/ .*Updated:.*$/is, rank: Rank.tagged, place: "before" },
  // PiVPN: ### begin alice ###
  { pattern: /^begin\s(.*[^#\s])\s*#+$/is, rank: Rank.tagged, place: "before" },
  // Nyr's script
  { pattern: /^begin_peer\s(.*)$/is, rank: Rank.tagged, place: "before" },
];

/** @param marks how many `#` stood before the text. */
function noteOf(comment: string, marks: number): Note {
  // PiVPN takes a line out like this.
  const text = comment.replace(/^\[disabled\]\s*/i, "");
  if (/^\[\s*(peer|wireguardpeer|interface)\s*\]/i.test(text)) return { type: "header" };
  if (/^(end\s.*#|end_peer\b)/is.test(text)) return { type: "end" };
  const json = /^friendly_json\s*=(.*)$/is.exec(text)?.[1];
  if (json !== undefined) return nameNote(nameInJson(json), Rank.json, "within");
  const marked = marks > 1 && /^client\s/i.test(text) ? `#${text}` : text;
  for (const { pattern, rank, place } of conventions) {
    const name = pattern.exec(marked)?.[1];
    if (name !== undefined) return nameNote(name, rank, place);
  }
  if (/^[\w.-]+\s*=/.test(text)) return { type: "setting" };
  return isBareName(text) ? nameNote(text, Rank.bare, "near") : NOTHING;
}

function nameNote(written: string, rank: number, place: Name["place"]): Note {
  const text = cut(clean(written), NAME_MAX);
  return isReadable(text) ? { type: "name", text, rank, place } : NOTHING;
}

/** The exporter takes all members for labels; these are the ones that name somebody. */
function nameInJson(json: string): string {
  let members: Readonly<Record<string, unknown>>;
  try {
    members = Object(JSON.parse(json)) as Readonly<Record<string, unknown>>;
  } catch {
    return "";
  }
  const textOf = (key: string): string => {
    const value = Object.hasOwn(members, key) ? members[key] : null;
    return typeof value === "string" ? value : "";
  };
  const keys = ["name", "friendly_name", "display_name", "username", "user_name", "user"];
  const fullName = [textOf("first_name"), textOf("last_name")].join(" ");
  return [...keys.map(textOf), fullName].find(isReadable) ?? "";
}

/** Whether a comment that nothing marks may be a name: no prose, no detail of wireguard-ui's. */
function isBareName(text: string): boolean {
  if (clean(text).length > NAME_MAX || !isReadable(text)) return false;
  if (/^(-WGP-|(id|e-?mail|telegram|notes?|(created|updated?)( at)?|expires?)\s*:)/i.test(text)) {
    return false;
  }
  // Somebody may have noted a password there.
  return !/:\/\/|private|preshared|\bpsk\b|passw|secret|token/i.test(text);
}

/** Not only lines and dots. */
function isReadable(text: string): boolean {
  return /[\p{L}\p{N}\p{Extended_Pictographic}]/u.test(text);
}
