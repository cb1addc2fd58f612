/** Shell completion of names that only the running wgmon knows: of rules, alerts and silences. */

import { SystemError } from "../base/errors.ts";
import { visible } from "../base/visible.ts";
import type { AlertApiView, RuleView, SilenceView } from "../http/alert-schemas.ts";
import type { GatewayView } from "../http/schemas.ts";
import { hubRuntimeDirOf, runtimeDirOf, socketPath } from "../platform/socket-path.ts";
import { type ApiReader, DaemonClient } from "./client.ts";

/** The user waits for the answer. */
const TIMEOUT_MS = 1000;

type Items<Item> = { readonly items: readonly Item[] };

/** Replaces a line such as `:rule` by the names, with descriptions. There are none if wgmon does not answer. */
export async function withNames(
  lines: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<readonly string[]> {
  const [kind, prefix = ""] = lines.length === 1 ? lines[0]!.split("\t") : [];
  if (kind !== ":rule" && kind !== ":alert" && kind !== ":silence" && kind !== ":gateway") {
    return lines;
  }
  const timeouts = { responseMs: TIMEOUT_MS, streamMs: TIMEOUT_MS };
  const folder = kind === ":gateway" ? hubRuntimeDirOf(env) : runtimeDirOf(env);
  const daemon = new DaemonClient(socketPath(folder), timeouts);
  try {
    const found = await namesOf(daemon, kind);
    return found.map(([name, text]) => `${prefix}${name}\t${visible(text).replaceAll("\t", " ")}`);
  } catch (error) {
    if (error instanceof SystemError) return [];
    throw error;
  }
}

/** The names and their descriptions. */
export async function namesOf(
  api: ApiReader,
  kind: ":rule" | ":alert" | ":silence" | ":gateway",
): Promise<(readonly [name: string, text: string])[]> {
  switch (kind) {
    case ":rule": {
      const { items } = await api.get<Items<RuleView>>("/v1/rules");
      return items.map(({ name, kind: what }) => [name, what]);
    }
    case ":alert": {
      const { items } = await api.get<Items<AlertApiView>>("/v1/alerts?limit=100");
      return items.flatMap(({ id, sentence }) => (id === null ? [] : [[id, sentence] as const]));
    }
    case ":gateway": {
      const { items } = await api.get<Items<GatewayView>>("/v1/gateways");
      return items.map(({ name, condition }) => [name, condition]);
    }
    case ":silence": {
      const { items } = await api.get<Items<SilenceView>>("/v1/silences");
      return items.map(({ id, matchers }) => [id, matchers.join(" ")]);
    }
  }
}
