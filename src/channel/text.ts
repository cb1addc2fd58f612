/**
 * What people read: events as lines of clean text, as many as a service takes. Names of peers, devices
 * and hosts may hold anything; here they become short and stay on their line. What a service would
 * take for markup or a mention its own format escapes. Pure.
 */

import type { Event } from "../contract.ts";
import { sentence } from "../event.ts";
import { shortKey } from "../wireguard.ts";
import type { Message } from "./channel.ts";

/**
 * Longest name in a line, in UTF-16 units: the longest that the settings take, 64 characters of two
 * units. So the longest line is short enough for each service, and only whole lines are ever cut.
 */
const NAME_MAX = 128;

/** So that a title is short enough, too, with each character escaped. */
const HOST_MAX = 100;

/** How a service's format writes a name so that it is nothing but text there. */
export type Escape = (text: string) => string;

/** One line for each event: `alice (wg0) connected from 198.51.100.7:51820`. */
export function linesOf(message: Message, escape: Escape = asItIs): string[] {
  return message.events.map((event) => sentence(event, (name) => escape(shortName(name))));
}

/** One line for a terminal or the page, where the whole key of a peer without a name is a step away. */
export function shortSentence(event: Event): string {
  return sentence(event, shortName, (key) => shortName(shortKey(key)));
}

/** The same for services whose messages have no title: `gw1: alice (wg0) connected ...`. */
export function linesWithHost(message: Message, escape: Escape = asItIs): string[] {
  return message.events.map((event) => {
    const text = sentence(event, (name) => escape(shortName(name)));
    return `${escape(shortHost(event.host))}: ${text}`;
  });
}

/** Which gateway it is, for those who have several: `WireGuard on gw1`. */
export function titleOf(message: Message, escape: Escape = asItIs): string {
  return `WireGuard on ${escape(shortHost(message.events[0].host))}`;
}

/** What all the events are; null: they are of several types. */
export function commonType({ events }: Message): Event["type"] | null {
  const [{ type }] = events;
  return events.every((event) => event.type === type) ? type : null;
}

export interface Room {
  /** How much the service takes, as `sizeOf` counts. */
  readonly max: number;
  /** Left out: UTF-16 units. Where a service counts code points, these are never more. */
  readonly sizeOf?: (line: string) => number;
  /** What a line costs besides. Left out: 1, for its end. */
  readonly perLine?: number;
}

/** The first lines, as many as there is room for; the last one then says how many are missing. */
export function fitting(lines: readonly string[], room: Room): readonly string[] {
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

/** A name as it may stand in a line; empty where nothing of it can be seen. */
export function shortName(name: string): string {
  return cut(clean(name), NAME_MAX);
}

function shortHost(host: string): string {
  return cut(clean(host), HOST_MAX);
}

/**
 * Text on one line, without what cannot be seen and what turns the direction of writing. What joins
 * characters (emoji, Persian) stays between them.
 */
export function clean(text: string): string {
  // Most names; the classes of Unicode take their time to compile.
  if (/^[!-~]+( [!-~]+)*$/.test(text)) return text;
  // The last pattern is tried only where a run begins: from each place in it, a long one takes seconds.
  return text
    .toWellFormed()
    .replace(
      /[[\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]--[\p{Join_Control}\p{Variation_Selector}]]/gv,
      "",
    )
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, " ")
    .replace(/^[ \p{Join_Control}\p{Variation_Selector}]+/u, "")
    .replace(/(?<![ \p{Join_Control}])[ \p{Join_Control}]+$/u, "");
}

let graphemes: Intl.Segmenter | undefined;

/** At most `max` UTF-16 units, with `...` as one character where something was cut off. */
export function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  // Made when the first long name comes: it takes a millisecond or two.
  graphemes ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  let end = 0;
  for (const { index, segment } of graphemes.segment(text)) {
    if (index + segment.length >= max) break;
    end = index + segment.length;
  }
  // A letter with a hundred accents is one grapheme.
  if (end === 0) end = max - 1;
  return `${text.slice(0, end).replace(/[\ud800-\udbff]$/, "")}\u2026`;
}

/**
 * Keeps `@everyone`, `@alice`, `<@1>`, `<!channel>` and `<users/all>` from calling people, by a space
 * of no width. The @ of a mail address stays as it is.
 */
export function withoutMentions(text: string): string {
  return text.replace(/<(?=[!#@]|users\/)|(?<![a-z0-9])@|@(?=everyone|here)/gi, "$&\u200b");
}

/** For the dialects of Markdown that Discord and Mattermost read, within a line. */
export function escapeMarkdown(text: string): string {
  return text.replace(/[\\`*_~[\]|]/g, "\\$&");
}

function units(text: string): number {
  return text.length;
}

function asItIs(text: string): string {
  return text;
}
