/**
 * The text of messages: one line for each event, up to the size that the service accepts. Names of peers, devices and
 * hosts may contain any characters; this file shortens them and removes control characters. Each format escapes the
 * markup and the mentions of its service. Pure.
 */

import { sanitize, shortName, truncate } from "../../base/text.ts";
import { shortKey } from "../../base/wireguard.ts";
import type { Message } from "../../delivery/target.ts";
import type { AlertEvent, Event, Severity } from "../../events/event-schema.ts";
import { describeEvent, isAlert, type Signal, signalOf } from "../../events/event.ts";

/** UTF-16 units. A title is within the limit of every service even if each character is escaped. */
const HOST_MAX = 100;

/**
 * UTF-16 units of an alert's sentence, which contains names. So the line of one alert is within the limit of every
 * service, even if each character of a sentence is escaped as `&amp;`.
 */
const SENTENCE_MAX = 500;

/** Escapes a name, so that a service shows it as plain text. */
export type Escape = (text: string) => string;

/** One line for each event: `alice (wg0) connected from 198.51.100.7:51820`. */
export function formatLines(message: Message, escape: Escape = identity): string[] {
  return message.events.map((event) => lineOf(event, escape));
}

/** The line of one event. */
export function lineOf(event: Event, escape: Escape): string {
  return describeEvent(event, {
    name: (name) => escape(shortName(name)),
    key: escape,
    sentence: (sentence) => escape(truncate(sanitize(sentence), SENTENCE_MAX)),
  });
}

/**
 * One line for a terminal or the web page. A peer without a name is shown by its short key, because users of both
 * can look up the full key.
 */
export function describeShort(event: Event): string {
  return describeEvent(event, {
    name: shortName,
    key: (key) => shortName(shortKey(key)),
    sentence: sanitize,
  });
}

/**
 * As formatLines, for services whose messages have no title and no colour: `gw1: alice (wg0) connected ...`. Alerts begin
 * with a sign.
 */
export function linesWithHost(message: Message, escape: Escape = identity): string[] {
  return message.events.map((event) => {
    const sign = isAlert(event) ? `${signs[signalOf(event)]} ` : "";
    return `${sign}${escape(shortHost(event.host))}: ${lineOf(event, escape)}`;
  });
}

const signs: Readonly<Record<Signal, string>> = {
  critical: "\u{1f534}", // red circle
  warning: "\u{1f7e0}", // orange circle
  info: "\u{1f535}", // blue circle
  resolved: "\u2705", // check mark
};

/** `WireGuard on gw1`. The host distinguishes the gateways of a user who has several. */
export function titleOf(message: Message, escape: Escape = identity): string {
  return `WireGuard on ${escape(shortHost(message.events[0].host))}`;
}

/** What a message's colour, sign or type depends on: the type of an event, or what an alert signals. */
export type Look = Exclude<Event["type"], AlertEvent["type"]> | Signal;

/**
 * The look of a message: that of its most severe alert that fires, otherwise that of all its events. null: they have
 * different looks.
 */
export function lookOf(message: Message): Look | null {
  const severity = severityOf(message);
  if (severity !== null) return severity;
  const [look, ...rest] = new Set(message.events.map(eventLook));
  return rest.length === 0 ? look! : null;
}

/** The severity of the message's most severe alert that fires; null: it has none. */
export function severityOf({ events }: Message): Severity | null {
  const found = new Set(
    events.map((event) => (event.type === "alert.firing" ? event.data.severity : null)),
  );
  return (["critical", "warning", "info"] as const).find((each) => found.has(each)) ?? null;
}

function eventLook(event: Event): Look {
  return isAlert(event) ? signalOf(event) : event.type;
}

export interface SizeLimit {
  /** The limit of the service, in the units of `sizeOf`. */
  readonly max: number;
  /** Absent: the number of UTF-16 units, which is also an upper bound for services that count code points. */
  readonly sizeOf?: (line: string) => number;
  /** The extra size of each line. Absent: 1, for the newline. */
  readonly perLine?: number;
}

/** The first lines within the limit. If some are left out, the last line is `... and 3 more`. */
export function truncateLines(lines: readonly string[], limit: SizeLimit): readonly string[] {
  const { max, sizeOf = units, perLine = 1 } = limit;
  const ends: number[] = [];
  let size = 0;
  for (const line of lines) ends.push((size += sizeOf(line) + perLine));
  if (size <= max) return lines;
  const lastLine = (kept: number): string => `... and ${lines.length - kept} more`;
  const lastLineMax = sizeOf(lastLine(0)) + perLine;
  const kept = ends.findLastIndex((end) => end + lastLineMax <= max) + 1;
  return [...lines.slice(0, kept), lastLine(kept)];
}

function shortHost(host: string): string {
  return truncate(sanitize(host), HOST_MAX);
}

/**
 * Disables `@everyone`, `@alice`, `<@1>`, `<!channel>` and `<users/all>` with a zero-width space. The @ of a
 * mail address is not changed.
 */
export function withoutMentions(text: string): string {
  return text.replace(/<(?=[!#@]|users\/)|(?<![a-z0-9])@|@(?=everyone|here)/gi, "$&\u200b");
}

/** Escapes the inline markup of Markdown, for the dialects of Discord and Mattermost. */
export function escapeMarkdown(text: string): string {
  return text.replace(/[\\`*_~[\]|]/g, "\\$&");
}

function units(text: string): number {
  return text.length;
}

function identity(text: string): string {
  return text;
}
