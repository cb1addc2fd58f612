/**
 * Reads the names of peers from wg-quick's files and systemd's .netdev files: finds the comments and decides which of
 * them names which peer. docs/settings.md, "Names of peers", states the rule. These files contain private keys, so only
 * headers, public keys and comments without a key are decoded to text. One pass, linear in the size of the file. Pure.
 */

import { sanitize } from "../base/text.ts";
import { isPublicKey, type PublicKey } from "../base/wireguard.ts";
import { type Comment, KEY_CHARACTERS, NOTHING, parseComment, plainName } from "./comment.ts";

/** A longer comment is ignored. The longest forms are JSON and wg-gen-web's line of four fields. */
const COMMENT_BYTES_MAX = 512;
/**
 * A larger file is ignored, because each line takes a microsecond or more and the event loop waits. 20,000 peers of
 * wg-portal have 300,000 lines.
 */
export const LINES_MAX = 500_000;
const PUBLIC_KEY_LENGTH = 44;

/** A comment and its position. */
interface PlacedComment {
  /** Counted from 0. */
  readonly line: number;
  readonly comment: Comment;
  /** Whether it is on the line of the header or of the public key. */
  readonly isBeside: boolean;
}

/** The first and the last blank line since the last line of a block. */
interface Blanks {
  readonly first: number;
  readonly last: number;
}

type Line =
  | { readonly type: "blank" | "setting" }
  | { readonly type: "comment"; readonly comment: Comment }
  | { readonly type: "header"; readonly isPeer: boolean; readonly beside: Comment }
  | { readonly type: "public-key"; readonly key: PublicKey | null; readonly beside: Comment };

/** Returns the names of the peers that have one; null if the file has more than `LINES_MAX` lines. */
export function parseNames(bytes: Uint8Array): Map<PublicKey, string> | null {
  const names = new Map<PublicKey, string>();
  const isRead = readBlocks(bytes, ({ kind, keys, name }) => {
    const [key, another] = keys;
    // With two keys, most likely a header is missing.
    if (kind !== "peer" || name === null || another !== undefined) return;
    if (key !== undefined && key !== null) names.set(key, name);
  });
  return isRead ? names : null;
}

/** A section of the file, from its header to its last setting, and the best name found so far. */
class Block {
  readonly kind: "peer" | "disabled" | "other";
  /** null: the setting's value is not a public key. */
  readonly keys = new Set<PublicKey | null>();
  readonly #headerLine: number;
  #best: { readonly text: string | null; readonly rank: number } = { text: null, rank: Infinity };
  #begin: { readonly text: string; readonly line: number } | null = null;

  constructor(kind: Block["kind"], headerLine: number) {
    this.kind = kind;
    this.#headerLine = headerLine;
  }

  get name(): string | null {
    return this.#best.text;
  }

  /** Evaluates the comments that belong to the block, from top to bottom. */
  evaluate(comments: readonly PlacedComment[]): void {
    for (const { line, comment, isBeside } of comments) {
      const isNear = isBeside || Math.abs(line - this.#headerLine) === 1;
      if (comment.type === "marked") this.#offer(comment.text, line, true);
      if (comment.type === "plain" && isNear) this.#offer(plainName(comment.text), line, false);
      if (comment.type === "begin") {
        this.#begin = { text: comment.text, line };
        if (comment.plain !== null && isNear) this.#offer(plainName(comment.plain), line, false);
      }
      // Markers around several blocks name none of them.
      if (comment.type === "end" && comment.text === this.#begin?.text) {
        this.#offer(plainName(comment.text), this.#begin.line, true);
      }
    }
  }

  /**
   * A marked name has precedence over a plain one; then the name nearest to the header, then the upper one. No distance
   * reaches `LINES_MAX`.
   */
  #offer(text: string | null, line: number, isMarked: boolean): void {
    const rank = Math.abs(line - this.#headerLine) + (isMarked ? 0 : LINES_MAX);
    if (text !== null && rank < this.#best.rank) this.#best = { text, rank };
  }
}

/**
 * Divides the file into blocks, assigns the comments to them, and calls `onBlock` for each. Returns false if the file
 * has too many lines.
 */
function readBlocks(bytes: Uint8Array, onBlock: (block: Block) => void): boolean {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let block = new Block("other", -Infinity);
  /** Comments since the last line of the block. */
  let gap: PlacedComment[] = [];
  let blanks = null as Blanks | null;
  /** Whether the first peer of the file has its name above its header; null until it was read. */
  let isNameAbove: boolean | null = null;
  /** The texts of the begin markers so far. */
  const beginMarkers = new Set<string>();

  const placed = (line: number, comment: Comment, isBeside: boolean): PlacedComment => {
    if (comment.type === "begin") beginMarkers.add(comment.text);
    if (comment.type !== "end" || comment.plain === null || beginMarkers.has(comment.text)) {
      return { line, comment, isBeside };
    }
    return { line, comment: { type: "plain", text: comment.plain }, isBeside };
  };
  const startBlock = (kind: Block["kind"], line: number): void => {
    const next = new Block(kind, line);
    const [above, below] = divide(gap, blanks, block.kind === "other" || isNameAbove === true);
    block.evaluate(above);
    next.evaluate(below);
    if (kind !== "other") isNameAbove ??= next.name !== null;
    onBlock(block);
    [block, gap, blanks] = [next, [], null];
  };
  const endGap = (): void => {
    block.evaluate(gap);
    [gap, blanks] = [[], null];
  };

  let start = textStart(text);
  for (let number = 0; start < text.length; number++) {
    if (number === LINES_MAX) return false;
    const newline = text.indexOf(NEWLINE, start);
    const end = newline === -1 ? text.length : newline;
    const line = lineAt(text, start, end);
    start = end + 1;
    switch (line.type) {
      case "blank":
        blanks = { first: blanks?.first ?? number, last: number };
        break;
      case "comment":
        if (line.comment.type === "header") startBlock("disabled", number);
        else if (line.comment.type === "setting" && block.kind === "disabled") endGap();
        else if (line.comment.type !== "nothing") {
          gap.push(placed(number, line.comment, false));
        }
        break;
      case "header":
        startBlock(line.isPeer ? "peer" : "other", number);
        block.evaluate([placed(number, line.beside, true)]);
        break;
      case "public-key":
        endGap();
        block.keys.add(line.key);
        block.evaluate([placed(number, line.beside, true)]);
        break;
      case "setting":
        endGap();
        break;
    }
  }
  block.evaluate(gap.filter(({ line }) => blanks === null || line < blanks.first));
  onBlock(block);
  return true;
}

/**
 * Assigns the comments between two blocks to the upper or the lower block. A comment belongs to the block that no blank
 * line separates it from. Without a blank line, comments up to the last end marker belong to the upper block; those
 * after it belong to the lower block if there is an end marker or `isForLower`, otherwise to neither. A comment above
 * an end marker never belongs to the lower block.
 */
function divide(
  gap: readonly PlacedComment[],
  blanks: Blanks | null,
  isForLower: boolean,
): readonly [upper: readonly PlacedComment[], lower: readonly PlacedComment[]] {
  const ended = gap.findLastIndex(({ comment }) => comment.type === "end") + 1;
  const [closed, open] = [gap.slice(0, ended), gap.slice(ended)];
  if (blanks === null) return [closed, ended > 0 || isForLower ? open : []];
  const { first, last } = blanks;
  return [gap.filter(({ line }) => line < first), open.filter(({ line }) => line > last)];
}

const [NEWLINE, SPACE, HASH, SEMICOLON, EQUALS] = [0x0a, 0x20, 0x23, 0x3b, 0x3d];
const [OPENING, CLOSING] = [0x5b, 0x5d];

/** The offset after the byte order mark that some editors write. */
function textStart(bytes: Buffer): number {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
}

function lineAt(bytes: Buffer, lineStart: number, end: number): Line {
  const start = skipBlank(bytes, lineStart, end);
  if (start === end) return { type: "blank" };
  const first = bytes[start];
  if (first === HASH || first === SEMICOLON) {
    return { type: "comment", comment: commentAt(bytes, start, end) };
  }
  if (first === OPENING) {
    const beside = commentAt(bytes, start, end);
    return { type: "header", isPeer: isPeerHeader(bytes, start, end), beside };
  }
  return isPublicKeyAt(bytes, start, end) ? publicKeyAt(bytes, start, end) : { type: "setting" };
}

function isPeerHeader(bytes: Buffer, opening: number, end: number): boolean {
  // Do not decode a longer header: it may contain a key.
  const inside = bytes.subarray(opening + 1, Math.min(end, opening + KEY_CHARACTERS));
  const closing = inside.indexOf(CLOSING);
  if (closing === -1) return false;
  return /^[ \t]*(peer|wireguardpeer)[ \t]*$/i.test(textOf(inside, 0, closing));
}

/** Compares bytes, because the line may contain a private key. */
function isPublicKeyAt(bytes: Buffer, start: number, end: number): boolean {
  const word = "publickey";
  for (let i = 0; i < word.length; i++) {
    // Compare without regard to case: 0x20 is the bit that lowercase letters have.
    if (((bytes[start + i] ?? 0) | 0x20) !== word.charCodeAt(i)) return false;
  }
  const equals = skipBlank(bytes, start + word.length, end);
  return equals < end && bytes[equals] === EQUALS;
}

function publicKeyAt(bytes: Buffer, start: number, end: number): Line {
  const value = skipBlank(bytes, bytes.indexOf(EQUALS, start) + 1, end);
  let after = value;
  while (after < end && bytes[after]! > SPACE && bytes[after] !== HASH) after++;
  const rest = skipBlank(bytes, after, end);
  const isAlone = rest === end || bytes[rest] === HASH;
  const text = isAlone && after - value === PUBLIC_KEY_LENGTH ? textOf(bytes, value, after) : "";
  const beside = commentAt(bytes, after, end);
  return { type: "public-key", key: isPublicKey(text) ? text : null, beside };
}

function skipBlank(bytes: Buffer, start: number, end: number): number {
  let at = Math.min(start, end);
  while (at < end && bytes[at]! <= SPACE) at++;
  return at;
}

/** Returns the comment on a line. A comment that contains a key is never decoded, because the key may be private. */
function commentAt(bytes: Buffer, start: number, end: number): Comment {
  let marks = start;
  const isMark = (at: number) => bytes[at] === HASH || bytes[at] === SEMICOLON;
  while (marks < end && !isMark(marks)) marks++;
  let text = marks;
  while (text < end && isMark(text)) text++;
  if (text === end || end - text > COMMENT_BYTES_MAX) return NOTHING;
  if (hasKey(bytes, text, end)) return { type: "setting" };
  return parseComment(sanitize(textOf(bytes, text, end)), text - marks);
}

function hasKey(bytes: Buffer, start: number, end: number): boolean {
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

function textOf(bytes: Buffer, start: number, end: number): string {
  return bytes.toString("utf8", start, end);
}
