/**
 * The key of a target without a name: it identifies the target in the store, in metrics and in the API. The address of
 * the target is a secret. The key also depends on random bytes in the store, so that the address cannot be found by
 * hashing likely addresses.
 */

const DIGITS = 16;

/** @param address the URL of a webhook, or the command of a program. */
export function targetKey(address: string, secret: Uint8Array): string {
  return keyed(hash(address), secret);
}

/**
 * Converts a key of an older wgmon: the plain hash, followed by a number if several targets have the same address.
 * Returns null if it is not such a key.
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
