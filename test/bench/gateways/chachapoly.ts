/**
 * ChaCha20-Poly1305 for simulated peers, because Bun's node:crypto does not have it. Encryption only.
 * RFC 8439.
 */

const BLOCK_BYTES = 64;
const TAG_BYTES = 16;
const NONCE_BYTES = 12;

/** "expand 32-byte k" */
const CONSTANTS = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

/** Poly1305 counts modulo this prime. */
const PRIME = (1n << 130n) - 5n;
const CLAMP = 0x0ffffffc0ffffffc0ffffffc0fffffffn;
const LOW_128 = (1n << 128n) - 1n;

/** The ciphertext, followed by the 16-byte tag. */
export function seal(
  text: Uint8Array,
  { key, counter, covered = new Uint8Array() }: SealOptions,
): Uint8Array {
  const state = initialState(key, counter);
  const sealed = new Uint8Array(text.length + TAG_BYTES);
  const block = new Uint8Array(new ArrayBuffer(BLOCK_BYTES));
  // The key of the tag is the first half of block 0.
  keyStream(state, 0, block);
  const tagKey = block.slice(0, 32);
  for (let start = 0; start < text.length; start += BLOCK_BYTES) {
    keyStream(state, 1 + start / BLOCK_BYTES, block);
    const end = Math.min(text.length, start + BLOCK_BYTES);
    for (let i = start; i < end; i++) sealed[i] = text[i]! ^ block[i - start]!;
  }
  sealed.set(tag(tagKey, covered, sealed.subarray(0, text.length)), text.length);
  return sealed;
}

export interface SealOptions {
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** The last eight bytes of the nonce; the first four are 0, as in WireGuard. */
  readonly counter: number;
  /** Additional data that is authenticated, not encrypted. */
  readonly covered?: Uint8Array;
}

function initialState(key: Uint8Array, counter: number): Uint32Array {
  const state = new Uint32Array(16);
  state.set(CONSTANTS);
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  for (let word = 0; word < 8; word++) state[4 + word] = view.getUint32(4 * word, true);
  const nonce = new DataView(new ArrayBuffer(NONCE_BYTES));
  nonce.setBigUint64(4, BigInt(counter), true);
  for (let word = 0; word < 3; word++) state[13 + word] = nonce.getUint32(4 * word, true);
  return state;
}

function keyStream(state: Uint32Array, blockNumber: number, into: Uint8Array): void {
  state[12] = blockNumber;
  const x = state.slice();
  for (let round = 0; round < 10; round++) {
    quarterRound(x, 0, 4, 8, 12);
    quarterRound(x, 1, 5, 9, 13);
    quarterRound(x, 2, 6, 10, 14);
    quarterRound(x, 3, 7, 11, 15);
    quarterRound(x, 0, 5, 10, 15);
    quarterRound(x, 1, 6, 11, 12);
    quarterRound(x, 2, 7, 8, 13);
    quarterRound(x, 3, 4, 9, 14);
  }
  const view = new DataView(into.buffer);
  for (let word = 0; word < 16; word++) view.setUint32(4 * word, x[word]! + state[word]!, true);
}

function quarterRound(x: Uint32Array, a: number, b: number, c: number, d: number): void {
  x[a] = x[a]! + x[b]!;
  x[d] = rotate(x[d]! ^ x[a]!, 16);
  x[c] = x[c]! + x[d]!;
  x[b] = rotate(x[b]! ^ x[c]!, 12);
  x[a] = x[a]! + x[b]!;
  x[d] = rotate(x[d]! ^ x[a]!, 8);
  x[c] = x[c]! + x[d]!;
  x[b] = rotate(x[b]! ^ x[c]!, 7);
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function tag(key: Uint8Array, covered: Uint8Array, sealed: Uint8Array): Uint8Array {
  const multiplier = littleEndian(key.subarray(0, 16)) & CLAMP;
  let sum = 0n;
  const add = (block: Uint8Array): void => {
    sum = ((sum + littleEndian(block) + (1n << 128n)) * multiplier) % PRIME;
  };
  for (const part of [covered, sealed]) {
    for (let start = 0; start < part.length; start += TAG_BYTES) {
      const block = new Uint8Array(TAG_BYTES);
      block.set(part.subarray(start, start + TAG_BYTES));
      add(block);
    }
  }
  const lengths = new DataView(new ArrayBuffer(TAG_BYTES));
  lengths.setBigUint64(0, BigInt(covered.length), true);
  lengths.setBigUint64(8, BigInt(sealed.length), true);
  add(new Uint8Array(lengths.buffer));
  let rest = (sum + littleEndian(key.subarray(16))) & LOW_128;
  const bytes = new Uint8Array(TAG_BYTES);
  for (let i = 0; i < TAG_BYTES; i++) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/** @param bytes 16 bytes. */
function littleEndian(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return view.getBigUint64(0, true) | (view.getBigUint64(8, true) << 64n);
}
