/** `wgmon alerts test`: runs rules over the past of the store, and prints what they would have sent. */

import { type AlertView, deviceOf, type Notice } from "../alerts/alert.ts";
import { replay } from "../alerts/replay.ts";
import type { Rule, RuleKind } from "../alerts/rule.ts";
import { suppressionText } from "../alerts/suppression-text.ts";
import { counted, firstOf, shortName } from "../base/text.ts";
import { visible } from "../base/visible.ts";
import type { AlertTestRequest } from "../config/command-requests.ts";
import type { Settings } from "../config/config.ts";
import { targetWords } from "../config/targets.ts";
import { matchesFilter } from "../events/event-filter.ts";
import { duration } from "../events/event.ts";
import { receives } from "../live-alerts/notice-event.ts";
import { periodOf } from "./history-query.ts";
import { type PastOptions, type PastStore, recordedPast } from "./recorded-past.ts";
import { json, localTime, type Output } from "./text.ts";

interface Options extends Output {
  readonly request: AlertTestRequest;
  readonly rules: readonly Rule[];
  readonly settings: Pick<Settings, "targets" | "peers">;
  readonly named: PastOptions["named"];
  /** Absent: the places of addresses are unknown, and rules of kind `place` never fire. */
  readonly lookup?: Parameters<typeof replay>[1]["lookup"];
  readonly nowMs: number;
}

/** Number of lines that are printed at once. */
const LINES = 500;
const TYPE_COLUMNS = 9;
/** Alerts that are named because they still fire at the end. */
const FIRING_MAX = 10;

/** What the store does not record, by kind of rule. */
const UNTESTABLE: Partial<Record<RuleKind, string>> = {
  "no-return-traffic": "the store has no counters of each scan",
  changed: "the store has no settings of peers",
  target: "the store has no failures of targets",
};

/** A notice, and the names of the targets that it would have been sent to. */
interface Tested {
  readonly notice: Notice;
  readonly targets: readonly string[];
}

/** @throws SystemError; ConfigError when the period ends before it begins. */
export function testAlerts(store: PastStore, options: Options): void {
  const { request, rules, nowMs, print, lookup } = options;
  const period = periodOf(request, nowMs, "alerts");
  const sinceMs = Date.parse(period.since!);
  // The last millisecond of the period: what happens at the time of --until no longer belongs to it, what happens now does.
  const lastMs = period.until === null ? nowMs : Date.parse(period.until) - 1;
  const summary = new Summary(sinceMs, period.until === null ? nowMs : lastMs + 1);
  const history = recordedPast(store, {
    rules,
    untilMs: lastMs + 1,
    named: options.named,
    onEvent: (atMs) => summary.addEvent(atMs),
  });
  const targetsOf = receivers(options.settings);
  const lineOf = request.json ? jsonOf : (tested: Tested) => textOf(tested, options);
  let lines: string[] = [];
  for (const notice of replay(history, { rules, untilMs: lastMs, ...(lookup && { lookup }) })) {
    summary.follow(notice);
    // The time before is replayed too, so that the state at the beginning of the period is known.
    if (notice.atMs < sinceMs) continue;
    summary.add(notice);
    lines.push(lineOf({ notice, targets: targetsOf(notice) }));
    if (lines.length < LINES) continue;
    if (!print(lines.join(""))) return;
    lines = [];
  }
  print(lines.join(""));
  if (!request.json) print(summary.text(options));
  // A program that reads the messages must not take no output for a failure.
  else if (summary.isEmpty) for (const line of summary.lines(options)) options.warn(line);
}

/** Returns a function that names the targets of a notice. */
function receivers({ targets, peers }: Options["settings"]): (notice: Notice) => string[] {
  const words = targetWords(targets);
  const candidates = targets.map(({ selection }, index) => ({
    key: words[index]!,
    accepts: (event: Parameters<typeof matchesFilter>[0]) => matchesFilter(event, selection),
  }));
  const muted = new Set<string>(peers.entries().flatMap(([key, { mute }]) => (mute ? [key] : [])));
  const isMute = (publicKey: string) => muted.has(publicKey);
  return (notice) =>
    candidates.filter((target) => receives(notice, target, isMute)).map(({ key }) => key);
}

function textOf({ notice, targets }: Tested, { paint }: Options): string {
  const { atMs, type, rule, sentence, heldBack } = notice;
  const word = heldBack === null ? type : "held back";
  const what = `${word.padEnd(TYPE_COLUMNS)} ${shortName(rule)}: ${sentence}`;
  const time = paint("dim", localTime(new Date(atMs).toISOString()));
  const text = visible(`${what} (${fateOf({ notice, targets })})`);
  return `${time} ${heldBack === null ? text : paint("dim", text)}\n`;
}

function fateOf({ notice: { type, heldBack, dryRun }, targets }: Tested): string {
  if (heldBack !== null) return `${type}; ${suppressionText(heldBack)}`;
  if (dryRun) return "not sent: dry_run";
  return targets.length === 0 ? "to no target" : `to ${targets.map(shortName).join(", ")}`;
}

function jsonOf({ notice, targets }: Tested): string {
  const { atMs, type, rule, kind, severity, device, sentence, heldBack, dryRun } = notice;
  const alerts = notice.alerts.map((alert) => ({
    device: deviceOf(alert.subject),
    publicKey: alert.subject.type === "peer" ? alert.subject.publicKey : null,
    name: alert.peer?.name ?? null,
    since: new Date(alert.sinceMs).toISOString(),
    sentence: alert.sentence,
  }));
  const at = new Date(atMs).toISOString();
  const reason =
    heldBack === null ? null : { type: heldBack.type, sentence: suppressionText(heldBack) };
  const fate = { heldBack: reason, dryRun, targets };
  const head = { at, type, rule, kind, severity, device, sentence, ...fate };
  return `${json({ ...head, alerts })}\n`;
}

/** `alice (wg0, down)` */
function labelOf({ subject, peer, rule }: AlertView): string {
  const name = shortName(rule);
  if (subject.type === "target") return `${shortName(subject.target)} (${name})`;
  if (subject.type === "device") return `${shortName(subject.device)} (${name})`;
  const who = shortName(peer?.name ?? subject.publicKey);
  return `${who} (${shortName(subject.device)}, ${name})`;
}

interface Counts {
  firing: number;
  reminder: number;
  resolved: number;
  heldBack: number;
}

class Summary {
  readonly #sinceMs: number;
  readonly #untilMs: number;
  readonly #byRule = new Map<string, Counts>();
  /** The alerts that fire, by id. */
  readonly #firing = new Map<string, AlertView>();
  #events = 0;
  #firstEventMs: number | null = null;

  constructor(sinceMs: number, untilMs: number) {
    this.#sinceMs = sinceMs;
    this.#untilMs = untilMs;
  }

  addEvent(atMs: number): void {
    this.#firstEventMs ??= atMs;
    if (atMs >= this.#sinceMs) this.#events++;
  }

  add({ rule, type, heldBack }: Notice): void {
    this.#of(rule)[heldBack === null ? type : "heldBack"]++;
  }

  /** Notes which alerts fire. */
  follow({ type, alerts }: Notice): void {
    for (const alert of alerts) {
      if (type === "resolved") this.#firing.delete(alert.id);
      else if (alert.resolves) this.#firing.set(alert.id, alert);
    }
  }

  /** Whether no message was printed. */
  get isEmpty(): boolean {
    return this.#byRule.size === 0;
  }

  text(options: Options): string {
    const { paint } = options;
    const lines = this.lines(options);
    return lines.map((line, index) => `${index === 0 ? paint("bold", line) : line}\n`).join("");
  }

  lines({ rules, lookup }: Options): string[] {
    const lines = [this.#headline(rules)];
    if (rules.length > 1) {
      lines.push(...rules.map(({ name }) => `  ${shortName(name)}: ${countsText(this.#of(name))}`));
    }
    const firing = [...this.#firing.values()];
    if (firing.length > 0) {
      const listed = firstOf(firing.map(labelOf), FIRING_MAX).join(", ");
      const verb = firing.length === 1 ? "still fires" : "still fire";
      lines.push(visible(`${counted(firing.length, "alert")} ${verb} at the end: ${listed}`));
    }
    for (const { name, kind } of rules) {
      const reason =
        kind === "place" && lookup === undefined
          ? "the setting places names no MMDB file"
          : UNTESTABLE[kind];
      if (reason !== undefined) {
        lines.push(`rule ${shortName(name)} (${kind}) cannot be tested on the past: ${reason}`);
      }
    }
    return lines;
  }

  #headline(rules: readonly Rule[]): string {
    const total = rules
      .map(({ name }) => this.#of(name))
      .reduce<Counts>((sum, each) => added(sum, each), newCounts());
    const first = this.#firstEventMs;
    // The first event of the store can be later than the beginning of the period.
    const isShort = first !== null && first > this.#sinceMs;
    const fromMs = isShort ? first : this.#sinceMs;
    const span = first === null ? "no events" : counted(this.#events, "event");
    const begin = isShort ? ", which is all that the store has" : "";
    return `${duration(this.#untilMs - fromMs)}${begin}: ${span}, ${counted(rules.length, "rule")}: ${countsText(total)}`;
  }

  #of(rule: string): Counts {
    const known = this.#byRule.get(rule);
    if (known !== undefined) return known;
    const counts = newCounts();
    this.#byRule.set(rule, counts);
    return counts;
  }
}

function newCounts(): Counts {
  return { firing: 0, reminder: 0, resolved: 0, heldBack: 0 };
}

function added(a: Counts, b: Counts): Counts {
  return {
    firing: a.firing + b.firing,
    reminder: a.reminder + b.reminder,
    resolved: a.resolved + b.resolved,
    heldBack: a.heldBack + b.heldBack,
  };
}

/** `12 messages (5 firing, 2 reminders, 5 resolved), 3 held back` */
function countsText({ firing, reminder, resolved, heldBack }: Counts): string {
  const sum = firing + reminder + resolved;
  const kinds = [
    [firing, `${firing} firing`],
    [reminder, counted(reminder, "reminder")],
    [resolved, `${resolved} resolved`],
  ] as const;
  const parts = kinds.filter(([count]) => count > 0).map(([, text]) => text);
  const details = parts.length === 0 ? "" : ` (${parts.join(", ")})`;
  return `${counted(sum, "message")}${details}, ${heldBack} held back`;
}
