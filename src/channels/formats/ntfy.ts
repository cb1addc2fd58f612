/**
 * ntfy, at ntfy.sh or self-hosted: title and message, a line for each event, with an emoji, and for
 * alerts with a priority. Parameters in the URL's query (priority, click, auth ...) are passed on. Pure.
 * https://docs.ntfy.sh/publish/#publish-as-json
 */

import type { Message } from "../../delivery/target.ts";
import type { Severity } from "../../events/event-schema.ts";
import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import {
  formatLines,
  type Look,
  lookOf,
  severityOf,
  titleOf,
  truncateLines,
} from "./message-text.ts";

/** The server turns longer messages into attachments; older servers do not accept longer JSON. */
const BODY_MAX_BYTES = 4096;

/** https://docs.ntfy.sh/emojis/ */
const tags: Readonly<Record<Look, string>> = {
  "peer.connected": "green_circle",
  "peer.roamed": "large_blue_circle",
  "peer.disconnected": "red_circle",
  "handshake.unknown": "grey_question",
  "device.added": "electric_plug",
  "device.removed": "warning",
  "gateway.lost": "warning",
  "gateway.back": "green_circle",
  "gateway.stopped": "octagonal_sign",
  "fleet.partition": "rotating_light",
  "fleet.gap": "warning",
  "fleet.duplicate-name": "warning",
  critical: "rotating_light",
  warning: "warning",
  info: "information_source",
  resolved: "white_check_mark",
};

/** https://docs.ntfy.sh/publish/#message-priority: 5 is the most urgent, 3 the default. */
const priorities: Readonly<Record<Severity, number | null>> = {
  critical: 5,
  warning: 4,
  info: null,
};

/** The server reads a priority in the query by any of these names, but one in the JSON takes precedence. */
const priorityParameters = ["priority", "prio", "p", "x-priority"];

export const ntfy: NamedFormat = {
  docs: {
    url: "`https://ntfy.sh/<topic>`; protected: `https://name:password@...` or `https://:tk_...@...`; also `?priority=4` and other ntfy parameters",
    recognised: "`ntfy.sh`",
    arrives:
      "title, message and a tag that ntfy shows as an emoji; critical alerts with priority 5, warnings with 4, unless the URL has a priority",
    limit: "4,096 bytes",
  },
  matches: (url) => url.hostname === "ntfy.sh" && topicOf(url) !== null,
  validateUrl: (url) =>
    topicOf(url) === null
      ? "is not a server and one topic (letters, digits, - and _): write https://ntfy.sh/your-topic"
      : null,
  request(message, url) {
    const look = lookOf(message);
    const priority = priorityOf(message, url);
    const head = {
      topic: topicOf(url),
      title: titleOf(message),
      ...(look === null ? {} : { tags: [tags[look]] }),
      ...(priority === null ? {} : { priority }),
    };
    const sizeOf = (text: string): number => Buffer.byteLength(jsonText(text)) - 2;
    const max = BODY_MAX_BYTES - Buffer.byteLength(jsonText({ ...head, message: "" }));
    // In JSON, a newline is two bytes: \n.
    const text = truncateLines(formatLines(message), { max, sizeOf, perLine: 2 }).join("\n");
    // The server accepts JSON only at its root. Keep the user name, the password and the query, which may have auth.
    const root = new URL(url);
    root.pathname = "/";
    root.hash = "";
    const body = jsonText({ ...head, message: text });
    return { url: root.href, contentType: "application/json", body };
  },
};

/** null: the priority of the URL, which the user chose for all events, or the server's default. */
function priorityOf(message: Message, { searchParams }: URL): number | null {
  const severity = severityOf(message);
  if (severity === null || priorityParameters.some((name) => searchParams.has(name))) return null;
  return priorities[severity];
}

/** The topic is the whole path: an ntfy server cannot run below a path prefix. null: the path is not a topic. */
function topicOf({ pathname }: URL): string | null {
  return /^\/([-\w]{1,64})\/?$/.exec(pathname)?.[1] ?? null;
}
