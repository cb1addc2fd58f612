/**
 * Gotify: title and message, a line for each event. Pure.
 * https://gotify.net/docs/pushmsg
 */

import type { Message } from "../../delivery/target.ts";
import type { Severity } from "../../events/event-schema.ts";
import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import { formatLines, severityOf, titleOf, truncateLines } from "./message-text.ts";
import { parameter, unknownParameters, withoutQuery } from "./url-query.ts";

/** UTF-16 units. Gotify itself has no limit; MySQL limits a text to 65,535 bytes. */
const MESSAGE_MAX = 16_000;

/** From priority 4 the app plays a sound. Without a priority it shows no notification at all. */
const PRIORITY = 5;

/** From priority 8 the phone also vibrates. */
const priorities: Readonly<Record<Severity, number>> = { critical: 8, warning: 6, info: PRIORITY };

export const gotify: NamedFormat = {
  docs: {
    url: "`https://push.example.net/message?token=<application token>`, also below a path; also `&priority=8` (without it 8 for critical alerts, 6 for warnings, 5 for others)",
    recognised: "by `/message` and the form of the token",
    arrives: "title and message; the token is sent as a header",
    limit: "16,000 characters",
  },
  publicParts: ["message"],
  // URLs of other services also end with /message and have a token, but not one with the form of Gotify's.
  matches: (url) =>
    url.pathname.endsWith("/message") &&
    /^(A[\w.-]{14,22}|gtfy_app\.[\w-]+)$/.test(parameter(url, "token") ?? ""),
  validateUrl(url) {
    if (!url.pathname.endsWith("/message")) return "does not end with /message?token=...";
    const token = parameter(url, "token");
    if (token === null) return "has no token: write .../message?token=...";
    // The token becomes a header.
    if (!/^[\w.-]+$/.test(token)) return "has a token that is not a Gotify application token";
    if (!/^(\d|10)$/.test(parameter(url, "priority") ?? "0")) {
      return "has a priority that is not a whole number from 0 to 10";
    }
    return unknownParameters(url, ["token", "priority"]);
  },
  request: (message, url) => ({
    url: withoutQuery(url),
    contentType: "application/json",
    headers: { "x-gotify-key": parameter(url, "token") ?? "" },
    body: jsonText({
      title: titleOf(message),
      message: truncateLines(formatLines(message), { max: MESSAGE_MAX }).join("\n"),
      priority: Number(parameter(url, "priority") ?? priorityOf(message)),
    }),
  }),
};

function priorityOf(message: Message): number {
  const severity = severityOf(message);
  return severity === null ? PRIORITY : priorities[severity];
}
