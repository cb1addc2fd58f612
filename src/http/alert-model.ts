/**
 * What the API, the page and the commands read of alerts, and what they can change. The rest of the program implements
 * it; tests have their own implementation.
 */

import type { AlertView } from "../alerts/alert.ts";
import type { Rule } from "../alerts/rule.ts";
import type { Silence } from "../alerts/silences.ts";

export interface AlertModel {
  /** Pending, firing and recovering alerts, those that are held back included: firing first, the latest first. */
  current(): readonly AlertView[];
  /** Silences that have not ended, the one that ends first in front. */
  silences(): readonly Silence[];
  /** The rules in effect, in the order of the settings. */
  rules(): readonly Rule[];
}

/** Each alert is compared with all silences, also for each list: 1,000 silences and 10,000 alerts take 8 s. */
export const SILENCES_MAX = 100;

/** A silence that a user wants; it begins now. */
export type NewSilence = Pick<Silence, "matchers" | "endMs" | "comment" | "createdBy">;

export interface AlertActions {
  addSilence(silence: NewSilence): Silence;
  /** Returns whether there was such a silence. */
  expireSilence(id: string): boolean;
}
