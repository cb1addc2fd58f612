/**
 * The entry point: parses the command line, and runs the daemon or a command.
 *
 * Exit codes: 0 stopped on request, 1 failed, 2 wrong usage.
 */

import { LibraryError } from "../ffi/errors.ts";
import { AlreadyRunning, ConfigError, NotFound, SystemError } from "./base/errors.ts";
import { hasUrl, isCertificate } from "./base/redact.ts";
import { printError } from "./cli/print.ts";
import { type Command, parseCommand } from "./config/config.ts";
import type { FileRead, FilesRead } from "./config/secret-files.ts";
import { runDaemon } from "./daemon.ts";
import { folderOpenToOthers } from "./platform/file-access.ts";
import { listFolder, readFileAndMode } from "./platform/files.ts";
import { hostname } from "./platform/machine-names.ts";
import { print } from "./platform/standard-streams.ts";

const startFolder = process.cwd();
// The loader searches the working directory for a library that it does not find elsewhere. For a daemon that runs as
// root this must not be a folder of another user.
process.chdir("/");

function readCommand(): {
  readonly command: Command;
  readonly files: FilesRead;
} {
  const files = new Map<string, FileRead>();
  const command = parseCommand({
    argv: process.argv.slice(2),
    env: process.env,
    hostname: hostname(),
    readFile(path) {
      const file = readFileAndMode(absolute(path));
      if (file === null) return null;
      const { text, mode } = file;
      files.set(path, {
        path: absolute(path),
        mode,
        hasUrl: hasUrl(text),
        isPublic: isCertificate(text),
      });
      return file;
    },
    listFolder: (path) => listFolder(absolute(path), { isRequired: true }),
    folderOpenToOthers: (path) => folderOpenToOthers(absolute(path)),
  });
  return { command, files };
}

/** Resolves a path against the start folder, because the working directory has changed since. */
function absolute(path: string): string {
  return path.startsWith("/") ? path : `${startFolder}/${path}`;
}

// Handled before the command line is parsed, because parsing would refuse one that is still being typed.
if (process.argv[2] === "__complete") {
  const { complete } = await import("./cli/completion.ts");
  const { withNames } = await import("./cli/completion-names.ts");
  const lines = await withNames(complete(process.argv.slice(3)), process.env);
  print(lines.map((line) => `${line}\n`).join(""));
  process.exit();
}

try {
  const { command, files } = readCommand();
  if (command.type === "run") {
    await runDaemon(command, { files, readCommand });
  } else if (command.type === "hub" && command.action === "run") {
    const { runHub } = await import("./hub-daemon.ts");
    await runHub(command, { files, readCommand });
  } else {
    const { runCommand } = await import("./cli/commands.ts");
    const exitCode = await runCommand(command, files);
    if (exitCode !== null) process.exit(exitCode);
  }
} catch (error) {
  if (error instanceof ConfigError) {
    printError(...error.errors.map((problem) => `wgmon: ${problem}`), error.nextStep);
    process.exit(2);
  }
  if (error instanceof NotFound) {
    printError(`wgmon: ${error.message}`, error.nextStep);
    process.exit(1);
  }
  if (
    error instanceof SystemError ||
    error instanceof LibraryError ||
    error instanceof AlreadyRunning
  ) {
    printError(`wgmon: ${error.message}`);
    process.exit(1);
  }
  throw error;
}
