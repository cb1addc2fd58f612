/**
 * Slack's incoming webhooks, and compatible services: plain text, a line for each event. Pure.
 * https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
 */

import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import { linesWithHost, truncateLines } from "./message-text.ts";

/** Characters. Slack splits longer texts at arbitrary positions. */
const TEXT_MAX = 4000;

/** The result and reason for each error, which is the whole response body. "stop": the webhook never works again. */
const errors: Readonly<Record<string, readonly ["drop" | "stop", string]>> = {
  no_service: ["stop", "the webhook was deleted or switched off in Slack"],
  no_active_hooks: ["stop", "the webhook was deleted or switched off in Slack"],
  no_team: ["stop", "the workspace no longer exists"],
  invalid_token: ["stop", "the webhook's token is not valid"],
  channel_is_archived: ["stop", "the channel is archived"],
  channel_not_found: ["drop", "the channel no longer exists, or the app is no longer in it"],
  action_prohibited: ["drop", "the workspace does not allow this webhook to post"],
};

export const slack: NamedFormat = {
  docs: {
    url: "`https://hooks.slack.com/services/...`",
    recognised: "yes",
    arrives: "text",
    limit: "4,000 characters",
  },
  publicParts: ["services"],
  matches: (url) => isSlack(url) && url.pathname.startsWith("/services/"),
  validateUrl(url) {
    if (!isSlack(url) || url.pathname.startsWith("/services/")) return null;
    return "is not a Slack incoming webhook: write https://hooks.slack.com/services/...";
  },
  request(message, url) {
    const text = truncateLines(linesWithHost(message, escape), { max: TEXT_MAX }).join("\n");
    // Slack cannot escape *bold* and `code`, but `mrkdwn: false` disables them.
    const body = jsonText({ text, mrkdwn: false, unfurl_links: false, unfurl_media: false });
    return { url: url.href, contentType: "application/json", body };
  },
  interpretResponse(status, body) {
    const error = body.trim();
    if (status < 400 || !Object.hasOwn(errors, error)) return null;
    const [type, reason] = errors[error]!;
    return { type, reason: `${status}: ${reason}` };
  },
};

function isSlack({ hostname }: URL): boolean {
  return hostname === "hooks.slack.com" || hostname === "hooks.slack-gov.com";
}

/** Escapes the characters that Slack requires. With its brackets escaped, `<!channel>` has no effect. */
function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
