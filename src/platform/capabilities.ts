/**
 * The capabilities of this process, and error texts for kernel requests that are not permitted: they name the missing
 * capability, or other possible causes if the process has it.
 */

import { SystemError } from "../base/errors.ts";
import { CAP_NET_ADMIN, CAP_NET_RAW, EACCES, EPERM } from "./constants.ts";
import { errnoName, systemError } from "./errno.ts";
import { readTextFile } from "./files.ts";

const numbers = { CAP_NET_ADMIN, CAP_NET_RAW } as const;

export type Capability = keyof typeof numbers;

/** Bit numbers are those of linux/capability.h. */
export interface Capabilities {
  readonly effective: bigint;
  /** Capabilities that programs started by wgmon inherit. */
  readonly ambient: bigint;
}

/** The capabilities of the calling thread; null if they cannot be read from /proc. */
export function ownCapabilities(): Capabilities | null {
  return capabilitiesOf("thread-self");
}

/**
 * Reads capabilities from /proc/PROCESS/status, proc_pid_status(5). Returns null if they cannot be read.
 *
 * @param process a process id, `self` or `thread-self`.
 */
export function capabilitiesOf(process: number | string): Capabilities | null {
  const status = readTextFile(`/proc/${process}/status`) ?? "";
  const bits = (set: string) => new RegExp(`^${set}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1];
  const [effective, ambient] = [bits("CapEff"), bits("CapAmb")];
  if (effective === undefined) return null;
  return { effective: BigInt(`0x${effective}`), ambient: BigInt(`0x${ambient ?? "0"}`) };
}

export function includes(set: bigint, capability: Capability): boolean {
  return ((set >> BigInt(numbers[capability])) & 1n) === 1n;
}

/** Returns the error for a failed kernel request that needs CAP_NET_ADMIN. */
export function kernelError(operation: string, code: number): SystemError {
  if (code !== EPERM && code !== EACCES) return systemError(operation, code);
  return new SystemError(
    operation,
    errnoName(code),
    explainRefusal("CAP_NET_ADMIN", ownCapabilities()),
  );
}

/** Explains why the kernel refused an operation that needs a capability. */
export function explainRefusal(capability: Capability, own: Capabilities | null): string {
  return own !== null && includes(own.effective, capability)
    ? `not permitted, although wgmon has ${capability}. In a user namespace, such as a rootless container, the capability applies only to network namespaces created there; otherwise a security module or a seccomp filter denies it`
    : `not permitted; wgmon needs ${capability}, run it as root or give it that capability`;
}

/** The same explanation for a program that wgmon started, such as nft. */
export function explainProgramRefusal(capability: Capability, own: Capabilities | null): string {
  if (own === null || !includes(own.effective, capability)) {
    return `it needs ${capability}, which root has`;
  }
  return process.geteuid!() === 0 || includes(own.ambient, capability)
    ? explainRefusal(capability, own)
    : `it needs ${capability}, which wgmon has but does not pass on: make it ambient too, in a unit with AmbientCapabilities=${capability}`;
}
