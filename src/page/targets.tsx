/** The targets of events and what their state means, in words. */

import { sanitize, truncate } from "../base/text.ts";
import type { TargetView } from "../http/schemas.ts";
import { Age, At, ListNote, State } from "./components.tsx";
import { counted, idOf } from "./format.ts";
import { item, type PageSnapshot } from "./page-diff.ts";

const REASON_MAX = 300;

interface TargetsProps {
  readonly targets: readonly TargetView[];
  readonly snapshot: PageSnapshot;
  /** What else a target shows; omitted on the overview. */
  readonly extra?: (target: TargetView) => unknown;
}

export function Targets({ targets, snapshot, extra }: TargetsProps) {
  const items = targets.map((target) => {
    const id = idOf("t", target.key);
    return item(id, <li id={id}></li>, [
      <span class="name">
        <bdi>{sanitize(target.label)}</bdi>
      </span>,
      <State state={target.state} />,
      <span class="health">
        <Health target={target} snapshot={snapshot} />
      </span>,
      ...(extra === undefined ? [] : [<div class="actions">{extra(target) as string}</div>]),
    ]);
  });
  return (
    <>
      <ul class="targets" id="targets">
        {snapshot.list("targets", items)}
      </ul>
      <ListNote list="targets" snapshot={snapshot}>
        {items.length === 0
          ? "No target is configured: events are only in the log and on this page."
          : ""}
      </ListNote>
    </>
  );
}

/** Whether the target needs attention. */
export function isInTrouble({ state, dead }: TargetView): boolean {
  return state === "failing" || state === "stopped" || (state === "gone" && dead > 0);
}

function Health({ target, snapshot }: { target: TargetView; snapshot: PageSnapshot }) {
  const { state, waiting, oldestAt, failures, reason, nextAttemptAt, dead, hub } = target;
  const why = <bdi>{truncate(sanitize(reason ?? "unknown reason"), REASON_MAX)}</bdi>;
  const letters = dead === 0 ? "" : ` ${counted(dead, "dead letter")}.`;
  const waits =
    waiting === 0 || oldestAt === null ? (
      ""
    ) : (
      <>
        {` ${counted(waiting, "event")} waiting for `}
        <Age ms={Date.parse(oldestAt)} snapshot={snapshot} as="for" />.
      </>
    );
  switch (state) {
    case "ok":
      return (
        <>
          {waiting === 0 ? "Delivers events." : "Sends events."}
          {hub === null || hub.last <= hub.confirmed
            ? ""
            : ` The hub has not confirmed ${counted(hub.last - hub.confirmed, "event")}.`}
          {waits}
          {letters}
        </>
      );
    case "failing":
      // An event that was refused does not wait any more.
      return waiting === 0 && hub === null ? (
        <>
          Refused the latest event: {why}.{letters}
        </>
      ) : (
        <>
          {counted(failures, "attempt")} failed, the latest: {why}. Next attempt{" "}
          {nextAttemptAt === null ? (
            "now"
          ) : (
            <>
              at <At ms={Date.parse(nextAttemptAt)} snapshot={snapshot} />
            </>
          )}
          .{waits}
          {letters}
        </>
      );
    case "stopped":
      return (
        <>
          The target no longer exists: {why}. Nothing is sent to it until the settings are reloaded.
          {letters}
        </>
      );
    case "gone":
      return (
        <>
          No longer in the settings.{waits}
          {letters}
        </>
      );
  }
}
