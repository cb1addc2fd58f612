/**
 * Why an alert is held back: a silence, the rule's times, a device that wgmon does not watch now, or a cause that many
 * peers share. There are no reasons that users define, as the inhibition rules of Alertmanager are. Pure.
 */

import type { Alert, Suppression } from "./alert.ts";
import type { DeviceFacts } from "./facts.ts";
import type { CompiledRule } from "./rule-set.ts";
import { silenceableOf, silenceOf } from "./silences.ts";
import type { AlertState } from "./state.ts";

/** After this time without data from any peer of a device, all its peers may be silent. */
const DEVICE_SILENT_MS = 60_000;
/** The peers of a device become silent at different times: how long to wait for the last one, the usual idle timeout. */
const ALL_PEERS_WAIT_MS = 180_000;
/** While it waits, the engine decides again after this time. */
const ALL_PEERS_STEP_MS = 10_000;
/** If a device has fewer absent peers, they are listed, and no shared cause is assumed. */
const ALL_PEERS_MIN = 3;
/** Peers that sent data this shortly before the device's last data became silent together. */
const TOGETHER_MS = 60_000;

/** Why an alert is held back. */
export interface Hold {
  readonly by: Suppression;
  /** When to decide again; null: at the next input that can change the answer. */
  readonly untilMs: number | null;
}

/** Returns why the alert cannot be sent now; null: it can. */
export function holdOf(
  state: AlertState,
  { rule, times }: CompiledRule,
  alert: Alert,
  device: DeviceFacts | null,
): Hold | null {
  const { nowMs } = state;
  const { subject } = alert;
  const entry = subject.type === "peer" ? state.peer(subject.device, subject.publicKey) : null;
  const silenceable = silenceableOf({ ...alert, severity: rule.severity }, entry?.peer ?? null);
  const silence = silenceOf(state.silences.values(), silenceable, nowMs);
  if (silence !== null) {
    const { id, comment, endMs } = silence;
    return { by: { type: "silence", id, comment }, untilMs: endMs };
  }
  if (device !== null && device.blind !== null && !alert.isMoment) {
    return { by: { type: device.blind }, untilMs: null };
  }
  const window = times.at(nowMs);
  return window.isInside ? null : { by: { type: "times" }, untilMs: window.untilMs };
}

/** A cause that the peers of a device share. */
export type SharedCause =
  | { readonly cause: "device-down" | "all-peers"; readonly wait: null }
  /** `wait`: all peers may become silent, so the alerts are held back until it is known; null: there is no shared cause. */
  | { readonly cause: null; readonly wait: Hold | null };

/**
 * Returns the cause that several absent peers of a device share.
 *
 * @param absent number of peers whose alerts are ready to be sent.
 * @param waitsAtMs since when they wait for the others; null: they do not.
 */
export function sharedCause(
  state: AlertState,
  device: DeviceFacts,
  absent: number,
  waitsAtMs: number | null,
): SharedCause {
  const { nowMs } = state;
  if (!device.isPresent) return { cause: "device-down", wait: null };
  // Stored events do not show what was received.
  const isSilent =
    device.scannedAtMs !== null && nowMs - (device.heardAtMs ?? nowMs) >= DEVICE_SILENT_MS;
  if (absent < 2 && !isSilent) return { cause: null, wait: null };
  const { present, together } = presentPeers(state, device);
  if (present === 0 && absent >= ALL_PEERS_MIN) return { cause: "all-peers", wait: null };
  const hasWaited = waitsAtMs !== null && nowMs - waitsAtMs >= ALL_PEERS_WAIT_MS;
  // One absent peer, beside peers that were quiet anyway, does not wait.
  const isAlone = absent < 2 && together < ALL_PEERS_MIN;
  if (present === 0 || !isSilent || hasWaited || isAlone) return { cause: null, wait: null };
  return {
    cause: null,
    wait: { by: { type: "all-peers", device: device.name }, untilMs: nowMs + ALL_PEERS_STEP_MS },
  };
}

/** Counts the peers that are connected as far as is known, and those of them that became silent with the device. */
function presentPeers(state: AlertState, { name, heardAtMs }: DeviceFacts) {
  let [present, together] = [0, 0];
  for (const { peer } of state.peersOf(name)) {
    if (peer.connectedAtMs === null || peer.isSilent) continue;
    present++;
    if ((peer.seenAtMs ?? 0) >= (heardAtMs ?? 0) - TOGETHER_MS) together++;
  }
  return { present, together };
}
