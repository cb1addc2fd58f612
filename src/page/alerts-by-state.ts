/**
 * Sorts the alerts that are not over for the page: those that fire, that are held back and that are pending. The page
 * does this once for each rendering, in one pass, because thousands of alerts can fire at once. Pure.
 */

import type { AlertView, Suppression } from "../alerts/alert.ts";
import { dryRunNames, SEVERITIES, type Severity } from "../alerts/rule.ts";
import type { Silence } from "../alerts/silences.ts";
import type { AlertModel } from "../http/alert-model.ts";

/** An alert that fires, and whose messages are held back now. */
export interface HeldBackAlert {
  readonly alert: AlertView;
  readonly by: Suppression;
  /** The silence that holds it back; null: another reason, or the silence has just ended. */
  readonly silence: Silence | null;
}

export class AlertsByState {
  /** Alerts that fire and are not held back, the worst severity first, then the latest. */
  readonly firing: readonly AlertView[];
  readonly held: readonly HeldBackAlert[];
  readonly pending: readonly AlertView[];
  /** How many of `firing` have each severity. */
  readonly counts: Readonly<Record<Severity, number>>;
  readonly hasRules: boolean;
  /** Names of the rules with dry_run, whose messages are only recorded. */
  readonly dryRuns: ReadonlySet<string>;
  readonly #byPeer = new Map<string, AlertView>();

  constructor(model: AlertModel) {
    const silences = new Map(model.silences().map((each) => [each.id, each]));
    const bySeverity: Record<Severity, AlertView[]> = { info: [], warning: [], critical: [] };
    const held: HeldBackAlert[] = [];
    const pending: AlertView[] = [];
    for (const alert of model.current()) {
      if (alert.state === "pending") {
        pending.push(alert);
        continue;
      }
      if (alert.state === "resolved") continue;
      const { heldBack: by } = alert;
      if (by === null) bySeverity[alert.severity].push(alert);
      else
        held.push({
          alert,
          by,
          silence: by.type === "silence" ? (silences.get(by.id) ?? null) : null,
        });
    }
    this.firing = SEVERITIES.toReversed().flatMap((severity) => bySeverity[severity]);
    this.held = held;
    this.pending = pending;
    this.counts = {
      info: bySeverity.info.length,
      warning: bySeverity.warning.length,
      critical: bySeverity.critical.length,
    };
    const rules = model.rules();
    this.hasRules = rules.length > 0;
    this.dryRuns = dryRunNames(rules);
    for (const alert of [...this.firing, ...held.map((each) => each.alert)]) {
      const { subject } = alert;
      if (subject.type !== "peer") continue;
      const key = `${subject.device} ${subject.publicKey}`;
      if (!this.#byPeer.has(key)) this.#byPeer.set(key, alert);
    }
  }

  /** The worst alert about a peer that fires, or else one that is held back; null: none. */
  of(device: string, publicKey: string): AlertView | null {
    return this.#byPeer.get(`${device} ${publicKey}`) ?? null;
  }
}
