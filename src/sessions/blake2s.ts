/**
 * BLAKE2s with a key and a short digest, as WireGuard's MACs need it; Bun supports only unkeyed 32-byte digests. For
 * occasional short messages; not optimized for speed. RFC 7693.
 */

const BLOCK_BYTES = 64;
const ROUNDS = 10;

/**
 * Initialization vector: fractional parts of the square roots of the first eight primes. RFC 7693 section 2.6; the same
 * as in SHA-256.
 */
const IV = Uint32Array.of(
  0x6a09e667,
  0xbb67ae85,
  0x3c6ef372,
  0xa54ff53a,
  0x510e527f,
  0x9b05688c,
  0x1f83d9ab,
  0x5be0cd19,
);

/** Message schedule: the order in which each round uses the words of a block. RFC 7693 section 2.7. */
const SIGMA: readonly (readonly number[])[] = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/** Indexes of the words that each step of a round mixes: the columns of the state, then its diagonals. */
const MIX_INDEXES: readonly MixIndexes[] = [
  [0, 4, 8, 12],
  [1, 5, 9, 13],
  [2, 6, 10, 14],
  [3, 7, 11, 15],
  [0, 5, 10, 15],
  [1, 6, 11, 12],
  [2, 7, 8, 13],
  [3, 4, 9, 14],
];

type MixIndexes = readonly [a: number, b: number, c: number, d: number];

export interface Blake2sOptions {
  /** 1 to 32. */
  readonly digestBytes: number;
  /** At most 32 bytes. Empty: unkeyed. */
  readonly key: Uint8Array;
}

/** Returns the digest of a message shorter than 4 GiB. */
export function blake2s(message: Uint8Array, { digestBytes, key }: Blake2sOptions): Uint8Array {
  // The key, padded with zeros to a whole block, precedes the message.
  const keyBytes = key.length === 0 ? 0 : BLOCK_BYTES;
  const length = keyBytes + message.length;
  const padded = new Uint8Array(Math.max(1, Math.ceil(length / BLOCK_BYTES)) * BLOCK_BYTES);
  padded.set(key);
  padded.set(message, keyBytes);

  const view = new DataView(padded.buffer);
  const hash = IV.slice();
  hash[0]! ^= 0x01010000 ^ (key.length << 8) ^ digestBytes;
  for (let offset = 0; offset < padded.length; offset += BLOCK_BYTES) {
    const words = Array.from({ length: 16 }, (_, i) => view.getUint32(offset + 4 * i, true));
    compress(hash, words, { end: Math.min(length, offset + BLOCK_BYTES), length });
  }

  const digest = new DataView(new ArrayBuffer(32));
  hash.forEach((word, i) => digest.setUint32(4 * i, word, true));
  return new Uint8Array(digest.buffer, 0, digestBytes);
}

/** RFC 7693 section 3.2. `end`: number of input bytes hashed up to and including this block. */
function compress(
  hash: Uint32Array,
  words: readonly number[],
  { end, length }: { end: number; length: number },
): void {
  const v = new Uint32Array(16);
  v.set(hash);
  v.set(IV, 8);
  v[12]! ^= end;
  if (end === length) v[14]! ^= 0xffffffff;
  for (let round = 0; round < ROUNDS; round++) {
    const order = SIGMA[round]!;
    for (let i = 0; i < 8; i++) {
      mix(v, MIX_INDEXES[i]!, words[order[2 * i]!]!, words[order[2 * i + 1]!]!);
    }
  }
  for (let i = 0; i < 8; i++) hash[i]! ^= v[i]! ^ v[i + 8]!;
}

/** RFC 7693 section 3.1. */
function mix(v: Uint32Array, indexes: MixIndexes, x: number, y: number): void {
  // Not destructured in the parameters, because that creates an iterator: this runs 80 times for each block.
  const a = indexes[0];
  const b = indexes[1];
  const c = indexes[2];
  const d = indexes[3];
  v[a] = v[a]! + v[b]! + x;
  v[d] = rotateRight(v[d]! ^ v[a]!, 16);
  v[c]! += v[d]!;
  v[b] = rotateRight(v[b]! ^ v[c]!, 12);
  v[a] = v[a]! + v[b]! + y;
  v[d] = rotateRight(v[d]! ^ v[a]!, 8);
  v[c]! += v[d]!;
  v[b] = rotateRight(v[b]! ^ v[c]!, 7);
}

function rotateRight(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits));
}
