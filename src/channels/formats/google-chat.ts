/**
 * Google Chat's incoming webhooks: text, a line for each event. Pure.
 * https://developers.google.com/workspace/chat/quickstart/webhooks
 */

import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import { linesWithHost, truncateLines } from "./message-text.ts";
import { parameter } from "./url-query.ts";

/** UTF-16 units. A message may have 32,000 bytes, but the former limit of a text was this. */
const TEXT_MAX = 4096;

export const googleChat: NamedFormat = {
  docs: {
    url: "`https://chat.googleapis.com/v1/spaces/...` with key and token",
    recognised: "yes",
    arrives: "text",
    limit: "4,096 characters",
  },
  publicParts: ["spaces", "messages"],
  matches: (url) => isGoogle(url) && /^\/v1\/spaces\/[^/]+\/messages$/.test(url.pathname),
  validateUrl(url) {
    if (!isGoogle(url)) return null;
    if (parameter(url, "key") !== null && parameter(url, "token") !== null) return null;
    return "has no key or no token: copy the whole URL that Google Chat shows, in quotes";
  },
  request: (message, url) => ({
    url: url.href,
    contentType: "application/json",
    body: jsonText({
      text: truncateLines(linesWithHost(message, escape), { max: TEXT_MAX }).join("\n"),
    }),
  }),
};

function isGoogle({ hostname }: URL): boolean {
  return hostname === "chat.googleapis.com";
}

const lookalikes: Readonly<Record<string, string>> = {
  "<": "\u2039",
  "*": "\u2217",
  "~": "\u223c",
  "`": "\u02cb",
  _: "\u02cd",
};

/**
 * `<users/all>`, *bold* and `code` cannot be escaped, so these characters are replaced by similar ones,
 * except an underscore within a word, which has no meaning.
 */
function escape(text: string): string {
  return text.replace(
    /[<*~`]|(?<![a-z0-9])_|_(?![a-z0-9])/gi,
    (character) => lookalikes[character]!,
  );
}
