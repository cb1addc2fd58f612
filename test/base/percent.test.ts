/** Percentages as text. */

import { expect, test } from "bun:test";

import { percent } from "../../src/base/text.ts";

test("a percentage is 0 or 100 only if the fraction is exactly 0 or 1", () => {
  const cases = [0, 0.0004, 0.056, 0.5, 0.9996, 1].map(percent);
  expect(cases).toEqual(["0 %", "0.1 %", "5.6 %", "50.0 %", "99.9 %", "100 %"]);
});
