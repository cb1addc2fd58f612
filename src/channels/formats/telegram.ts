/**
 * Telegram, by a bot: plain text, a line for each event. The recipient is in the URL's query. Pure.
 * https://core.telegram.org/bots/api#sendmessage
 */

import type { NamedFormat } from "./format.ts";
import { jsonText } from "./json.ts";
import { linesWithHost, truncateLines, withoutMentions } from "./message-text.ts";
import { asObject, membersOf, retryAfter } from "./response-body.ts";
import { parameter, unknownParameters, withoutQuery } from "./url-query.ts";

/** UTF-16 units. */
const TEXT_MAX = 4096;

export const telegram: NamedFormat = {
  docs: {
    url: "`https://api.telegram.org/bot<token>/sendMessage?chat_id=<id>`; also `&message_thread_id=`, `&disable_notification=true`",
    recognised: "yes",
    arrives: "text",
    limit: "4,096 characters",
  },
  publicParts: ["sendMessage"],
  matches: (url) => url.hostname === "api.telegram.org" && url.pathname.startsWith("/bot"),
  validateUrl(url) {
    if (!/\/bot[^/]+\/sendMessage$/.test(url.pathname)) {
      return "does not end with /bot<token>/sendMessage?chat_id=123";
    }
    const chat = parameter(url, "chat_id");
    if (chat === null) return "has no chat_id: write .../sendMessage?chat_id=123";
    if (!/^(-?\d+|@\w+)$/.test(chat)) return "has a chat_id that is neither a number nor @channel";
    if (!/^\d*$/.test(parameter(url, "message_thread_id") ?? "")) {
      return "has a message_thread_id that is not a number";
    }
    return unknownParameters(url, ["chat_id", "message_thread_id", "disable_notification"]);
  },
  request(message, url) {
    const thread = parameter(url, "message_thread_id");
    const silent = parameter(url, "disable_notification");
    const body = jsonText({
      chat_id: parameter(url, "chat_id"),
      ...(thread === null ? {} : { message_thread_id: Number(thread) }),
      ...(silent === null ? {} : { disable_notification: /^(1|true)$/i.test(silent) }),
      // Without a parse_mode there is no markup, so no escaping is needed.
      text: truncateLines(linesWithHost(message, withoutMentions), { max: TEXT_MAX }).join("\n"),
      link_preview_options: { is_disabled: true },
    });
    return { url: withoutQuery(url), contentType: "application/json", body };
  },
  interpretResponse(status, body) {
    const { description, parameters } = membersOf(body);
    const { retry_after: seconds, migrate_to_chat_id: migrated } = asObject(parameters);
    const drop = (cause: string) => ({ type: "drop", reason: `${status}: ${cause}` }) as const;
    switch (status) {
      case 429:
        return retryAfter(seconds);
      case 400:
        if (Number.isSafeInteger(migrated)) {
          return drop(`the group has become a supergroup, write chat_id=${String(migrated)}`);
        }
        if (/chat not found/.test(String(description))) {
          return drop("no such chat, check chat_id and that the bot is a member");
        }
        if (/thread not found/.test(String(description))) {
          return drop("no such topic, check message_thread_id");
        }
        return null;
      case 403:
        return drop("the bot is not allowed to write to this chat");
      case 401:
      case 404:
        return drop("no such bot, check the token in the URL");
      default:
        return null;
    }
  },
};
