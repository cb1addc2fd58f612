/** Warnings about deprecated variables, and about settings without effect. Pure. */

import type { ResolvedSettings } from "./resolve.ts";
import { SETTING_NAMES, variableOf } from "./settings-table.ts";

export function warningsOf(resolved: ResolvedSettings): string[] {
  const warnings: string[] = [];
  for (const name of SETTING_NAMES) {
    if (resolved.given(name)?.origin !== "bare variable") continue;
    const format =
      name === "webhook" && resolved.given("webhook-format") === null
        ? `, with form: before a URL to keep the old format`
        : "";
    warnings.push(`variable ${name} is deprecated: use ${variableOf(name)} instead${format}`);
  }
  const monitor = resolved.value("monitor");
  const onlyFor = {
    group: "nflog",
    "manage-rules": "nflog",
    interface: "bpf",
    filter: "bpf",
  } as const;
  for (const name of ["group", "manage-rules", "interface", "filter"] as const) {
    const given = resolved.given(name);
    if (given === null || monitor === "auto" || monitor === onlyFor[name]) continue;
    warnings.push(
      `${given.where} has no effect with monitor ${monitor}: it is for ${onlyFor[name]}`,
    );
  }
  if (monitor === "poll" && resolved.value("report-unknown")) {
    const where = resolved.given("report-unknown")?.where ?? "report-unknown";
    warnings.push(`${where} has no effect with monitor poll: it needs packets`);
  }
  return warnings;
}
