/**
 * The key of a target without a name: what its rows in the store are kept under, and what metrics and the
 * API call it. Its address is a secret, which nobody may find by trying addresses until the key fits. So
 * the key depends on random bytes of the store.
 */

const DIGITS = 16;

/** @param address of a webhook its URL, of a program its command. */
export function targetKey(address: string, secret: Uint8Array): string {
  return keyed(hash(address), secret);
}

/**
 * The key for one that an older wgmon made: the plain hash, and a number behind it where several targets
 * have the same address. null: it is not one.
 */
export function fromPlainHash(key: string, secret: Uint8Array): string | null {
  const [, plain, number] = /^([0-9a-f]{16})(-\d+)?$/.exec(key) ?? [];
  return plain === undefined ? null : `${keyed(plain, secret)}${number ?? ""}`;
}

function hash(address: string): string {
  return new Bun.CryptoHasher("sha256").update(address).digest("hex").slice(0, DIGITS);
}

/** HMAC-SHA256 of the hash and not of the address, so that older keys can be converted. */
function keyed(plain: string, secret: Uint8Array): string {
  return new Bun.CryptoHasher("sha256", secret).update(plain).digest("hex").slice(0, DIGITS);
}
