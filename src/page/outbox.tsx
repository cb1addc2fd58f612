/** The outbox page: the targets, what a user can do about them, the waiting events and the dead letters. */

import { sanitize, truncate } from "../base/text.ts";
import { describeShort } from "../channels/formats/message-text.ts";
import type { ReadModel } from "../http/read-model.ts";
import { type TargetView } from "../http/schemas.ts";
import { viewTargets } from "../http/view.ts";
import { Age, Card, ListNote } from "./components.tsx";
import { counted, idOf } from "./format.ts";
import type { PageContent } from "./page-content.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";
import type { ActionLog, Done } from "./target-actions.ts";
import { Targets } from "./targets.tsx";

/** Most events shown per target and list. */
const MESSAGES_MAX = 20;
const TEXT_MAX = 300;

interface Context {
  readonly source: ReadModel;
  /** null: the client may not change anything, so there are no buttons. */
  readonly log: ActionLog | null;
  readonly snapshot: PageSnapshot;
}

export function outbox({ source, log, snapshot }: Context): PageContent {
  const targets = viewTargets(source);
  const extra =
    log === null
      ? {}
      : {
          extra: (target: TargetView) => (
            <>
              <Actions target={target} />
              <LastAction done={log.latest(target.key)} snapshot={snapshot} />
            </>
          ),
        };
  return {
    title: "Outbox",
    body: (
      <>
        <h1>Outbox</h1>
        <Card titleId="targets-title" title="Targets">
          <Targets targets={targets} snapshot={snapshot} {...extra} />
          {log === null && targets.length > 0 ? (
            <p class="hint">
              With <code>--listen-token-file</code>, there are buttons here to test a target and to
              retry or delete events. <code>wgmon outbox</code> does the same.
            </p>
          ) : null}
        </Card>
        <Messages
          id="waiting"
          title="Waiting events"
          none="No event is waiting."
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
          none="There are no dead letters."
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

/** Buttons that work without JavaScript. What cannot be undone needs a second click. */
function Actions({ target }: { target: TargetView }) {
  const { key, label, state, waiting, dead, hub } = target;
  const hasWork = hub === null ? state !== "stopped" && (dead > 0 || waiting > 0) : state !== "ok";
  const canRetry = state !== "gone" && hasWork;
  if (state === "gone" && dead === 0 && waiting === 0) return null;
  return (
    <form method="post" action="/outbox" class="actions">
      <input type="hidden" name="target" value={key} />
      {state === "gone" ? null : (
        <button name="action" value="test" aria-label={`Send a test to ${sanitize(label)}`}>
          Send a test
        </button>
      )}
      {canRetry ? (
        <button name="action" value="retry" aria-label={`Retry now: ${sanitize(label)}`}>
          Retry now
        </button>
      ) : null}
      {hub !== null || (dead === 0 && waiting === 0) ? null : (
        <details>
          <summary class="button">Delete</summary>
          <div class="actions">
            {dead === 0 ? null : (
              <button class="danger" name="action" value="delete-dead">
                Delete {counted(dead, "dead letter")}
              </button>
            )}
            {waiting === 0 ? null : (
              <button class="danger" name="action" value="delete-waiting">
                Delete {counted(waiting, "waiting event")}
              </button>
            )}
          </div>
        </details>
      )}
    </form>
  );
}

function LastAction({ done, snapshot }: { done: Done | null; snapshot: PageSnapshot }) {
  if (done === null) return null;
  return (
    <span class={done.isGood ? "done" : "done bad"}>
      <bdi>{truncate(sanitize(done.text), TEXT_MAX)}</bdi>{" "}
      <Age ms={done.atMs} snapshot={snapshot} as="ago" />
    </span>
  );
}

interface MessagesProps {
  readonly id: string;
  readonly title: string;
  readonly none: string;
  readonly items: readonly Item[];
  readonly snapshot: PageSnapshot;
}

function Messages({ id, title, none, items, snapshot }: MessagesProps) {
  return (
    <Card titleId={`${id}-title`} title={title}>
      <ol class="letters" id={id}>
        {snapshot.list(id, items)}
      </ol>
      <ListNote list={id} snapshot={snapshot}>
        {items.length === 0 ? none : `The oldest of each target, at most ${MESSAGES_MAX}.`}
      </ListNote>
    </Card>
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
    <span class="target">
      <bdi>{sanitize(label)}</bdi>
    </span>,
    <span>
      <bdi>{truncate(sanitize(text), TEXT_MAX)}</bdi>
    </span>,
    <Age ms={atMs} snapshot={snapshot} as="ago" />,
  ]);
}
