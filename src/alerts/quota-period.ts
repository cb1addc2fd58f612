/**
 * The periods of a traffic quota: a day, a week, or a month with its day of reset, in a time zone. Pure.
 */

/** When a quota begins anew, at midnight in the zone. */
export type QuotaPeriod =
  | { readonly unit: "day"; readonly zone: string }
  /** 1 is Monday. */
  | { readonly unit: "week"; readonly resetDay: number; readonly zone: string }
  /** In a shorter month, a reset on day 29, 30 or 31 is on its last day. */
  | { readonly unit: "month"; readonly resetDay: number; readonly zone: string };

/** From `startMs` up to, but not including, `endMs`. */
export interface Period {
  readonly startMs: number;
  readonly endMs: number;
}

/** Equal for equal periods, so that rules with the same period share their sums. */
export function periodKey(period: QuotaPeriod): string {
  return period.unit === "day"
    ? `day ${period.zone}`
    : `${period.unit} ${period.resetDay} ${period.zone}`;
}

/** Returns the period that contains the time. */
export function periodAt(period: QuotaPeriod, atMs: number): Period {
  const { zone } = period;
  const today = Temporal.Instant.fromEpochMilliseconds(atMs).toZonedDateTimeISO(zone).toPlainDate();
  const [start, end] = datesOf(period, today);
  const midnight = (day: Temporal.PlainDate) => day.toZonedDateTime(zone).epochMilliseconds;
  return { startMs: midnight(start), endMs: midnight(end) };
}

function datesOf(
  period: QuotaPeriod,
  today: Temporal.PlainDate,
): [Temporal.PlainDate, Temporal.PlainDate] {
  switch (period.unit) {
    case "day":
      return [today, today.add({ days: 1 })];
    case "week": {
      const start = today.subtract({ days: (today.dayOfWeek - period.resetDay + 7) % 7 });
      return [start, start.add({ days: 7 })];
    }
    case "month": {
      const first = today.with({ day: 1 });
      // `with` limits the day to the month's last one.
      const resetIn = (months: number) => first.add({ months }).with({ day: period.resetDay });
      const isReset = Temporal.PlainDate.compare(resetIn(0), today) <= 0;
      return isReset ? [resetIn(0), resetIn(1)] : [resetIn(-1), resetIn(0)];
    }
  }
}

/** Remembers the current period of each kind, because almost all questions are about it. */
export class Periods {
  readonly #current = new Map<string, Period>();

  at(key: string, period: QuotaPeriod, atMs: number): Period {
    const known = this.#current.get(key);
    if (known !== undefined && known.startMs <= atMs && atMs < known.endMs) return known;
    const found = periodAt(period, atMs);
    this.#current.set(key, found);
    return found;
  }
}
