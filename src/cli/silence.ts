/** `wgmon silence`: lists, adds and ends silences, which hold back the messages of alerts. */

import { matcherOf } from "../alerts/selectors.ts";
import { parseMatcher } from "../alerts/silences.ts";
import { ConfigError, NotFound, SystemError } from "../base/errors.ts";
import { formatList, noSuch, quoteSafely } from "../base/redact.ts";
import { counted, shortName } from "../base/text.ts";
import { visible } from "../base/visible.ts";
import type { SilenceRequest } from "../config/command-requests.ts";
import { helpHint } from "../config/config.ts";
import type { AlertApiView, NewSilenceView, SilenceView } from "../http/alert-schemas.ts";
import type { DeviceView } from "../http/schemas.ts";
import { type ApiReader, type DaemonClient, DaemonNotRunning, NotFoundResponse } from "./client.ts";
import { listPeers, type Page, PAGE_SIZE, pagesOf, timeOf } from "./history-query.ts";
import { type Column, json, localTime, type Output, tableOf } from "./text.ts";

interface Options extends Output {
  readonly nowMs: number;
  /** Who runs the command. */
  readonly user: string;
}

type AddRequest = Extract<SilenceRequest, { action: "add" }>;
type ExpireRequest = Extract<SilenceRequest, { action: "expire" }>;

/** @throws SystemError */
export async function listSilences(
  api: ApiReader,
  { print, maxWidth, paint, ...options }: Output & { readonly json: boolean },
): Promise<void> {
  const { items } = await api.get<{ items: readonly SilenceView[] }>("/v1/silences");
  if (options.json) {
    print(items.map((silence) => `${json(silence)}\n`).join(""));
  } else if (items.length === 0) {
    print("no silences\n");
  } else {
    const table = tableOf(columns, items, { maxWidth, paint });
    const lines = [paint("dim", table.header), ...items.map(table.line)];
    print(lines.map((line) => `${line}\n`).join(""));
  }
}

const columns: readonly Column<SilenceView>[] = [
  { title: "ALERTS", cell: matchersText, priority: 0, shrinkTo: 20 },
  { title: "UNTIL", cell: ({ endsAt }) => localTime(endsAt), priority: 1 },
  { title: "COMMENT", cell: ({ comment }) => comment, priority: 3, shrinkTo: 20 },
  { title: "BY", cell: ({ createdBy }) => shortName(createdBy), priority: 4 },
  { title: "ID", cell: ({ id }) => id, priority: 2 },
];

/**
 * @throws SystemError when wgmon does not run, or refuses the silence.
 * @throws ConfigError when its end is not in the future.
 */
export async function addSilence(
  daemon: Pick<DaemonClient, "get" | "send">,
  request: AddRequest,
  { nowMs, user, print, warn }: Options,
): Promise<void> {
  const { matchers, comment } = request;
  const until = endOf(request, nowMs);
  const body: NewSilenceView = { matchers: [...matchers], until, comment, createdBy: user };
  const silence = await changing(daemon.send<SilenceView>("POST", "/v1/silences", body));
  if (request.json) {
    print(`${json(silence)}\n`);
    return;
  }
  for (const warning of await mismatches(daemon, matchers)) warn(warning);
  const held = await countHeld(daemon, silence);
  const now = held === 0 ? "" : `; it holds back ${counted(held, "alert")} now`;
  print(
    visible(`${silence.id}: ${matchersText(silence)} until ${localTime(silence.endsAt)}${now}`),
  );
  print(`\nwgmon silence expire ${silence.id} ends it earlier\n`);
}

/**
 * @throws SystemError when wgmon does not run.
 * @throws NotFound when there is no such silence.
 */
export async function expireSilence(
  daemon: Pick<DaemonClient, "get" | "send">,
  { id, ...request }: ExpireRequest,
  { print }: Options,
): Promise<void> {
  let silence: SilenceView;
  try {
    if (!/^[\w-]{1,64}$/.test(id)) throw new NotFoundResponse("expire", "no id");
    silence = await changing(daemon.send<SilenceView>("DELETE", `/v1/silences/${id}`, null));
  } catch (error) {
    if (!(error instanceof NotFoundResponse)) throw error;
    const { items } = await daemon.get<{ items: readonly SilenceView[] }>("/v1/silences");
    const ids = items.map((each) => each.id);
    throw new NotFound(
      noSuch({ flag: null, what: "silence", word: id }, ids),
      "wgmon silence list prints the silences that have not ended.",
    );
  }
  print(
    request.json
      ? `${json(silence)}\n`
      : `${visible(matchersText(silence))} is not silenced any more\n`,
  );
}

/** Only the running wgmon can change silences, because it holds them in memory. */
async function changing<Value>(request: Promise<Value>): Promise<Value> {
  try {
    return await request;
  } catch (error) {
    if (!(error instanceof DaemonNotRunning)) throw error;
    const hint = "start it with systemctl start wgmon; silences can be changed only while it runs";
    throw new SystemError("change silences", "wgmon is not running here", hint);
  }
}

function endOf({ end }: AddRequest, nowMs: number): string {
  if ("forMs" in end) return new Date(nowMs + end.forMs).toISOString();
  const until = timeOf(end.until, nowMs);
  if (Date.parse(until) > nowMs) return until;
  throw new ConfigError(
    [`--until: ${localTime(until)} is in the past; write --for 2h, or a later time with its date`],
    helpHint("silence"),
  );
}

/** How many alerts the silence holds back. */
async function countHeld(api: ApiReader, { id }: SilenceView): Promise<number> {
  let count = 0;
  const query = { state: "current", limit: `${PAGE_SIZE}` };
  for await (const { items } of pagesOf<Page<AlertApiView>>(api, "/v1/alerts", query)) {
    count += items.filter(({ heldBack }) => heldBack?.silence === id).length;
  }
  return count;
}

/** Warnings about matchers that match no peer or device now, probably because of a mistyped name. */
async function mismatches(api: ApiReader, texts: readonly string[]): Promise<string[]> {
  const wrong: string[] = [];
  for (const text of texts) {
    const matcher = parseMatcher(text);
    if (typeof matcher === "string") continue;
    const { field, pattern } = matcher;
    if (field !== "peer" && field !== "tag" && field !== "device") continue;
    const isMatch = matcherOf([pattern]);
    if (!(await hasMatch(api, field, isMatch))) {
      wrong.push(`no ${field} matches ${quoteSafely(pattern)} now; wgmon status lists the peers`);
    }
  }
  return wrong;
}

async function hasMatch(
  api: ApiReader,
  field: "peer" | "tag" | "device",
  isMatch: (text: string) => boolean,
): Promise<boolean> {
  if (field === "device") {
    const { items } = await api.get<{ items: readonly DeviceView[] }>("/v1/devices");
    return items.some(({ name }) => isMatch(name));
  }
  for await (const { name, publicKey, tags } of listPeers(api, {})) {
    const words = field === "tag" ? tags : [publicKey, ...(name === null ? [] : [name])];
    if (words.some(isMatch)) return true;
  }
  return false;
}

function matchersText({ matchers }: SilenceView): string {
  return formatList(matchers, "and");
}
