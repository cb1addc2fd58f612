/**
 * Pushover: title and message, a line for each event. Its parameters are in the URL's query. Pure.
 * https://pushover.net/api
 */

import type { NamedFormat } from "./format.ts";
import { formatLines, severityOf, titleOf, truncateLines } from "./message-text.ts";
import { membersOf } from "./response-body.ts";
import { parameter, unknownParameters, withoutQuery } from "./url-query.ts";

/** Characters. The title is limited to 250. */
const MESSAGE_MAX = 1024;

/** Ignores the quiet hours of the user. */
const HIGH = "1";
/** Repeated each `retry` seconds until the user confirms it. */
const REPEATED = "2";

const required = ["token", "user"];
const optional = ["device", "priority", "sound", "ttl", "retry", "expire"];

export const pushover: NamedFormat = {
  docs: {
    url: "`https://api.pushover.net/1/messages.json?token=<app>&user=<user>`; also `device`, `priority` (2: with `retry` and `expire`), `sound`, `ttl`",
    recognised: "yes",
    arrives:
      "title, message and the event's time; critical alerts with priority 1, or 2 with `retry` and `expire`, unless the URL has a priority",
    limit: "1,024 characters; 10,000 messages a month for free",
  },
  publicParts: ["messages.json"],
  matches: (url) => url.hostname === "api.pushover.net" && url.pathname === "/1/messages.json",
  validateUrl(url) {
    const missing = required.find((name) => parameter(url, name) === null);
    if (missing !== undefined) {
      return `has no ${missing}: write .../1/messages.json?token=...&user=..., in quotes`;
    }
    const priority = parameter(url, "priority");
    if (!/^(-?[012]|)$/.test(priority ?? "")) return "has a priority that is not -2, -1, 0, 1 or 2";
    if (priority === "2" && [parameter(url, "retry"), parameter(url, "expire")].includes(null)) {
      return "has priority 2 without retry and expire, which Pushover requires: add for example retry=60&expire=3600";
    }
    return unknownParameters(url, [...required, ...optional]);
  },
  request(message, url) {
    const seconds = Math.floor(Date.parse(message.events.at(-1)!.timestamp) / 1000);
    const body = new URLSearchParams({
      title: titleOf(message),
      message: truncateLines(formatLines(message), { max: MESSAGE_MAX }).join("\n"),
      timestamp: String(seconds),
    });
    for (const name of [...required, ...optional]) {
      const value = parameter(url, name);
      if (value !== null) body.set(name, value);
    }
    // The URL's priority, which the user chose for all events, takes precedence.
    if (severityOf(message) === "critical" && !body.has("priority")) {
      const isRepeated = body.has("retry") && body.has("expire");
      body.set("priority", isRepeated ? REPEATED : HIGH);
    }
    return {
      url: withoutQuery(url),
      contentType: "application/x-www-form-urlencoded",
      body: body.toString(),
    };
  },
  interpretResponse(status, body) {
    if (status !== 400) return null;
    const { token, user } = membersOf(body);
    const which =
      token === "invalid" ? "application token" : user === "invalid" ? "user or group key" : null;
    return which === null
      ? null
      : { type: "drop", reason: `400: Pushover does not know this ${which}` };
  },
};
