/** `wgmon alerts explain`: why an alert fired, which messages were sent to whom, and what held others back. */

import { NotFound } from "../base/errors.ts";
import { noSuch } from "../base/redact.ts";
import { shortName } from "../base/text.ts";
import { visible } from "../base/visible.ts";
import type { AlertExplainRequest } from "../config/command-requests.ts";
import type { AlertApiView, AlertDetailView, NoticeApiView } from "../http/alert-schemas.ts";
import { type ApiReader, NotFoundResponse } from "./client.ts";
import type { Page } from "./history-query.ts";
import { json, localTime, type Output, peerName, since } from "./text.ts";

interface Options extends Output {
  readonly request: AlertExplainRequest;
  readonly nowMs: number;
}

/** Width of the terms before the values. */
const TERM_COLUMNS = 12;
/** Width of the kinds of messages. */
const TYPE_COLUMNS = 10;

/**
 * @throws SystemError
 * @throws NotFound when there is no such alert.
 */
export async function explainAlert(api: ApiReader, options: Options): Promise<void> {
  const { request, print } = options;
  // A pending alert has no id.
  const isId = /^[\w-]{1,64}$/.test(request.id);
  const detail = isId ? await detailOf(api, request.id) : null;
  if (detail === null) {
    const { items } = await api.get<Page<AlertApiView>>("/v1/alerts?limit=1000");
    const ids = items.flatMap(({ id }) => id ?? []);
    throw new NotFound(
      noSuch({ flag: null, what: "alert", word: request.id }, ids),
      "wgmon alerts lists the ids; with --since also those of alerts that are over.",
    );
  }
  print(request.json ? `${json(detail)}\n` : textOf(detail, options));
}

/** null: there is no such alert. */
async function detailOf(api: ApiReader, id: string): Promise<AlertDetailView | null> {
  try {
    return await api.get<AlertDetailView>(`/v1/alerts/${id}`);
  } catch (error) {
    if (error instanceof NotFoundResponse) return null;
    throw error;
  }
}

function textOf(alert: AlertDetailView, { paint, nowMs }: Options): string {
  const { id, rule, kind, severity, device, peer, target, sentence, ruleText, notices } = alert;
  const facts: readonly (readonly [term: string, value: string | null])[] = [
    ["rule", `${shortName(rule)} (${kind}, ${severity})`],
    ["", ruleText.length === 0 ? "this rule is no longer in the settings" : null],
    ...ruleText.map((phrase) => ["", phrase] as const),
    ["peer", peer === null ? null : peerName(peer)],
    ["key", peer?.publicKey ?? null],
    ["device", device === null ? null : shortName(device)],
    ["target", target === null ? null : shortName(target)],
    ["state", stateText(alert)],
    ["since", timeText(alert.since, nowMs)],
    ["fired", timeText(alert.firedAt, nowMs)],
    ["resolved", alert.moment ? null : timeText(alert.resolvedAt, nowMs)],
  ];
  const lines = [
    paint("bold", visible(`${id}: ${sentence}`)),
    ...facts.flatMap(([term, value]) =>
      value === null ? [] : [`${paint("dim", term.padEnd(TERM_COLUMNS))}${visible(value)}`],
    ),
    "",
    ...(notices.length === 0
      ? ["no message yet: alerts are collected for the wait of the rule"]
      : ["messages:", ...notices.flatMap((notice) => noticeLines(notice, sentence))]),
  ];
  return lines.map((line) => `${line}\n`).join("");
}

function stateText({ state, heldBack, moment }: AlertDetailView): string {
  if (moment) return "over, because it is a single moment";
  return heldBack === null ? state : `${state}; held back: ${heldBack.sentence}`;
}

function timeText(time: string | null, nowMs: number): string | null {
  return time === null ? null : `${localTime(time)} (${since(time, nowMs)} ago)`;
}

/** When, what, and the fate of the message; then its sentence if it is not that of the alert. */
function noticeLines(notice: NoticeApiView, sentence: string): string[] {
  const { type, at, alerts } = notice;
  const more = alerts.length > 1 ? ` (${alerts.length} alerts in one message)` : "";
  const head = `${localTime(at)}  ${type.padEnd(TYPE_COLUMNS)}${fateOf(notice)}${more}`;
  const lines = notice.sentence === sentence ? [head] : [head, `  ${notice.sentence}`];
  return lines.map((line) => `  ${visible(line)}`);
}

function fateOf({ heldBack, dryRun, event, deliveries }: NoticeApiView): string {
  if (heldBack !== null) return `held back: ${heldBack.sentence}`;
  if (dryRun) return "not sent, because the rule has dry_run";
  if (event === null) return "not sent";
  if (deliveries.length === 0) return "only in the log and the store: no target accepts it";
  const states = deliveries.map(({ target, state, reason }) => {
    const why = reason === null ? "" : ` (${reason})`;
    return `${target} ${stateWords[state]}${why}`;
  });
  return `sent: ${states.join(", ")}`;
}

const stateWords: Readonly<Record<NoticeApiView["deliveries"][number]["state"], string>> = {
  delivered: "delivered",
  waiting: "waiting",
  "dead-letter": "dead letter",
  unknown: "(no longer in the settings)",
};
