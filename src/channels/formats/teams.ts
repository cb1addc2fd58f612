/**
 * Microsoft Teams, by a workflow that posts the card that its webhook receives: an Adaptive Card, a line for
 * each event. Pure. https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/
 */

import type { Event } from "../../events/event-schema.ts";
import { isAlert, type Signal, signalOf } from "../../events/event.ts";
import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import { formatLines, titleOf, truncateLines } from "./message-text.ts";

/** Teams accepts a message of about 28 KB; a card without lines has less than 1 KB. */
const LINES_MAX_BYTES = 25_000;

/** https://adaptivecards.io/explorer/TextRun.html */
const colours: Readonly<Record<Signal, string>> = {
  critical: "Attention", // red
  warning: "Warning", // yellow
  info: "Accent", // blue
  resolved: "Good", // green
};
/** Bytes of a colour, and of the comma after the block. */
const COLOUR_BYTES = ',"color":"Attention",'.length;

export const teams: NamedFormat = {
  docs: {
    url: 'the URL of a workflow "post to a channel when a webhook request is received"',
    recognised: "`*.logic.azure.com`, `*.powerplatform.com`, `*.webhook.office.com`",
    arrives: "an Adaptive Card; alerts in the colour of their severity",
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
    const all = formatLines(message);
    const perLine = message.events.some(isAlert) ? COLOUR_BYTES : 1;
    const lines = truncateLines(all, { max: LINES_MAX_BYTES, sizeOf, perLine });
    // The last line may be the number of the others.
    const blocks = lines.map((line, index) =>
      block(line, line === all[index] ? styleOf(message.events[index]!) : {}),
    );
    const card = {
      $schema: "http://adaptivecards.io/schemas/adaptive-card.json",
      type: "AdaptiveCard",
      version: "1.4",
      body: [block(titleOf(message), { weight: "Bolder" }), ...blocks],
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

function styleOf(event: Event): object {
  return isAlert(event) ? { color: colours[signalOf(event)] } : {};
}

/** A RichTextBlock, which unlike a TextBlock does not interpret Markdown. */
function block(text: string, style: object = {}): object {
  const run = { type: "TextRun", text, ...style };
  return { type: "RichTextBlock", inlines: [run] };
}
