/** Alerts and notices for the tests of the API and the commands: in memory, and in the store of a FakeSource. */

import type { AlertView } from "../../src/alerts/alert.ts";
import type { AlertRecord, NewNotice } from "../../src/store/alert-rows.ts";
import { ALICE } from "./peers.ts";
import type { FakeSource } from "./source.ts";

const SINCE_MS = Date.UTC(2025, 11, 31, 23);

/** An alert about alice that fires since an hour. */
export function alertView(fields: Partial<AlertView> = {}): AlertView {
  return {
    id: "alert-7",
    rule: "office-down",
    kind: "down",
    severity: "critical",
    state: "firing",
    subject: { type: "peer", device: "wg0", publicKey: ALICE },
    what: "",
    peer: { name: "alice", tags: ["staff"] },
    sinceMs: SINCE_MS,
    firedAtMs: SINCE_MS + 120_000,
    resolvedAtMs: null,
    resolves: true,
    isSent: true,
    heldBack: null,
    sentence: "alice (wg0) is down for an hour",
    ...fields,
  };
}

/** An alert about alice that fired and was resolved. */
export function alertRecord(fields: Partial<AlertRecord> = {}): AlertRecord {
  return {
    id: "alert-3",
    rule: "office-down",
    kind: "down",
    severity: "critical",
    device: "wg0",
    publicKey: ALICE,
    peerName: "alice",
    target: null,
    sinceMs: SINCE_MS - 7_200_000,
    firedAtMs: SINCE_MS - 7_080_000,
    resolvedAtMs: SINCE_MS - 3_600_000,
    resolves: true,
    isSent: true,
    sentence: "alice (wg0) is connected again after an hour",
    ...fields,
  };
}

export function newNotice(fields: Partial<NewNotice> = {}): NewNotice {
  return {
    type: "firing",
    atMs: SINCE_MS + 150_000,
    rule: "office-down",
    dryRun: false,
    sentence: "alice (wg0) is down for 2 minutes",
    heldBack: null,
    alertIds: ["alert-7"],
    eventSeq: null,
    targets: [],
    ...fields,
  };
}

/** Writes alerts, and notices with the sequence numbers of their events. */
export function storeAlerts(
  { store }: FakeSource,
  alerts: readonly AlertRecord[],
  notices: readonly NewNotice[] = [],
): void {
  for (const alert of alerts) store.alerts.put(alert);
  for (const notice of notices) store.alerts.addNotice(notice);
}
