/**
 * Microsoft Teams, by a workflow that posts the card that its webhook receives: an Adaptive Card, a line for
 * each event. Pure. https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/
 */

import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import { formatLines, titleOf, truncateLines } from "./message-text.ts";

/** Teams accepts a message of about 28 KB; a card without lines has less than 1 KB. */
const LINES_MAX_BYTES = 25_000;

export const teams: NamedFormat = {
  docs: {
    url: 'the URL of a workflow "post to a channel when a webhook request is received"',
    recognised: "`*.logic.azure.com`, `*.powerplatform.com`, `*.webhook.office.com`",
    arrives: "an Adaptive Card",
    limit: "28 KB",
  },
  publicParts: ["workflows", "triggers", "manual", "paths", "invoke"],
  matches({ hostname, pathname }) {
    if (hostname.endsWith(".webhook.office.com")) return pathname.startsWith("/webhook");
    const isAzure = /\.(logic\.azure\.com|powerplatform\.com)$/.test(hostname);
    return isAzure && /\/workflows\/[^/]+\/triggers\//.test(pathname);
  },
  request(message, url) {
    const sizeOf = (line: string): number => Buffer.byteLength(jsonText(block(line)));
    const lines = truncateLines(formatLines(message), { max: LINES_MAX_BYTES, sizeOf });
    const card = {
      $schema: "http://adaptivecards.io/schemas/adaptive-card.json",
      type: "AdaptiveCard",
      version: "1.4",
      body: [block(titleOf(message), "Bolder"), ...lines.map((line) => block(line))],
    };
    const contentType = "application/vnd.microsoft.card.adaptive";
    const body = jsonText({
      type: "message",
      attachments: [{ contentType, contentUrl: null, content: card }],
    });
    return { url: url.href, contentType: "application/json", body };
  },
  /**
   * Connectors, the predecessors of workflows, respond with status 200 even to an error; the body contains the real
   * status.
   */
  interpretResponse(status, body) {
    const [, realStatus] = /returned HTTP error (\d{3})/.exec(body) ?? [];
    if (status !== 200 || realStatus === undefined) return null;
    if (realStatus === "429" || realStatus.startsWith("5")) {
      return { type: "retry", reason: `200, but the body reports ${realStatus}`, afterMs: null };
    }
    return { type: "drop", reason: `200, but the body reports ${realStatus}: refused by Teams` };
  },
};

/** A RichTextBlock, which unlike a TextBlock does not interpret Markdown. */
function block(text: string, weight?: "Bolder"): object {
  const run = { type: "TextRun", text, ...(weight === undefined ? {} : { weight }) };
  return { type: "RichTextBlock", inlines: [run] };
}
