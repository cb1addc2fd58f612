/** Creates the targets, each with its channel, from the settings. */

import type { Clock } from "../base/clock.ts";
import { redactUrl } from "../base/redact.ts";
import type { Channel, Target } from "../delivery/target.ts";
import { matchesFilter } from "../events/event-filter.ts";
import { createExec } from "./exec.ts";
import type { TargetSettings } from "./target-settings.ts";
import { createWebhook } from "./webhook.ts";

/** Returns the key of a target without a name from its address, which is a secret. */
type KeyOf = (address: string) => string;

interface Options {
  readonly version: string;
  readonly clock: Clock;
  readonly keyOf: KeyOf;
}

export function makeTargets(
  targets: readonly TargetSettings[],
  options: Options,
): readonly Target[] {
  const keys = keysOf(targets, options.keyOf);
  return targets.map((target, index) => ({
    key: keys[index]!,
    // Labels hide the path of a URL, so two targets at one host would look the same: number them.
    channel: channelOf(target, targets.length > 1 ? ` ${index + 1}` : "", options),
    accepts: (event) => matchesFilter(event, target.selection),
    digestMs: target.digestMs,
  }));
}

/**
 * The key of each target, which identifies it in the store, the metrics and the API: its name, otherwise the key of its
 * address. Keys are unique.
 */
export function keysOf(targets: readonly TargetSettings[], keyOf: KeyOf): readonly string[] {
  const taken = new Set<string>();
  for (const { name, destination } of targets) {
    const address =
      destination.type === "webhook"
        ? new URL(destination.url).href
        : JSON.stringify(destination.command);
    const key = name ?? keyOf(address);
    // Several targets may have the same address: with different filters, or by mistake.
    let unique = key;
    for (let count = 2; taken.has(unique); count++) unique = `${key}-${count}`;
    taken.add(unique);
  }
  return [...taken];
}

function channelOf(target: TargetSettings, suffix: string, { version, clock }: Options): Channel {
  const { name, destination, timeoutMs } = target;
  switch (destination.type) {
    case "webhook": {
      const { url, format, formatName, secrets } = destination;
      const shown = redactUrl(url);
      const label =
        name === null ? `webhook${suffix} ${shown}` : `${name} (${formatName} ${shown})`;
      return createWebhook({ url, format, secrets, label, version, clock, timeoutMs });
    }
    case "exec": {
      const { command } = destination;
      const label = name === null ? `exec${suffix} ${command[0]}` : `${name} (exec ${command[0]})`;
      return createExec({ command, label, timeoutMs });
    }
  }
}
