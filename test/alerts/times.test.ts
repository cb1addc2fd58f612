/** Time intervals and periods of quotas, in time zones with daylight saving. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { periodAt, type QuotaPeriod } from "../../src/alerts/quota-period.ts";
import {
  Intervals,
  nextDaily,
  parseInterval,
  type TimeInterval,
  windowAt,
} from "../../src/alerts/times.ts";

const HOUR = 3_600_000;

function interval(text: string, zone?: string): TimeInterval {
  const parsed = parseInterval(text, zone);
  if (typeof parsed === "string") throw new Error(parsed);
  return parsed;
}

function at(text: string): number {
  return Date.parse(text);
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace(":00.000Z", "Z");
}

function windowText(text: string, time: string): string {
  const { isInside, fromMs, untilMs } = windowAt([interval(text)], at(time));
  return `${isInside ? "inside" : "outside"} ${iso(fromMs)} ${iso(untilMs)}`;
}

describe("parseInterval", () => {
  test.each([
    ["mon-fri 08:00-18:00 Europe/Berlin", [1, 2, 3, 4, 5], 480, 1080, "Europe/Berlin"],
    ["08:00-18:00", [1, 2, 3, 4, 5, 6, 7], 480, 1080, "UTC"],
    ["08:00 - 18:00", [1, 2, 3, 4, 5, 6, 7], 480, 1080, "UTC"],
    ["sat,sun", [6, 7], 0, 1440, "UTC"],
    ["fri-mon 22:00-06:00", [1, 5, 6, 7], 1320, 360, "UTC"],
    ["Monday,wed-Thu America/New_York 9:30-24:00", [1, 3, 4], 570, 1440, "America/New_York"],
  ])("reads %s", (text, days, fromMinute, toMinute, zone) => {
    expect(interval(text)).toEqual({ days, fromMinute, toMinute, zone });
  });

  test("uses the given zone for texts without one", () => {
    expect(interval("mon", "Asia/Tokyo").zone).toBe("Asia/Tokyo");
  });

  test.each([
    ["mon-fry 08:00-18:00", '"fry" is not a day of the week; did you mean fri?'],
    ["08:00-25:00", '"08:00-25:00" is not a time of day: from 00:00 to 24:00'],
    [
      "08:00-18:00 Europe/Berln",
      'there is no time zone "Europe/Berln"; did you mean Europe/Berlin?',
    ],
    ["mon 8-18", '"8-18" is not a time of day; write 08:00-18:00'],
    ["8:30-18", '"8:30-18" is not a time of day; write 08:30-18:00'],
    ["mon-fri, 08:00-18:00", '"mon-fri," ends with a comma; remove the comma'],
    ["mon, wed-fri", '"mon," ends with a comma; remove the space after it'],
    ["08:00-09:00 10:00-11:00", "has two times of day; use one interval for each"],
    ["mon fri", "has days twice; separate them by commas: mon,wed-fri"],
    ["", "is not a day"],
  ])("refuses %s with a remedy", (text, message) => {
    expect(parseInterval(text)).toContain(message);
  });

  test("returns an interval or a message for any text", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const parsed = parseInterval(text);
        if (typeof parsed !== "string") windowAt([parsed], at("2026-01-05T00:00Z"));
      }),
    );
  });
});

describe("windowAt", () => {
  test.each([
    [
      "mon-fri 08:00-18:00 Europe/Berlin",
      "2026-01-05T07:00Z",
      "inside 2026-01-05T07:00Z 2026-01-05T17:00Z",
    ],
    [
      "mon-fri 08:00-18:00 Europe/Berlin",
      "2026-01-05T06:59Z",
      "outside 2026-01-02T17:00Z 2026-01-05T07:00Z",
    ],
    // Summer time began on 29 March.
    [
      "mon-fri 08:00-18:00 Europe/Berlin",
      "2026-03-30T06:00Z",
      "inside 2026-03-30T06:00Z 2026-03-30T16:00Z",
    ],
    // The night of 29 March has 23 hours, that of 25 October 25.
    [
      "sat 22:00-06:00 Europe/Berlin",
      "2026-03-29T00:00Z",
      "inside 2026-03-28T21:00Z 2026-03-29T04:00Z",
    ],
    [
      "sat 22:00-06:00 Europe/Berlin",
      "2026-10-25T00:00Z",
      "inside 2026-10-24T20:00Z 2026-10-25T05:00Z",
    ],
    // The clocks skip 02:00 to 03:00 on 29 March: the interval begins after the gap.
    [
      "sun 02:30-04:00 Europe/Berlin",
      "2026-03-29T01:30Z",
      "inside 2026-03-29T01:30Z 2026-03-29T02:00Z",
    ],
    // Of an hour that occurs twice, both are inside.
    [
      "sun 02:00-03:00 Europe/Berlin",
      "2026-10-25T01:30Z",
      "inside 2026-10-25T00:00Z 2026-10-25T02:00Z",
    ],
    ["mon-sun 00:00-12:00", "2026-01-05T13:00Z", "outside 2026-01-05T12:00Z 2026-01-06T00:00Z"],
  ])("%s at %s", (text, time, expected) => {
    expect(windowText(text, time)).toBe(expected);
  });

  test("intervals that touch or overlap are one window", () => {
    const both = [
      interval("mon 08:00-12:00"),
      interval("mon 12:00-18:00"),
      interval("mon 17:00-19:00"),
    ];
    const { fromMs, untilMs } = windowAt(both, at("2026-01-05T09:00Z"));
    expect([iso(fromMs), iso(untilMs)]).toEqual(["2026-01-05T08:00Z", "2026-01-05T19:00Z"]);
  });

  test("no interval means always", () => {
    expect(windowAt([], 0)).toEqual({ isInside: true, fromMs: -Infinity, untilMs: Infinity });
  });

  test("windows follow each other, and the remembered answer is the same", () => {
    const zones = [
      "UTC",
      "Europe/Berlin",
      "America/St_Johns",
      "Australia/Lord_Howe",
      "Asia/Kathmandu",
    ];
    fc.assert(
      fc.property(
        fc.record({
          days: fc.subarray([1, 2, 3, 4, 5, 6, 7], { minLength: 1 }),
          fromMinute: fc.nat(1439),
          toMinute: fc.integer({ min: 1, max: 1440 }),
          zone: fc.constantFrom(...zones),
        }),
        fc.integer({ min: at("2026-01-01"), max: at("2027-12-31") }),
        (each, ms) => {
          const window = windowAt([each], ms);
          expect(window.fromMs <= ms && ms < window.untilMs).toBeTrue();
          const intervals = new Intervals([each]);
          intervals.at(ms);
          const next = intervals.at(window.untilMs);
          expect(next.fromMs).toBeLessThanOrEqual(window.untilMs);
          expect(intervals.at(window.untilMs - 1)).toEqual(windowAt([each], window.untilMs - 1));
          expect(windowAt([each], window.untilMs - 1).isInside).toBe(window.isInside);
        },
      ),
      { numRuns: 200 },
    );
  });
});

test("nextDaily is the next time at which the clocks show that minute", () => {
  expect(iso(nextDaily(540, "Europe/Berlin", at("2026-03-28T09:00Z")))).toBe("2026-03-29T07:00Z");
  expect(iso(nextDaily(540, "Europe/Berlin", at("2026-03-29T07:00Z")))).toBe("2026-03-29T07:00Z");
});

describe("periodAt", () => {
  const zone = "Europe/Berlin";

  test.each<[QuotaPeriod, string, string, string]>([
    [{ unit: "day", zone }, "2026-03-29T12:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"],
    [
      { unit: "week", resetDay: 1, zone },
      "2026-01-04T12:00Z",
      "2025-12-28T23:00Z",
      "2026-01-04T23:00Z",
    ],
    [
      { unit: "week", resetDay: 7, zone },
      "2026-01-04T12:00Z",
      "2026-01-03T23:00Z",
      "2026-01-10T23:00Z",
    ],
    [
      { unit: "month", resetDay: 1, zone },
      "2026-01-31T23:00Z",
      "2026-01-31T23:00Z",
      "2026-02-28T23:00Z",
    ],
    [
      { unit: "month", resetDay: 31, zone },
      "2026-02-15T12:00Z",
      "2026-01-30T23:00Z",
      "2026-02-27T23:00Z",
    ],
    [
      { unit: "month", resetDay: 31, zone },
      "2026-02-28T12:00Z",
      "2026-02-27T23:00Z",
      "2026-03-30T22:00Z",
    ],
    [
      { unit: "month", resetDay: 15, zone },
      "2026-01-14T12:00Z",
      "2025-12-14T23:00Z",
      "2026-01-14T23:00Z",
    ],
    // Midnight of that day does not exist in Cairo.
    [
      { unit: "day", zone: "Africa/Cairo" },
      "2026-04-24T12:00Z",
      "2026-04-23T22:00Z",
      "2026-04-24T21:00Z",
    ],
  ])("%o at %s", (period, time, start, end) => {
    const { startMs, endMs } = periodAt(period, at(time));
    expect([iso(startMs), iso(endMs)]).toEqual([start, end]);
  });

  test("periods follow each other without a gap", () => {
    const units: fc.Arbitrary<QuotaPeriod> = fc.oneof(
      fc.constant({ unit: "day", zone } as const),
      fc.integer({ min: 1, max: 7 }).map((resetDay) => ({ unit: "week", resetDay, zone }) as const),
      fc
        .integer({ min: 1, max: 31 })
        .map((resetDay) => ({ unit: "month", resetDay, zone }) as const),
    );
    fc.assert(
      fc.property(
        units,
        fc.integer({ min: at("2026-01-01"), max: at("2028-12-31") }),
        (period, ms) => {
          const { startMs, endMs } = periodAt(period, ms);
          expect(startMs <= ms && ms < endMs).toBeTrue();
          expect(periodAt(period, endMs).startMs).toBe(endMs);
          expect(periodAt(period, startMs)).toEqual({ startMs, endMs });
          expect(endMs - startMs).toBeGreaterThanOrEqual(23 * HOUR);
        },
      ),
      { numRuns: 300 },
    );
  });
});
