/** Durations: all valid forms, invalid texts, and formatting. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { formatDuration, parseDuration } from "../../src/base/duration.ts";

test.each([
  ["90s", 90_000],
  ["3m", 180_000],
  ["1m30s", 90_000],
  ["250ms", 250],
  ["1s250ms", 1250],
  ["1h", 3_600_000],
  ["2d", 172_800_000],
  ["1d2h3m4s5ms", 93_784_005],
  ["0", 0],
  ["0s", 0],
  ["007s", 7000],
])("parseDuration parses the duration %s", (text, durationMs) => {
  expect(parseDuration(text)).toBe(durationMs);
});

test.each([
  "",
  "s",
  "10",
  "00",
  "-5s",
  "+5s",
  "1.5h",
  "1e3s",
  "5 s",
  " 5s",
  "5s\n",
  "30s1m",
  "1s1s",
  "5S",
  "5min",
  "٣s",
])("parseDuration returns null for %j, which is not a duration", (text) => {
  expect(parseDuration(text)).toBeNull();
});

test("a formatted duration parses back, and has no part that is zero", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 365 * 86_400_000 }), (durationMs) => {
      const text = formatDuration(durationMs);
      expect(parseDuration(text)).toBe(durationMs);
      expect(text).not.toMatch(/(?<!\d)0(?!s$)/);
    }),
  );
});

test("any text parses to a whole number of milliseconds or to null", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."0123456789dhms".split("")) }), (text) => {
      const durationMs = parseDuration(text);
      expect(durationMs === null || (Number.isInteger(durationMs) && durationMs >= 0)).toBe(true);
    }),
  );
});
