/** Converts the kernel's error numbers to errors with the name and, for some, a hint. */

import { SystemError } from "../base/errors.ts";
import * as uapi from "./constants.ts";

const hints: Readonly<Record<string, string>> = {
  EPERM: "operation not permitted",
  EACCES: "permission denied by the owner and mode of the file or of one of its parent folders",
  ENODEV: "no such device",
  EAGAIN: "the kernel did not answer in time",
  ECONNRESET: "the other side closed the connection before the end",
  ENOBUFS: "the kernel's buffer was full",
  EMFILE: "too many open files in this process; raise LimitNOFILE",
  ENFILE: "too many open files on this machine",
  EAFNOSUPPORT:
    "address family not supported by this kernel, or forbidden by RestrictAddressFamilies= in the unit",
  EPROTONOSUPPORT: "protocol not supported by this kernel",
};

/** `EPERM` for 1; `errno 123` for a number that is not in constants.ts. */
export function errnoName(code: number): string {
  // A linear search on each call: building a map would add half a millisecond to every start.
  const found = Object.entries(uapi).find(
    ([name, value]) => value === code && /^E[A-Z0-9]+$/.test(name),
  );
  return found?.[0] ?? `errno ${code}`;
}

export function systemError(operation: string, code: number): SystemError {
  const name = errnoName(code);
  return new SystemError(operation, name, hints[name]);
}
