/** All formats by their names in the settings, and the format that `auto` selects for a URL. */

import { apprise } from "./apprise.ts";
import { discord } from "./discord.ts";
import { form } from "./form.ts";
import type { NamedFormat } from "./format.ts";
import { googleChat } from "./google-chat.ts";
import { gotify } from "./gotify.ts";
import { json } from "./json.ts";
import { mattermost } from "./mattermost.ts";
import { ntfy } from "./ntfy.ts";
import { pushover } from "./pushover.ts";
import { slack } from "./slack.ts";
import { teams } from "./teams.ts";
import { telegram } from "./telegram.ts";

/** There is also `template`, which is made from a file: template.ts. */
export const formats = {
  json,
  form,
  discord,
  slack,
  teams,
  telegram,
  ntfy,
  gotify,
  mattermost,
  "google-chat": googleChat,
  pushover,
  apprise,
} satisfies Record<string, NamedFormat>;

export type FormatName = keyof typeof formats;

/** The format that `auto` selects: that of the service at this URL, otherwise json. */
export function formatFor(url: URL): FormatName {
  const names = Object.keys(formats) as FormatName[];
  return names.find((name) => formats[name].matches?.(url)) ?? "json";
}
