/** The names of the machine and of its network interfaces. Uses libc for the reason given in files.ts. */

import { errno, libc } from "../../ffi/libc.ts";
import { ENODEV } from "./constants.ts";
import { systemError } from "./errno.ts";

/** HOST_NAME_MAX + 1 for the NUL, limits.h. */
const HOST_NAME_BYTES = 65;

/** Returns the machine's name, gethostname(2); empty if it has none. */
export function hostname(): string {
  const name = new Uint8Array(new ArrayBuffer(HOST_NAME_BYTES));
  libc().gethostname(name, name.length);
  return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
}

/**
 * Returns the index of the network interface with this name; 0 if it does not exist in this namespace.
 *
 * @throws SystemError when the lookup fails, for example without a free descriptor.
 */
export function interfaceIndex(name: string): number {
  const index = libc().if_nametoindex(name);
  const code = index === 0 ? errno() : 0;
  if (code !== 0 && code !== ENODEV) throw systemError(`find interface ${name}`, code);
  return index;
}
