/** The outbox page: the state of the targets, the events that wait for them, and their dead letters. */

import { sanitize, truncate } from "../base/text.ts";
import { describeShort } from "../channels/formats/message-text.ts";
import type { ReadModel } from "../http/read-model.ts";
import { type TargetView, viewTargets } from "../http/view.ts";
import { Age, At, None, State, Wide } from "./components.tsx";
import { count, idOf } from "./format.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";
import type { PageContent } from "./view.ts";

/** Most events shown per target and list. */
const LETTERS = 20;
const TEXT_MAX = 300;

export function outbox({ source, live }: { source: ReadModel; live: PageSnapshot }): PageContent {
  const targets = viewTargets(source);
  return {
    title: "Outbox",
    body: (
      <>
        <h1>Outbox</h1>
        <Targets targets={targets} live={live} />
        <Letters
          id="waiting"
          title="Waiting"
          why={null}
          live={live}
          items={targets.flatMap((target) =>
            source.store.outbox
              .waiting(target.key, 0, LETTERS)
              .map(({ seq, event, addedAtMs }) =>
                letterItem(target, { seq, atMs: addedAtMs, text: describeShort(event) }, live),
              ),
          )}
        />
        <Letters
          id="dead"
          title="Dead letters"
          why="wgmon outbox retry sends them again, wgmon outbox drop deletes them."
          live={live}
          items={targets
            .filter(({ dead }) => dead > 0)
            .flatMap((target) =>
              source.store.outbox
                .deadLetters({ target: target.key, after: 0, limit: LETTERS })
                .map(({ seq, event, atMs, reason }) =>
                  letterItem(
                    target,
                    { seq, atMs, text: `${describeShort(event)}: ${reason}` },
                    live,
                  ),
                ),
            )}
        />
      </>
    ),
  };
}

export function Targets({ targets, live }: { targets: readonly TargetView[]; live: PageSnapshot }) {
  const items = targets.map((target) => targetItem(target, live));
  return (
    <Wide label="Targets">
      <table>
        <caption class="unseen">Targets of events</caption>
        <thead>
          <tr>
            <th scope="col">State</th>
            <th scope="col">Target</th>
            <th scope="col" class="number">
              Waiting
            </th>
            <th scope="col" class="number">
              Dead letters
            </th>
            <th scope="col">Last error</th>
          </tr>
        </thead>
        <tbody id="targets">{live.list("targets", items)}</tbody>
      </table>
      {live.part(
        "targets-none",
        <p id="targets-none" class="empty">
          {items.length === 0
            ? "No target is configured: events are only in the log and on this page."
            : ""}
        </p>,
      )}
    </Wide>
  );
}

function targetItem(target: TargetView, live: PageSnapshot): Item {
  const { key, label, state, waiting, oldestAt, failures, reason, nextAttemptAt, dead } = target;
  const id = idOf("t", key);
  return item(id, <tr id={id}></tr>, [
    <td>
      <State state={state} />
    </td>,
    <th scope="row">
      <bdi>{sanitize(label)}</bdi>
    </th>,
    <td class="number">
      {count(waiting)}
      {oldestAt === null ? null : (
        <>
          , for <Age ms={Date.parse(oldestAt)} live={live} as="for" />
        </>
      )}
    </td>,
    <td class="number">{count(dead)}</td>,
    <td class="long">
      {failures === 0 && reason === null ? (
        <None />
      ) : (
        <>
          <bdi>{truncate(sanitize(reason ?? ""), TEXT_MAX)}</bdi>
          {failures === 0 ? "" : ` (attempt ${failures}`}
          {nextAttemptAt === null ? null : (
            <>
              , next at <At ms={Date.parse(nextAttemptAt)} live={live} />
            </>
          )}
          {failures === 0 ? "" : ")"}
        </>
      )}
    </td>,
  ]);
}

interface LettersProps {
  readonly id: string;
  readonly title: string;
  /** What the user can do; null if nothing needs to be done. */
  readonly why: string | null;
  readonly items: readonly Item[];
  readonly live: PageSnapshot;
}

function Letters({ id, title, why, items, live }: LettersProps) {
  return (
    <section aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>{title}</h2>
      {why === null ? null : <p>{why}</p>}
      <ol class="letters" id={id}>
        {live.list(id, items)}
      </ol>
      {live.part(
        `${id}-none`,
        <p id={`${id}-none`} class="empty">
          {items.length === 0 ? "Nothing." : `The oldest of each target, at most ${LETTERS}.`}
        </p>,
      )}
    </section>
  );
}

interface Letter {
  readonly seq: number;
  readonly atMs: number;
  readonly text: string;
}

function letterItem(
  { key, label }: TargetView,
  { seq, atMs, text }: Letter,
  live: PageSnapshot,
): Item {
  const id = idOf("l", key, seq);
  return item(id, <li id={id}></li>, [
    <At ms={atMs} live={live} />,
    <span class="kind">
      <bdi>{sanitize(label)}</bdi>
    </span>,
    <span>
      <bdi>{truncate(sanitize(text), TEXT_MAX)}</bdi>
    </span>,
  ]);
}
