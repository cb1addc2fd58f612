/**
 * `wgmon install-service` and `uninstall-service`: install and remove the systemd unit, and install the settings file,
 * on a machine without the package. They ask no questions, overwrite no file, and print each change.
 */

import {
  chmodSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";

import unit from "../../deploy/wgmon.service" with { type: "text" };
import { SystemError } from "../base/errors.ts";
import { runWithInheritedOutput, SEARCH_PATH } from "../platform/run-program.ts";
import { settingsFile } from "./settings-example.ts";

const UNIT = "/etc/systemd/system/wgmon.service";
const SETTINGS = "/etc/wgmon/wgmon.toml";
/** The paths at which packages install the unit. */
const PACKAGED = ["/usr/lib/systemd/system/wgmon.service", "/lib/systemd/system/wgmon.service"];
/** Exists if systemd is process 1: sd_booted(3). */
const SYSTEMD = "/run/systemd/system";
/** The first line of our unit, which identifies it. */
const [MARK] = unit.split("\n", 1) as [string];
/** Paths that the service cannot see, because of ProtectHome= and PrivateTmp=. */
const HIDDEN = /^\/(home|root|run\/user|tmp|var\/tmp)\//;

export interface ServiceOptions {
  /** Path of the program that the service runs. */
  readonly program: string;
  /** Prefix of all paths; empty except in tests. */
  readonly root: string;
  readonly print: (line: string) => void;
  /** Runs systemctl and returns its exit code. */
  readonly systemctl: (...words: readonly string[]) => number;
}

/**
 * Installs the unit and the settings file, and starts the service.
 *
 * @throws SystemError
 */
export function installService(options: ServiceOptions): void {
  const { program, root, print } = options;
  const packaged = PACKAGED.find((path) => read(root + path) !== null);
  if (packaged !== undefined) {
    throw refusal("install", `a package installed ${packaged}; run: systemctl enable --now wgmon`);
  }
  checkProgram(program);
  const text = unitFor(program);
  const installed = read(root + UNIT);
  if (installed !== null && !isOurs(installed)) {
    throw refusal("install", `${UNIT} exists already and was not written by wgmon`);
  }
  if (create(root + UNIT, text)) print(`wrote ${UNIT}; it runs ${program}`);
  else if (read(root + UNIT) === text) print(`${UNIT} exists already`);
  else print(`${UNIT} exists already with other content and was not changed`);
  if (create(root + SETTINGS, settingsFile()))
    print(`wrote ${SETTINGS}; it contains only comments`);
  else print(`${SETTINGS} exists already and was not changed`);
  systemctl(options, ["daemon-reload"], ["enable", "--now", "wgmon"]);
}

/**
 * Stops the service and removes the unit. Settings, credentials and state are kept.
 *
 * @throws SystemError
 */
export function uninstallService(options: ServiceOptions): void {
  const { root, print } = options;
  const text = read(root + UNIT);
  if (text === null) throw refusal("uninstall", `there is no ${UNIT}`);
  if (!isOurs(text)) {
    throw refusal("uninstall", `${UNIT} was not written by wgmon; remove it yourself`);
  }
  systemctl(options, ["disable", "--now", "wgmon"]);
  attempt(`remove ${UNIT}`, () => rmSync(root + UNIT));
  print(`removed ${UNIT}`);
  systemctl(options, ["daemon-reload"]);
  print(
    "kept: /etc/wgmon (settings), /var/lib/wgmon (events and sessions), /etc/credstore/wgmon.*",
  );
}

/** Runs the commands if systemd runs; otherwise prints them for the user to run. */
function systemctl(options: ServiceOptions, ...commands: readonly (readonly string[])[]): void {
  const { root, print } = options;
  for (const command of commands) {
    const line = `systemctl ${command.join(" ")}`;
    if (!exists(root + SYSTEMD)) {
      print(`systemd is not running here; where it is, run: ${line}`);
      continue;
    }
    print(line);
    const exitCode = options.systemctl(...command);
    if (exitCode === 0) continue;
    throw new SystemError(line, `exit code ${exitCode}`, "see: journalctl -u wgmon");
  }
}

/** Throws unless the service can see the program, and only root can change or replace it. */
function checkProgram(program: string): void {
  if (HIDDEN.test(program)) {
    const advice = `copy it first: install -m 755 ${program} /usr/local/bin/wgmon`;
    throw refusal("install", `the service cannot see ${program}; ${advice}`);
  }
  // Other characters have a special meaning in a unit.
  if (!/^[\w./+-]+$/.test(program)) {
    throw refusal(
      "install",
      "the path of wgmon contains characters that a unit file cannot contain",
    );
  }
  for (let path = program; ; path = dirname(path)) {
    const { mode, uid, gid } = attempt(`stat ${path}`, () => statSync(path));
    const unsafe = unsafeAccess({ path, mode, uid, gid });
    if (unsafe !== null) {
      const what = path === program ? "change" : "replace";
      throw refusal(
        "install",
        `${unsafe.found}, who could ${what} the program that root starts. Fix: ${unsafe.fix} ${path}; or install -m 755 ${program} /usr/bin/wgmon, and run that copy`,
      );
    }
    if (path === "/") return;
  }
}

/**
 * Describes the user or group besides root that can change a file or folder, and the command that corrects it; null:
 * only root can.
 */
function unsafeAccess(entry: {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}): { readonly found: string; readonly fix: string } | null {
  const { path, mode, uid, gid } = entry;
  if (uid !== 0) {
    return {
      found: `${path} belongs to ${nameIn("/etc/passwd", uid, "user")}`,
      fix: "chown root",
    };
  }
  const bits = (mode & 0o7777).toString(8);
  if ((mode & 0o002) !== 0) {
    return { found: `${path}, mode ${bits}, can be written by all users`, fix: "chmod go-w" };
  }
  if ((mode & 0o020) === 0) return null;
  const group = nameIn("/etc/group", gid, "group");
  return { found: `${path}, mode ${bits}, can be written by ${group}`, fix: "chmod g-w" };
}

/** `group staff`, or `group 50` if the file has no such entry. Both files have the fields name, password, number. */
function nameIn(file: "/etc/passwd" | "/etc/group", id: number, what: string): string {
  const fields = (read(file) ?? "").split("\n").map((line) => line.split(":"));
  return `${what} ${fields.find(([, , number]) => number === String(id))?.[0] ?? id}`;
}

function isOurs(text: string): boolean {
  return text.startsWith(`${MARK}\n`);
}

function unitFor(program: string): string {
  // The man page exists only in the package.
  return unit.replaceAll("/usr/bin/wgmon", program).replace(/^Documentation=.*\n/m, "");
}

/** Creates a file that all users can read; false: it already existed. */
function create(path: string, text: string): boolean {
  return attempt(`write ${path}`, () => {
    const made = mkdirSync(dirname(path), { recursive: true });
    // Set the mode explicitly, so that all users can read the folder with any umask.
    if (made !== undefined) chmodSync(dirname(path), 0o755);
    try {
      writeFileSync(path, text, { flag: "wx" });
      chmodSync(path, 0o644);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
      throw error;
    }
    return true;
  });
}

/** null: the file does not exist. */
function read(path: string): string | null {
  return exists(path) ? attempt(`read ${path}`, () => readFileSync(path, "utf8")) : null;
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function attempt<Result>(operation: string, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw code === "EACCES" || code === "EPERM"
      ? new SystemError(operation, code, "run this as root")
      : new SystemError(operation, code);
  }
}

function refusal(action: "install" | "uninstall", reason: string): SystemError {
  return new SystemError(`${action} the service`, "not done", reason);
}

/**
 * The path of this program.
 *
 * @throws SystemError when wgmon runs from source.
 */
export function ownProgram(): string {
  if (!Bun.main.startsWith("/$bunfs/")) throw refusal("install", "this is not a built wgmon");
  return realpathSync(process.execPath);
}

/** @throws SystemError when systemctl cannot be started. */
export function runSystemctl(...words: readonly string[]): number {
  const exitCode = runWithInheritedOutput("systemctl", words);
  if (exitCode !== null) return exitCode;
  throw new SystemError("run systemctl", "no such program", `not found in ${SEARCH_PATH}`);
}
