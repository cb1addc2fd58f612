/**
 * The name of each peer: from the settings, else from the files that belong to its device. Changed files are read when
 * a device appears, once a minute, and when the name of a peer without one is requested, because an administrator adds
 * the name before the peer connects.
 */

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { fileName } from "../base/redact.ts";
import type { PublicKey } from "../base/wireguard.ts";
import { listFolder, readSecretFile } from "../platform/files.ts";
import type { Log } from "../platform/log.ts";
import { LINES_MAX, parseNames } from "./parse-names.ts";

/** Interval for checking the files. */
const CHECK_MS = 60_000;
/** Minimum time between checks because of a missing name: a peer without one may be requested continuously. */
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
  /** Stamp of the file as read; null: read it again even if it did not change. */
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
  /** Pages by path. */
  #pages: ReadonlyMap<string, NameFile> = new Map();
  /** Pages by device, the ones with precedence first. */
  readonly #devices = new Map<string, readonly NameFile[]>();
  #watched: readonly string[] = [];
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
    this.#pages = new Map();
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
    this.#watched = devices;
    for (const device of devices) this.#devices.set(device, this.#devices.get(device) ?? []);
    this.#check();
  }

  /** Returns null if the peer has no name. */
  nameOf(publicKey: PublicKey, device: string): string | null {
    const { peers, names } = this.#sources;
    const given = peers.get(publicKey)?.name ?? null;
    if (given !== null || names.length === 0) return given;
    const found = this.#find(publicKey, device);
    const isFresh = this.#clock.now().monotonicMs - this.#checkedMs < MISS_MS;
    if (found !== null || (isFresh && this.#devices.has(device))) return found;
    this.#devices.set(device, this.#devices.get(device) ?? []);
    this.#check();
    return this.#find(publicKey, device);
  }

  [Symbol.dispose](): void {
    this.#cancelCheck();
  }

  #find(publicKey: PublicKey, device: string): string | null {
    for (const { names } of this.#devices.get(device) ?? []) {
      const name = names.get(publicKey);
      if (name !== undefined) return name;
    }
    return null;
  }

  #scheduleCheck(): void {
    this.#cancelCheck = this.#clock.after(CHECK_MS, () => {
      for (const device of this.#devices.keys()) {
        if (!this.#watched.includes(device)) this.#devices.delete(device);
      }
      this.#check();
      this.#scheduleCheck();
    });
  }

  /** Reads the files that changed. */
  #check(): void {
    this.#checkedMs = this.#clock.now().monotonicMs;
    const pages = new Map<string, NameFile>();
    const pageAt = (path: string, isExpected: boolean): NameFile => {
      const page = pages.get(path) ?? this.#read(path, isExpected);
      pages.set(path, page);
      return page;
    };
    for (const device of this.#devices.keys()) {
      const found = this.#sources.names.flatMap((pattern) =>
        this.#pagesOf(pattern, device, pageAt),
      );
      this.#devices.set(device, found);
    }
    this.#pages = pages;
  }

  #pagesOf(
    pattern: string,
    device: string,
    pageAt: (path: string, isExpected: boolean) => NameFile,
  ): NameFile[] {
    const path = pattern.replaceAll("%i", () => device);
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    const last = pattern.slice(pattern.lastIndexOf("/") + 1);
    const files = (inFolder: string, patterns: readonly string[]): NameFile[] =>
      this.#listed(inFolder, patterns, device).map((name) => pageAt(`${inFolder}${name}`, false));
    if (/[*?]/.test(last)) return files(folder, [last]);
    const page = pageAt(path, path === pattern);
    return page.isFolder ? files(`${path.replace(/\/$/, "")}/`, FOLDER_PATTERNS) : [page];
  }

  #listed(folder: string, patterns: readonly string[], device: string): string[] {
    const matchers = patterns.map((pattern) => matcher(pattern, device));
    const isHiddenWanted = patterns.some((pattern) => pattern.startsWith("."));
    const names = this.#filesIn(folder)
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

  /** Lists a folder. If listing fails, returns the files known before; reading them reports the error. */
  #filesIn(folder: string): string[] {
    try {
      return listFolder(folder);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      const known = [...this.#pages.keys()].filter((path) => path.startsWith(folder));
      return known.map((path) => path.slice(folder.length)).filter((name) => !name.includes("/"));
    }
  }

  /** @param isExpected whether a missing file is a mistake. */
  #read(path: string, isExpected: boolean): NameFile {
    const before = this.#pages.get(path) ?? EMPTY;
    const page = this.#reading(path, before, isExpected);
    const { problem } = page;
    // Log a problem once, until it changes.
    if (problem !== null && problem !== before.problem) {
      this.#log.warn(`names: ${fileName(path)}: ${problem}`);
    }
    return page;
  }

  #reading(path: string, before: NameFile, isExpected: boolean): NameFile {
    try {
      const limits = { lastStamp: before.stamp, maxBytes: NAMES_FILE_BYTES_MAX };
      const reading = readSecretFile(path, limits, parseNames);
      switch (reading.type) {
        case "unchanged":
          return before;
        case "read": {
          const { value: names, stamp } = reading;
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
