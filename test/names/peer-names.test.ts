/** PeerNames: which files are read for a device, when they are read again, and that no key stays in memory. */

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
let peerNames: PeerNames;
let warnings: string[];
/** The names of the files that were read, in order. */
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
  peerNames = new PeerNames({ clock, log });
});

afterEach(() => {
  peerNames[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

function write(file: string, names: Readonly<Record<string, string>>): void {
  const blocks = Object.entries(names).map(
    ([key, name]) => `[Peer]\n# ${name}\nPublicKey = ${key}\n`,
  );
  writeFileSync(join(folder, file), ["[Interface]\nPrivateKey = x\n", ...blocks].join("\n"));
}

/** Sets these paths in the folder as sources, and the name of Alice in the settings. */
function setSources(paths: readonly string[], alice: string | null = null): void {
  const names = paths.map((path) => (path.startsWith("/") ? path : `${folder}/${path}`));
  peerNames.setSources({ names, peers: new Map([[ALICE, { name: alice }]]) });
}

describe("the name of a peer", () => {
  test("the name of a peer is read from the file of its device", () => {
    write("wg0.conf", { [ALICE]: "ada" });
    write("wg1.conf", { [ALICE]: "ada at work", [BOB]: "bob" });
    setSources(["%i.conf"]);
    peerNames.setDevices(["wg0", "wg1", "wg2"]);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("ada");
    expect(peerNames.nameOf(ALICE, "wg1")).toBe("ada at work");
    expect(peerNames.nameOf(BOB, "wg0")).toBeNull();
    expect(peerNames.nameOf(BOB, "wg1")).toBe("bob");
    expect(peerNames.nameOf(BOB, "wg2")).toBeNull();
    expect(reads).toEqual(["wg0.conf", "wg1.conf"]);
  });

  test("the name of a peer is the one in the settings, if they have one", () => {
    write("wg0.conf", { [ALICE]: "ada", [BOB]: "bob" });
    setSources(["%i.conf"], "Ada L.");
    peerNames.setDevices(["wg0"]);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("Ada L.");
    expect(peerNames.nameOf(BOB, "wg0")).toBe("bob");
    // The settings may contain the peer without a name.
    setSources(["%i.conf"]);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("ada");
  });

  test("the name of a peer is only read from the settings if names is off", () => {
    write("wg0.conf", { [BOB]: "bob" });
    setSources([], "Ada L.");
    peerNames.setDevices(["wg0"]);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("Ada L.");
    expect(peerNames.nameOf(BOB, "wg0")).toBeNull();
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
  ])("the name of a peer is read for the paths %j from the files %j", (paths, files) => {
    for (const sub of ["sub", "wg0", "folder.conf"]) mkdirSync(join(folder, sub));
    const all = ["wg0.conf", "other.conf", "wg0.conf.bak", "30-wg0.netdev", ".hidden.conf"];
    for (const file of [...all, "sub/wg0.conf", "sub/.x.conf", "wg0/wg0"])
      write(file, { [ALICE]: file });
    setSources(paths);
    peerNames.setDevices(["wg0"]);
    expect(reads.map((file) => file.replace(/^\.\//, ""))).toEqual(files);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe(files[0] ?? null);
  });

  test("the name of a peer is read from a file with the device's name, which is not used as a pattern", () => {
    for (const file of ["x.conf", "a.conf", "*.conf", "%i.conf"]) write(file, { [ALICE]: file });
    setSources(["%i.conf"]);
    peerNames.setDevices(["*", "%i", "$&", ".."]);
    expect(reads).toEqual(["*.conf", "%i.conf"]);
    setSources(["%i*"]);
    expect(peerNames.nameOf(ALICE, "*")).toBe("*.conf");
  });

  test("the name of a peer is read only from the first 200 files of a folder", () => {
    for (let i = 100; i < 400; i++) write(`${i}.conf`, { [i === 299 ? ALICE : BOB]: `n${i}` });
    setSources(["*.conf"]);
    peerNames.setDevices(["wg0", "wg1"]);
    clock.advance(MINUTE_MS);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("n299");
    expect(peerNames.nameOf(BOB, "wg0")).toBe("n100");
    expect(reads).toHaveLength(200);
    expect(warnings).toEqual(["names: too many files in /; only the first ones are read"]);
  });
});

describe("the times at which files of names are read again", () => {
  beforeEach(() => {
    write("wg0.conf", { [ALICE]: "ada" });
    setSources(["%i.conf"]);
    peerNames.setDevices(["wg0"]);
    reads = [];
  });

  test("files of names are read again within a minute after a change", () => {
    write("wg0.conf", { [ALICE]: "Ada Lovelace" });
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("ada");
    clock.advance(MINUTE_MS);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("Ada Lovelace");
    clock.advance(10 * MINUTE_MS);
    expect(reads).toEqual(["wg0.conf"]);
  });

  test("files of names are read again even if size and modification time are unchanged", () => {
    const then = new Date(0);
    utimesSync(join(folder, "wg0.conf"), then, then);
    clock.advance(MINUTE_MS);
    write("new", { [ALICE]: "eve" });
    utimesSync(join(folder, "new"), then, then);
    renameSync(join(folder, "new"), join(folder, "wg0.conf"));
    clock.advance(MINUTE_MS);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("eve");
  });

  test("files of names are read again when the name of a peer without a name is requested, but at most once a second", () => {
    expect(peerNames.nameOf(BOB, "wg0")).toBeNull();
    write("wg0.conf", { [ALICE]: "ada", [BOB]: "bob" });
    clock.advance(999);
    expect(peerNames.nameOf(BOB, "wg0")).toBeNull();
    clock.advance(1);
    expect(peerNames.nameOf(BOB, "wg0")).toBe("bob");
    expect(reads).toEqual(["wg0.conf"]);
  });

  test("files of names are read again when devices are added or removed", () => {
    write("wg0.conf", { [ALICE]: "new name" });
    write("wg1.conf", { [BOB]: "bob" });
    peerNames.setDevices(["wg0", "wg1"]);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("new name");
    expect(peerNames.nameOf(BOB, "wg1")).toBe("bob");
  });

  test("files of names are read again when the settings are reloaded, even if the file did not change", () => {
    setSources(["%i.conf"]);
    expect(reads).toEqual(["wg0.conf"]);
    expect(clock.waiting).toBe(1);
    setSources([]);
    expect(peerNames.nameOf(ALICE, "wg0")).toBeNull();
    expect(clock.waiting).toBe(0);
  });

  test("names that were removed from a file are forgotten when it is read again", () => {
    write("wg0.conf", {});
    clock.advance(MINUTE_MS);
    expect(peerNames.nameOf(ALICE, "wg0")).toBeNull();
    write("wg0.conf", { [ALICE]: "ada" });
    clock.advance(MINUTE_MS);
    unlinkSync(join(folder, "wg0.conf"));
    clock.advance(MINUTE_MS);
    expect(peerNames.nameOf(ALICE, "wg0")).toBeNull();
  });

  test("the files of a removed device are read again only on request", () => {
    peerNames.setDevices([]);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("ada");
    clock.advance(MINUTE_MS);
    write("wg0.conf", { [ALICE]: "another" });
    clock.advance(MINUTE_MS);
    expect(reads).toEqual([]);
    // A session of a previous run may have been on a device that no longer exists.
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("another");
  });

  test("new files in a folder are read within a minute", () => {
    setSources(["*.conf"]);
    write("more.conf", { [BOB]: "bob" });
    clock.advance(MINUTE_MS);
    expect(peerNames.nameOf(BOB, "wg0")).toBe("bob");
  });

  test("files of names are not read again after the dispose", () => {
    peerNames[Symbol.dispose]();
    expect(clock.waiting).toBe(0);
  });
});

describe("a file of names that cannot be read", () => {
  test("a file that cannot be read is logged once, and its last names are kept", () => {
    write("wg0.conf", { [ALICE]: "ada" });
    setSources(["%i.conf"]);
    peerNames.setDevices(["wg0"]);
    const file = join(folder, "wg0.conf");
    unlinkSync(file);
    symlinkSync("wg0.conf", file);
    for (let minute = 0; minute < 3; minute++) clock.advance(MINUTE_MS);
    expect(warnings).toEqual(["names: /wg0.conf: cannot be read: ELOOP"]);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("ada");
    unlinkSync(file);
    write("wg0.conf", { [ALICE]: "Ada" });
    clock.advance(MINUTE_MS);
    expect(peerNames.nameOf(ALICE, "wg0")).toBe("Ada");
    expect(warnings).toHaveLength(1);
  });

  test("a missing file is logged only if its path has no pattern", () => {
    setSources(["%i.conf", "*.conf", "wg0/names", "names.txt"]);
    peerNames.setDevices(["wg0"]);
    clock.advance(MINUTE_MS);
    expect(warnings).toEqual([
      "names: /wg0/names: there is no such file",
      "names: /names.txt: there is no such file",
    ]);
  });

  test("a file that is a pipe or a device is logged, and does not block", async () => {
    await Bun.$`mkfifo ${folder}/wg0.conf`;
    setSources(["%i.conf", "/dev/zero"]);
    peerNames.setDevices(["wg0"]);
    expect(warnings).toEqual([
      "names: /wg0.conf: is not a file",
      "names: /dev/zero: is not a file",
    ]);
  });

  test("a file that is too large is logged", () => {
    write("wg0.conf", { [ALICE]: "ada" });
    truncateSync(join(folder, "wg0.conf"), 17 * 1024 * 1024);
    setSources(["%i.conf"]);
    peerNames.setDevices(["wg0"]);
    expect(warnings).toEqual(["names: /wg0.conf: cannot be read: EFBIG: it is too large"]);
    expect(peerNames.nameOf(ALICE, "wg0")).toBeNull();
  });

  test("a file of names is never quoted in a message", () => {
    writeFileSync(join(folder, "wg0.conf"), "[Peer]\nPublicKey = hunter2\n# hunter2\nhunter2");
    setSources(["%i.conf"]);
    peerNames.setDevices(["wg0"]);
    expect(warnings).toEqual([]);
  });
});

describe("the bytes of a secret file", () => {
  const limits = { lastStamp: null, maxBytes: 100 };

  test("the bytes of a secret file are read completely, and wiped afterwards", () => {
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

  test("the bytes of a secret file are also wiped after an error, and the file is closed", () => {
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

  test("private keys in the bytes of a secret file do not stay in memory", async () => {
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
    // The public key is found, so the right memory was searched.
    expect(found).toEqual(wanted.slice(-1));
  });
});
