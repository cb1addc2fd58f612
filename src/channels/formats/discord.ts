/**
 * Discord's webhooks: one embed, a line for each event, in a colour for their type or severity. Pure.
 * https://discord.com/developers/docs/resources/webhook#execute-webhook, and its embed limits.
 */

import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import {
  escapeMarkdown,
  formatLines,
  type Look,
  lookOf,
  titleOf,
  truncateLines,
} from "./message-text.ts";
import { membersOf, retryAfter } from "./response-body.ts";

/** UTF-16 units in an embed's description. The title is limited to 256, all texts together to 6000. */
const DESCRIPTION_MAX = 4096;

const colours: Readonly<Record<Look, number>> = {
  "peer.connected": 0x2ecc71, // green
  "peer.roamed": 0x3498db, // blue
  "peer.disconnected": 0xe74c3c, // red
  "handshake.unknown": 0xf1c40f, // yellow
  "device.added": 0x95a5a6, // grey
  "device.removed": 0xe67e22, // orange
  "gateway.lost": 0xe74c3c, // red
  "gateway.back": 0x2ecc71, // green
  "gateway.stopped": 0x95a5a6, // grey
  "fleet.partition": 0xe74c3c, // red
  "fleet.gap": 0xe67e22, // orange
  "fleet.duplicate-name": 0xe67e22, // orange
  critical: 0xe74c3c, // red
  warning: 0xe67e22, // orange
  info: 0x3498db, // blue
  resolved: 0x2ecc71, // green
};

export const discord: NamedFormat = {
  docs: {
    url: "`https://discord.com/api/webhooks/<id>/<token>`, with `?thread_id=` for a thread",
    recognised: "yes",
    arrives:
      "an embed with title, time and a colour for the event type, or for the severity of an alert",
    limit: "4,096 characters",
  },
  publicParts: ["api", "webhooks"],
  matches: (url) => isDiscord(url) && url.pathname.startsWith("/api/"),
  validateUrl(url) {
    if (!isDiscord(url) || /^\/api(\/v\d+)?\/webhooks\/\d+\/[\w-]+\/?$/.test(url.pathname))
      return null;
    return "is not a Discord webhook: write https://discord.com/api/webhooks/<id>/<token>";
  },
  request(message, url) {
    const look = lookOf(message);
    const embed = {
      title: titleOf(message, escape),
      description: truncateLines(formatLines(message, escape), { max: DESCRIPTION_MAX }).join("\n"),
      ...(look === null ? {} : { color: colours[look] }),
      timestamp: message.events.at(-1)!.timestamp,
    };
    // Mentions in an embed do not notify users; allowed_mentions makes that explicit.
    const body = jsonText({ embeds: [embed], allowed_mentions: { parse: [] } });
    return { url: url.href, contentType: "application/json", body };
  },
  interpretResponse(status, body) {
    const { code, retry_after: seconds } = membersOf(body);
    if (status === 429) return retryAfter(seconds);
    // https://discord.com/developers/docs/topics/opcodes-and-status-codes#json
    switch (code) {
      case 10015:
      case 50027:
        return { type: "stop", reason: `${status}: the webhook was deleted in Discord` };
      case 220001:
        return {
          type: "drop",
          reason: `${status}: the channel is a forum, add thread_id=... to the URL's query`,
        };
      default:
        return null;
    }
  },
};

function isDiscord({ hostname }: URL): boolean {
  return /^((ptb|canary)\.)?discord(app)?\.com$/.test(hostname);
}

/** A name begins the line, so also escape headings, lists and quotations. */
function escape(text: string): string {
  return escapeMarkdown(text)
    .replace(/[<:@]/g, "\\$&")
    .replace(/^[#>+-]/, "\\$&")
    .replace(/^(\d+)\./, "$1\\.");
}
