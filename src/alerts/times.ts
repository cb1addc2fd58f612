/**
 * Time intervals as people write them: `mon-fri 08:00-18:00 Europe/Berlin`. A local time is converted with the IANA time
 * zone by Temporal, which is part of the language, so an interval follows daylight saving. Pure.
 */

import { didYouMean } from "../base/suggest.ts";

const DAYS = [
  "monday",
  "tuesday",
  "wednesday",
  "thursday",
  "friday",
  "saturday",
  "sunday",
] as const;
/** `mon` to `sun`. */
export const SHORT_DAYS: readonly string[] = DAYS.map((day) => day.slice(0, 3));
/** A range without minutes. */
const HOURS = /^(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?$/;
const MINUTE_MS = 60_000;
const DAY_MINUTES = 24 * 60;

/** A part of certain days of the week. */
export interface TimeInterval {
  /** 1 is Monday, as in ISO 8601. The days on which the interval begins. */
  readonly days: readonly number[];
  /** Minutes since midnight, local time. */
  readonly fromMinute: number;
  /** Up to 1440. Less than or equal to `fromMinute`: it ends on the next day. */
  readonly toMinute: number;
  /** Name of an IANA time zone. */
  readonly zone: string;
}

/** Whether a time lies in one of some intervals, and since when and until when that is so. */
export interface Window {
  readonly isInside: boolean;
  readonly fromMs: number;
  /** The next change; at most a week later. */
  readonly untilMs: number;
}

/** Returns the interval, or what is wrong with the text and how to correct it. @param zone of texts without one. */
export function parseInterval(text: string, zone = "UTC"): TimeInterval | string {
  // `08:00 - 18:00`
  const words = text
    .trim()
    .replace(/(\d)\s+-\s+(?=\d)/g, "$1-")
    .split(/\s+/);
  const example = 'an example is "mon-fri 08:00-18:00 Europe/Berlin"';
  let days: readonly number[] | null = null;
  let range: readonly [number, number] | null = null;
  let zoneName: string | null = null;
  for (const word of words) {
    const time = /^(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})$/.exec(word);
    if (time !== null) {
      if (range !== null) return `"${text}" has two times of day; use one interval for each`;
      const [from, to] = [minuteOf(time[1]!, time[2]!), minuteOf(time[3]!, time[4]!)];
      if (from === null || to === null || from === DAY_MINUTES) {
        return `"${word}" is not a time of day: from 00:00 to 24:00`;
      }
      range = [from, to];
    } else if (isZone(word)) {
      zoneName = word;
    } else if (HOURS.test(word)) {
      return `"${word}" is not a time of day; write ${word.replace(HOURS, withMinutes)}`;
    } else if (/^[a-z,-]+,$/i.test(word)) {
      const isBeforeDays = typeof parseDays(words[words.indexOf(word) + 1] ?? "") !== "string";
      return `"${word}" ends with a comma; remove ${isBeforeDays ? "the space after it" : "the comma"}`;
    } else if (/^[a-z]/i.test(word) && !word.includes("/")) {
      const found = parseDays(word);
      if (typeof found === "string") return `${found}; ${example}`;
      if (days !== null) return `"${text}" has days twice; separate them by commas: mon,wed-fri`;
      days = found;
    } else if (/^[a-z]+\/[a-z_/+-]+$/i.test(word)) {
      return `there is no time zone "${word}"${didYouMean(word, Intl.supportedValuesOf("timeZone"))}`;
    } else {
      return `"${word}" is not a day, a time of day or a time zone; ${example}`;
    }
  }
  const [fromMinute, toMinute] = range ?? [0, DAY_MINUTES];
  return { days: days ?? [1, 2, 3, 4, 5, 6, 7], fromMinute, toMinute, zone: zoneName ?? zone };
}

/** `08:00-18:00` for `8-18` */
function withMinutes(_word: string, ...parts: (string | undefined)[]): string {
  const [from, fromMinute = "00", to, toMinute = "00"] = parts;
  return `${from!.padStart(2, "0")}:${fromMinute}-${to!.padStart(2, "0")}:${toMinute}`;
}

/** Whether this machine's time zone database has the zone. */
export function isZone(name: string): boolean {
  try {
    Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(name);
    return true;
  } catch {
    return false;
  }
}

/** The state of the union of the intervals at a time. No intervals: always inside. */
export function windowAt(intervals: readonly TimeInterval[], atMs: number): Window {
  const weekMs = 7 * DAY_MINUTES * MINUTE_MS;
  if (intervals.length === 0) {
    return { isInside: true, fromMs: -Infinity, untilMs: Infinity };
  }
  // All intervals that begin within a week before or after, merged.
  const spans = intervals
    .flatMap((each) => spansAround(each, atMs))
    .sort(([a], [b]) => a - b)
    .reduce<[number, number][]>((merged, [from, to]) => {
      const last = merged.at(-1);
      if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
      else merged.push([from, to]);
      return merged;
    }, []);
  const current = spans.find(([from, to]) => from <= atMs && atMs < to);
  if (current !== undefined) return { isInside: true, fromMs: current[0], untilMs: current[1] };
  const before = spans.findLast(([, to]) => to <= atMs);
  const after = spans.find(([from]) => from > atMs);
  return {
    isInside: false,
    fromMs: before?.[1] ?? atMs - weekMs,
    untilMs: after?.[0] ?? atMs + weekMs,
  };
}

/** Finds windows like `windowAt`. It remembers the last window, because most times are in the same one. */
export class Intervals {
  readonly #intervals: readonly TimeInterval[];
  #window: Window | null = null;

  constructor(intervals: readonly TimeInterval[]) {
    this.#intervals = intervals;
  }

  at(atMs: number): Window {
    const known = this.#window;
    if (known !== null && known.fromMs <= atMs && atMs < known.untilMs) return known;
    this.#window = windowAt(this.#intervals, atMs);
    return this.#window;
  }
}

/** The next time at or after `atMs` at which the clocks of the zone show this minute of the day. */
export function nextDaily(minute: number, zone: string, atMs: number): number {
  const today = Temporal.Instant.fromEpochMilliseconds(atMs).toZonedDateTimeISO(zone).toPlainDate();
  const time = localMs(today, minute, zone);
  return time >= atMs ? time : localMs(today.add({ days: 1 }), minute, zone);
}

/** The spans of an interval, [from, to), that begin within eight days before or after. */
function spansAround(interval: TimeInterval, atMs: number): [number, number][] {
  const { days, fromMinute, toMinute, zone } = interval;
  const today = Temporal.Instant.fromEpochMilliseconds(atMs).toZonedDateTimeISO(zone).toPlainDate();
  const spans: [number, number][] = [];
  for (let offset = -8; offset <= 8; offset++) {
    const day = today.add({ days: offset });
    if (!days.includes(day.dayOfWeek)) continue;
    const end = toMinute > fromMinute ? day : day.add({ days: 1 });
    const [from, to] = [localMs(day, fromMinute, zone), localMs(end, toMinute, zone)];
    // Empty if daylight saving skips all of it.
    if (from < to) spans.push([from, to]);
  }
  return spans;
}

/**
 * Converts a local time. A time that daylight saving skips becomes the time after the gap; of a time that occurs twice,
 * the first is taken.
 */
function localMs(day: Temporal.PlainDate, minute: number, zone: string): number {
  if (minute === DAY_MINUTES) return localMs(day.add({ days: 1 }), 0, zone);
  if (minute === 0) return day.toZonedDateTime(zone).epochMilliseconds;
  const plainTime = new Temporal.PlainTime(Math.floor(minute / 60), minute % 60);
  return day.toZonedDateTime({ timeZone: zone, plainTime }).epochMilliseconds;
}

function minuteOf(hours: string, minutes: string): number | null {
  const minute = Number(hours) * 60 + Number(minutes);
  return Number(minutes) < 60 && minute <= DAY_MINUTES ? minute : null;
}

/** `mon-fri`, `sat,sun`, `mon,wed-fri`, `fri-mon`. Returns what is wrong if it is not such a text. */
function parseDays(word: string): readonly number[] | string {
  const found = new Set<number>();
  for (const part of word.toLowerCase().split(",")) {
    const [first, last = first, ...rest] = part.split("-");
    const wrong = [first!, last!].find((day) => dayNumber(day) === null);
    if (wrong !== undefined || rest.length > 0) {
      return `"${wrong ?? part}" is not a day of the week${didYouMean(wrong ?? part, SHORT_DAYS)}`;
    }
    const [from, to] = [dayNumber(first!)!, dayNumber(last!)!];
    for (let day = from; ; day = (day % 7) + 1) {
      found.add(day);
      if (day === to) break;
    }
  }
  return [...found].sort((a, b) => a - b);
}

function dayNumber(text: string): number | null {
  const index = DAYS.findIndex((day) => text === day || text === day.slice(0, 3));
  return index === -1 ? null : index + 1;
}
