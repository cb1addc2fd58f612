/** The event as JSON, unchanged; several events as a digest (src/events/event-schema.ts). Pure. */

import type { Message } from "../../delivery/target.ts";
import type { Digest } from "../../events/event-schema.ts";
import type { NamedFormat } from "./format.ts";

/** Usual parts of the paths of receivers that wgmon does not know. */
export const USUAL_PARTS = [
  "api",
  "hooks",
  "webhook",
  "webhooks",
  "services",
  "notify",
  "message",
  "messages",
];

export const json: NamedFormat = {
  docs: {
    url: "any",
    recognised: "every URL that no other format matches",
    arrives: "the [event](events.md), signed; several events as a [digest](events.md#digests)",
    limit: "-",
  },
  publicParts: USUAL_PARTS,
  isSigned: true,
  request: (message, url) => ({
    url: url.href,
    contentType: "application/json",
    body: jsonText(message.events.length === 1 ? message.events[0] : digest(message)),
  }),
};

function digest({ id, events }: Message): Digest {
  const { version, timestamp, host } = events.at(-1)!;
  return { id, version, type: "digest", timestamp, host, data: { events: [...events] } };
}

/** JSON that strict parsers accept: a lone surrogate in a name becomes U+FFFD. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === "string" ? part.toWellFormed() : part,
  );
}
