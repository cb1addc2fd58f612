/**
 * `wgmon hub doctor`: checks the hub with the settings of its file, its NATS server, and what the running hub knows of
 * the gateways. Changes nothing.
 */

import { type Check, type Finding, ok, problem, skipped, warning } from "../../base/check.ts";
import { counted } from "../../base/text.ts";
import type { HubRequest } from "../../config/command-requests.ts";
import type { Settings } from "../../config/config.ts";
import { checkSecrets } from "../../config/secret-files.ts";
import { duration } from "../../events/event.ts";
import { gatewayName } from "../../fleet/gateway-name.ts";
import type { FleetViews } from "../../hub/fleet-handler.ts";
import type { GatewayView } from "../../hub/fleet-state.ts";
import { hubRuntimeDirOf, socketPath } from "../../platform/socket-path.ts";
import { DaemonClient } from "../client.ts";
import { checkDaemon, fetchStatus, judgeClocks, UNCONFIRMED_MAX_MS } from "./daemon.ts";
import { checksOf, type DoctorOptions, ownSettings, printFindings } from "./run.ts";
import { checkPlaces, judgeSettings } from "./settings.ts";
import { checkStore } from "./store.ts";
import { checkTargets } from "./targets.ts";

/** The hub takes the messages of gateways that are this many versions older. */
const VERSIONS_BACK = 2;

type Command = Extract<HubRequest, { action: "doctor" }> & {
  readonly settings: Settings;
  readonly warnings: readonly string[];
};

/** Returns whether no check found a problem. */
export async function runHubDoctor(command: Command, options: DoctorOptions): Promise<boolean> {
  return await printFindings(await makeChecks(command, options), command, options);
}

async function makeChecks(command: Command, options: DoctorOptions): Promise<Check[]> {
  const { settings, errors, warnings, network } = command;
  const { version, env, files } = options;
  const view = ownSettings(settings, version);
  const client = new DaemonClient(socketPath(hubRuntimeDirOf(env)));
  const status = await fetchStatus(client);
  const isRunning = status !== null && typeof status !== "string";
  const { nats } = settings;
  const gateways = async () => {
    if (!isRunning) return [skipped("the hub is not running")];
    const { items } = await client.get<FleetViews["gateways"]>("/v1/fleet/gateways");
    return judgeGateways(items, { version, nowMs: Date.now() });
  };
  return checksOf({
    settings: [
      ["settings", () => judgeSettings({ file: view.file, isOfDaemon: false, errors, warnings })],
      ["secrets", () => checkSecrets(files, settings)],
      ["listen", () => judgeListen(settings)],
      ...(view.places.length === 0 ? [] : [["places", () => checkPlaces(view.places)] as const]),
    ],
    events: [
      ["store", () => checkStore(view)],
      ["targets", () => checkTargets(view.targets, { network })],
      ...(nats === null ? [] : [["nats", () => checkServer(nats, settings, network)] as const]),
    ],
    hub: [
      ["hub", () => checkDaemon(client, status, { version, devices: null })],
      ["gateways", gateways],
    ],
  });
}

async function checkServer(
  nats: NonNullable<Settings["nats"]>,
  { host }: Pick<Settings, "host">,
  network: boolean,
): Promise<readonly Finding[]> {
  if (!network) return [skipped("--no-network")];
  const { checkNats } = await import("../../hub/nats-checks.ts");
  return await checkNats(nats, `hub-${gatewayName(host) ?? "hub"}`);
}

/** Whether gateways can reach the hub. */
export function judgeListen({ listen, nats }: Pick<Settings, "listen" | "nats">): Finding[] {
  if (listen !== null) return [ok(`${listen.address}:${listen.port}`)];
  const found = "the hub listens on no TCP port";
  return nats === null
    ? [problem(`${found}, so no gateway can reach it`, "set listen, or nats")]
    : [ok(`${found}; gateways reach it by NATS`)];
}

/** @param version that of this program. */
export function judgeGateways(
  gateways: readonly GatewayView[],
  { version, nowMs }: { readonly version: string; readonly nowMs: number },
): Finding[] {
  if (gateways.length === 0) {
    return [warning("no gateway is enrolled", "wgmon hub enroll NAME")];
  }
  const findings = gateways.flatMap((gateway) => judgeGateway(gateway, version, nowMs));
  const up = gateways.filter(({ condition }) => condition === "up").length;
  return findings.length > 0
    ? findings
    : [ok(`${up} of ${counted(gateways.length, "gateway")} up`)];
}

function judgeGateway(gateway: GatewayView, version: string, nowMs: number): Finding[] {
  const { name, condition, program, clockOffsetMs, sinceMs, behindSinceMs } = gateway;
  const since = duration(nowMs - sinceMs);
  const findings: Finding[] = [];
  if (condition === "lost") {
    findings.push(
      warning(`${name} has not reported for ${since}`, "on the gateway: wgmon doctor, and its log"),
    );
  }
  if (condition === "waiting") {
    const fix = "on the gateway: the line hub = ... of wgmon hub enroll, then wgmon doctor";
    const ever = gateway.seenMs === null ? "never reported" : "not reported since the hub started";
    findings.push(warning(`${name} has ${ever}`, fix));
  }
  // Of the others, only the last report is known.
  if (condition === "up") findings.push(...judgeClocks(name, clockOffsetMs));
  const behindMs = behindSinceMs === null ? 0 : nowMs - behindSinceMs;
  if (behindMs >= UNCONFIRMED_MAX_MS) {
    const lag = Math.max(0, (gateway.lastSeq ?? 0) - (gateway.confirmedSeq ?? 0));
    findings.push(
      warning(
        `${counted(lag, "event")} of ${name} ${lag === 1 ? "is" : "are"} missing here, for ${duration(behindMs)}`,
        "on the gateway: wgmon outbox list says why; see the log here, too",
      ),
    );
  }
  return [...findings, ...judgeProgram(name, program, version)];
}

/** The version of a gateway, compared with the hub's by its first two numbers. */
function judgeProgram(name: string, program: string | null, version: string): Finding[] {
  const theirs = numbersOf(program ?? "");
  const own = numbersOf(version);
  if (theirs === null || own === null) return [];
  const isSameMajor = theirs.major === own.major;
  if (theirs.major > own.major || (isSameMajor && theirs.minor > own.minor)) {
    const found = `${name} runs wgmon ${program}, which is newer than this hub, ${version}`;
    return [warning(found, "update the hub; always the hub first")];
  }
  if (isSameMajor && own.minor - theirs.minor <= VERSIONS_BACK) return [];
  const found = `${name} runs wgmon ${program}, more than ${VERSIONS_BACK} versions older than this hub, ${version}`;
  return [warning(found, "update wgmon on the gateway")];
}

function numbersOf(version: string): { readonly major: number; readonly minor: number } | null {
  const [, major, minor] = /^(\d+)\.(\d+)\./.exec(version) ?? [];
  return major === undefined ? null : { major: Number(major), minor: Number(minor) };
}
