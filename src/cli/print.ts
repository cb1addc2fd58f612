/** Prints lines of the commands: results to standard output, errors to standard error. */

import { LibraryError } from "../../ffi/errors.ts";
import { printableLine } from "../base/visible.ts";
import { print, writeToStderr } from "../platform/standard-streams.ts";

/** How long to wait if standard error is a pipe whose reader is slow or has stopped reading. */
const STDERR_TIMEOUT_MS = 1000;

export function printLine(line: string): void {
  print(`${printableLine(line)}\n`);
}

export function printError(...lines: readonly string[]): void {
  const text = `${lines.map(printableLine).join("\n")}\n`;
  try {
    // Not process.stderr, which opens more file descriptors: their limit may be reached.
    writeToStderr(Buffer.from(text), STDERR_TIMEOUT_MS);
  } catch (error) {
    // No C library can be loaded, which may be the error to print.
    if (error instanceof LibraryError) process.stderr.write(text);
  }
}
