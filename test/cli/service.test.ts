/** `wgmon install-service` and `uninstall-service` with a folder as the root of the machine, and their files. */

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";

import { SystemError } from "../../src/base/errors.ts";
import { installService, uninstallService } from "../../src/cli/service.ts";
import { settingsFile } from "../../src/cli/settings-example.ts";
import { parseCommand } from "../../src/config/config.ts";
import { keyOf, table } from "../../src/config/settings-table.ts";
import { newStateFolder } from "../support/state.ts";

const UNIT = "/etc/systemd/system/wgmon.service";
const SETTINGS = "/etc/wgmon/wgmon.toml";
/** A program that exists on every machine and that only root can change. */
const PROGRAM = "/usr/bin/env";

class Machine {
  readonly root = newStateFolder();
  /** The printed lines, and the arguments of each call of systemctl after "$ ". */
  lines: string[] = [];
  systemctlExitCode = 0;

  constructor({ systemd = true } = {}) {
    if (systemd) mkdirSync(join(this.root, "run/systemd/system"), { recursive: true });
  }

  install(program = PROGRAM): string[] {
    return this.#run(() => installService({ ...this.#options, program }));
  }

  uninstall(): string[] {
    return this.#run(() => uninstallService({ ...this.#options, program: PROGRAM }));
  }

  write(path: string, text: string): void {
    mkdirSync(join(this.root, dirname(path)), { recursive: true });
    writeFileSync(join(this.root, path), text);
  }

  read(path: string): string | null {
    return existsSync(join(this.root, path)) ? readFileSync(join(this.root, path), "utf8") : null;
  }

  get #options() {
    return {
      root: this.root,
      print: (line: string) => void this.lines.push(line),
      systemctl: (...words: readonly string[]) => {
        this.lines.push(`$ ${words.join(" ")}`);
        return this.systemctlExitCode;
      },
    };
  }

  #run(action: () => void): string[] {
    this.lines = [];
    try {
      action();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.lines.push(`refused: ${error.message}`);
    }
    return this.lines;
  }
}

describe("wgmon install-service", () => {
  test("install-service writes the unit and the settings, starts the service, and reports each step", () => {
    const machine = new Machine();
    expect(machine.install()).toEqual([
      `wrote ${UNIT}; it runs ${PROGRAM}`,
      `wrote ${SETTINGS}; it contains only comments`,
      "systemctl daemon-reload",
      "$ daemon-reload",
      "systemctl enable --now wgmon",
      "$ enable --now wgmon",
    ]);
    const unit = machine.read(UNIT)!;
    expect(unit).toContain(`\nExecStart=${PROGRAM}\n`);
    expect(unit).not.toMatch(/\/usr\/bin\/wgmon|man:/);
    expect(machine.read(SETTINGS)).toBe(settingsFile());
    for (const path of [UNIT, SETTINGS]) {
      // The service runs as a user that owns no files.
      expect(statSync(join(machine.root, path)).mode & 0o777).toBe(0o644);
    }
  });

  test("install-service overwrites no file, and reports whether the content differs", () => {
    const machine = new Machine();
    machine.install();
    machine.write(SETTINGS, 'monitor = "bpf"\n');
    expect(machine.install().slice(0, 2)).toEqual([
      `${UNIT} exists already`,
      `${SETTINGS} exists already and was not changed`,
    ]);
    const changed = machine.read(UNIT)!.replace("Restart=", "# mine\nRestart=");
    machine.write(UNIT, changed);
    expect(machine.install()[0]).toBe(
      `${UNIT} exists already with other content and was not changed`,
    );
    expect(machine.read(UNIT)).toBe(changed);
    expect(machine.read(SETTINGS)).toBe('monitor = "bpf"\n');
  });

  test("install-service writes files that all users can read, whatever the umask", () => {
    const before = process.umask(0o077);
    try {
      const machine = new Machine();
      machine.install();
      const modeOf = (path: string) => statSync(join(machine.root, path)).mode & 0o777;
      expect([UNIT, SETTINGS].map(modeOf)).toEqual([0o644, 0o644]);
      expect(modeOf(dirname(SETTINGS))).toBe(0o755);
    } finally {
      process.umask(before);
    }
  });

  test("install-service does not start a unit of this name that wgmon did not write", () => {
    const machine = new Machine();
    machine.write(UNIT, "[Service]\nExecStart=/opt/wgmon\n");
    expect(machine.install()).toEqual([
      `refused: install the service: not done (${UNIT} exists already and was not written by wgmon)`,
    ]);
    expect(machine.read(SETTINGS)).toBeNull();
  });

  test("install-service prints the remaining commands if systemd is not running, as in a chroot", () => {
    expect(new Machine({ systemd: false }).install().slice(2)).toEqual([
      "systemd is not running here; where it is, run: systemctl daemon-reload",
      "systemd is not running here; where it is, run: systemctl enable --now wgmon",
    ]);
  });

  test("install-service does not replace a unit of a package", () => {
    const machine = new Machine();
    machine.write("/lib/systemd/system/wgmon.service", "[Service]\n");
    expect(machine.install()).toEqual([
      expect.stringMatching(/^refused: .*a package installed \/lib\/systemd\/.*; run: systemctl /),
    ]);
    expect(machine.read(UNIT)).toBeNull();
  });

  for (const program of ["/root/wgmon", "/home/alice/wgmon", "/tmp/wgmon", "/run/user/0/wgmon"]) {
    test(`install-service refuses ${program}, which is hidden from the service`, () => {
      const machine = new Machine();
      expect(machine.install(program)).toEqual([
        `refused: install the service: not done (the service cannot see ${program}; copy it first: install -m 755 ${program} /usr/local/bin/wgmon)`,
      ]);
      expect(machine.read(UNIT)).toBeNull();
    });
  }

  const isRoot = process.geteuid!() === 0;
  const forRoot = isRoot ? "" : " [skipped: only root can change the group of a file]";
  // A group that exists on this machine.
  const [groupName = "", , groupNumber] =
    readFileSync("/etc/group", "utf8")
      .split("\n")
      .map((line) => line.split(":"))
      .find(([, , number]) => Number(number) > 0) ?? [];

  test.skipIf(!isRoot).each([
    [
      "all users can write to the program",
      { program: 0o777, folder: 0o755, group: 0 },
      "FOLDER/wgmon, mode 777, can be written by all users, who could change the program that root starts. Fix: chmod go-w FOLDER/wgmon; or install -m 755 FOLDER/wgmon /usr/bin/wgmon, and run that copy",
    ],
    [
      // The mode of /usr/local/bin in Debian before version 11.
      "a group can write to its folder",
      { program: 0o755, folder: 0o2775, group: Number(groupNumber) },
      "FOLDER, mode 2775, can be written by group GROUP, who could replace the program that root starts. Fix: chmod g-w FOLDER; or install -m 755 FOLDER/wgmon /usr/bin/wgmon, and run that copy",
    ],
    [
      "a group without a name can write to its folder",
      { program: 0o755, folder: 0o775, group: 54_321 },
      "FOLDER, mode 775, can be written by group 54321, who could replace",
    ],
  ])(
    `install-service refuses a program where %s${forRoot}`,
    (_name, { program, folder: mode, group }, message) => {
      // Not in /tmp, which is hidden from the service and refused for that reason.
      const folder = join("/dev/shm", `wgmon-test-${crypto.randomUUID()}`);
      mkdirSync(folder);
      try {
        writeFileSync(join(folder, "wgmon"), "");
        chmodSync(join(folder, "wgmon"), program);
        if (group !== 0) chownSync(folder, 0, group);
        chmodSync(folder, mode);
        expect(new Machine().install(join(folder, "wgmon")).join()).toContain(
          message.replaceAll("FOLDER", folder).replaceAll("GROUP", groupName),
        );
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  );

  test("install-service refuses a path with characters that a unit file cannot contain", () => {
    expect(new Machine().install("/usr/bin/w g%mon").join()).toContain("characters");
  });

  test("install-service reports that systemctl cannot start the service", () => {
    const machine = new Machine();
    machine.systemctlExitCode = 1;
    expect(machine.install().at(-1)).toBe(
      "refused: systemctl daemon-reload: exit code 1 (see: journalctl -u wgmon)",
    );
  });
});

describe("wgmon uninstall-service", () => {
  test("uninstall-service stops the service and removes the unit, but keeps the settings", () => {
    const machine = new Machine();
    machine.install();
    expect(machine.uninstall()).toEqual([
      "systemctl disable --now wgmon",
      "$ disable --now wgmon",
      `removed ${UNIT}`,
      "systemctl daemon-reload",
      "$ daemon-reload",
      "kept: /etc/wgmon (settings), /var/lib/wgmon (events and sessions), /etc/credstore/wgmon.*",
    ]);
    expect(machine.read(UNIT)).toBeNull();
    expect(machine.read(SETTINGS)).toBe(settingsFile());
    expect(machine.uninstall()).toEqual([
      `refused: uninstall the service: not done (there is no ${UNIT})`,
    ]);
  });

  test("uninstall-service does not remove a unit that wgmon did not write", () => {
    const machine = new Machine();
    machine.write(UNIT, "[Service]\nExecStart=/opt/wgmon\n");
    expect(machine.uninstall()).toEqual([
      `refused: uninstall the service: not done (${UNIT} was not written by wgmon; remove it yourself)`,
    ]);
    expect(machine.read(UNIT)).not.toBeNull();
  });
});

describe("the settings file of install-service", () => {
  const names = Object.entries(table).filter(([, setting]) => !("flagOnly" in setting));

  test("the installed settings file contains only comments, and changes no setting", () => {
    expect(parse(settingsFile())).toEqual(parse(""));
    const wrong = settingsFile()
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"));
    expect(wrong).toEqual([]);
  });

  for (const [name, setting] of names) {
    test(`the installed settings file has ${name}, which is valid without the #`, () => {
      const [, line = ""] = new RegExp(`^#(${keyOf(name)} = .*)$`, "m").exec(settingsFile()) ?? [];
      const value = (Bun.TOML.parse(line) as Record<string, unknown>)[keyOf(name)];
      const items: readonly unknown[] = "separator" in setting ? (value as unknown[]) : [value];
      expect(items).toHaveLength(1);
      expect(setting.tomlTypes).toContain(typeof items[0] as "string");
      expect(setting.parse(String(items[0]))).toHaveProperty("value");
      // The value in the file is the default, if there is one.
      if (setting.defaultValue !== null) expect(parse(line).settings).toEqual(parse("").settings);
    });
  }

  test("the installed settings file has a peer, a target and an alert, which are valid without the #", () => {
    const [, rest = ""] = settingsFile().split("all of the keys above.\n");
    const { settings } = parse(rest.replace(/^#(?! )/gm, ""));
    expect([...settings.peers.values()]).toMatchObject([{ name: "alice", tags: ["phone"] }]);
    expect(settings.targets).toMatchObject([{ name: "ops" }]);
    expect(settings.alerts).toMatchObject([{ name: "office-down", kind: "down" }]);
  });

  function parse(text: string) {
    const command = parseCommand({
      argv: [],
      env: {},
      hostname: "gw1",
      readFile: (path) =>
        path === SETTINGS
          ? { text, mode: { bits: 0o644, isOwnedByUsOrRoot: true, isRegular: true } }
          : null,
      listFolder: () => [],
      folderOpenToOthers: () => null,
    });
    if (command.type !== "run") throw new Error(command.type);
    const { settings, warnings } = command;
    return { settings: { ...settings, file: null }, warnings };
  }
});
