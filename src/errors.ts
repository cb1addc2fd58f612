/**
 * The failures that wgmon expects, one class for each thing that a caller can do about it. All else
 * is a bug and ends the process. No message ever holds a secret.
 */

/** A system call or a kernel's answer that failed: the operation, the errno by name, the next step. */
export class SystemError extends Error {
  override readonly name = "SystemError";
  /** `EPERM`, `ENODEV`, ... */
  readonly code: string;

  constructor(operation: string, code: string, hint?: string) {
    super(`${operation}: ${code}${hint === undefined ? "" : ` (${hint})`}`);
    this.code = code;
  }
}

/** Another process uses the state directory or the socket that this one is to use. */
export class AlreadyRunning extends Error {
  override readonly name = "AlreadyRunning";
}

/** Bytes that do not follow their format. */
export class ParseError extends Error {
  override readonly name = "ParseError";
}

/** Whether what was thrown says that the kernel, or what it answered, could not be read just now. */
export function isUnreadable(error: unknown): error is SystemError | ParseError {
  return error instanceof SystemError || error instanceof ParseError;
}

/** A C library that cannot be used: missing, too old, or FFI itself refused. */
export class LibraryError extends Error {
  override readonly name = "LibraryError";
}

/**
 * Settings or arguments that cannot be used, all problems at once. The process ends with exit code 2: also
 * for a name that only the daemon, the kernel or the store can tell to be unknown.
 */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly string[];
  /** A sentence for the line behind the problems. */
  readonly nextStep: string;

  constructor(problems: readonly string[], nextStep = "wgmon --help lists all settings.") {
    super(problems.join("\n"));
    this.problems = problems;
    this.nextStep = nextStep;
  }
}
