/**
 * The text of messages: one line for each event, up to the size that the service accepts. Names of peers, devices and
 * hosts may contain any characters; this file shortens them and removes control characters. Each format escapes the
 * markup and the mentions of its service. Pure.
 */

import { sanitize, shortName, truncate } from "../../base/text.ts";
import { shortKey } from "../../base/wireguard.ts";
import type { Message } from "../../delivery/target.ts";
import type { Event } from "../../events/event-schema.ts";
import { describeEvent } from "../../events/event.ts";

/** UTF-16 units. A title is within the limit of every service even if each character is escaped. */
const HOST_MAX = 100;

/** Escapes a name, so that a service shows it as plain text. */
export type Escape = (text: string) => string;

/** One line for each event: `alice (wg0) connected from 198.51.100.7:51820`. */
export function formatLines(message: Message, escape: Escape = identity): string[] {
  return message.events.map((event) => describeEvent(event, (name) => escape(shortName(name))));
}

/**
 * One line for a terminal or the web page. A peer without a name is shown by its short key, because users of both
 * can look up the full key.
 */
export function describeShort(event: Event): string {
  return describeEvent(event, shortName, (key) => shortName(shortKey(key)));
}

/** As formatLines, for services whose messages have no title: `gw1: alice (wg0) connected ...`. */
export function linesWithHost(message: Message, escape: Escape = identity): string[] {
  return message.events.map((event) => {
    const text = describeEvent(event, (name) => escape(shortName(name)));
    return `${escape(shortHost(event.host))}: ${text}`;
  });
}

/** `WireGuard on gw1`. The host distinguishes the gateways of a user who has several. */
export function titleOf(message: Message, escape: Escape = identity): string {
  return `WireGuard on ${escape(shortHost(message.events[0].host))}`;
}

/** The type that all events of the message have; null: they have different types. */
export function commonType({ events }: Message): Event["type"] | null {
  const [{ type }] = events;
  return events.every((event) => event.type === type) ? type : null;
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
