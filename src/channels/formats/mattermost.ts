/**
 * Mattermost's incoming webhooks: text, a line for each event. Pure.
 * https://developers.mattermost.com/integrate/webhooks/incoming/
 */

import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import { escapeMarkdown, linesWithHost, truncateLines, withoutMentions } from "./message-text.ts";

/** Characters in one post. */
const TEXT_MAX = 16_383;

export const mattermost: NamedFormat = {
  docs: {
    url: "`https://chat.example.net/hooks/<key>`",
    recognised: "by `/hooks/` and a key of 26 letters and digits",
    arrives: "text",
    limit: "16,383 characters",
  },
  publicParts: ["hooks"],
  // Mattermost ids have 26 characters; no other service has such a path.
  matches: (url) => /\/hooks\/[a-z0-9]{26}$/.test(url.pathname),
  validateUrl: (url) =>
    /\/hooks\/[^/]+$/.test(url.pathname) ? null : "does not end with /hooks/<key>",
  request: (message, url) => ({
    url: url.href,
    contentType: "application/json",
    body: jsonText({
      text: truncateLines(linesWithHost(message, escape), { max: TEXT_MAX }).join("\n"),
    }),
  }),
};

function escape(text: string): string {
  return escapeMarkdown(withoutMentions(text));
}
