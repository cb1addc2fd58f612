/**
 * The failures that wgmon expects, one class for each way a caller can react. Any other error is a bug and ends the
 * process. No message ever contains a secret.
 */

/**
 * A failed system call, an error in the kernel's answer, or a failed program. The message contains the operation, the
 * code and, if there is one, a hint.
 */
export class SystemError extends Error {
  override readonly name = "SystemError";
  /** The name of the errno (`EPERM`, `ENODEV`, ...), or a few words for other failures (`timed out`). */
  readonly code: string;

  constructor(operation: string, code: string, hint?: string) {
    super(`${operation}: ${code}${hint === undefined ? "" : ` (${hint})`}`);
    this.code = code;
  }
}

/** Another process uses the state directory or the socket that this process needs. */
export class AlreadyRunning extends Error {
  override readonly name = "AlreadyRunning";
}

/** Bytes that do not match their format. */
export class ParseError extends Error {
  override readonly name = "ParseError";
}

/**
 * Whether the error is an expected failure to read the kernel's state: a system call failed, or the answer is
 * malformed. A later attempt may succeed.
 */
export function isUnreadable(error: unknown): error is SystemError | ParseError {
  return error instanceof SystemError || error instanceof ParseError;
}

/**
 * Invalid settings or arguments: all problems together. The process ends with exit code 2. Also used for a name that
 * only the daemon, the kernel or the store can recognize as unknown.
 */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly errors: readonly string[];
  /** The line to print after the problems. */
  readonly nextStep: string;

  constructor(problems: readonly string[], nextStep = "wgmon run --help lists all settings.") {
    super(problems.join("\n"));
    this.errors = problems;
    this.nextStep = nextStep;
  }
}

/** The user's word names no peer, or several. The process ends with exit code 1. */
export class NotFound extends Error {
  override readonly name = "NotFound";
  /** The line to print after the message. */
  readonly nextStep: string;

  constructor(problem: string, nextStep: string) {
    super(problem);
    this.nextStep = nextStep;
  }
}
