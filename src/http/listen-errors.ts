/** Errors of listening on an address or a socket: their codes, and what to do. */

import { SystemError } from "../base/errors.ts";

export const listenHints: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program uses this port",
  EACCES: "wgmon is not allowed to use this port; ports below 1024 need CAP_NET_BIND_SERVICE",
  EADDRNOTAVAIL: "this machine does not have this address, or not yet",
  ENOENT: "there is no such file: --listen-tls-cert, --listen-tls-key",
};

/** The name of an errno, or Bun's code for other errors, such as `ERR_BORINGSSL`. */
export function codeOf(error: unknown): string {
  if (error instanceof SystemError) return error.code;
  const code = error instanceof Error && "code" in error ? error.code : null;
  return typeof code === "string" ? code : "unknown error";
}
