/**
 * `wgmon extract-names`: copies peer names from /etc/wireguard, which only root can read, to
 * /run/wgmon-names, which the service's group can read. Private keys are not copied. The systemd unit runs
 * this as root before each start and at each reload, and the service sees the copy as its /etc/wireguard.
 */

import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { SystemError } from "../base/errors.ts";
import type { PublicKey } from "../base/wireguard.ts";
import { LINES_MAX, parseNames } from "../names/parse-names.ts";
import { NAMES_FILE_BYTES_MAX } from "../names/peer-names.ts";
import { readSecretFile } from "../platform/files.ts";

export interface Folders {
  /** The folder of wg-quick's files. */
  readonly source: string;
  /** The folder that the service sees as /etc/wireguard. */
  readonly copy: string;
  /** The folder whose group gets read access to the copy. */
  readonly owned: string;
}

export const FOLDERS: Folders = {
  // Through the root of process 1: the unit mounts the copy over /etc/wireguard for all its commands.
  source: "/proc/1/root/etc/wireguard",
  copy: "/run/wgmon-names",
  // The unit's RuntimeDirectory=. The service's user and group exist only while it runs.
  owned: "/run/wgmon",
};

/** Files of wg-quick and of systemd-networkd; hidden files do not match. */
const HAS_NAMES = /^[^.].*\.(conf|netdev)$/;

/**
 * @param warn receives a line for each file that could not be read. The previous copy of such a file is kept.
 * @throws SystemError
 */
export function extractNames({ source, copy, owned }: Folders, warn: (line: string) => void): void {
  // systemd would create a missing folder as a mount point that all users can read. So create it here, with mode 700 as
  // wireguard-tools does.
  makeFolder(source, 0o700);
  makeFolder(copy, 0o750);
  const group = statSync(owned, { throwIfNoEntry: false })?.gid ?? 0;
  const shareWithGroup = (path: string, mode: number) => {
    chownSync(path, statSync(path).uid, group);
    chmodSync(path, mode);
  };
  attempt(`copy names to ${copy}`, () => {
    shareWithGroup(copy, 0o750);
    const names = readdirSync(source).filter((name) => HAS_NAMES.test(name));
    for (const name of names) {
      const text = copyOf(join(source, name), warn);
      if (text === null) continue;
      // Replace the file atomically: the service may be reading it.
      const temporary = join(copy, `.${name}`);
      writeFileSync(temporary, text, { mode: 0o600 });
      shareWithGroup(temporary, 0o640);
      renameSync(temporary, join(copy, name));
    }
    for (const name of readdirSync(copy)) {
      if (!names.includes(name)) rmSync(join(copy, name), { recursive: true });
    }
  });
}

/** The content of the copy of a file: only names and public keys. null: the file cannot be read. */
function copyOf(path: string, warn: (line: string) => void): string | null {
  try {
    const limits = { lastStamp: null, maxBytes: NAMES_FILE_BYTES_MAX };
    const reading = readSecretFile(path, limits, parseNames);
    if (reading.type !== "read") return "";
    if (reading.value !== null) return [...reading.value].map(section).join("\n");
    warn(`${path} has more than ${LINES_MAX} lines; it is not read`);
    return null;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    warn(error.message);
    return null;
  }
}

/** Uses `friendly_name`, which allows any text, so that parseNames finds the same name in the copy as in the file. */
function section([publicKey, name]: readonly [PublicKey, string]): string {
  return `[Peer]\n# friendly_name = ${name}\nPublicKey = ${publicKey}\n`;
}

function makeFolder(path: string, mode: number): void {
  attempt(`make ${path}`, () => {
    try {
      mkdirSync(path, { mode });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  });
}

function attempt(operation: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof SystemError || code === undefined) throw error;
    const isRefused = code === "EACCES" || code === "EPERM";
    throw new SystemError(operation, code, ...(isRefused ? ["run this as root"] : []));
  }
}
