/**
 * Text for people: events as lines of clean text, as many as a service accepts. Names of peers, devices and
 * hosts may contain anything; here they are shortened and kept on one line. Each format escapes markup and
 * mentions of its own service. Pure.
 */

import { sanitize, truncate } from "../../base/text.ts";
import { shortKey } from "../../base/wireguard.ts";
import type { Message } from "../../delivery/target.ts";
import type { Event } from "../../events/event-schema.ts";
import { describeEvent } from "../../events/event.ts";

/**
 * Longest name in a line, in UTF-16 units: the maximum in the settings, 64 characters of two units. This
 * keeps the longest line within the limit of every service, so only whole lines are left out.
 */
const NAME_MAX = 128;

/** Keeps a title within the limits even if each character is escaped. */
const HOST_MAX = 100;

/** Writes a name so that a service shows it as plain text. */
export type Escape = (text: string) => string;

/** One line for each event: `alice (wg0) connected from 198.51.100.7:51820`. */
export function formatLines(message: Message, escape: Escape = identity): string[] {
  return message.events.map((event) => describeEvent(event, (name) => escape(shortName(name))));
}

/**
 * One line for a terminal or the web page. Of a peer without a name it has only the short key, because the
 * whole key is easy to find there.
 */
export function describeShort(event: Event): string {
  return describeEvent(event, shortName, (key) => shortName(shortKey(key)));
}

/** As linesOf, for services whose messages have no title: `gw1: alice (wg0) connected ...`. */
export function linesWithHost(message: Message, escape: Escape = identity): string[] {
  return message.events.map((event) => {
    const text = describeEvent(event, (name) => escape(shortName(name)));
    return `${escape(shortHost(event.host))}: ${text}`;
  });
}

/** The title, which names the gateway for users with several: `WireGuard on gw1`. */
export function titleOf(message: Message, escape: Escape = identity): string {
  return `WireGuard on ${escape(shortHost(message.events[0].host))}`;
}

/** The type of all the events; null: they have several types. */
export function commonType({ events }: Message): Event["type"] | null {
  const [{ type }] = events;
  return events.every((event) => event.type === type) ? type : null;
}

export interface SizeLimit {
  /** The limit of the service, in the units of `sizeOf`. */
  readonly max: number;
  /** Absent: UTF-16 units. For services that count code points, this never counts too few. */
  readonly sizeOf?: (line: string) => number;
  /** The extra size of each line. Absent: 1, for the newline. */
  readonly perLine?: number;
}

/** The first lines that fit. If some do not fit, the last line says how many are missing. */
export function truncateLines(lines: readonly string[], room: SizeLimit): readonly string[] {
  const { max, sizeOf = units, perLine = 1 } = room;
  const ends: number[] = [];
  let size = 0;
  for (const line of lines) ends.push((size += sizeOf(line) + perLine));
  if (size <= max) return lines;
  const more = (kept: number): string => `... and ${lines.length - kept} more`;
  const longest = sizeOf(more(0)) + perLine;
  const kept = ends.findLastIndex((end) => end + longest <= max) + 1;
  return [...lines.slice(0, kept), more(kept)];
}

/** A name fit for a line; empty if it has no visible character. */
export function shortName(name: string): string {
  return truncate(sanitize(name), NAME_MAX);
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

/** Escapes Markdown within a line, for the dialects of Discord and Mattermost. */
export function escapeMarkdown(text: string): string {
  return text.replace(/[\\`*_~[\]|]/g, "\\$&");
}

function units(text: string): number {
  return text.length;
}

function identity(text: string): string {
  return text;
}
