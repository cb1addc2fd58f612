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
  const isAnyPresent = countPresent(state, device, 1) > 0;
  if (!isAnyPresent && absent >= ALL_PEERS_MIN) return { cause: "all-peers", wait: null };
  const hasWaited = waitsAtMs !== null && nowMs - waitsAtMs >= ALL_PEERS_WAIT_MS;
  if (!isAnyPresent || !isSilent || hasWaited) return { cause: null, wait: null };
  // One absent peer, beside peers that were quiet anyway, does not wait.
  const togetherMs = (device.heardAtMs ?? 0) - TOGETHER_MS;
  const isAlone =
    absent < 2 && countPresent(state, device, ALL_PEERS_MIN, togetherMs) < ALL_PEERS_MIN;
  if (isAlone) return { cause: null, wait: null };
  return {
    cause: null,
    wait: { by: { type: "all-peers", device: device.name }, untilMs: nowMs + ALL_PEERS_STEP_MS },
  };
}

/** Counts the peers that are connected as far as is known and sent data at this time or later, up to `atMost`. */
function countPresent(
  state: AlertState,
  { name }: DeviceFacts,
  atMost: number,
  sinceMs = 0,
): number {
  let count = 0;
  for (const { peer } of state.peersOf(name)) {
    const isPresent = peer.connectedAtMs !== null && !peer.isSilent;
    if (isPresent && (peer.seenAtMs ?? 0) >= sinceMs) count++;
    if (count >= atMost) break;
  }
  return count;
}
