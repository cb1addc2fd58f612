/**
 * The failures that wgmon expects, one class for each way a caller can react. Any other error is a bug and ends the
 * process. No message ever contains a secret.
 */

/**
 * A failed system call or an error in a kernel's answer. The message has the operation, the errno by name and a hint.
 */
export class SystemError extends Error {
  override readonly name = "SystemError";
  /** `EPERM`, `ENODEV`, ... */
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

/** Whether the error means that the kernel, or its answer, could not be read this time. */
export function isUnreadable(error: unknown): error is SystemError | ParseError {
  return error instanceof SystemError || error instanceof ParseError;
}

/**
 * Unusable settings or arguments, with all problems at once. The process ends with exit code 2. Also used for a name
 * that only the daemon, the kernel or the store can recognize as unknown.
 */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly errors: readonly string[];
  /** The line to print after the problems. */
  readonly nextStep: string;

  constructor(problems: readonly string[], nextStep = "wgmon --help lists all settings.") {
    super(problems.join("\n"));
    this.errors = problems;
    this.nextStep = nextStep;
  }
}
