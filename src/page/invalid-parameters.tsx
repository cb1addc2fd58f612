/** Says which parameters of an address have a value that the page ignores, and what would be right. */

import { EVENT_TYPES } from "../base/event-types.ts";
import { sanitize, truncate } from "../base/text.ts";
import { stateNames } from "../http/schemas.ts";
import { rangeNames } from "../store/ranges.ts";
import { isDate } from "./history-filter.tsx";
import type { NavigationPath } from "./layout.tsx";
import { listSorts } from "./list.ts";

const SHOWN_MAX = 40;

interface Check {
  /** In the words of the API: http/parameter-errors.ts. */
  readonly expected: string;
  readonly accepts: (value: string) => boolean;
}

const oneOf = (words: readonly string[]): Check => ({
  expected: `one of ${words.join(", ")}`,
  accepts: (value) => words.includes(value),
});
const date: Check = { expected: "a date such as 2026-01-31", accepts: isDate };
const history = { range: oneOf(rangeNames), from: date, until: date };

const peerChecks: Readonly<Record<string, Check>> = { range: oneOf(rangeNames) };
const listChecks: Readonly<Record<string, Check>> = {
  ...peerChecks,
  state: oneOf(stateNames),
  sort: oneOf(listSorts),
  order: oneOf(["asc", "desc"]),
  page: {
    expected: "a whole number from 1",
    accepts: (value) => Number.isSafeInteger(Number(value)) && Number(value) >= 1,
  },
};
const checks: Readonly<Record<NavigationPath, Readonly<Record<string, Check>>>> = {
  "/": listChecks,
  "/gateways": listChecks,
  "/sessions": { state: oneOf(["open", "ended"]), ...history },
  "/events": { type: oneOf(EVENT_TYPES), ...history },
  "/outbox": {},
  "/alerts": { state: oneOf(["firing", "resolved"]), ...history },
};

/** @param path null: the page of a peer. */
export function InvalidParameters({
  path,
  given,
}: {
  path: NavigationPath | null;
  given: URLSearchParams;
}) {
  const invalid = Object.entries(path === null ? peerChecks : checks[path]).flatMap(
    ([parameter, { expected, accepts }]) => {
      const value = given.get(parameter);
      return value === null || value === "" || accepts(value)
        ? []
        : [{ parameter, value, expected }];
    },
  );
  return (
    <>
      {invalid.map(({ parameter, value, expected }) => (
        <p class="warning">
          The parameter {parameter} is ignored:{" "}
          <code>
            <bdi>{truncate(sanitize(value), SHOWN_MAX)}</bdi>
          </code>{" "}
          is not {expected}.
        </p>
      ))}
    </>
  );
}
