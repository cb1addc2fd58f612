/** The address of a Unix socket, as system calls expect it. Pure. */

import { AF_UNIX } from "./constants.ts";

/** struct sockaddr_un, linux/un.h: offset and maximum length of the path. */
const SUN_PATH = 2;
const SUN_PATH_BYTES = 108;

/** Encodes a path or, with a leading @, a name in the abstract namespace, unix(7); null if it is too long. */
export function unixAddress(text: string): Uint8Array | null {
  const path = new TextEncoder().encode(text);
  if (path.length >= SUN_PATH_BYTES) return null;
  // A path ends with a NUL. An abstract name starts with a NUL and ends at the end of the address.
  const isPath = !text.startsWith("@");
  const bytes = new Uint8Array(new ArrayBuffer(SUN_PATH + path.length + (isPath ? 1 : 0)));
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, true);
  bytes.set(path, SUN_PATH);
  if (!isPath) bytes[SUN_PATH] = 0;
  return bytes;
}
