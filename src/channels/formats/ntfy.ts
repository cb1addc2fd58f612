/**
 * ntfy, at ntfy.sh or self-hosted: title and message, a line for each event, with an emoji. Other parameters
 * in the URL's query (priority, click, auth ...) are passed on. Pure.
 * https://docs.ntfy.sh/publish/#publish-as-json
 */

import type { Event } from "../../events/event-schema.ts";
import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import { commonType, formatLines, titleOf, truncateLines } from "./message-text.ts";

/** The server turns longer messages into attachments; older servers do not accept longer JSON. */
const BODY_MAX_BYTES = 4096;

/** https://docs.ntfy.sh/emojis/ */
const tags: Readonly<Record<Event["type"], string>> = {
  "peer.connected": "green_circle",
  "peer.roamed": "large_blue_circle",
  "peer.disconnected": "red_circle",
  "handshake.unknown": "grey_question",
  "device.added": "electric_plug",
  "device.removed": "warning",
};

export const ntfy: NamedFormat = {
  docs: {
    url: "`https://ntfy.sh/<topic>`; protected: `https://name:password@...` or `https://:tk_...@...`; also `?priority=4` and other ntfy parameters",
    recognised: "`ntfy.sh`",
    arrives: "title, message and a tag that ntfy shows as an emoji",
    limit: "4,096 bytes",
  },
  matches: (url) => url.hostname === "ntfy.sh" && topicOf(url) !== null,
  validateUrl: (url) =>
    topicOf(url) === null
      ? "is not a server and one topic (letters, digits, - and _): write https://ntfy.sh/your-topic"
      : null,
  request(message, url) {
    const type = commonType(message);
    const head = {
      topic: topicOf(url),
      title: titleOf(message),
      ...(type === null ? {} : { tags: [tags[type]] }),
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

/** The topic is the whole path: an ntfy server cannot run below a path prefix. null: the path is not a topic. */
function topicOf({ pathname }: URL): string | null {
  return /^\/([-\w]{1,64})\/?$/.exec(pathname)?.[1] ?? null;
}
