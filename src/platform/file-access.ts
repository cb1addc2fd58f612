/** Who may use a file: which users can replace it, and why this process may not connect to a socket. */

import { SystemError } from "../base/errors.ts";

/** The kernel's limit of symbolic links, path_resolution(7). */
const LINKS_MAX = 40;

/**
 * Returns the first folder on the path of a file that users other than root and wgmon's own user can change, which lets
 * them replace the file; null if there is no such folder. Follows symbolic links and checks the paths to their targets.
 * In a folder with the sticky bit, such as /tmp, users cannot replace files that belong to others.
 *
 * @param path absolute.
 * @throws SystemError
 */
export function folderOpenToOthers(path: string): string | null {
  // Loaded on demand, because few callers need it.
  const { lstatSync, readlinkSync } = require("node:fs") as typeof import("node:fs");
  const trusted = [0, process.geteuid!()];
  const names = path.split("/");
  let folder = "";
  try {
    for (let links = 0; names.length > 0;) {
      const name = names.shift()!;
      if (name === "" || name === ".") continue;
      if (name === "..") {
        folder = folder.slice(0, folder.lastIndexOf("/"));
        continue;
      }
      const { mode, uid } = lstatSync(folder || "/");
      const isSticky = (mode & 0o1000) !== 0;
      if (!trusted.includes(uid) || ((mode & 0o022) !== 0 && !isSticky)) return folder || "/";
      const next = lstatSync(`${folder}/${name}`);
      if (isSticky && !trusted.includes(next.uid)) return folder || "/";
      if (!next.isSymbolicLink()) {
        folder += `/${name}`;
        continue;
      }
      if (++links > LINKS_MAX) throw new SystemError(`resolve ${path}`, "ELOOP");
      const target = readlinkSync(`${folder}/${name}`);
      if (target.startsWith("/")) folder = "";
      names.unshift(...target.split("/"));
    }
    return null;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (error instanceof SystemError || typeof code !== "string") throw error;
    throw new SystemError(`resolve ${path}`, code);
  }
}

/** Explains why this process may not connect to a Unix socket, unix(7): connecting needs write permission. */
export function explainNoAccess(path: string): string {
  const { statSync } = require("node:fs") as typeof import("node:fs");
  const own = process.geteuid!();
  // If stat fails, the cause is a parent folder that this process may not search.
  for (let current = path; current !== ""; current = current.slice(0, current.lastIndexOf("/"))) {
    try {
      const { mode, uid, gid } = statSync(current);
      const bits = (mode & 0o7777).toString(8).padStart(3, "0");
      return `${current} belongs to user ${uid} and group ${gid}, mode ${bits}, and wgmon runs as user ${own}; run wgmon as root. Do not change the socket: wireguard-go ends, with its tunnels, when its owner or mode changes`;
    } catch {
      // Continue with the parent folder.
    }
  }
  return `permission denied for user ${own}`;
}
