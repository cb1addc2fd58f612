/** How addresses and endpoints are formatted, when two endpoints are the same, and keys in URLs. */

import { describe, expect, test } from "bun:test";
import { isIPv4, isIPv6 } from "node:net";

import fc from "fast-check";

import {
  type Endpoint,
  formatAddress,
  formatEndpoint,
  isPublicKey,
  keyFromUrl,
  sameEndpoint,
  urlKey,
} from "../../src/base/wireguard.ts";

/** The text of the address with these 32 hex digits. */
function ipv6(hex: string): string {
  return formatAddress(Uint8Array.fromHex(hex), 0, 16);
}

describe("formatAddress", () => {
  test.each([
    ["4.1: leading zeros are left out", "20010db8000000000000000000000001", "2001:db8::1"],
    ["4.1: a group of zero is one 0", "20010db8000000010001000100010001", "2001:db8:0:1:1:1:1:1"],
    [
      "4.2.1: :: stands for as many groups as it can",
      "20010db8000000000000000000020001",
      "2001:db8::2:1",
    ],
    [
      "4.2.2: one group alone is not shortened",
      "20010db8000100010001000000010001",
      "2001:db8:1:1:1:0:1:1",
    ],
    ["4.2.3: the longest run is shortened", "20010000000000010000000000000001", "2001:0:0:1::1"],
    ["4.2.3: of two equal runs the first", "20010db8000000000001000000000001", "2001:db8::1:0:0:1"],
    ["4.3: in lowercase", "20010DB800000000000000000000AAAA", "2001:db8::aaaa"],
    ["nothing but zeros", "00000000000000000000000000000000", "::"],
    ["a run at the end", "20010db8000000000000000000000000", "2001:db8::"],
    ["a run at the start", "00000000000000000000000000000001", "::1"],
    ["5: an IPv4-mapped one is IPv4", "00000000000000000000ffffc0000201", "192.0.2.1"],
    [
      "an address that only resembles an IPv4-mapped one is IPv6",
      "00000000000000010000ffffc0000201",
      "::1:0:ffff:c000:201",
    ],
  ])("formatAddress formats an IPv6 address by RFC 5952: %s", (_rule, hex, text) => {
    expect(ipv6(hex)).toBe(text);
  });
});

test("an IPv4 address is four numbers with dots", () => {
  expect(formatAddress(Uint8Array.of(0xff, 192, 0, 2, 1, 0xff), 1, 4)).toBe("192.0.2.1");
});

test("every IPv6 address has the form that URLs use, except IPv4-mapped ones", () => {
  // Groups of zero are the difficult case, and random bytes contain almost none.
  const group = fc.oneof(fc.constant(0), fc.constant(0), fc.constant(0xffff), fc.nat(0xffff));
  const groups = fc.array(group, { minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(groups, (each) => {
      const hex = each.map((value) => value.toString(16).padStart(4, "0"));
      const text = ipv6(hex.join(""));
      if (hex.slice(0, 6).join("") === "00000000000000000000ffff") {
        expect(isIPv4(text)).toBe(true);
      } else {
        expect(isIPv6(text)).toBe(true);
        expect(new URL(`http://[${hex.join(":")}]/`).hostname).toBe(`[${text}]`);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("an endpoint is address:port, with an IPv6 address and its scope in brackets", () => {
  expect(formatEndpoint(at("198.51.100.7"))).toBe("198.51.100.7:51820");
  expect(formatEndpoint(at("2001:db8::1"))).toBe("[2001:db8::1]:51820");
  expect(formatEndpoint(at("fe80::1", 2))).toBe("[fe80::1%2]:51820");
});

describe("sameEndpoint", () => {
  test.each<[string, Endpoint | null, Endpoint | null, boolean]>([
    ["are the same if their addresses and ports are", at("192.0.2.1"), at("192.0.2.1"), true],
    ["are the same if both have the same scope", at("fe80::1", 2), at("fe80::1", 2), true],
    ["are the same if one was captured without its scope", at("fe80::1", 2), at("fe80::1"), true],
    ["are the same if both are null", null, null, true],
    ["differ on two links", at("fe80::1", 2), at("fe80::1", 3), false],
    ["differ if their addresses do", at("192.0.2.1"), at("192.0.2.2"), false],
    ["differ if their ports do", at("192.0.2.1"), { ...at("192.0.2.1"), port: 1 }, false],
    ["differ if only one is null", at("192.0.2.1"), null, false],
  ])("two endpoints %s", (_why, a, b, same) => {
    expect(sameEndpoint(a, b)).toBe(same);
    expect(sameEndpoint(b, a)).toBe(same);
  });

  test("sameEndpoint regards an IPv4 endpoint as the same as the IPv4-mapped one", () => {
    const plain = formatAddress(Uint8Array.of(192, 0, 2, 1), 0, 4);
    expect(sameEndpoint(at(plain), at(ipv6("00000000000000000000ffffc0000201")))).toBe(true);
  });
});

function at(address: string, scopeId = 0): Endpoint {
  return { address, port: 51_820, scopeId };
}

test("a key is read from a URL in base64url or base64, and other text is not a key", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
      const key = bytes.toBase64();
      expect(isPublicKey(key)).toBe(true);
      expect(urlKey(key)).toBe(bytes.toBase64({ alphabet: "base64url", omitPadding: true }));
      for (const text of [urlKey(key), `${urlKey(key)}=`, key, key.slice(0, 43)]) {
        expect(keyFromUrl(text)).toBe(key);
      }
    }),
  );
  for (const text of [
    "",
    "x",
    "A".repeat(42),
    "A".repeat(44),
    `${"A".repeat(42)}=`,
    ` ${"A".repeat(42)}`,
  ]) {
    expect(keyFromUrl(text)).toBeNull();
    expect(isPublicKey(text)).toBe(false);
  }
  // The 43rd character has two bits that a key of 32 bytes does not.
  expect(isPublicKey(`${"A".repeat(42)}B=`)).toBe(false);
});
