/** `wgmon extract-names`: what is copied to the folder that the service reads, and what is not. */

import { describe, expect, test } from "bun:test";
import {
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import fc from "fast-check";

import { extractNames, type Folders } from "../../src/cli/extract-names.ts";
import { parseNames } from "../../src/names/parse-names.ts";
import { hostileText } from "../support/events.ts";
import { newStateFolder } from "../support/state.ts";

const [ALICE, BOB] = [0xa1, 0xb0].map((byte) => Buffer.alloc(32, byte).toString("base64"));
const PRIVATE = Buffer.alloc(32, 0x77).toString("base64");
const CONF = `[Interface]
# PrivateKey = ${PRIVATE}
PrivateKey = ${PRIVATE}
PostUp = echo secret-word

### Client alice
[Peer]
PublicKey = ${ALICE}
PresharedKey = ${PRIVATE}
AllowedIPs = 10.0.0.2/32

[Peer]
PublicKey = ${BOB} # bob's phone
`;

function makeFolders(): Folders {
  const root = newStateFolder();
  const folders = ["source", "copy", "owned"].map((name) => join(root, name));
  const [source, copy, owned] = folders as [string, string, string];
  mkdirSync(owned);
  return { source, copy, owned };
}

/** Returns its error messages. */
function extract(folders: Folders): string[] {
  const complaints: string[] = [];
  extractNames(folders, (line) => complaints.push(line));
  return complaints;
}

function writeSource(folders: Folders, name: string, text: string): void {
  mkdirSync(folders.source, { recursive: true });
  writeFileSync(join(folders.source, name), text);
}

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}

describe("wgmon extract-names", () => {
  test("extract-names copies names and public keys of wg-quick's and networkd's files, and nothing else", () => {
    const folders = makeFolders();
    writeSource(folders, "wg0.conf", CONF);
    writeSource(folders, "50-wg1.netdev", CONF.replaceAll("[Peer]", "[WireGuardPeer]"));
    for (const name of ["privatekey", "wg0.conf.bak", ".hidden.conf"])
      writeSource(folders, name, CONF);
    expect(extract(folders)).toEqual([]);
    expect(readdirSync(folders.copy).sort()).toEqual(["50-wg1.netdev", "wg0.conf"]);
    for (const name of readdirSync(folders.copy)) {
      const text = readFileSync(join(folders.copy, name), "utf8");
      expect(text).toBe(
        `[Peer]\n# friendly_name = alice\nPublicKey = ${ALICE}\n\n` +
          `[Peer]\n# friendly_name = bob's phone\nPublicKey = ${BOB}\n`,
      );
    }
  });

  test("extract-names lets only root and the group of the service read the copies", () => {
    const folders = makeFolders();
    writeSource(folders, "wg0.conf", CONF);
    if (process.getuid?.() === 0) chownSync(folders.owned, 0, 61_184);
    extract(folders);
    const { gid } = statSync(folders.owned);
    const file = join(folders.copy, "wg0.conf");
    expect([modeOf(folders.copy), modeOf(file)]).toEqual(["750", "640"]);
    expect([statSync(folders.copy).gid, statSync(file).gid]).toEqual([gid, gid]);
  });

  test("extract-names creates a missing source folder for root only, as wireguard-tools does", () => {
    const folders = makeFolders();
    expect(extract(folders)).toEqual([]);
    expect(modeOf(folders.source)).toBe("700");
    expect(readdirSync(folders.copy)).toEqual([]);
  });

  test("extract-names updates changed names, and deletes the copies of deleted files", () => {
    const folders = makeFolders();
    writeSource(folders, "wg0.conf", CONF);
    writeSource(folders, "wg1.conf", CONF);
    extract(folders);
    const { ino } = statSync(folders.copy);
    writeSource(folders, "wg0.conf", CONF.replace("alice", "carol"));
    rmSync(join(folders.source, "wg1.conf"));
    extract(folders);
    expect(readdirSync(folders.copy)).toEqual(["wg0.conf"]);
    expect(readFileSync(join(folders.copy, "wg0.conf"), "utf8")).toContain("carol");
    // The service has this folder mounted, and would not see a new folder at its path.
    expect(statSync(folders.copy).ino).toBe(ino);
  });

  test("extract-names keeps the last copy of a file that cannot be read, and reports the error", () => {
    const folders = makeFolders();
    writeSource(folders, "wg0.conf", CONF);
    extract(folders);
    rmSync(join(folders.source, "wg0.conf"));
    writeSource(folders, "wg0.conf", "#".repeat(17 * 1024 * 1024));
    writeSource(folders, "wg1.conf", CONF);
    expect(extract(folders)).toEqual([expect.stringMatching(/^read .*wg0\.conf: EFBIG/)]);
    expect(readFileSync(join(folders.copy, "wg0.conf"), "utf8")).toContain("alice");
    expect(readdirSync(folders.copy)).toContain("wg1.conf");
  });

  test("extract-names writes a copy that has the same names as the file, with any form and text of a comment", () => {
    const folders = makeFolders();
    const form = fc.constantFrom<(text: string) => string>(
      (text) => `# ${text}`,
      (text) => `# friendly_name = ${text}`,
      (text) => `# Client: ${text}`,
      (text) => `# friendly_json=${JSON.stringify({ name: text })}`,
    );
    const comment = fc.oneof(fc.string({ unit: "grapheme", maxLength: 80 }), hostileText);
    fc.assert(
      fc.property(form, comment, (write, written) => {
        const text = `[Peer]\n${write(written).replaceAll("\n", " ")}\nPublicKey = ${ALICE}\n`;
        writeSource(folders, "wg0.conf", text);
        extract(folders);
        const copied = parseNames(readFileSync(join(folders.copy, "wg0.conf")));
        expect(copied).toEqual(parseNames(Buffer.from(text)));
      }),
      { numRuns: 500 },
    );
  });
});
