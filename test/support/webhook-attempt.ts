/**
 * Makes one delivery attempt to the URL in the first argument, and prints the verdict as JSON. A separate program,
 * because a process reads NODE_EXTRA_CA_CERTS at its start.
 */

import { systemClock } from "../../src/base/clock.ts";
import { json } from "../../src/channels/formats/json.ts";
import { createWebhook } from "../../src/channels/webhook.ts";
import { eventOf } from "../../src/events/event.ts";

const change = { type: "device.added", atMs: 0, device: "wg0", listenPort: 51820 } as const;
const event = eventOf(change, { id: `evt_${"a".repeat(32)}`, host: "gw1", name: null });
const webhook = createWebhook({
  url: process.argv[2]!,
  format: json,
  secrets: [],
  label: "webhook",
  version: "1.2.3",
  clock: systemClock,
});
const message = { id: event.id, events: [event] } as const;
console.log(JSON.stringify(await webhook.attempt(message, new AbortController().signal)));
process.exit();
