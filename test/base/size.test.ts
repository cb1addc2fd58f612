/** Sizes: all units, invalid texts, and formatting. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { formatSize, parseSize } from "../../src/base/size.ts";

test.each([
  ["256MB", 256_000_000],
  ["256MiB", 268_435_456],
  ["1kB", 1000],
  ["1KiB", 1024],
  ["1GB", 1e9],
  ["1GiB", 2 ** 30],
  ["2TB", 2e12],
  ["1TiB", 2 ** 40],
  ["0B", 0],
  ["007B", 7],
])("parseSize parses the size %s", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each([
  "",
  "MB",
  "256",
  "256mb",
  "256M",
  "256Mb",
  "256MBs",
  "1.5GB",
  "-1MB",
  " 1MB",
  "1 MB",
  "1MB\n",
  "1e3B",
  "٣MB",
])("parseSize returns null for %j, which is not a size", (text) => {
  expect(parseSize(text)).toBeNull();
});

test.each([
  [0, "0B"],
  [999, "999B"],
  [1000, "1kB"],
  [1024, "1KiB"],
  [256_000_000, "256MB"],
  [268_435_456, "256MiB"],
  [16_000_001, "16000001B"],
])("%d bytes are formatted as %s", (bytes, text) => {
  expect(formatSize(bytes)).toBe(text);
});

test("a formatted size parses back", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (bytes) => {
      expect(parseSize(formatSize(bytes))).toBe(bytes);
    }),
  );
});
