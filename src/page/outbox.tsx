/** The outbox page: the state of the targets, the events that wait for them, and their dead letters. */

import { sanitize, truncate } from "../base/text.ts";
import { describeShort } from "../channels/formats/message-text.ts";
import type { ReadModel } from "../http/read-model.ts";
import { type TargetView } from "../http/schemas.ts";
import { viewTargets } from "../http/view.ts";
import { Age, At, None, State, Wide } from "./components.tsx";
import { count, idOf } from "./format.ts";
import type { PageContent } from "./page-content.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";

/** Most events shown per target and list. */
const MESSAGES_MAX = 20;
const TEXT_MAX = 300;

export function outbox({
  source,
  snapshot,
}: {
  source: ReadModel;
  snapshot: PageSnapshot;
}): PageContent {
  const targets = viewTargets(source);
  return {
    title: "Outbox",
    body: (
      <>
        <h1>Outbox</h1>
        <Targets targets={targets} snapshot={snapshot} />
        <Messages
          id="waiting"
          title="Waiting"
          hint={null}
          snapshot={snapshot}
          items={targets.flatMap((target) =>
            source.store.outbox
              .waiting(target.key, 0, MESSAGES_MAX)
              .map(({ seq, event, addedAtMs }) =>
                messageItem(target, { seq, atMs: addedAtMs, text: describeShort(event) }, snapshot),
              ),
          )}
        />
        <Messages
          id="dead"
          title="Dead letters"
          hint="wgmon outbox retry sends them again, wgmon outbox drop deletes them."
          snapshot={snapshot}
          items={targets
            .filter(({ dead }) => dead > 0)
            .flatMap((target) =>
              source.store.outbox
                .deadLetters({ target: target.key, after: 0, limit: MESSAGES_MAX })
                .map(({ seq, event, atMs, reason }) =>
                  messageItem(
                    target,
                    { seq, atMs, text: `${describeShort(event)}: ${reason}` },
                    snapshot,
                  ),
                ),
            )}
        />
      </>
    ),
  };
}

export function Targets({
  targets,
  snapshot,
}: {
  targets: readonly TargetView[];
  snapshot: PageSnapshot;
}) {
  const items = targets.map((target) => targetItem(target, snapshot));
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
        <tbody id="targets">{snapshot.list("targets", items)}</tbody>
      </table>
      {snapshot.part(
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

function targetItem(target: TargetView, snapshot: PageSnapshot): Item {
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
          , for <Age ms={Date.parse(oldestAt)} snapshot={snapshot} as="for" />
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
              , next at <At ms={Date.parse(nextAttemptAt)} snapshot={snapshot} />
            </>
          )}
          {failures === 0 ? "" : ")"}
        </>
      )}
    </td>,
  ]);
}

interface MessagesProps {
  readonly id: string;
  readonly title: string;
  /** What the user can do with the messages; null if no action is needed. */
  readonly hint: string | null;
  readonly items: readonly Item[];
  readonly snapshot: PageSnapshot;
}

function Messages({ id, title, hint, items, snapshot }: MessagesProps) {
  return (
    <section aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>{title}</h2>
      {hint === null ? null : <p>{hint}</p>}
      <ol class="letters" id={id}>
        {snapshot.list(id, items)}
      </ol>
      {snapshot.part(
        `${id}-none`,
        <p id={`${id}-none`} class="empty">
          {items.length === 0
            ? "No messages."
            : `The oldest of each target, at most ${MESSAGES_MAX}.`}
        </p>,
      )}
    </section>
  );
}

interface Message {
  readonly seq: number;
  readonly atMs: number;
  readonly text: string;
}

function messageItem(
  { key, label }: TargetView,
  { seq, atMs, text }: Message,
  snapshot: PageSnapshot,
): Item {
  const id = idOf("l", key, seq);
  return item(id, <li id={id}></li>, [
    <At ms={atMs} snapshot={snapshot} />,
    <span class="kind">
      <bdi>{sanitize(label)}</bdi>
    </span>,
    <span>
      <bdi>{truncate(sanitize(text), TEXT_MAX)}</bdi>
    </span>,
  ]);
}
