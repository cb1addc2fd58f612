/** The period of a history, from the flags --since and --until. */

import { expect, test } from "bun:test";

import { periodOf } from "../../src/cli/history-query.ts";

test("in the period of a request is in local time, and the period must not be empty", () => {
  const nowMs = new Date(2026, 2, 1, 12).getTime();
  const yesterday = { daysAgo: 1, clock: [0, 0, 0] } as const;
  const today = { daysAgo: 0, clock: [0, 0, 0] } as const;
  expect(periodOf({ since: yesterday, until: today }, nowMs, "events")).toEqual({
    since: new Date(2026, 1, 28).toISOString(),
    until: new Date(2026, 2, 1).toISOString(),
  });
  expect(periodOf({ since: null, until: null }, nowMs, "events")).toEqual({
    since: null,
    until: null,
  });
  const run = () => periodOf({ since: today, until: yesterday }, nowMs, "events");
  expect(run).toThrow(
    "--until: 2026-02-28 00:00:00 is not after 2026-03-01 00:00:00, which --since names",
  );
});
