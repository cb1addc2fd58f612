/**
 * The known state of a device's peers: one row of 32-bit words per peer, all rows in one array in the order in which
 * they were added, and an index from key to row. A peer takes about 100 bytes and no object. Also converts words to
 * values. Pure.
 */

import { ParseError } from "../base/errors.ts";
import type { PublicKey } from "../base/wireguard.ts";
import { WG_KEY_LEN } from "../platform/constants.ts";

export const KEY_WORDS = WG_KEY_LEN / 4;
/** Offsets of the words in a row; the key comes first. All words have the same bytes as in the kernel's messages. */
const ROW_KEY = 0;
export const ROW_HANDSHAKE = ROW_KEY + KEY_WORDS;
export const HANDSHAKE_WORDS = 4;
export const ROW_RX = ROW_HANDSHAKE + HANDSHAKE_WORDS;
export const ROW_TX = ROW_RX + 2;
/** One word for family and port, four for the address, one for the scope; all zero = no endpoint. */
export const ROW_ENDPOINT = ROW_TX + 2;
/** The number of the last scan that saw the peer. */
const ROW_SEEN = ROW_ENDPOINT + 6;
export const ROW_WORDS = ROW_SEEN + 1;
/** Number of words of a peer's state: from the handshake to the end of the endpoint. */
export const STATE_WORDS = ROW_SEEN - ROW_HANDSHAKE;

const ROWS_MIN = 64;
/** Times after the start of this second do not fit into a Date, whose maximum is 8.64e15 ms. */
const SECONDS_END = 8.64e12;

export class PeerRows {
  count = 0;
  /** All rows. Replaced by a larger array when it is full. */
  words = new Int32Array(ROWS_MIN * ROW_WORDS);
  /** Hash table with open addressing, from key to row + 1; 0 = free. Never more than half full. */
  #index = new Int32Array(ROWS_MIN * 2);

  /** Returns the number of the row with the key at `words[at]`; -1 if there is no such row. */
  find(words: Int32Array, at: number): number {
    const mask = this.#index.length - 1;
    let slot = hash(words, at) & mask;
    for (;;) {
      const row = this.#index[slot]! - 1;
      if (row === -1 || this.hasKey(row, words, at)) return row;
      slot = (slot + 1) & mask;
    }
  }

  hasKey(row: number, words: Int32Array, at: number): boolean {
    return sameWords(this.words, row * ROW_WORDS + ROW_KEY, words, at, KEY_WORDS);
  }

  /** Adds a row, whose key must be new. Returns its number. */
  add(row: Int32Array): number {
    if ((this.count + 1) * ROW_WORDS > this.words.length) this.#grow();
    this.words.set(row, this.count * ROW_WORDS);
    this.#addToIndex(this.count);
    return this.count++;
  }

  /** Marks the row as seen by this scan. Returns false if it was already marked. */
  markSeen(row: number, scan: number): boolean {
    const at = row * ROW_WORDS + ROW_SEEN;
    if (this.words[at] === scan) return false;
    this.words[at] = scan;
    return true;
  }

  isSeen(row: number, scan: number): boolean {
    return this.words[row * ROW_WORDS + ROW_SEEN] === scan;
  }

  /** Removes the rows that this scan did not see. This changes the numbers of later rows. */
  removeUnseen(scan: number): void {
    let kept = 0;
    for (let row = 0; row < this.count; row++) {
      if (!this.isSeen(row, scan)) continue;
      const start = row * ROW_WORDS;
      this.words.copyWithin(kept * ROW_WORDS, start, start + ROW_WORDS);
      kept++;
    }
    this.count = kept;
    this.#rebuildIndex();
  }

  #grow(): void {
    const words = new Int32Array(this.words.length * 2);
    words.set(this.words);
    this.words = words;
    this.#index = new Int32Array(this.#index.length * 2);
    this.#rebuildIndex();
  }

  #rebuildIndex(): void {
    this.#index.fill(0);
    for (let row = 0; row < this.count; row++) this.#addToIndex(row);
  }

  #addToIndex(row: number): void {
    const mask = this.#index.length - 1;
    let slot = hash(this.words, row * ROW_WORDS + ROW_KEY) & mask;
    while (this.#index[slot] !== 0) slot = (slot + 1) & mask;
    this.#index[slot] = row + 1;
  }
}

export function sameWords(
  a: Int32Array,
  aStart: number,
  b: Int32Array,
  bStart: number,
  count: number,
): boolean {
  for (let word = 0; word < count; word++) {
    if (a[aStart + word] !== b[bStart + word]) return false;
  }
  return true;
}

export function copyWords(
  to: Int32Array,
  at: number,
  from: Int32Array,
  start: number,
  count: number,
): void {
  for (let word = 0; word < count; word++) to[at + word] = from[start + word]!;
}

/** A u64 as a number; exact up to 2^53, which is 9 petabytes. */
export function u64(words: Int32Array, at: number): number {
  return (words[at]! >>> 0) + (words[at + 1]! >>> 0) * 0x1_0000_0000;
}

/**
 * struct __kernel_timespec (seconds and nanoseconds, 64 bits each) in whole milliseconds; 0 = never.
 *
 * @throws ParseError
 */
export function timespecMs(words: Int32Array, at: number): number {
  const seconds = u64(words, at);
  const nanoseconds = u64(words, at + 2);
  if (seconds >= SECONDS_END || nanoseconds >= 1e9) {
    throw new ParseError(
      `WGPEER_A_LAST_HANDSHAKE_TIME: ${seconds} s ${nanoseconds} ns is not a valid time`,
    );
  }
  return seconds * 1000 + Math.floor(nanoseconds / 1e6);
}

const keyWords = new Int32Array(KEY_WORDS);
const keyBytes = new Uint8Array(keyWords.buffer);

/** The public key at `words[at]` in base64. */
export function keyText(words: Int32Array, at: number): PublicKey {
  copyWords(keyWords, 0, words, at, KEY_WORDS);
  return keyBytes.toBase64() as PublicKey;
}

/** Hashes two words of a key, which are random already; the multiplications spread them over the low bits. */
function hash(words: Int32Array, at: number): number {
  return Math.imul(words[at]! ^ Math.imul(words[at + 1]!, 0x85ebca6b), 0x9e3779b1) >>> 8;
}
