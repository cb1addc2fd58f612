/** Which files are read for a device, when they are read again, and that no key stays in memory. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { PublicKey } from "../../src/base/wireguard.ts";
import { PeerNames } from "../../src/names/peer-names.ts";
import { readSecretFile } from "../../src/platform/files.ts";
import type { Log } from "../../src/platform/log.ts";
import { HandClock } from "../support/clock.ts";
import { ALICE, BOB } from "../support/peers.ts";
import { search, texts, traces } from "../support/secrets.ts";

const MINUTE_MS = 60_000;

let folder: string;
let clock: HandClock;
let book: PeerNames;
let warnings: string[];
/** The files that were read. */
let reads: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "wgmon-names-"));
  clock = new HandClock();
  warnings = [];
  reads = [];
  const log: Log = {
    debug: (message, fields) => {
      if (message === "names read") reads.push(String(fields?.["file"]).slice(folder.length + 1));
    },
    info() {},
    warn: (message) => void warnings.push(message.replaceAll(folder, "")),
    error() {},
  };
  book = new PeerNames({ clock, log });
});

afterEach(() => {
  book[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

function write(file: string, names: Readonly<Record<string, string>>): void {
  const blocks = Object.entries(names).map(
    ([key, name]) => `[Peer]\n# ${name}\nPublicKey = ${key}\n`,
  );
  writeFileSync(join(folder, file), ["[Interface]\nPrivateKey = x\n", ...blocks].join("\n"));
}

/** Goes by these paths in the folder, and by what the settings call Alice. */
function goBy(paths: readonly string[], alice: string | null = null): void {
  const names = paths.map((path) => (path.startsWith("/") ? path : `${folder}/${path}`));
  book.setSources({ names, peers: new Map([[ALICE, { name: alice }]]) });
}

describe("whose name it is", () => {
  test("each device has its file", () => {
    write("wg0.conf", { [ALICE]: "ada" });
    write("wg1.conf", { [ALICE]: "ada at work", [BOB]: "bob" });
    goBy(["%i.conf"]);
    book.setDevices(["wg0", "wg1", "wg2"]);
    expect(book.nameOf(ALICE, "wg0")).toBe("ada");
    expect(book.nameOf(ALICE, "wg1")).toBe("ada at work");
    expect(book.nameOf(BOB, "wg0")).toBeNull();
    expect(book.nameOf(BOB, "wg1")).toBe("bob");
    expect(book.nameOf(BOB, "wg2")).toBeNull();
    expect(reads).toEqual(["wg0.conf", "wg1.conf"]);
  });

  test("the settings come first", () => {
    write("wg0.conf", { [ALICE]: "ada", [BOB]: "bob" });
    goBy(["%i.conf"], "Ada L.");
    book.setDevices(["wg0"]);
    expect(book.nameOf(ALICE, "wg0")).toBe("Ada L.");
    expect(book.nameOf(BOB, "wg0")).toBe("bob");
    // They may know a peer without its name.
    goBy(["%i.conf"]);
    expect(book.nameOf(ALICE, "wg0")).toBe("ada");
  });

  test("off: no file is read, and the settings hold", () => {
    write("wg0.conf", { [BOB]: "bob" });
    goBy([], "Ada L.");
    book.setDevices(["wg0"]);
    expect(book.nameOf(ALICE, "wg0")).toBe("Ada L.");
    expect(book.nameOf(BOB, "wg0")).toBeNull();
    expect(reads).toEqual([]);
    expect(clock.waiting).toBe(0);
  });

  test.each<[string[], string[]]>([
    [["%i.conf"], ["wg0.conf"]],
    [["*.conf"], ["other.conf", "wg0.conf"]],
    [["wg?.conf"], ["wg0.conf"]],
    [["*%i*"], ["30-wg0.netdev", "wg0.conf", "wg0.conf.bak"]],
    [
      ["*-%i.netdev", "%i.conf"],
      ["30-wg0.netdev", "wg0.conf"],
    ],
    [["."], ["30-wg0.netdev", "other.conf", "wg0.conf"]],
    [["sub/"], ["sub/wg0.conf"]],
    [["%i/%i"], ["wg0/wg0"]],
    [[".*"], [".hidden.conf"]],
    [
      ["wg0.conf", "*.conf"],
      ["wg0.conf", "other.conf"],
    ],
    [["+.conf", "[w]g0.conf", "wg0.con", "g0.conf", "nowhere/*", "wg0.conf/*"], []],
  ])("%j are %j", (paths, files) => {
    for (const sub of ["sub", "wg0", "folder.conf"]) mkdirSync(join(folder, sub));
    const all = ["wg0.conf", "other.conf", "wg0.conf.bak", "30-wg0.netdev", ".hidden.conf"];
    for (const file of [...all, "sub/wg0.conf", "sub/.x.conf", "wg0/wg0"])
      write(file, { [ALICE]: file });
    goBy(paths);
    book.setDevices(["wg0"]);
    expect(reads.map((file) => file.replace(/^\.\//, ""))).toEqual(files);
    expect(book.nameOf(ALICE, "wg0")).toBe(files[0] ?? null);
  });

  test("a device's name is no pattern", () => {
    for (const file of ["x.conf", "a.conf", "*.conf", "%i.conf"]) write(file, { [ALICE]: file });
    goBy(["%i.conf"]);
    book.setDevices(["*", "%i", "$&", ".."]);
    expect(reads).toEqual(["*.conf", "%i.conf"]);
    goBy(["%i*"]);
    expect(book.nameOf(ALICE, "*")).toBe("*.conf");
  });

  test("of a folder with too many files only the first ones are read", () => {
    for (let i = 100; i < 400; i++) write(`${i}.conf`, { [i === 299 ? ALICE : BOB]: `n${i}` });
    goBy(["*.conf"]);
    book.setDevices(["wg0", "wg1"]);
    clock.advance(MINUTE_MS);
    expect(book.nameOf(ALICE, "wg0")).toBe("n299");
    expect(book.nameOf(BOB, "wg0")).toBe("n100");
    expect(reads).toHaveLength(200);
    expect(warnings).toEqual(["names: too many files in /; only the first ones are read"]);
  });
});

describe("a file is read again", () => {
  beforeEach(() => {
    write("wg0.conf", { [ALICE]: "ada" });
    goBy(["%i.conf"]);
    book.setDevices(["wg0"]);
    reads = [];
  });

  test("when it changed, within a minute", () => {
    write("wg0.conf", { [ALICE]: "Ada Lovelace" });
    expect(book.nameOf(ALICE, "wg0")).toBe("ada");
    clock.advance(MINUTE_MS);
    expect(book.nameOf(ALICE, "wg0")).toBe("Ada Lovelace");
    clock.advance(10 * MINUTE_MS);
    expect(reads).toEqual(["wg0.conf"]);
  });

  test("also if size and time are as before", () => {
    const then = new Date(0);
    utimesSync(join(folder, "wg0.conf"), then, then);
    clock.advance(MINUTE_MS);
    write("new", { [ALICE]: "eve" });
    utimesSync(join(folder, "new"), then, then);
    renameSync(join(folder, "new"), join(folder, "wg0.conf"));
    clock.advance(MINUTE_MS);
    expect(book.nameOf(ALICE, "wg0")).toBe("eve");
  });

  test("when a peer without a name is asked for, but not all the time", () => {
    expect(book.nameOf(BOB, "wg0")).toBeNull();
    write("wg0.conf", { [ALICE]: "ada", [BOB]: "bob" });
    clock.advance(999);
    expect(book.nameOf(BOB, "wg0")).toBeNull();
    clock.advance(1);
    expect(book.nameOf(BOB, "wg0")).toBe("bob");
    expect(reads).toEqual(["wg0.conf"]);
  });

  test("when devices come or go", () => {
    write("wg0.conf", { [ALICE]: "new name" });
    write("wg1.conf", { [BOB]: "bob" });
    book.setDevices(["wg0", "wg1"]);
    expect(book.nameOf(ALICE, "wg0")).toBe("new name");
    expect(book.nameOf(BOB, "wg1")).toBe("bob");
  });

  test("when the settings are read again, though it did not change", () => {
    goBy(["%i.conf"]);
    expect(reads).toEqual(["wg0.conf"]);
    expect(clock.waiting).toBe(1);
    goBy([]);
    expect(book.nameOf(ALICE, "wg0")).toBeNull();
    expect(clock.waiting).toBe(0);
  });

  test("and what it no longer says is forgotten", () => {
    write("wg0.conf", {});
    clock.advance(MINUTE_MS);
    expect(book.nameOf(ALICE, "wg0")).toBeNull();
    write("wg0.conf", { [ALICE]: "ada" });
    clock.advance(MINUTE_MS);
    unlinkSync(join(folder, "wg0.conf"));
    clock.advance(MINUTE_MS);
    expect(book.nameOf(ALICE, "wg0")).toBeNull();
  });

  test("a device that is gone has names until the next minute; then its file is left alone", () => {
    book.setDevices([]);
    expect(book.nameOf(ALICE, "wg0")).toBe("ada");
    clock.advance(MINUTE_MS);
    write("wg0.conf", { [ALICE]: "another" });
    clock.advance(MINUTE_MS);
    expect(reads).toEqual([]);
    // A session of an earlier run may have been at a device that is no more.
    expect(book.nameOf(ALICE, "wg0")).toBe("another");
  });

  test("a new file in a folder", () => {
    goBy(["*.conf"]);
    write("more.conf", { [BOB]: "bob" });
    clock.advance(MINUTE_MS);
    expect(book.nameOf(BOB, "wg0")).toBe("bob");
  });

  test("never again after the end", () => {
    book[Symbol.dispose]();
    expect(clock.waiting).toBe(0);
  });
});

describe("a file that cannot be read", () => {
  test("is told of once, and what it said holds", () => {
    write("wg0.conf", { [ALICE]: "ada" });
    goBy(["%i.conf"]);
    book.setDevices(["wg0"]);
    const file = join(folder, "wg0.conf");
    unlinkSync(file);
    symlinkSync("wg0.conf", file);
    for (let minute = 0; minute < 3; minute++) clock.advance(MINUTE_MS);
    expect(warnings).toEqual(["names: /wg0.conf: cannot be read: ELOOP"]);
    expect(book.nameOf(ALICE, "wg0")).toBe("ada");
    unlinkSync(file);
    write("wg0.conf", { [ALICE]: "Ada" });
    clock.advance(MINUTE_MS);
    expect(book.nameOf(ALICE, "wg0")).toBe("Ada");
    expect(warnings).toHaveLength(1);
  });

  test("that it is missing is a mistake only where it is named", () => {
    goBy(["%i.conf", "*.conf", "wg0/names", "names.txt"]);
    book.setDevices(["wg0"]);
    clock.advance(MINUTE_MS);
    expect(warnings).toEqual([
      "names: /wg0/names: there is no such file",
      "names: /names.txt: there is no such file",
    ]);
  });

  test("nobody is waited for at a pipe, and a device is not read", async () => {
    await Bun.$`mkfifo ${folder}/wg0.conf`;
    goBy(["%i.conf", "/dev/zero"]);
    book.setDevices(["wg0"]);
    expect(warnings).toEqual([
      "names: /wg0.conf: is not a file",
      "names: /dev/zero: is not a file",
    ]);
  });

  test("a file without end is not read", () => {
    write("wg0.conf", { [ALICE]: "ada" });
    truncateSync(join(folder, "wg0.conf"), 17 * 1024 * 1024);
    goBy(["%i.conf"]);
    book.setDevices(["wg0"]);
    expect(warnings).toEqual(["names: /wg0.conf: cannot be read: EFBIG: it is too large"]);
    expect(book.nameOf(ALICE, "wg0")).toBeNull();
  });

  test("no message quotes it", () => {
    writeFileSync(join(folder, "wg0.conf"), "[Peer]\nPublicKey = hunter2\n# hunter2\nhunter2");
    goBy(["%i.conf"]);
    book.setDevices(["wg0"]);
    expect(warnings).toEqual([]);
  });
});

describe("the bytes of the file", () => {
  const limits = { lastStamp: null, maxBytes: 100 };

  test("are all there, and wiped afterwards", () => {
    const path = join(folder, "secret");
    writeFileSync(path, "a secret");
    const seen: Uint8Array[] = [];
    const reading = readSecretFile(path, limits, (bytes) => {
      seen.push(bytes);
      return Buffer.from(bytes).toString();
    });
    expect(reading).toMatchObject({ type: "read", value: "a secret" });
    expect(seen).toEqual([new Uint8Array("a secret".length)]);
  });

  test("are wiped after a failure, too, and the file is closed", () => {
    const path = join(folder, "secret");
    writeFileSync(path, "a secret");
    const open = () => readdirSync("/proc/self/fd").length;
    const before = open();
    const seen: Uint8Array[] = [];
    const fail = (bytes: Uint8Array): never => {
      seen.push(bytes);
      throw new RangeError("a bug");
    };
    expect(() => readSecretFile(path, limits, fail)).toThrow("a bug");
    expect(seen).toEqual([new Uint8Array("a secret".length)]);
    expect(open()).toBe(before);
  });

  test("no private key stays in memory", async () => {
    const keys = Array.from({ length: 50 }, () => crypto.getRandomValues(Buffer.alloc(32)));
    const publicKey = crypto.getRandomValues(Buffer.alloc(32)).toString("base64") as PublicKey;
    const at = (index: number) => keys[index]!.toString("base64");
    const places = [
      (key: string) => `PrivateKey = ${key}`,
      (key: string) => `PresharedKey = ${key} # ada`,
      (key: string) => `# -WGP- PrivateKey: ${key}`,
      (key: string) => `# ${key}`,
      (key: string) => `# friendly_name = ${key}`,
    ];
    const lines = keys.map((_, index) => places[index % places.length]!(at(index)));
    writeFileSync(
      join(folder, "wg0.conf"),
      `[Interface]\n${lines.join("\n")}\n[Peer]\n# friendly_name = ada\nPublicKey = ${publicKey}\n${lines.join("\n")}\n`,
    );
    const program = Bun.spawn({
      cmd: [
        process.execPath,
        `${import.meta.dir}/../support/name-reader.ts`,
        `${folder}/%i.conf`,
        publicKey,
      ],
      stdin: "pipe",
      stdout: "pipe",
    });
    const { value } = await program.stdout.getReader().read();
    expect(Buffer.from(value!).toString()).toBe("ada\n");
    const wanted = [
      ...keys.flatMap(traces),
      Buffer.from(texts(Buffer.from(publicKey, "base64"))[0]!),
    ];
    const found = search(program.pid, wanted);
    program.kill();
    await program.exited;
    // It reads the right memory: the public key is there.
    expect(found).toEqual(wanted.slice(-1));
  });
});
