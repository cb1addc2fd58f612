/**
 * The Apprise API, which forwards to over a hundred services: title and body, a line for each event. Pure.
 * https://github.com/caronc/apprise-api
 */

import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import {
  formatLines,
  type Look,
  lookOf,
  titleOf,
  truncateLines,
  withoutMentions,
} from "./message-text.ts";

/** UTF-16 units: the limit of Discord, the lowest of the usual services behind Apprise. */
const BODY_MAX = 2000;

const types: Readonly<Record<Look, string>> = {
  "peer.connected": "success",
  "peer.roamed": "info",
  "peer.disconnected": "warning",
  "handshake.unknown": "warning",
  "device.added": "info",
  "device.removed": "warning",
  "gateway.lost": "failure",
  "gateway.back": "success",
  "gateway.stopped": "info",
  "fleet.partition": "failure",
  "fleet.gap": "warning",
  "fleet.duplicate-name": "warning",
  critical: "failure",
  warning: "warning",
  info: "info",
  resolved: "success",
};

export const apprise: NamedFormat = {
  docs: {
    url: "`http://apprise:8000/notify/<key>` of the [Apprise API](https://github.com/caronc/apprise-api), which forwards to a hundred services",
    recognised: "`/notify/<key>` at port 8000, or at a host whose name begins with `apprise`",
    arrives: "title, body and type",
    limit: "2,000 characters",
  },
  publicParts: ["notify"],
  // Other receivers may also use /notify/...; only the usual port or host name identifies Apprise.
  matches: (url) =>
    isNotifyUrl(url) && (url.port === "8000" || /^apprise(-api)?(\.|$)/.test(url.hostname)),
  validateUrl: (url) => (isNotifyUrl(url) ? null : "does not end with /notify/<key>"),
  request(message, url) {
    const look = lookOf(message);
    const body = jsonText({
      title: titleOf(message, withoutMentions),
      body: truncateLines(formatLines(message, withoutMentions), { max: BODY_MAX }).join("\n"),
      type: look === null ? "info" : types[look],
      format: "text",
    });
    return { url: url.href, contentType: "application/json", body };
  },
  interpretResponse(status) {
    switch (status) {
      case 204:
        return { type: "drop", reason: "204: Apprise has no services configured under this key" };
      case 424:
        // Retries would send it for three days to the services that have accepted it.
        return {
          type: "drop",
          reason: "424: not all services accepted it, see the log of Apprise",
        };
      default:
        return null;
    }
  },
};

function isNotifyUrl({ pathname }: URL): boolean {
  return /\/notify\/[\w-]{1,128}\/?$/.test(pathname);
}
