/**
 * The name of each peer: from the settings, else from the files that belong to its device. Changed files are read when
 * a device appears, once a minute, and when the name of a peer without one is requested: an administrator may have
 * added the name just before the peer connects.
 */

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { fileName } from "../base/redact.ts";
import type { PublicKey } from "../base/wireguard.ts";
import { listFolder, readSecretFile } from "../platform/files.ts";
import type { Log } from "../platform/log.ts";
import { LINES_MAX, parseNames } from "./parse-names.ts";

/** Interval for checking whether the files changed. */
const CHECK_MS = 60_000;
/** Minimum time between checks for a missing name, because the names of peers without one are requested often. */
const MISS_MS = 1000;
/** Maximum size of a file. 10,000 peers of wg-portal take 3 MB. */
export const NAMES_FILE_BYTES_MAX = 16 * 1024 * 1024;
/** Maximum number of files per folder or pattern. */
const FILES_MAX = 200;

/** Files of a folder that contain names: wg-quick's and systemd-networkd's. */
const FOLDER_PATTERNS = ["*.conf", "*.netdev"];

interface Sources {
  readonly peers: ReadonlyMap<PublicKey, { readonly name: string | null }>;
  /** Paths of files and folders, with `%i`, `*` and `?` as in the settings. Empty: no files are read. */
  readonly names: readonly string[];
}

/** The result of the last reading of a file. */
interface NameFile {
  readonly names: ReadonlyMap<PublicKey, string>;
  /** Identifies the content that was read; null: read the file again even if it did not change. */
  readonly stamp: string | null;
  readonly isFolder: boolean;
  /** Why the file could not be used; null if it was read or does not exist. */
  readonly problem: string | null;
}

const EMPTY: NameFile = { names: new Map(), stamp: null, isFolder: false, problem: null };

export class PeerNames {
  readonly #clock: Clock;
  readonly #log: Log;
  #sources: Sources = { peers: new Map(), names: [] };
  /** By path. */
  #files: ReadonlyMap<string, NameFile> = new Map();
  /** The files of each device, in order of precedence. */
  readonly #filesOfDevice = new Map<string, readonly NameFile[]>();
  #presentDevices: readonly string[] = [];
  /** Folders with too many files, for which a warning was logged. */
  readonly #truncated = new Set<string>();
  #checkedMs = -Infinity;
  #cancelCheck = () => {};

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Replaces the sources. All files are read again if there is a device. */
  setSources(sources: Sources): void {
    this.#sources = sources;
    this.#files = new Map();
    this.#truncated.clear();
    this.#cancelCheck();
    this.#cancelCheck = () => {};
    this.#check();
    if (sources.names.length > 0) this.#scheduleCheck();
  }

  /**
   * Sets the present devices and reads their files that changed. Names of a removed device stay available until the
   * next periodic check, because events about it are still to be reported.
   */
  setDevices(devices: readonly string[]): void {
    this.#presentDevices = devices;
    for (const device of devices)
      this.#filesOfDevice.set(device, this.#filesOfDevice.get(device) ?? []);
    this.#check();
  }

  /** Returns null if the peer has no name. */
  nameOf(publicKey: PublicKey, device: string): string | null {
    const { peers, names } = this.#sources;
    const configured = peers.get(publicKey)?.name ?? null;
    if (configured !== null || names.length === 0) return configured;
    const found = this.#find(publicKey, device);
    const isFresh = this.#clock.now().monotonicMs - this.#checkedMs < MISS_MS;
    if (found !== null || (isFresh && this.#filesOfDevice.has(device))) return found;
    this.#filesOfDevice.set(device, this.#filesOfDevice.get(device) ?? []);
    this.#check();
    return this.#find(publicKey, device);
  }

  [Symbol.dispose](): void {
    this.#cancelCheck();
  }

  #find(publicKey: PublicKey, device: string): string | null {
    for (const { names } of this.#filesOfDevice.get(device) ?? []) {
      const name = names.get(publicKey);
      if (name !== undefined) return name;
    }
    return null;
  }

  #scheduleCheck(): void {
    this.#cancelCheck = this.#clock.after(CHECK_MS, () => {
      for (const device of this.#filesOfDevice.keys()) {
        if (!this.#presentDevices.includes(device)) this.#filesOfDevice.delete(device);
      }
      this.#check();
      this.#scheduleCheck();
    });
  }

  /** Reads the files that changed. */
  #check(): void {
    this.#checkedMs = this.#clock.now().monotonicMs;
    const files = new Map<string, NameFile>();
    const fileAt = (path: string, isExpected: boolean): NameFile => {
      const file = files.get(path) ?? this.#read(path, isExpected);
      files.set(path, file);
      return file;
    };
    for (const device of this.#filesOfDevice.keys()) {
      const found = this.#sources.names.flatMap((pattern) =>
        this.#filesFor(pattern, device, fileAt),
      );
      this.#filesOfDevice.set(device, found);
    }
    this.#files = files;
  }

  /** The files of a device that one entry of the setting selects. */
  #filesFor(
    pattern: string,
    device: string,
    fileAt: (path: string, isExpected: boolean) => NameFile,
  ): NameFile[] {
    const path = pattern.replaceAll("%i", () => device);
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    const last = pattern.slice(pattern.lastIndexOf("/") + 1);
    const filesIn = (inFolder: string, patterns: readonly string[]): NameFile[] =>
      this.#matchingFiles(inFolder, patterns, device).map((name) =>
        fileAt(`${inFolder}${name}`, false),
      );
    if (/[*?]/.test(last)) return filesIn(folder, [last]);
    const file = fileAt(path, path === pattern);
    return file.isFolder ? filesIn(`${path.replace(/\/$/, "")}/`, FOLDER_PATTERNS) : [file];
  }

  #matchingFiles(folder: string, patterns: readonly string[], device: string): string[] {
    const matchers = patterns.map((pattern) => matcher(pattern, device));
    const isHiddenWanted = patterns.some((pattern) => pattern.startsWith("."));
    const names = this.#listFolder(folder)
      .filter((name) => isHiddenWanted || !name.startsWith("."))
      .filter((name) => matchers.some((each) => each.test(name)))
      .sort();
    if (names.length > FILES_MAX && !this.#truncated.has(folder)) {
      this.#truncated.add(folder);
      const counts = { files: names.length, read: FILES_MAX };
      this.#log.warn(
        `names: too many files in ${fileName(folder)}; only the first ones are read`,
        counts,
      );
    }
    return names.slice(0, FILES_MAX);
  }

  /** Returns the names in a folder. If listing fails, returns the files read before: reading them reports the error. */
  #listFolder(folder: string): string[] {
    try {
      return listFolder(folder);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      const known = [...this.#files.keys()].filter((path) => path.startsWith(folder));
      return known.map((path) => path.slice(folder.length)).filter((name) => !name.includes("/"));
    }
  }

  /** @param isExpected whether it is a problem if the file does not exist. */
  #read(path: string, isExpected: boolean): NameFile {
    const before = this.#files.get(path) ?? EMPTY;
    const file = this.#readNames(path, before, isExpected);
    const { problem } = file;
    // Log a problem only once until it changes.
    if (problem !== null && problem !== before.problem) {
      this.#log.warn(`names: ${fileName(path)}: ${problem}`);
    }
    return file;
  }

  #readNames(path: string, before: NameFile, isExpected: boolean): NameFile {
    try {
      const limits = { lastStamp: before.stamp, maxBytes: NAMES_FILE_BYTES_MAX };
      const result = readSecretFile(path, limits, parseNames);
      switch (result.type) {
        case "unchanged":
          return before;
        case "read": {
          const { value: names, stamp } = result;
          if (names === null) {
            return { ...EMPTY, stamp, problem: `has more than ${LINES_MAX} lines; it is not read` };
          }
          this.#log.debug("names read", { file: path, peers: names.size });
          return { ...EMPTY, names, stamp };
        }
        case "folder":
          return { ...EMPTY, isFolder: true };
        case "missing":
          return isExpected ? { ...EMPTY, problem: "there is no such file" } : EMPTY;
        case "not regular":
          return { ...EMPTY, problem: "is not a file" };
      }
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      // Keep the names read before, because the file may become readable again.
      return { ...before, stamp: null, problem: problemOf(error) };
    }
  }
}

function problemOf({ code }: SystemError): string {
  const hints: Readonly<Record<string, string>> = {
    EACCES: ': permission denied; allow wgmon to read it, or set names to "off"',
    EFBIG: ": it is too large",
  };
  return `cannot be read: ${code}${hints[code] ?? ""}`;
}

/** Converts a pattern: `*` matches any characters, `?` one character, `%i` the device name. */
function matcher(pattern: string, device: string): RegExp {
  const parts = pattern.split(/(%i|\*|\?)/).map((part) => {
    if (part === "*") return ".*";
    if (part === "?") return ".";
    return RegExp.escape(part === "%i" ? device : part);
  });
  return new RegExp(`^${parts.join("")}$`, "su");
}
