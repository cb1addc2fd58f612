/**
 * A form with the single field `content`: what the Go program of the same name posts, byte for byte, so that
 * its receivers still work. Pure.
 */

import { shortName } from "../../base/text.ts";
import type { Event } from "../../events/event-schema.ts";
import type { NamedFormat } from "./format.ts";
import { USUAL_PARTS } from "./json.ts";
import { lineOf, truncateLines, withoutMentions } from "./message-text.ts";

/** UTF-16 units: Discord's limit for this field. Unlike JSON, a form cannot disable mentions in Discord. */
const CONTENT_MAX = 2000;

export const form: NamedFormat = {
  docs: {
    url: "any",
    recognised: "no",
    arrives:
      "the field `content`, as [the Go program](from-the-go-program.md) sends it; other events as one sentence",
    limit: "2,000 characters",
  },
  publicParts: USUAL_PARTS,
  request(message, url) {
    const content = truncateLines(message.events.map(contentOf), { max: CONTENT_MAX }).join("\n");
    return {
      url: url.href,
      contentType: "application/x-www-form-urlencoded",
      body: `content=${queryEscape(content)}`,
    };
  },
};

/** The Go program has lines only for "opened" and "closed"; for other events, the line is that of the other formats. */
function contentOf(event: Event): string {
  switch (event.type) {
    case "peer.connected":
      return connection(event.data, "opened");
    case "peer.disconnected":
      return connection(event.data, "closed");
    case "peer.roamed":
    case "handshake.unknown":
    case "device.added":
    case "device.removed":
    case "alert.firing":
    case "alert.resolved":
    case "gateway.lost":
    case "gateway.back":
    case "gateway.stopped":
    case "fleet.partition":
    case "fleet.gap":
    case "fleet.duplicate-name":
      return lineOf(event, withoutMentions);
  }
}

interface Connection {
  readonly device: string;
  readonly peer: { readonly publicKey: string; readonly endpoint: string | null };
}

function connection({ device, peer }: Connection, state: "opened" | "closed"): string {
  // Go prints a nil *net.UDPAddr like this.
  const endpoint = peer.endpoint ?? "<nil>";
  return `Connection ${shortName(device)}:${peer.publicKey} on endpoint ${endpoint} is ${state}`;
}

/**
 * Go's url.QueryEscape, which url.Values.Encode uses: only letters, digits and `-_.~` stay, and a space
 * becomes `+` (net/url/url.go, shouldEscape). encodeURIComponent leaves five more characters unchanged.
 */
function queryEscape(text: string): string {
  return encodeURIComponent(text)
    .replaceAll("%20", "+")
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
