/** The settings that are paths with special values: the state directory, and the files with names of peers. Pure. */

import { quoteSafely } from "../base/redact.ts";
import type { ResolvedSettings, Sources } from "./resolve.ts";
import { table } from "./settings-table.ts";

/** The same folder as systemd's StateDirectory=wgmon. */
export const DEFAULT_STATE_DIR = "/var/lib/wgmon";

export function stateDirOf(
  resolved: ResolvedSettings,
  env: Sources["env"],
  errors: string[],
  defaultDir: string,
): string {
  const given = resolved.values("state-dir")[0];
  if (given !== undefined) return given;
  // systemd separates several directories by colons: systemd.exec(5).
  const folder = env["STATE_DIRECTORY"]?.split(":")[0] ?? "";
  if (folder === "") return defaultDir;
  const result = table["state-dir"].parse(folder);
  if ("value" in result) return result.value;
  errors.push(`variable STATE_DIRECTORY: ${quoteSafely(folder)} ${result.problem}`);
  return defaultDir;
}

export function namesOf(resolved: ResolvedSettings, errors: string[]): readonly string[] {
  const paths = [...new Set(resolved.values("names"))];
  if (!paths.includes("off")) return paths;
  const where = resolved.given("names")?.where ?? "names";
  if (paths.length > 1) errors.push(`${where}: off cannot be combined with a path`);
  return [];
}
