/** BLAKE2s, compared with RFC 7693, with Python, and without a key with Bun. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { blake2s } from "../../src/sessions/blake2s.ts";

const NO_KEY = new Uint8Array();
const hex = (bytes: Uint8Array) => bytes.toHex();

test("blake2s returns the digest of RFC 7693 appendix B", () => {
  const digest = blake2s(Buffer.from("abc"), { digestBytes: 32, key: NO_KEY });
  expect(hex(digest)).toBe("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
});

/** The bytes of selftest_seq() in RFC 7693 appendix E for a seed. */
function sequence(length: number, seed: number): Uint8Array {
  let a = Math.imul(0xdead4bad, seed) >>> 0;
  let b = 1;
  return Uint8Array.from({ length }, () => {
    [a, b] = [b, (a + b) >>> 0];
    return b >>> 24;
  });
}

test("blake2s passes the self-test of RFC 7693 appendix E for all lengths, with and without a key", () => {
  const digests: Uint8Array[] = [];
  for (const digestBytes of [16, 20, 28, 32]) {
    for (const length of [0, 3, 64, 65, 255, 1024]) {
      const message = sequence(length, length);
      digests.push(blake2s(message, { digestBytes, key: NO_KEY }));
      digests.push(blake2s(message, { digestBytes, key: sequence(digestBytes, digestBytes) }));
    }
  }
  const all = blake2s(Buffer.concat(digests), { digestBytes: 32, key: NO_KEY });
  expect(hex(all)).toBe("6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe");
});

// Computed with Python's hashlib, for the lengths of a mac1.
test.each([
  [0, 32, "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49"],
  [116, 16, "072e94ffbfc684bd8ab2a1b9dade2fd5"],
])(
  "blake2s with a key returns for %d bytes the digest of %d bytes that Python returns",
  (length, digestBytes, expected) => {
    const key = Uint8Array.from({ length: 32 }, (_, i) => i);
    const message = Uint8Array.from({ length }, (_, i) => i);
    expect(hex(blake2s(message, { digestBytes, key }))).toBe(expected);
  },
);

test("blake2s without a key returns the digest that Bun returns", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (message) => {
      const expected = new Bun.CryptoHasher("blake2s256").update(message).digest("hex");
      expect(hex(blake2s(message, { digestBytes: 32, key: NO_KEY }))).toBe(expected);
    }),
  );
});
