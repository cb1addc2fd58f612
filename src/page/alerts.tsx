/** The page of alerts: those that fire, are held back or are pending, the silences, and all that fired, with a filter. */

import { SEVERITIES } from "../alerts/rule.ts";
import { duration } from "../events/event.ts";
import { formatAlertCursor, parseAlertCursor } from "../http/alert-cursor.ts";
import type { ReadModel } from "../http/read-model.ts";
import { type AlertQuery, type AlertRecord, overAtMs } from "../store/alert-rows.ts";
import { AlertLink, AlertList } from "./alert-list.tsx";
import { AlertsByState } from "./alerts-by-state.ts";
import { At, Card, ListNote, Name } from "./components.tsx";
import { counted, idOf } from "./format.ts";
import { addressWith, FilterForm, readFilter, Select } from "./history-filter.tsx";
import type { PageContent } from "./page-content.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";
import { ALERTS_PATH, SilenceForm, SilenceList, TokenHint } from "./silences.tsx";

/** Maximum number of alerts in each of the lists firing, held back and pending. */
const CURRENT_MAX = 50;
const PAGE_SIZE = 50;
const kinds = { name: "state", label: "State", choices: ["firing", "resolved"] } as const;

export interface RefusedForm {
  readonly form: URLSearchParams;
  readonly problem: string;
}

interface Context {
  readonly source: ReadModel;
  readonly snapshot: PageSnapshot;
  /** Whether the client may add and end silences. */
  readonly mayAct: boolean;
  /** The form that the client has just sent, if it was refused. */
  readonly refused: RefusedForm | null;
}

export function alerts(
  { source, snapshot, mayAct, refused }: Context,
  given: URLSearchParams,
): PageContent {
  const next = mayAct ? ALERTS_PATH : null;
  const { firing, held, pending, dryRuns, hasRules } = new AlertsByState(source.alerts);
  const lists = [
    ["firing", "Firing", firing, "No alert fires."],
    ["held", "Held back", held, "No alert is held back."],
    ["pending", "Pending", pending, "No alert is pending."],
  ] as const;
  return {
    title: firing.length === 0 ? "Alerts" : `${counted(firing.length, "alert")} firing`,
    body: (
      <>
        <h1>Alerts</h1>
        {snapshot.part("rules-none", <NoRules hasRules={hasRules} />)}
        <div class="columns">
          <div class="stack">
            {lists.map(([id, title, list, none]) => (
              <Card titleId={`${id}-title`} title={title}>
                <AlertList
                  id={id}
                  alerts={list}
                  max={CURRENT_MAX}
                  dryRuns={dryRuns}
                  snapshot={snapshot}
                  none={none}
                />
              </Card>
            ))}
          </div>
          <div class="stack">
            <Card titleId="silences-title" title="Silences">
              <SilenceList
                source={source}
                silences={source.alerts.silences()}
                snapshot={snapshot}
                next={next}
                none="No silence is active."
              />
            </Card>
            <Card titleId="silence-title" title="Add a silence">
              {next === null ? (
                <TokenHint />
              ) : (
                <SilenceForm matchers={null} label="Silence" next={next} refused={refused} />
              )}
            </Card>
          </div>
        </div>
        <Past source={source} snapshot={snapshot} given={given} />
      </>
    ),
  };
}

function NoRules({ hasRules }: { hasRules: boolean }) {
  return (
    <p id="rules-none" class="empty">
      {hasRules ? null : (
        <>
          There are no rules yet. <code>wgmon alerts examples</code> prints some to begin with;
          docs/alerts.md describes them.
        </>
      )}
    </p>
  );
}

/** The alerts that fired, the latest first. */
function Past({
  source,
  snapshot,
  given,
}: {
  source: ReadModel;
  snapshot: PageSnapshot;
  given: URLSearchParams;
}) {
  const filter = readFilter(source, given, kinds);
  const rule = given.get("rule") || null;
  const cursor = parseAlertCursor(given.get("before") ?? "");
  const before = cursor?.type === "past" ? cursor : null;
  const rows = queryPast(source, filter, { rule, before });
  const shown = rows.slice(0, PAGE_SIZE);
  const last = rows.length > PAGE_SIZE ? shown.at(-1)! : null;
  const to = (cursor: string | null) =>
    addressWith(ALERTS_PATH, kinds.name, filter, { rule, before: cursor });
  const isFiltered = filter.isActive || rule !== null;
  const names = source.alerts.rules().map(({ name }) => name);
  return (
    <section class="card" aria-labelledby="past-title" id="past">
      <div class="head">
        <h2 id="past-title">All alerts that fired</h2>
      </div>
      {/* An update does not contain the form; rendering it would list the peers. */}
      {snapshot.nowMs === null ? null : (
        <FilterForm
          source={source}
          filter={filter}
          path={ALERTS_PATH}
          kinds={kinds}
          more={{ rule }}
          fragment="#past"
        >
          <Select
            label="Rule"
            name="rule"
            any="all"
            choices={[...new Set([...names, ...(rule === null ? [] : [rule])])]}
            chosen={rule}
          />
        </FilterForm>
      )}
      <AlertRecords id="past-list" rows={shown} snapshot={snapshot} />
      <ListNote list="past" snapshot={snapshot}>
        {shown.length > 0 ? null : !isFiltered && before === null ? (
          "No alert has fired yet."
        ) : (
          <>
            No alerts match the filter. <a href={ALERTS_PATH}>Show all alerts</a>
          </>
        )}
      </ListNote>
      {snapshot.part(
        "more",
        <nav id="more" class="pages" aria-label="Pages of alerts">
          {before === null ? null : <a href={`${to(null)}#past`}>Latest</a>}
          {last === null ? null : <a href={`${to(cursorOf(last))}#past`}>Older</a>}
        </nav>,
      )}
    </section>
  );
}

/** Returns one alert more than a page shows, if there are more. */
function queryPast(
  source: ReadModel,
  { parameters, place, publicKey, sinceMs, untilMs, candidates }: ReturnType<typeof readFilter>,
  { rule, before }: Pick<AlertQuery, "rule" | "before">,
): AlertRecord[] {
  // The text matches no peer, or several, of which the user has to choose one.
  if (candidates !== null) return [];
  const { kind } = parameters;
  const state = kind === null ? null : kind === "firing" ? "firing" : "resolved";
  const limit = PAGE_SIZE + 1;
  return source.store.alerts.query({
    before,
    limit,
    state,
    rule,
    ...place,
    publicKey,
    sinceMs,
    untilMs,
  });
}

function cursorOf({ firedAtMs, id }: AlertRecord): string {
  return formatAlertCursor({ type: "past", firedAtMs, id });
}

function AlertRecords({
  id,
  rows,
  snapshot,
}: {
  id: string;
  rows: readonly AlertRecord[];
  snapshot: PageSnapshot;
}) {
  return (
    <ol class="events alerts full" id={id}>
      {snapshot.list(
        id,
        rows.map((row) => recordItem(row, snapshot)),
      )}
    </ol>
  );
}

function recordItem(row: AlertRecord, snapshot: PageSnapshot): Item {
  const { rule, severity, sentence, firedAtMs, resolvedAtMs, resolves, isSent } = row;
  const id = idOf("r", row.id);
  const isOver = overAtMs(row) !== null;
  return item(id, <li id={id}></li>, [
    <span
      class={`sign ${SEVERITIES.includes(severity) ? severity : "info"}${isOver ? " held" : ""}`}
    ></span>,
    <span>
      <span class="unseen">{severity}: </span>
      <AlertLink id={row.id} sentence={sentence} />
      <small class="sub">
        {"rule "}
        <Name text={rule} />
        {resolvedAtMs !== null
          ? `, lasted ${duration(Math.max(0, resolvedAtMs - row.sinceMs))}`
          : resolves
            ? ", still firing"
            : null}
        {isSent ? null : ", not sent"}
      </small>
    </span>,
    <At ms={firedAtMs} snapshot={snapshot} />,
  ]);
}
