/** `wgmon doctor`: checks whether the targets can be reached. Sends no event. */

import { accessSync, constants, statSync } from "node:fs";

import { type Finding, ok, problem, skipped, warning } from "../../base/check.ts";
import { proxyFor } from "../../channels/proxy.ts";
import { networkReason } from "../../channels/webhook.ts";
import type { SettingsView, TargetPlace } from "../../http/settings-view.ts";

const REACH_TIMEOUT_MS = 5000;

export async function checkTargets(
  targets: readonly TargetPlace[],
  { network }: { readonly network: boolean },
): Promise<Finding[]> {
  if (targets.length === 0) return [ok("none: events are only logged")];
  const checks = targets.map(async ({ label, origin, program }) => {
    if (origin === null) return judgeProgram(label, programProblem(program!));
    if (!network) return skipped(`${label}: --no-network`);
    return judgeReached(label, await reach(origin));
  });
  return await Promise.all(checks);
}

export interface Reached {
  /** The HTTP status; null: there was no response. */
  readonly status: number | null;
  /** Why there was no response; otherwise empty. */
  readonly reason: string;
  readonly ms: number;
}

/** Whether the hub can be reached, with its certificate. */
export async function checkHub(
  { origin, ca }: NonNullable<SettingsView["hub"]>,
  { network }: { readonly network: boolean },
): Promise<Finding[]> {
  const label = `hub ${origin}`;
  if (!network) return [skipped(`${label}: --no-network`)];
  if (!/^https?:/.test(origin)) {
    const { checkNatsServers } = await import("./nats.ts");
    return await checkNatsServers(label, origin);
  }
  const reached = await reach(origin, { ca });
  if (reached.reason.startsWith("TLS certificate not trusted")) {
    const fix = "hub_ca: a copy of the hub's certificate, or of its authority's";
    return [problem(`${label}: ${reached.reason}`, fix)];
  }
  return [judgeReached(label, reached)];
}

/** Sends a HEAD request for `/` to the target's origin, over the same path as an event: DNS, proxy, TCP, TLS. */
export async function reach(
  origin: string,
  {
    timeoutMs = REACH_TIMEOUT_MS,
    ca = null,
  }: { readonly timeoutMs?: number; readonly ca?: string | null } = {},
): Promise<Reached> {
  const startMs = performance.now();
  const elapsedMs = () => Math.round(performance.now() - startMs);
  try {
    const { status } = await fetch(`${origin}/`, {
      method: "HEAD",
      redirect: "manual",
      keepalive: false,
      signal: AbortSignal.timeout(timeoutMs),
      ...(ca === null ? {} : { tls: { ca } }),
    });
    return { status, reason: "", ms: elapsedMs() };
  } catch (error) {
    return {
      status: null,
      reason: networkReason(error, proxyFor(new URL(origin))),
      ms: elapsedMs(),
    };
  }
}

export function judgeReached(name: string, { status, reason, ms }: Reached): Finding {
  if (status === null) {
    return problem(
      `${name}: ${reason === "timeout" ? `no answer in ${Math.round(ms / 1000)} s` : reason}`,
      "check the URL, DNS, the route and the receiver; wgmon test-webhook",
    );
  }
  if (status >= 502 && status <= 504) {
    return warning(
      `${name}: answers ${status}, as a proxy does when its service is down`,
      "check the service behind the proxy",
    );
  }
  return ok(`${name}: can be reached, ${ms} ms`);
}

/** Why a program cannot or should not be started; null if no problem was found. */
function programProblem(path: string): string | null {
  try {
    const stat = statSync(path);
    if (!stat.isFile()) return "is not a file";
    accessSync(path, constants.X_OK);
    return (stat.mode & 0o002) === 0 ? null : "can be written by all users";
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ENOENT" || code === "ENOTDIR") return "does not exist";
    return code === "EACCES" ? "is not executable" : `cannot be inspected: ${String(code)}`;
  }
}

export function judgeProgram(name: string, programError: string | null): Finding {
  if (programError === null) return ok(`${name}: is executable`);
  const fixes: Readonly<Record<string, string>> = {
    "can be written by all users": "chmod o-w it",
    "is not executable": "chmod +x it",
  };
  return problem(
    `${name}: ${programError}`,
    fixes[programError] ?? "correct exec in the settings file",
  );
}
