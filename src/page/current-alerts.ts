/**
 * The alerts of this moment, sorted for the page: what fires, what is held back, what is pending. Made once for each
 * rendering, in one pass, because thousands of alerts can fire at once. Pure.
 */

import type { AlertView, Suppression } from "../alerts/alert.ts";
import { SEVERITIES, type Severity } from "../alerts/rule.ts";
import type { Silence } from "../alerts/silences.ts";
import type { AlertModel } from "../http/alert-model.ts";

/** An alert that nothing, or nothing more, is sent about now. */
export interface HeldAlert {
  readonly alert: AlertView;
  readonly by: Suppression;
  /** The silence that holds it back; null: another reason, or the silence has just ended. */
  readonly silence: Silence | null;
}

export class CurrentAlerts {
  /** Alerts that fire, the worst severity first, then the latest. */
  readonly firing: readonly AlertView[];
  /** Alerts that fire and are held back. */
  readonly held: readonly HeldAlert[];
  readonly pending: readonly AlertView[];
  /** How many of `firing` have each severity. */
  readonly counts: Readonly<Record<Severity, number>>;
  readonly hasRules: boolean;
  /** Names of the rules with dry_run, whose messages are only recorded. */
  readonly dryRuns: ReadonlySet<string>;
  readonly #byPeer = new Map<string, AlertView>();
  readonly #heldIds: ReadonlySet<string>;

  constructor(model: AlertModel) {
    const silences = new Map(model.silences().map((each) => [each.id, each]));
    const bySeverity: Record<Severity, AlertView[]> = { info: [], warning: [], critical: [] };
    const held: HeldAlert[] = [];
    const pending: AlertView[] = [];
    for (const alert of model.current()) {
      if (alert.state === "pending") {
        pending.push(alert);
        continue;
      }
      if (alert.state === "resolved") continue;
      const { heldBy: by } = alert;
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
    this.dryRuns = new Set(rules.filter(({ dryRun }) => dryRun).map(({ name }) => name));
    this.#heldIds = new Set(held.map(({ alert }) => alert.id));
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

  isHeld({ id }: AlertView): boolean {
    return this.#heldIds.has(id);
  }
}
