/** The page of one alert: why it fired, what was sent about it and to whom, what was held back and why. */

import type { AlertView } from "../alerts/alert.ts";
import { ruleText } from "../alerts/rule-text.ts";
import type { Rule } from "../alerts/rule.ts";
import type { Silence, SilenceMatcher } from "../alerts/silences.ts";
import { duration } from "../events/event.ts";
import type { NoticeApiView } from "../http/alert-schemas.ts";
import { viewNotices } from "../http/alert-view.ts";
import type { ReadModel } from "../http/read-model.ts";
import type { AlertRecord } from "../store/alert-rows.ts";
import { alertAddress, SubjectLink } from "./alert-list.tsx";
import { singleLine } from "./alert-text.ts";
import { Age, At, Card, Fact, ListNote, Name, None, Tags } from "./components.tsx";
import { address } from "./format.ts";
import type { PageContent } from "./page-content.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";
import { ALERTS_PATH, SilenceForm, SilenceList, TokenHint } from "./silences.tsx";

/** Maximum number of notices on the page; the API returns all. */
const NOTICES_MAX = 200;

interface Context {
  readonly source: ReadModel;
  readonly snapshot: PageSnapshot;
  readonly mayAct: boolean;
}

/** What the store and the engine know of an alert; the engine's values are newer. */
interface Known extends Omit<AlertRecord, "device" | "publicKey" | "peerName" | "target"> {
  readonly subject: AlertView["subject"];
  readonly peerName: string | null;
}

/** Returns null if there is no such alert. */
export function alert({ source, snapshot, mayAct }: Context, id: string): PageContent | null {
  const current = source.alerts.current().find((each) => each.id === id) ?? null;
  const known = knownOf(current, source.store.alerts.find(id));
  if (known === null) return null;
  const notices = viewNotices(source, id).slice(-NOTICES_MAX);
  const rule = source.alerts.rules().find(({ name }) => name === known.rule) ?? null;
  return {
    title: singleLine(known.sentence),
    body: (
      <>
        <p class="path">
          <a href={ALERTS_PATH}>Alerts</a>
        </p>
        {snapshot.part(
          "alert",
          <Head known={known} isDryRun={rule?.dryRun ?? false} snapshot={snapshot} />,
        )}
        <div class="columns">
          <div class="stack">
            <Card titleId="why-title" title="Why it fired">
              {snapshot.part(
                "why",
                <Facts known={known} tags={current?.peer?.tags ?? []} snapshot={snapshot} />,
              )}
            </Card>
            <Card titleId="sent-title" title="What was sent, and what was held back">
              <Notices notices={notices} snapshot={snapshot} />
            </Card>
          </div>
          <div class="stack">
            <Card titleId="rule-title" title="The rule now">
              {snapshot.part("rule", <RuleInWords rule={rule} />)}
            </Card>
            <Card titleId="silence-title" title="Silence">
              <SilenceList
                source={source}
                silences={silencesOf(current, source.alerts.silences())}
                snapshot={snapshot}
                next={mayAct ? alertAddress(id) : null}
                none="This alert is not silenced."
              />
              {mayAct ? <SilenceOfAlert id={id} known={known} /> : <TokenHint />}
            </Card>
          </div>
        </div>
      </>
    ),
  };
}

interface HeadProps {
  readonly known: Known;
  readonly isDryRun: boolean;
  readonly snapshot: PageSnapshot;
}

function Head({ known, isDryRun, snapshot }: HeadProps) {
  const { severity, sentence, firedAtMs, resolvedAtMs, resolves } = known;
  return (
    <div class="head" id="alert">
      <h1>
        <bdi>{singleLine(sentence)}</bdi>
      </h1>
      <p>
        <span class={`severity ${severity}`}>{severity}</span>{" "}
        {resolvedAtMs !== null ? (
          <>
            {"resolved "}
            <Age ms={resolvedAtMs} snapshot={snapshot} as="ago" />
          </>
        ) : resolves ? (
          <>
            {"firing for "}
            <Age ms={firedAtMs} snapshot={snapshot} as="for" />
          </>
        ) : (
          "reports a moment"
        )}
        {isDryRun ? ", recorded only (dry_run)" : null}
      </p>
    </div>
  );
}

function Facts({
  known,
  tags,
  snapshot,
}: {
  known: Known;
  tags: readonly string[];
  snapshot: PageSnapshot;
}) {
  const { rule, subject, peerName, sinceMs, firedAtMs, resolvedAtMs, resolves } = known;
  return (
    <dl id="why" class="facts">
      <Fact name="About">
        <SubjectLink subject={subject} name={peerName} />
        {subject.type === "peer" ? (
          <>
            {" ("}
            <Name text={subject.device} />
            {")"}
          </>
        ) : null}{" "}
        <Tags tags={tags} />
      </Fact>
      <Fact name="Rule">
        <a href={`${address(ALERTS_PATH, { rule })}#past`}>
          <Name text={rule} />
        </a>
      </Fact>
      <Fact name="Condition since">
        <At ms={sinceMs} snapshot={snapshot} />
      </Fact>
      <Fact name="Fired">
        <At ms={firedAtMs} snapshot={snapshot} />
      </Fact>
      <Fact name="Resolved">
        {resolvedAtMs !== null ? (
          <>
            <At ms={resolvedAtMs} snapshot={snapshot} />, after{" "}
            {duration(Math.max(0, resolvedAtMs - sinceMs))}
          </>
        ) : resolves ? (
          <None />
        ) : (
          "a moment is not resolved"
        )}
      </Fact>
    </dl>
  );
}

function Notices({
  notices,
  snapshot,
}: {
  notices: readonly NoticeApiView[];
  snapshot: PageSnapshot;
}) {
  return (
    <>
      <ol class="events full notices" id="notices">
        {snapshot.list(
          "notices",
          notices.map((notice, index) => noticeItem(notice, index, snapshot)),
        )}
      </ol>
      <ListNote list="notices" snapshot={snapshot}>
        {notices.length === 0
          ? "No message yet: alerts are collected for the wait of the rule."
          : ""}
      </ListNote>
    </>
  );
}

function RuleInWords({ rule }: { rule: Rule | null }) {
  const phrases = rule === null ? ["no longer in the settings"] : ruleText(rule);
  return (
    <ul id="rule" class="phrases">
      {phrases.map((each) => (
        <li>
          <bdi>{singleLine(each)}</bdi>
        </li>
      ))}
    </ul>
  );
}

function SilenceOfAlert({ id, known: { subject, rule } }: { id: string; known: Known }) {
  return (
    <SilenceForm
      matchers={matchersOf(subject, rule)}
      label={subject.type === "peer" ? "Silence this peer" : "Silence such alerts"}
      next={alertAddress(id)}
    />
  );
}

/** The silence that holds the alert back, if one does. */
function silencesOf(alert: AlertView | null, silences: readonly Silence[]): readonly Silence[] {
  const by = alert?.heldBack ?? null;
  return by?.type === "silence" ? silences.filter(({ id }) => id === by.id) : [];
}

function knownOf(current: AlertView | null, record: AlertRecord | null): Known | null {
  if (current !== null && current.firedAtMs !== null) {
    const peerName = current.peer?.name ?? record?.peerName ?? null;
    return { ...current, firedAtMs: current.firedAtMs, peerName };
  }
  if (record === null) return null;
  const { device, publicKey, target, ...rest } = record;
  const subject: AlertView["subject"] =
    target !== null
      ? { type: "target", target }
      : publicKey !== null
        ? { type: "peer", device: device ?? "", publicKey }
        : { type: "device", device: device ?? "" };
  return { ...rest, subject };
}

/** What a silence of the alert's subject compares. */
function matchersOf(subject: AlertView["subject"], rule: string): readonly SilenceMatcher[] {
  switch (subject.type) {
    case "peer":
      return [
        { field: "peer", pattern: subject.publicKey },
        { field: "device", pattern: subject.device },
      ];
    case "device":
      return [
        { field: "rule", pattern: rule },
        { field: "device", pattern: subject.device },
      ];
    case "target":
      return [
        { field: "rule", pattern: rule },
        { field: "target", pattern: subject.target },
      ];
  }
}

function noticeItem(notice: NoticeApiView, index: number, snapshot: PageSnapshot): Item {
  const { type, at, sentence, heldBack, dryRun, deliveries, alerts } = notice;
  const id = `n${index}`;
  const isSent = heldBack === null && !dryRun;
  const fate = heldBack !== null ? "Held back" : dryRun ? "Not sent" : "Sent";
  return item(id, <li id={id}></li>, [
    <span class={`sign ${!isSent ? "pending" : type === "resolved" ? "resolved" : "sent"}`}></span>,
    <span>
      <strong>{type === "reminder" ? `Reminder ${fate.toLowerCase()}` : fate}</strong>
      {": "}
      <bdi>{singleLine(sentence)}</bdi>
      <small class="sub">
        {heldBack !== null ? (
          <bdi>{singleLine(heldBack.sentence)}</bdi>
        ) : dryRun ? (
          "the rule has dry_run"
        ) : deliveries.length === 0 ? (
          "no target accepts it; it is only in the log and the store"
        ) : (
          deliveries.map((delivery, number) => (
            <>
              {number === 0 ? "to " : ", "}
              <Name text={delivery.target} />
              {` (${deliveryText[delivery.state]})`}
            </>
          ))
        )}
        {alerts.length > 1 ? `; one message for ${alerts.length} alerts` : null}
      </small>
    </span>,
    <At ms={Date.parse(at)} snapshot={snapshot} />,
  ]);
}

const deliveryText: Readonly<Record<NoticeApiView["deliveries"][number]["state"], string>> = {
  delivered: "delivered",
  waiting: "waits in the outbox",
  "dead-letter": "dead letter",
  unknown: "no longer in the settings",
};
