/** Runs the alert engine in the daemon. */

import type { AlertView } from "../alerts/alert.ts";
import type { Rule } from "../alerts/rule.ts";
import type { Silence } from "../alerts/silences.ts";

export class LiveAlerts {
  current(): readonly AlertView[] {
    return [];
  }

  silences(): readonly Silence[] {
    return [];
  }

  rules(): readonly Rule[] {
    return [];
  }

  addSilence(silence: Omit<Silence, "id" | "startMs">): Silence {
    return { ...silence, id: "", startMs: 0 };
  }

  expireSilence(_id: string): boolean {
    return false;
  }
}
