/**
 * The Apprise API, which passes on to over a hundred services: title and body, a line for each event.
 * Pure. https://github.com/caronc/apprise-api
 */

import type { Event } from "../contract.ts";
import type { Format } from "./format.ts";
import { jsonText } from "./json.ts";
import { commonType, fitting, linesOf, titleOf, withoutMentions } from "./text.ts";

/** UTF-16 units: what the tightest of the usual services behind it takes, which is Discord. */
const BODY_MAX = 2000;

const types: Readonly<Record<Event["type"], string>> = {
  "peer.connected": "success",
  "peer.roamed": "info",
  "peer.disconnected": "warning",
  "handshake.unknown": "warning",
  "device.added": "info",
  "device.removed": "warning",
};

export const apprise: Format = {
  // Anybody's receiver may be at /notify/something: only its usual port or name tells Apprise.
  fits: (url) =>
    isNotify(url) && (url.port === "8000" || /^apprise(-api)?(\.|$)/.test(url.hostname)),
  problem: (url) => (isNotify(url) ? null : "does not end with /notify/<key>"),
  request(message, url) {
    const type = commonType(message);
    const body = jsonText({
      title: titleOf(message, withoutMentions),
      body: fitting(linesOf(message, withoutMentions), { max: BODY_MAX }).join("\n"),
      type: type === null ? "info" : types[type],
      format: "text",
    });
    return { url: url.href, contentType: "application/json", body };
  },
  judge(status) {
    switch (status) {
      case 204:
        return { type: "drop", reason: "204: Apprise has nothing configured under this key" };
      case 424:
        // Another attempt would repeat it at those who took it, for three days.
        return { type: "drop", reason: "424: not all services took it, see the log of Apprise" };
      default:
        return null;
    }
  },
};

function isNotify({ pathname }: URL): boolean {
  return /\/notify\/[\w-]{1,128}\/?$/.test(pathname);
}
