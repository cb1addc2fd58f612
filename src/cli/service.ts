/**
 * `wgmon install-service` and `uninstall-service`: the systemd unit and the settings file, on a machine
 * that has the bare program. Asks nothing, overwrites nothing, and says what it did.
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
import { SystemError } from "../errors.ts";
import { runShown, SEARCH_PATH } from "../program.ts";
import { settingsFile } from "./settingsfile.ts";

const UNIT = "/etc/systemd/system/wgmon.service";
const SETTINGS = "/etc/wgmon/wgmon.toml";
/** Where a package puts its units. */
const PACKAGED = ["/usr/lib/systemd/system/wgmon.service", "/lib/systemd/system/wgmon.service"];
/** It is there where systemd is the first process: sd_booted(3). */
const SYSTEMD = "/run/systemd/system";
/** By it a unit of ours is known again. */
const [MARK] = unit.split("\n", 1) as [string];
/** The unit does not see these: ProtectHome=, PrivateTmp=. */
const HIDDEN = /^\/(home|root|run\/user|tmp|var\/tmp)\//;

export interface ServiceOptions {
  /** Path of the program that the service is to run. */
  readonly program: string;
  /** The machine's files are below it; "" in earnest. */
  readonly root: string;
  readonly print: (line: string) => void;
  /** Runs systemctl; answers its exit code. */
  readonly systemctl: (...words: readonly string[]) => number;
}

/** @throws SystemError */
export function installService(options: ServiceOptions): void {
  const { program, root, print } = options;
  const packaged = PACKAGED.find((path) => read(root + path) !== null);
  if (packaged !== undefined) {
    throw refusal("install", `a package has put ${packaged} there; systemctl enable --now wgmon`);
  }
  checkProgram(program);
  const text = unitFor(program);
  const there = read(root + UNIT);
  if (there !== null && !isOurs(there)) {
    throw refusal("install", `${UNIT} is there already, and is not by wgmon`);
  }
  if (create(root + UNIT, text)) print(`wrote ${UNIT}; it runs ${program}`);
  else if (read(root + UNIT) === text) print(`${UNIT} is there already`);
  else print(`${UNIT} is there already, with other content, and stays as it is`);
  if (create(root + SETTINGS, settingsFile())) print(`wrote ${SETTINGS}; all of it is comments`);
  else print(`${SETTINGS} is there already, and stays as it is`);
  systemctl(options, ["daemon-reload"], ["enable", "--now", "wgmon"]);
}

/** Settings, credentials and state stay. @throws SystemError */
export function uninstallService(options: ServiceOptions): void {
  const { root, print } = options;
  const text = read(root + UNIT);
  if (text === null) throw refusal("uninstall", `there is no ${UNIT}`);
  if (!isOurs(text)) {
    throw refusal("uninstall", `${UNIT} is not by wgmon; remove it yourself`);
  }
  systemctl(options, ["disable", "--now", "wgmon"]);
  attempt(`remove ${UNIT}`, () => rmSync(root + UNIT));
  print(`removed ${UNIT}`);
  systemctl(options, ["daemon-reload"]);
  print(
    "kept: /etc/wgmon (settings), /var/lib/wgmon (events and sessions), /etc/credstore/wgmon.*",
  );
}

/** Runs them where systemd runs; else says that somebody has to. */
function systemctl(options: ServiceOptions, ...commands: readonly (readonly string[])[]): void {
  const { root, print } = options;
  for (const command of commands) {
    const line = `systemctl ${command.join(" ")}`;
    if (!isThere(root + SYSTEMD)) {
      print(`systemd does not run here; where it does: ${line}`);
      continue;
    }
    print(line);
    const exitCode = options.systemctl(...command);
    if (exitCode === 0) continue;
    throw new SystemError(line, `exit code ${exitCode}`, "see: journalctl -u wgmon");
  }
}

/** The service runs as a user of its own, who must see the program; and nobody but root may change it. */
function checkProgram(program: string): void {
  if (HIDDEN.test(program)) {
    const advice = `copy it first: install -m 755 ${program} /usr/local/bin/wgmon`;
    throw refusal("install", `the service cannot see ${program}; ${advice}`);
  }
  // In a unit, other characters have meanings.
  if (!/^[\w./+-]+$/.test(program)) {
    throw refusal("install", "the path of wgmon has characters that a unit cannot have");
  }
  for (let path = program; ; path = dirname(path)) {
    const { mode, uid, gid } = attempt(`look at ${path}`, () => statSync(path));
    const wrong = wrongAccess({ path, mode, uid, gid });
    if (wrong !== null) {
      const what = path === program ? "change" : "replace";
      throw refusal(
        "install",
        `${wrong.found}, who could ${what} the program that root starts; mend that: ${wrong.mend} ${path}; or copy it: install -m 755 ${program} /usr/bin/wgmon, and run that one`,
      );
    }
    if (path === "/") return;
  }
}

/** Who but root may change a file or folder, and the command against it; null: nobody. */
function wrongAccess(place: {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}): { readonly found: string; readonly mend: string } | null {
  const { path, mode, uid, gid } = place;
  if (uid !== 0) {
    return {
      found: `${path} belongs to ${nameIn("/etc/passwd", uid, "user")}`,
      mend: "chown root",
    };
  }
  const bits = (mode & 0o7777).toString(8);
  if ((mode & 0o002) !== 0) {
    return { found: `${path}, mode ${bits}, can be written by all users`, mend: "chmod go-w" };
  }
  if ((mode & 0o020) === 0) return null;
  const group = nameIn("/etc/group", gid, "group");
  return { found: `${path}, mode ${bits}, can be written by ${group}`, mend: "chmod g-w" };
}

/** `group staff`; by its number where the file does not have it. Both files: name, password, number. */
function nameIn(file: "/etc/passwd" | "/etc/group", id: number, what: string): string {
  const fields = (read(file) ?? "").split("\n").map((line) => line.split(":"));
  return `${what} ${fields.find(([, , number]) => number === String(id))?.[0] ?? id}`;
}

function isOurs(text: string): boolean {
  return text.startsWith(`${MARK}\n`);
}

function unitFor(program: string): string {
  // There is no man page without the package.
  return unit.replaceAll("/usr/bin/wgmon", program).replace(/^Documentation=.*\n/m, "");
}

/** false: it was there already. */
function create(path: string, text: string): boolean {
  return attempt(`write ${path}`, () => {
    const made = mkdirSync(dirname(path), { recursive: true });
    // Others read it, whatever the umask of who runs this.
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

/** null: it does not exist. */
function read(path: string): string | null {
  return isThere(path) ? attempt(`read ${path}`, () => readFileSync(path, "utf8")) : null;
}

function isThere(path: string): boolean {
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

function refusal(what: "install" | "uninstall", why: string): SystemError {
  return new SystemError(`${what} the service`, "not done", why);
}

/** The program that runs now. @throws SystemError when it is Bun that runs wgmon's source. */
export function ownProgram(): string {
  if (!Bun.main.startsWith("/$bunfs/")) throw refusal("install", "this is no built wgmon");
  return realpathSync(process.execPath);
}

/** @throws SystemError when it cannot be started. */
export function runSystemctl(...words: readonly string[]): number {
  const exitCode = runShown("systemctl", words);
  if (exitCode !== null) return exitCode;
  throw new SystemError("run systemctl", "no such program", `none in ${SEARCH_PATH}`);
}
