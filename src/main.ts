/** The program: arguments, environment and signals in, exit codes out. 0 asked to stop, 1 failed, 2 wrong usage. */

import { version } from "../package.json";
import { App } from "./app.ts";
import { createWebhook } from "./channel/webhook.ts";
import { helpText } from "./cli/help.ts";
import { versionText } from "./cli/version.ts";
import { systemClock } from "./clock.ts";
import {
  type Command,
  describeSettings,
  parseCommand,
  redactUrl,
  type Settings,
} from "./config.ts";
import { ConfigError, LibraryError, SystemError } from "./errors.ts";
import { chooseFormat, createLog, type LeveledLog } from "./log.ts";
import { hostname, isTerminal, print, readTextFile, writeToStderr } from "./system.ts";

const STDERR = 2;
const MORE_HELP = "wgmon --help lists all settings.";
/** Standard error may be a pipe whose reader is slow, or gone to sleep for good. */
const COMPLAINT_MS = 1000;

const startFolder = process.cwd();
// A library that the loader does not find is looked for in the working directory, by its bare name:
// for a daemon that runs as root that must not be somebody else's.
process.chdir("/");

function readCommand(): Command {
  return parseCommand({
    argv: process.argv.slice(2),
    env: process.env,
    hostname: hostname(),
    // The working directory has changed since.
    readFile: (path) => readTextFile(path.startsWith("/") ? path : `${startFolder}/${path}`),
  });
}

function makeChannels(settings: Settings) {
  return settings.webhooks.map(({ url, format }, index) =>
    createWebhook({
      url,
      format,
      // Two at one host look the same without their paths.
      label: `webhook${settings.webhooks.length > 1 ? ` ${index + 1}` : ""} ${redactUrl(url)}`,
      version,
      clock: systemClock,
    }),
  );
}

async function run(settings: Settings, notes: readonly string[]): Promise<void> {
  const format = chooseFormat(settings.logFormat, {
    env: process.env,
    isTerminal: isTerminal(STDERR),
  });
  const log = createLog({ format, level: settings.logLevel });

  const app = new App(settings, { clock: systemClock, log, makeChannels });
  let stopping = false;
  const stop = async (signal: NodeJS.Signals) => {
    if (stopping) return;
    stopping = true;
    log.info("stopping", { signal });
    await app.stop();
    process.exit(0);
  };
  process.on("SIGTERM", (signal) => void stop(signal));
  process.on("SIGINT", (signal) => void stop(signal));
  const onTerminal = isTerminal(STDERR);
  process.on("SIGHUP", (signal) => {
    // The terminal it was started on was closed: nobody means it to go on as root.
    if (onTerminal && !isTerminal(STDERR)) void stop(signal);
    else reload(app, log);
  });
  await app.start();
  // After it is ready: describing takes time too.
  log.info(`wgmon ${version}`, describeSettings(settings));
  for (const note of notes) log.warn(note);
}

function reload(app: App, log: LeveledLog): void {
  try {
    const command = readCommand();
    if (command.type !== "run") return;
    log.setLevel(command.settings.logLevel);
    log.info("settings reloaded", describeSettings(app.reload(command.settings)));
    for (const note of command.notes) log.warn(note);
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof SystemError)) throw error;
    log.error(`settings not reloaded, the old ones stay: ${error.message.replaceAll("\n", "; ")}`);
  }
}

function complain(...lines: readonly string[]): void {
  const text = `${lines.join("\n")}\n`;
  try {
    // Not process.stderr, which opens files of its own: there may be too many already.
    writeToStderr(Buffer.from(text), COMPLAINT_MS);
  } catch (error) {
    // No C library can be called, which may be the complaint itself.
    if (error instanceof LibraryError) process.stderr.write(text);
  }
}

try {
  const command = readCommand();
  switch (command.type) {
    case "run":
      await run(command.settings, command.notes);
      break;
    case "help":
      print(`${helpText()}\n`);
      break;
    case "version":
      print(`${versionText(version)}\n`);
      break;
  }
} catch (error) {
  if (error instanceof ConfigError) {
    complain(...error.problems.map((problem) => `wgmon: ${problem}`), MORE_HELP);
    process.exit(2);
  }
  if (error instanceof SystemError || error instanceof LibraryError) {
    complain(`wgmon: ${error.message}`);
    process.exit(1);
  }
  throw error;
}
