/** Microsoft Teams: the requests, the URLs, and the answers of old connectors. */

import { expect } from "bun:test";

import { drop, parsed, retry, testFormat } from "../../support/format-suite.ts";

const tooMany = (status: string): string =>
  `Microsoft Teams endpoint returned HTTP error ${status} with ContextId`;

testFormat("teams", {
  url: "https://prod-01.westeurope.logic.azure.com:443/workflows/ab/triggers/manual/paths/invoke?sig=s3cret",
  isRecognised: true,
  alsoRecognised: [
    "https://example.webhook.office.com/webhookb2/a@b/IncomingWebhook/c/d",
    "https://default1.2.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/a/triggers/manual/paths/invoke?sig=b",
  ],
  notRecognised: ["https://example.logic.azure.com/api/events"],
  checkedUrls: [],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"critical: alice (wg0) is down: no data for 5m; check the peer and its network (rule offices)","color":"Attention"}]}]}}]}",
        "alert.resolved": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"resolved: alice (wg0) is back after 5m (rule offices)","color":"Good"}]}]}}]}",
        "alerts": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg0) connected from 198.51.100.7:40001"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"info: alice (wg0) is down: no data for 5m; check the peer and its network (rule phones)","color":"Accent"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"warning: 2 alerts of rule offices: bob & co (wg0) is down: no data for 5m; check the peer and its network; carol (wg0) is down: no data for 5m; check the peer and its network","color":"Warning"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"resolved: alice (wg0) is back after 5m (rule offices)","color":"Good"}]}]}}]}",
        "device.added": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"wg0 added, listening on port 51820"}]}]}}]}",
        "device.removed": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"wg0 removed"}]}]}}]}",
        "handshake.unknown": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"wg0: 3 handshakes from 198.51.100.0/24 that no peer completed; they know wg0's public key (wrong preshared key, or a peer that was removed?)"}]}]}}]}",
        "peer.connected": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg0) connected from 198.51.100.7:40001"}]}]}}]}",
        "peer.disconnected": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg0) disconnected after 4s"}]}]}}]}",
        "peer.roamed": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001"}]}]}}]}",
        "several": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg0) connected from 198.51.100.7:40001"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"bob & co (wg0) connected from 198.51.100.7:40001 already when wgmon started"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg_1) disconnected after 4s"}]}]}}]}",
        "to": "https://prod-01.westeurope.logic.azure.com/workflows/ab/triggers/manual/paths/invoke?sig=s3cret",
        "with": [
          "application/json",
        ],
      }
    `);
  },
  text: {
    read(body) {
      const [{ content }] = parsed(body).attachments as [{ content: { body: unknown[] } }];
      const texts = content.body.map((block) => {
        const { inlines } = block as { inlines: [{ text: string }] };
        expect(block).toMatchObject({ type: "RichTextBlock", inlines: [{ type: "TextRun" }] });
        return inlines[0].text;
      });
      return { title: texts[0]!, lines: texts.slice(1) };
    },
    bodyMax: 28_000,
  },
  responses: [
    [202, "", null],
    [200, "1", null],
    [200, tooMany("429"), retry("200, but the body reports 429", null)],
    [200, tooMany("503"), retry("200, but the body reports 503", null)],
    [200, tooMany("413"), drop("200, but the body reports 413: refused by Teams")],
    [429, tooMany("429"), null],
  ],
  refusals: [
    [
      {
        error: {
          code: "WorkflowTriggerIsNotEnabled",
          message:
            "Could not execute workflow trigger 'manual' with state 'Disabled': trigger is not enabled.",
        },
      },
      "Could not execute workflow trigger 'manual' with state 'Disabled': trigger is not enabled.",
    ],
    ["Summary or Text is required.", "Summary or Text is required."],
  ],
});
