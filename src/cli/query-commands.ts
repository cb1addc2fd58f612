/** The commands that query the running wgmon: `status`, `peer`, `sessions`, `events`, `alerts`, `silence` and `top`. */

import type { Clock } from "../base/clock.ts";
import { isUnreadable } from "../base/errors.ts";
import type { Command } from "../config/config.ts";
import { hubRuntimeDirOf, runtimeDirOf, socketPath } from "../platform/socket-path.ts";
import { isStdoutOpen, isTerminal, print } from "../platform/standard-streams.ts";
import { DaemonClient, DaemonNotRunning } from "./client.ts";
import type { LocalApi } from "./local-api.ts";
import { paintFor } from "./text.ts";

const STDOUT = 1;

export type QueryCommand =
  | Extract<Command, { type: "status" | "peer" | "sessions" | "events" | "silence" | "top" }>
  | Extract<Command, { type: "alerts"; action: "list" | "explain" }>;

interface Options {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly clock: Clock;
  /** Writes a line to standard error. */
  readonly warn: (line: string) => void;
}

/**
 * Runs the command and returns its exit code.
 *
 * @throws SystemError, LibraryError, ConfigError
 */
export async function runQuery(command: QueryCommand, options: Options): Promise<number> {
  const { env, clock, warn } = options;
  const { devices } = command.settings;
  const { daemon, isRunning } = await findDaemon(env);
  if (command.type === "top") {
    const { runTop } = await import("./top.ts");
    await runTop(daemon, {
      intervalMs: command.intervalMs,
      device: devices[0] ?? null,
      requestedDevices: command.requestedDevices,
      env,
      clock,
    });
    return 0;
  }
  if (command.type === "silence" && command.action !== "list") {
    await changeSilences(daemon, command, options);
    return 0;
  }

  using offline = isRunning ? null : await openOffline(command, options);
  const api = offline ?? daemon;
  const output = {
    print,
    warn,
    paint: paintFor(env, isTerminal(STDOUT)),
    // Some terminals report 0 columns.
    maxWidth: isTerminal(STDOUT) ? process.stdout.columns || null : null,
    devices,
    nowMs: clock.now().wallMs,
  };
  switch (command.type) {
    case "status": {
      const { printStatus } = await import("./status.ts");
      const { search, json, requestedDevices } = command;
      await printStatus(api, { ...output, requestedDevices, search, json, isRunning });
      return offline !== null && offline.problems.length > 0 ? 1 : 0;
    }
    case "peer": {
      const { printPeer } = await import("./peer.ts");
      await printPeer(api, { ...output, request: command });
      return offline !== null && offline.problems.length > 0 ? 1 : 0;
    }
    case "sessions": {
      const { printSessions } = await import("./sessions.ts");
      await printSessions(api, { ...output, request: command });
      return 0;
    }
    case "events": {
      const { followEvents, printEvents } = await import("./events.ts");
      const request = { ...output, request: command, clock, hasReader: isStdoutOpen };
      if (command.follow) {
        for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
      }
      const position = await printEvents(api, request);
      if (command.follow && position !== null) await followEvents(daemon, position, request);
      return 0;
    }
    case "alerts": {
      if (command.action === "explain") {
        const { explainAlert } = await import("./explain-alert.ts");
        await explainAlert(api, { ...output, request: command });
      } else {
        const { printAlerts } = await import("./alerts.ts");
        await printAlerts(api, { ...output, request: command });
      }
      return 0;
    }
    case "silence": {
      const { listSilences } = await import("./silence.ts");
      await listSilences(api, { ...output, json: command.json });
      return 0;
    }
  }
}

async function changeSilences(
  daemon: DaemonClient,
  command: Extract<QueryCommand, { type: "silence"; action: "add" | "expire" }>,
  { env, clock, warn }: Options,
): Promise<void> {
  const { addSilence, expireSilence } = await import("./silence.ts");
  // With sudo, who ran it.
  const user = env["SUDO_USER"] ?? env["USER"] ?? "root";
  const output = { print, warn, paint: paintFor(env, isTerminal(STDOUT)), maxWidth: null };
  const options = { ...output, nowMs: clock.now().wallMs, user };
  if (command.action === "add") await addSilence(daemon, command, options);
  else await expireSilence(daemon, command, options);
}

/** The wgmon of this machine: the gateway, or the hub if only that runs. */
async function findDaemon(env: Options["env"]) {
  const [gateway, hub] = [runtimeDirOf(env), hubRuntimeDirOf(env)].map(
    (folder) => new DaemonClient(socketPath(folder)),
  );
  for (const daemon of [gateway!, hub!]) {
    if (await isDaemonRunning(daemon)) return { daemon, isRunning: true };
  }
  return { daemon: gateway!, isRunning: false };
}

async function isDaemonRunning(daemon: DaemonClient): Promise<boolean> {
  try {
    await daemon.get("/v1/status");
    return true;
  } catch (error) {
    if (error instanceof DaemonNotRunning) return false;
    throw error;
  }
}

/** Opens the API without the daemon. Prints the source of the data, and the errors of the scan, on standard error. */
async function openOffline(
  command: Exclude<QueryCommand, { type: "top" }>,
  { version, clock, warn }: Options,
): Promise<LocalApi> {
  const { LocalApi } = await import("./local-api.ts");
  const { settings } = command;
  const requestedDevices = "requestedDevices" in command ? command.requestedDevices : [];
  // List all devices, so that a misspelt one gets a suggestion.
  const scanned = requestedDevices.length > 0 ? { ...settings, devices: [] } : settings;
  const offline = await LocalApi.open(scanned, { version, clock });
  const warnOfSource = (source: string) =>
    warn(`wgmon is not running here; showing data from ${source}`);
  const warnOfProblems = () => {
    for (const problem of offline.problems) {
      if (!isUnreadable(problem)) throw problem;
      warn(problem.message);
    }
  };
  if (command.type === "status") {
    warnOfSource("the kernel");
    warnOfProblems();
  } else if (command.type === "peer") {
    warnOfSource("the kernel and its store; rates are unknown");
    warnOfProblems();
    if (offline.storeProblem !== null) {
      warn(`sessions, events and uptime are unknown: ${offline.storeProblem.message}`);
    }
  } else if (offline.storeProblem === null) {
    warnOfSource("its store");
  } else {
    warn("wgmon is not running here");
    if (command.type !== "events" || !command.follow) throw offline.storeProblem;
    warn(offline.storeProblem.message);
  }
  return offline;
}
