/** A list of alerts that fire, are held back or are pending. Several pages contain one. */

import type { AlertView } from "../alerts/alert.ts";
import { suppressionText } from "../alerts/suppression-text.ts";
import { singleLine } from "./alert-text.ts";
import type { HeldBackAlert } from "./alerts-by-state.ts";
import { Age, At, ListNote, Name, PeerLink } from "./components.tsx";
import { count, idOf } from "./format.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";

interface AlertListProps {
  /** Id of the list. */
  readonly id: string;
  /** At most `max` of them are shown. */
  readonly alerts: readonly (AlertView | HeldBackAlert)[];
  readonly max: number;
  /** Names of the rules whose messages are only recorded. */
  readonly dryRuns: ReadonlySet<string>;
  readonly snapshot: PageSnapshot;
  /** Shown if there are no alerts. */
  readonly none?: string;
  /** Page with all alerts of the list; omitted: this one. */
  readonly all?: string;
}

export function AlertList(props: AlertListProps) {
  const { id, alerts, max, dryRuns, snapshot, none = "", all } = props;
  const items = alerts.slice(0, max).map((each) => alertItem(id, each, dryRuns, snapshot));
  const more = alerts.length - items.length;
  const moreText = `and ${count(more)} more`;
  return (
    <>
      <ol class="events alerts" id={id}>
        {snapshot.list(id, items)}
      </ol>
      <ListNote list={id} snapshot={snapshot}>
        {items.length === 0 ? (
          none
        ) : more === 0 ? null : all === undefined ? (
          moreText
        ) : (
          <a href={all}>{moreText}</a>
        )}
      </ListNote>
    </>
  );
}

/** @param list several lists of a page may show the same alert. */
function alertItem(
  list: string,
  each: AlertView | HeldBackAlert,
  dryRuns: ReadonlySet<string>,
  snapshot: PageSnapshot,
): Item {
  const [alert, held] = "alert" in each ? [each.alert, each] : [each, null];
  const { rule, severity, state, subject, sentence, sinceMs, what } = alert;
  const about = subject.type === "target" ? [subject.target] : [subject.device];
  if (subject.type === "peer") about.push(subject.publicKey);
  const id = idOf("a", list, rule, what, ...about);
  const isPending = state === "pending";
  return item(id, <li id={id}></li>, [
    <span class={`sign ${isPending ? "pending" : severity}${held === null ? "" : " held"}`}></span>,
    <span>
      <span class="unseen">{severity}: </span>
      <AlertLink id={alert.id} sentence={sentence} />
      <small class="sub">
        <span class="rule">
          {"rule "}
          <Name text={rule} />
          {isPending ? ", pending" : null}
          {state === "recovering" ? ", nearly over" : null}
          {dryRuns.has(rule) ? ", recorded only (dry_run)" : null}
          {held === null ? null : "; "}
        </span>
        {held === null ? null : (
          <>
            {"held back: "}
            <Reason held={held} snapshot={snapshot} />
          </>
        )}
      </small>
    </span>,
    <Age ms={sinceMs} snapshot={snapshot} as="for" />,
  ]);
}

/** The sentence of an alert as a link to its page. A pending alert has no id and no page. */
export function AlertLink({ id, sentence }: { id: string; sentence: string }) {
  const text = <bdi>{singleLine(sentence)}</bdi>;
  return id === "" ? text : <a href={alertAddress(id)}>{text}</a>;
}

export function alertAddress(id: string): string {
  return `/alerts/${encodeURIComponent(id)}`;
}

/** `silenced: maintenance, until 16:00:00` */
function Reason({
  held: { by, silence },
  snapshot,
}: {
  held: HeldBackAlert;
  snapshot: PageSnapshot;
}) {
  return (
    <>
      <bdi>{singleLine(suppressionText(by))}</bdi>
      {silence === null ? null : (
        <>
          {", until "}
          <At ms={silence.endMs} snapshot={snapshot} />
        </>
      )}
    </>
  );
}

/** The mark of a peer with an alert, in a list of peers. */
export function AlertMark({ alert }: { alert: AlertView }) {
  const { id, severity, sentence } = alert;
  const isHeld = alert.heldBack !== null;
  const text = singleLine(sentence);
  return (
    <a class="mark" href={alertAddress(id)} title={text}>
      <span class={`sign ${severity}${isHeld ? " held" : ""}`}></span>
      <span class="unseen">{isHeld ? "alert, held back" : `${severity} alert`}</span>
    </a>
  );
}

/** What an alert is about, as a link to it. */
export function SubjectLink({
  subject,
  name,
}: {
  subject: AlertView["subject"];
  /** The name of a peer; null: it has none. */
  name: string | null;
}) {
  switch (subject.type) {
    case "peer":
      return <PeerLink device={subject.device} publicKey={subject.publicKey} name={name} />;
    case "device":
      return <Name text={subject.device} />;
    case "target":
      return <Name text={subject.target} />;
  }
}
