/** What the store has to write after steps of the alert engine: its state, the alerts, the notices and their events. */

import type { Notice } from "../alerts/alert.ts";
import type { AlertEngine } from "../alerts/engine.ts";
import { newId } from "../base/new-id.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { AlertWrite } from "../store/store.ts";
import { recordOf } from "./alert-record.ts";
import { eventOfNotice, receives } from "./notice-event.ts";
import { nameOfTarget, type QueuedTarget } from "./target-states.ts";

interface Options {
  /** Maximum number of peers whose counters are written. */
  readonly samplesMax: number;
  /** The settings that determine the content of an event, and whether targets receive it. */
  readonly settings: {
    readonly host: string;
    readonly targets: readonly { readonly name: string | null }[];
    readonly peers: ReadonlyMap<PublicKey, { readonly mute: boolean }>;
  };
  readonly targets: () => readonly QueuedTarget[];
}

/** Returns what changed since the last call, with the notices that were made since then. */
export function takeWrite(
  engine: AlertEngine,
  made: readonly Notice[],
  options: Options,
): AlertWrite {
  const events: { event: AlertWrite["events"][number]["event"]; targets: string[] }[] = [];
  const notices = made.map((notice) => {
    const { type, atMs, rule, dryRun, sentence, heldBack, alerts } = notice;
    const alertIds = alerts.map(({ id }) => id);
    const isSent = heldBack === null && !dryRun;
    const receivers = isSent ? receiversOf(notice, options) : [];
    const targets = receivers.map(({ state }) => state.label);
    const rest = { type, atMs, rule, dryRun, sentence, heldBack, alertIds, targets };
    if (!isSent) return { ...rest, event: null };
    const event = eventOfNotice(notice, { id: newId("evt"), host: options.settings.host });
    events.push({ event, targets: receivers.map(({ key }) => key) });
    return { ...rest, event: events.length - 1 };
  });
  return {
    state: {
      rows: engine.takeChanges({ samplesMax: options.samplesMax }),
      all: () => engine.save(),
    },
    alerts: engine.takeAlerts().map(recordOf),
    events,
    notices,
  };
}

function receiversOf(notice: Notice, { settings, targets }: Options): QueuedTarget[] {
  const { peers, targets: inSettings } = settings;
  const named = new Set(inSettings.map(({ name }) => name));
  const isMute = (publicKey: string) => peers.get(publicKey as PublicKey)?.mute === true;
  return targets().filter((target) => {
    if (target.state.isStopped) return false;
    const key = nameOfTarget(target, named);
    return receives(notice, { key, accepts: (event) => target.accepts(event) }, isMute);
  });
}
