/** The commands that query the running wgmon: `status`, `peer`, `sessions`, `events` and `top`. */

import type { Clock } from "../base/clock.ts";
import { isUnreadable } from "../base/errors.ts";
import type { Command } from "../config/config.ts";
import { runtimeDirOf, socketPath } from "../platform/socket-path.ts";
import { isStdoutOpen, isTerminal, print } from "../platform/standard-streams.ts";
import { DaemonClient, DaemonNotRunning } from "./client.ts";
import type { LocalApi } from "./local-api.ts";
import { paintFor } from "./text.ts";

const STDOUT = 1;

type QueryCommand = Extract<Command, { type: "status" | "peer" | "sessions" | "events" | "top" }>;

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
  const { requestedDevices } = command;
  const { devices } = command.settings;
  const daemon = new DaemonClient(socketPath(runtimeDirOf(env)));
  if (command.type === "top") {
    const { runTop } = await import("./top.ts");
    await runTop(daemon, {
      intervalMs: command.intervalMs,
      device: devices[0] ?? null,
      requestedDevices,
      env,
      clock,
    });
    return 0;
  }

  const isRunning = await isDaemonRunning(daemon);
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
      const { search, json } = command;
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
  }
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
  const { requestedDevices, settings } = command;
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
