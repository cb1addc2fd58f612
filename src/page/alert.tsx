/** The page of one alert: why it fired, what was sent about it and to whom, what was held back and why. */

import type { AlertView } from "../alerts/alert.ts";
import { ruleText } from "../alerts/rule-text.ts";
import type { SilenceMatcher } from "../alerts/silences.ts";
import { duration } from "../events/event.ts";
import type { NoticeApiView } from "../http/alert-schemas.ts";
import { viewAlertDetail } from "../http/alert-view.ts";
import type { ReadModel } from "../http/read-model.ts";
import type { AlertRecord } from "../store/alert-rows.ts";
import { alertAddress, SubjectLink } from "./alert-list.tsx";
import { singleLine } from "./alert-text.ts";
import { Age, At, Card, Fact, Name, None, Tags } from "./components.tsx";
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
  const { rule: ruleName, severity, subject, sentence, sinceMs } = known;
  const { firedAtMs, resolvedAtMs, resolves } = known;
  const rule = source.alerts.rules().find(({ name }) => name === ruleName) ?? null;
  const isFiring = resolves && resolvedAtMs === null;
  const silences = source.alerts.silences();
  const by = current?.heldBy ?? null;
  const silence =
    by?.type === "silence" ? (silences.find(({ id: each }) => each === by.id) ?? null) : null;
  const notices = viewAlertDetail(source, id).notices.slice(-NOTICES_MAX);
  const matchers = matchersOf(subject, ruleName);
  return {
    title: singleLine(sentence),
    body: (
      <>
        <p class="path">
          <a href={ALERTS_PATH}>Alerts</a>
        </p>
        {snapshot.part(
          "alert",
          <div class="head" id="alert">
            <h1>
              <bdi>{singleLine(sentence)}</bdi>
            </h1>
            <p>
              <span class={`severity ${severity}`}>{severity}</span>{" "}
              {isFiring ? (
                <>
                  {"firing for "}
                  <Age ms={firedAtMs} snapshot={snapshot} as="for" />
                </>
              ) : resolvedAtMs === null ? (
                "reports a moment"
              ) : (
                <>
                  {"resolved "}
                  <Age ms={resolvedAtMs} snapshot={snapshot} as="ago" />
                </>
              )}
            </p>
          </div>,
        )}
        <div class="columns">
          <div class="stack">
            <Card titleId="why-title" title="Why it fired">
              {snapshot.part(
                "why",
                <dl id="why" class="facts">
                  <Fact name="About">
                    <SubjectLink subject={subject} name={known.peerName} />
                    {subject.type === "peer" ? (
                      <>
                        {" ("}
                        <Name text={subject.device} />
                        {")"}
                      </>
                    ) : null}{" "}
                    <Tags tags={current?.peer?.tags ?? []} />
                  </Fact>
                  <Fact name="Rule">
                    <a href={`${address(ALERTS_PATH, { rule: ruleName })}#past`}>
                      <Name text={ruleName} />
                    </a>
                  </Fact>
                  <Fact name="Condition since">
                    <At ms={sinceMs} snapshot={snapshot} />
                  </Fact>
                  <Fact name="Fired">
                    <At ms={firedAtMs} snapshot={snapshot} />
                  </Fact>
                  <Fact name="Resolved">
                    {resolvedAtMs === null ? (
                      resolves ? (
                        <None />
                      ) : (
                        "a moment is not resolved"
                      )
                    ) : (
                      <>
                        <At ms={resolvedAtMs} snapshot={snapshot} />, after{" "}
                        {duration(Math.max(0, resolvedAtMs - sinceMs))}
                      </>
                    )}
                  </Fact>
                </dl>,
              )}
            </Card>
            <Card titleId="sent-title" title="What was sent, and what was held back">
              <ol class="events full notices" id="notices">
                {snapshot.list(
                  "notices",
                  notices.map((notice, index) => noticeItem(notice, index, snapshot)),
                )}
              </ol>
              {snapshot.part(
                "notices-none",
                <p id="notices-none" class="empty">
                  {notices.length === 0
                    ? "No message yet: alerts are collected for the wait of the rule."
                    : ""}
                </p>,
              )}
            </Card>
          </div>
          <div class="stack">
            <Card titleId="rule-title" title="The rule now">
              {snapshot.part(
                "rule",
                <ul id="rule" class="phrases">
                  {(rule === null ? ["no longer in the settings"] : ruleText(rule)).map((each) => (
                    <li>
                      <bdi>{singleLine(each)}</bdi>
                    </li>
                  ))}
                </ul>,
              )}
            </Card>
            <Card titleId="silence-title" title="Silence">
              <SilenceList
                source={source}
                silences={silence === null ? [] : [silence]}
                snapshot={snapshot}
                next={mayAct ? alertAddress(id) : null}
                none="This alert is not silenced."
              />
              {!mayAct ? (
                <TokenHint />
              ) : (
                <SilenceForm
                  matchers={matchers}
                  label={subject.type === "peer" ? "Silence this peer" : "Silence such alerts"}
                  next={alertAddress(id)}
                />
              )}
            </Card>
          </div>
        </div>
      </>
    ),
  };
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
