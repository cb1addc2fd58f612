/** The types of the values of [[alert]] tables: names, times, places, rates. Pure. */

import { SEVERITIES, type Severity } from "../alerts/rule.ts";
import { isZone, parseInterval, SHORT_DAYS, type TimeInterval } from "../alerts/times.ts";
import { formatList, quoteSafely, redact } from "../base/redact.ts";
import { parseSize } from "../base/size.ts";
import { didYouMean } from "../base/suggest.ts";
import { choice, type ValueType } from "./value-types.ts";

/** The name of a rule, which messages contain. Without : and /, so that it is not a URL. */
export function alertName(): ValueType<string> {
  return {
    placeholder: "NAME",
    example: "office-down",
    tomlTypes: ["string"],
    parse(text) {
      const isName = /^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,63}$/u.test(text) && redact(text) === text;
      if (isName && !text.endsWith(" ")) return { value: text };
      return {
        problem: "is not a name (1 to 64 letters, digits, spaces and - _ . after the first)",
      };
    },
  };
}

/** An interval with the zone that its text has; null: the text has no zone. */
export type GivenInterval = Omit<TimeInterval, "zone"> & { readonly zone: string | null };

/** @param always what to do for a time that is always. */
export function timeInterval(always: string): ValueType<GivenInterval> {
  const example = "mon-fri 08:00-18:00 Europe/Berlin";
  return {
    placeholder: "TIMES",
    example,
    tomlTypes: ["string"],
    separator: /;/,
    parse(text) {
      if (/^(24\/7|24x7|always|all|anytime)$/i.test(text)) {
        return { problem: `is not a time interval; ${always}` };
      }
      const result = parseInterval(text, "");
      if (typeof result !== "string") {
        if (result.fromMinute === result.toMinute) {
          return { problem: "has no length; for a whole day, leave out the time of day" };
        }
        return { value: { ...result, zone: result.zone === "" ? null : result.zone } };
      }
      // The message quotes words of the text.
      const isShowable = /^[\w ,:/+-]{1,60}$/.test(text) && redact(text) === text;
      return {
        problem: `is not a time interval: ${isShowable ? result : `an example is "${example}"`}`,
      };
    },
  };
}

export function timeZone(): ValueType<string> {
  return {
    placeholder: "ZONE",
    example: "Europe/Berlin",
    tomlTypes: ["string"],
    parse(text) {
      if (/^[A-Za-z]/.test(text) && isZone(text)) return { value: text };
      const guess = didYouMean(text, Intl.supportedValuesOf("timeZone"));
      return { problem: `is not a time zone, such as Europe/Berlin or UTC${guess}` };
    },
  };
}

/** A time of day, as minutes since midnight. */
export function timeOfDay(): ValueType<number> {
  return {
    placeholder: "TIME",
    example: "09:00",
    tomlTypes: ["string"],
    schema: { pattern: "^([01]?[0-9]|2[0-3]):[0-5][0-9]$" },
    parse(text) {
      const [, hours, minutes] = /^(\d{1,2}):(\d{2})$/.exec(text) ?? [];
      const value = Number(hours) * 60 + Number(minutes);
      if (Number(hours) < 24 && Number(minutes) < 60) return { value };
      return { problem: "is not a time of day from 00:00 to 23:59" };
    },
  };
}

/** `monday`: a day of the week, 1 is Monday. A number: a day of the month, or of the week. */
export interface ResetDay {
  readonly day: number;
  readonly isWeekday: boolean;
}

export function resetDay(): ValueType<ResetDay> {
  return {
    placeholder: "DAY",
    example: "1",
    tomlTypes: ["number", "string"],
    parse(text) {
      const weekday = SHORT_DAYS.findIndex((day) => text.toLowerCase().slice(0, 3) === day);
      if (weekday !== -1 && /^[a-z]+$/i.test(text)) {
        return { value: { day: weekday + 1, isWeekday: true } };
      }
      const day = /^\d{1,2}$/.test(text) ? Number(text) : 0;
      if (day >= 1 && day <= 31) return { value: { day, isWeekday: false } };
      return { problem: "is not a day: a number from 1 to 31, or a day of the week such as mon" };
    },
  };
}

export function percents(): ValueType<number> {
  return {
    placeholder: "PERCENT",
    example: "80",
    tomlTypes: ["number"],
    separator: /[\s,]+/,
    schema: { minimum: 1, maximum: 1000 },
    parse(text) {
      const value = Number(text);
      if (/^\d+$/.test(text) && value >= 1 && value <= 1000) return { value };
      return { problem: "is not a whole number of percent from 1 to 1000" };
    },
  };
}

/** Words of other programs, and the severity that they mean. */
const SEVERITY_WORDS: Readonly<Record<Severity, readonly string[]>> = {
  info: ["information", "informational", "low", "notice", "debug"],
  warning: ["medium", "minor", "moderate"],
  critical: ["high", "error", "major", "fatal", "emergency", "urgent"],
};

export function severity(): ValueType<Severity> {
  const type = choice(...SEVERITIES);
  return {
    ...type,
    parse(text) {
      const meant = SEVERITIES.find((each) => SEVERITY_WORDS[each].includes(text.toLowerCase()));
      if (meant === undefined) return type.parse(text);
      return { problem: `is not ${formatList(SEVERITIES, "or")}; did you mean ${meant}?` };
    },
  };
}

const BITS: Readonly<Record<string, number>> = { kbit: 1e3, Mbit: 1e6, Gbit: 1e9 };

/** A rate in bytes per second. */
export function rate(): ValueType<number> {
  return {
    placeholder: "RATE",
    example: "10MB/s",
    tomlTypes: ["string"],
    schema: { pattern: "^[0-9]+ ?[A-Za-z]+/s$" },
    parse(text) {
      const [, count, unit] = /^(\d+) ?([A-Za-z]+)\/s$/.exec(text) ?? [];
      const bits = BITS[unit ?? ""];
      const value = bits === undefined ? parseSize(`${count}${unit}`) : (Number(count) * bits) / 8;
      if (value === null) {
        const meant = meantRate(text);
        if (meant !== null) return { problem: `is not a rate; write ${quoteSafely(meant)}` };
        return { problem: "is not a rate; write it like 10MB/s, 1MiB/s or 100Mbit/s" };
      }
      if (value >= 1 && value <= 1e12) return { value };
      return { problem: "is not a rate from 1B/s to 1TB/s" };
    },
  };
}

/** `100Mbit/s` for `100 Mbps` */
function meantRate(text: string): string | null {
  const [, count, prefix, unit] =
    /^(\d{1,15}) *([kmg])(bits?|b|bits?ps|bps|Bps|B)(?:\/s(?:ec)?)?$/i.exec(text) ?? [];
  // A rate needs its time, which `ps` may be.
  if (unit === undefined || !/(ps|\/s|\/sec)$/i.test(text)) return null;
  const isBytes = unit.startsWith("B") && !/^bit/i.test(unit);
  const scale = prefix!.toUpperCase();
  return `${count}${scale === "K" ? "k" : scale}${isBytes ? "B" : "bit"}/s`;
}

/** A country or an autonomous system, in capitals. */
export function place(): ValueType<string> {
  return {
    placeholder: "PLACE",
    example: "DE",
    tomlTypes: ["string"],
    separator: /[\s,]+/,
    schema: { pattern: "^([A-Za-z]{2}|[Aa][Ss][0-9]{1,10})$" },
    parse(text) {
      const code = text.toUpperCase();
      if (/^([A-Z]{2}|AS(0|[1-9]\d{0,9}))$/.test(code)) return { value: code };
      return {
        problem: `is not a country (two letters, such as DE) or an autonomous system (such as AS3320)`,
      };
    },
  };
}

/** A word that names a target. alerts.ts checks that the target exists. */
export function targetWord(): ValueType<string> {
  return {
    placeholder: "TARGET",
    example: "ops",
    tomlTypes: ["string"],
    separator: /[\s,]+/,
    parse: (text) =>
      /^[\w.-]{1,32}$/.test(text)
        ? { value: text }
        : { problem: `is not the name of a target, such as ${quoteSafely("ops")}` },
  };
}
