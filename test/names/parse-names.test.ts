/** Names in wg-quick's files: the format of each program, which comment counts, and which is never a name. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import type { PublicKey } from "../../src/base/wireguard.ts";
import { peerName } from "../../src/config/value-types.ts";
import { LINES_MAX, parseNames } from "../../src/names/parse-names.ts";
import { hostileText } from "../support/events.ts";

/** 32 bytes in base64. */
function key(letter: string): string {
  return `${letter.repeat(42)}I=`;
}

const [A, B, C] = [key("A"), key("B"), key("C")];
const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

/** The names in a file, in which `A`, `B` and `C` stand for public keys. */
function names(...lines: readonly string[]): Record<string, string> {
  const text = lines.join("\n").replace(/(?<=PublicKey\s*=\s*)[ABC]\b/gi, key);
  const letters = [...parseNames(Buffer.from(text))!].map(([each, name]) => [each[0]!, name]);
  return Object.fromEntries(letters) as Record<string, string>;
}

describe("the formats of names", () => {
  const block = ["[Peer]", "PublicKey = A", "AllowedIPs = 10.0.0.2/32"];
  const [header, ...settings] = block as [string, ...string[]];
  const server = ["[Interface]", `PrivateKey = ${PRIVATE}`, "ListenPort = 51820", ""];

  test.each<[string, string[], string?]>([
    ["prometheus_wireguard_exporter", [header, "# friendly_name = Ada's phone", ...settings]],
    [
      "prometheus_wireguard_exporter, without blanks",
      [header, "#friendly_name=Ada's phone", ...settings],
    ],
    [
      "prometheus_wireguard_exporter, with JSON",
      [header, '# friendly_json={"id":7,"name":"Ada\'s phone"}', ...settings],
    ],
    [
      "Telegram's JSON",
      [header, '# friendly_json = {"username":"ada","first_name":"A"}', ...settings],
      "ada",
    ],
    [
      "a full name",
      [header, '# friendly_json={"first_name":"Ada","last_name":"L."}', ...settings],
      "Ada L.",
    ],
    [
      "wg-portal 2",
      [
        header,
        "# friendly_name = Ada's phone",
        `# -WGP- Peer: ${A}`,
        "# -WGP- Created: 2026-01-01 10:00:00 +0000 UTC",
        "# -WGP- Updated: 2026-01-01 10:00:00 +0000 UTC",
        "# -WGP- Display name: Peer 1",
        `# -WGP- PrivateKey: ${PRIVATE}`,
        ...settings,
      ],
    ],
    [
      "wg-portal without the exporter's line",
      [header, `# -WGP- Peer: ${A}`, "# -WGP- Display name: Ada's phone", ...settings],
    ],
    [
      "wg-portal 1",
      [
        "# -WGP- Peer: Ada's phone / Updated: 2022-01-01 / Created: 2022-01-01",
        "# -WGP- Peer email: ada@example.net",
        `# -WGP- PrivateKey: ${PRIVATE}`,
        ...block,
      ],
    ],
    ["linuxserver", [header, "# peer_ada", ...settings], "peer_ada"],
    ["algo", [header, "# Ada's phone", ...settings]],
    ["WGDashboard", [header, "#Name# = Ada's phone", ...settings]],
    ["OPNsense", [header, "# friendly_name = Ada's phone", ...settings]],
    ["wireguard-manager", ["# ada start", ...block, "# ada end"], "ada"],
    ["BEGIN PEER", ["# BEGIN PEER ada", ...block, "# END PEER ada"], "ada"],
    ["exporter's users", [header, '# friendly_json={"peer_name":"ada"}', ...settings], "ada"],
    [
      "a fork of PiVPN",
      [header, '# friendly_json={"id_user":"7","user_name":"ada"}', ...settings],
      "ada",
    ],
    ["a label", ["# Peer: Ada's phone", ...block]],
    ["a label in the block", [header, ...settings, "# client = Ada's phone"]],
    ["lines around it", ["### Ada's phone ###", ...block]],
    ["other lines around it", ["# --- Ada's phone ---", ...block]],
    ["wg-easy 14", ["# Client: Ada's phone (5c5a1e0e-3f0e-4b8f-9f0e-0123456789ab)", ...block]],
    ["wg-easy 15", ["# Client: Ada's phone (12)", ...block]],
    ["wg-easy, brackets", ["# Client: Ada (phone) (12)", ...block], "Ada (phone)"],
    [
      "wireguard-ui",
      [
        "# ID:           cc0h2fq5u4h4i8v2f6g0",
        "# Name:         Ada's phone",
        "# Email:        ada@example.net",
        "# Created at:   2026-01-01 10:00:00 +0000 UTC",
        "# Update at:    2026-01-01 10:00:00 +0000 UTC",
        ...block,
      ],
    ],
    [
      "wg-gen-web",
      ["# Ada's phone / ada@example.net / Updated: 2026-01-01 / Created: 2026-01-01", ...block],
    ],
    ["angristan's script", ["### Client ada", ...block], "ada"],
    ["one made from it", ["### Client ada | Expires: 2027-01-01", ...block, "#==="], "ada"],
    ["PiVPN", ["### begin ada ###", ...block, "### end ada ###"], "ada"],
    ["Nyr's script", ["# BEGIN_PEER ada", ...block, "# END_PEER ada"], "ada"],
    ["systemd-networkd", ["[WireGuardPeer]", "# Ada's phone", "PublicKey=A", "AllowedIPs=::/0"]],
    ["systemd-networkd's other mark", ["; Ada's phone", "[WireGuardPeer]", "PublicKey=A"]],
    ["by hand, above", ["# Ada's phone", ...block]],
    ["by hand, beside the header", ["[Peer] # Ada's phone", ...settings]],
    ["by hand, beside the key", [header, "PublicKey = A # Ada's phone", "AllowedIPs = ::/0"]],
  ])("the name is found in the format of %s", (_, lines, name = "Ada's phone") => {
    expect(names(...server, ...lines)).toEqual({ A: name });
    // With other peers around it, with Windows line ends, and at the end of the file.
    const others = (letter: string) => ["[Peer]", `PublicKey = ${letter}`, "AllowedIPs = ::/0"];
    const file = [...server, ...others("B"), "", ...lines, "", ...others("C"), ""];
    expect(names(...file)).toEqual({ A: name });
    expect(names(`\ufeff${file.join("\r\n")}`)).toEqual({ A: name });
    expect(
      names(
        ...server,
        ...lines,
        "",
        ...lines.map((line) => line.replace("PublicKey = A", "PublicKey = B")),
      ),
    ).toMatchObject({ A: name });
  });

  test("the names are found in the format of PiVPN, for all peers of a file, except disabled ones", () => {
    const pivpn = (name: string, letter: string) => [
      `### begin ${name} ###`,
      "[Peer]",
      `PublicKey = ${letter}`,
      `PresharedKey = ${PRIVATE}`,
      "AllowedIPs = 10.0.0.2/32",
      `### end ${name} ###`,
    ];
    expect(names(...server, ...pivpn("ada", "A"), ...pivpn("bob", "B"))).toEqual({
      A: "ada",
      B: "bob",
    });
    const disabled = pivpn("bob", "B").map((line, index, { length }) =>
      index === 0 || index === length - 1 ? line : `#[disabled] ${line}`,
    );
    const file = [...server, ...pivpn("ada", "A"), ...disabled, ...pivpn("carol", "C")];
    expect(names(...file)).toEqual({ A: "ada", C: "carol" });
  });
});

describe("a block with several comments", () => {
  test.each<[string, string[], Record<string, string>]>([
    [
      "a marked one before a plain one",
      ["# Client: tagged (1)", "[Peer]", "# behind a NAT", "PublicKey = A # plain"],
      { A: "tagged" },
    ],
    [
      "the marked one nearest to the header",
      [
        "# Name: far",
        "#",
        "[Peer]",
        "PublicKey = A",
        "# friendly_name = near",
        "AllowedIPs = ::/0",
      ],
      { A: "far" },
    ],
    [
      "of two as near the upper",
      ["# Client: upper (1)", "[Peer]", "# friendly_name = lower", "PublicKey = A"],
      { A: "upper" },
    ],
    [
      "of two plain ones as near the upper",
      ["# above", "[Peer]", "# below", "PublicKey = A"],
      { A: "above" },
    ],
    ["of several above, the nearest", ["# one", "# two", "[Peer]", "PublicKey = A"], { A: "two" }],
    [
      "a plain one only at the header or the key",
      [
        "[Peer]",
        "PublicKey = A",
        "# note",
        "AllowedIPs = ::/0 # more",
        "# end",
        "",
        "[Peer]",
        "",
        "# x",
        "PublicKey = B",
      ],
      {},
    ],
    [
      "above a header without blank lines it is the lower block's",
      ["# ada", "[Peer]", "PublicKey = A", "# bob", "[Peer]", "PublicKey = B", "# x"],
      { A: "ada", B: "bob" },
    ],
    [
      "unless the first peer has none above: then it may be the upper block's",
      [
        "[Peer]",
        "PublicKey = A",
        "# ada",
        "[Peer]",
        "PublicKey = B",
        "# friendly_name = bob",
        "[Peer]",
        "PublicKey = C",
      ],
      {},
    ],
    [
      "a note at the end of such a block does not hide the next name",
      [
        "[Peer]",
        "# ada",
        "PublicKey = A",
        "# route for the NAS",
        "[Peer]",
        "# bob",
        "PublicKey = B",
      ],
      { A: "ada", B: "bob" },
    ],
    [
      "a marked one at the end of its block",
      ["[Peer]", "PublicKey = A", "# friendly_name = ada", "", "[Peer]", "PublicKey = B"],
      { A: "ada" },
    ],
    [
      "none that blank lines separate from both blocks",
      ["[Peer]", "PublicKey = A", "", "# Name: bob", "", "[Peer]", "PublicKey = B"],
      {},
    ],
    [
      "a pair of markers only around one peer",
      [
        "# phones start",
        "[Peer]",
        "PublicKey = A",
        "[Peer]",
        "PublicKey = B",
        "# phones end",
        "# carol start",
        "[Peer]",
        "PublicKey = C",
        "# carol end",
      ],
      { A: "phones start", C: "carol" },
    ],
    [
      "an end marker is not the name of the next peer",
      [
        "# ada start",
        "[Peer]",
        "PublicKey = A",
        "[Peer]",
        "PublicKey = B",
        "# ada end",
        "[Peer]",
        "PublicKey = C",
      ],
      { A: "ada start" },
    ],
    [
      "nor in any other form that people write",
      [
        "# begin ada",
        "[Peer]",
        "PublicKey = A",
        "# end ada",
        "[Peer]",
        "PublicKey = B",
        "# start carol",
        "[Peer]",
        "PublicKey = C",
        "# end carol",
      ],
      { A: "ada", C: "carol" },
    ],
    [
      "a name between markers around all peers",
      [
        "# BEGIN ANSIBLE MANAGED BLOCK",
        "# ada",
        "[Peer]",
        "PublicKey = A",
        "# bob",
        "[Peer]",
        "PublicKey = B",
        "# END ANSIBLE MANAGED BLOCK",
      ],
      { A: "ada", B: "bob" },
    ],
    [
      "a block that was commented out takes its name with it",
      [
        "[Peer]",
        "PublicKey = A",
        "",
        "# bob",
        "#[Peer]",
        `#PublicKey = ${B}`,
        "#AllowedIPs = ::/0",
        "",
        "[Peer]",
        "PublicKey = C",
      ],
      {},
    ],
    [
      "also directly above another",
      [
        "# bob",
        "#[Peer]",
        "## friendly_name = bob",
        `#PublicKey = ${B}`,
        "# ada",
        "[Peer]",
        "PublicKey = A",
      ],
      { A: "ada" },
    ],
    [
      "an empty name is ignored",
      ["# ada", "[Peer]", "# friendly_name =", "PublicKey = A"],
      { A: "ada" },
    ],
    [
      "broken JSON, too",
      ["# ada", "[Peer]", '# friendly_json={"name":', "PublicKey = A"],
      { A: "ada" },
    ],
    [
      "JSON without a name",
      ["[Peer]", '# friendly_json={"name":null,"user":{}}', "PublicKey = A"],
      {},
    ],
    [
      "JSON of another type",
      ["# ada", "[Peer]", "# friendly_json=[1]", "PublicKey = A"],
      { A: "ada" },
    ],
  ])("of several comments, this one counts: %s", (_, lines, expected) => {
    expect(names(...lines)).toEqual(expected);
  });

  // Comments of configuration management, install scripts, examples and people.
  test.each([
    "BEGIN ANSIBLE MANAGED BLOCK",
    "END ANSIBLE MANAGED BLOCK",
    "BEGIN OF PEERS BLOCK MANAGED BY ANSIBLE",
    "Ansible managed",
    "This file is managed by Puppet. DO NOT EDIT",
    "Generated by Chef for gw1.example.net",
    "Managed by Terraform",
    "BEGIN bob",
    "END bob",
    "START managed zone wireguard -DO-NOT-EDIT-",
    "### begin bob ###",
    "### end bob ###",
    "BEGIN_PEER bob",
    "END_PEER bob",
    "Endpoint = 192.0.2.1:51820",
    "PersistentKeepalive=25",
    "Peers",
    "client",
    "#########",
    "----",
    "TODO: rotate",
    "FIXME",
    "Note: behind a NAT",
    "Server public key",
    "Preshared keys",
    "public key of client 1",
    "The peer's pubkey goes here:",
    "want the connection to be kept alive.",
    "This is for if you're behind a NAT and",
    "to add a peer, copy a block of these, and change its key and its address",
    "https://wiki.example.net/vpn",
    "password: hunter2",
    "my password is hunter2",
    "wifi psk hunter2",
    "PrivateKey hunter2",
    "see ticket: 12",
    "port = 51820 there",
    "Private key: see the safe",
    "Email: ada@example.net",
    "ID: cc0h2fq5u4h4i8v2f6g0",
    "-WGP- Created: 2026-01-01 10:00:00 +0000 UTC",
  ])('the comment "%s" is not a name', (text) => {
    for (const comment of [`# ${text}`, `#${text}`, `; ${text}`]) {
      expect(names("[Interface]", comment, "[Peer]", "PublicKey = A")).toEqual({});
      expect(names("[Peer]", comment, "PublicKey = A")).toEqual({});
      expect(names(`[Peer] ${comment}`, "PublicKey = A")).toEqual({});
      expect(names("[Peer]", `PublicKey = A ${comment}`)).toEqual({});
      expect(
        names("# ada", "[Peer]", "PublicKey = A", comment, "# bob", "[Peer]", "PublicKey = B"),
      ).toEqual({ A: "ada", B: "bob" });
    }
  });
});

test.each([
  "Key West",
  "Secret Garden Cafe",
  "token ring office",
  "Hack's laptop",
  "Note 10 phone",
  "West End",
  "Front End",
  "Region West",
  "end user 5",
  "End User 5",
  "Bob's end",
  "bob start",
  "Start menu",
  "Managed Switch",
])('the comment "%s" is a name, although it resembles a marker', (text) => {
  for (const comment of [`# ${text}`, `#${text}`, `; ${text}`]) {
    const expected = { A: text };
    expect(names("[Interface]", comment, "[Peer]", "PublicKey = A")).toEqual(expected);
    expect(names("[Peer]", comment, "PublicKey = A")).toEqual(expected);
    expect(names(`[Peer] ${comment}`, "PublicKey = A")).toEqual(expected);
    expect(names("# ada", "[Peer]", "PublicKey = A", comment, "[Peer]", "PublicKey = B")).toEqual({
      A: "ada",
      B: text,
    });
  }
  expect(names("[Peer]", `PublicKey = A # ${text}`)).toEqual({ A: text });
});

test.each([
  "# Friendly Name: alice",
  "# Friendly_Name = alice",
  "# FriendlyName=alice",
  "# FRIENDLY-NAME: alice",
  '# Friendly_JSON = {"Name":"alice"}',
  "# NAME: alice",
  "#NAME# = alice",
  "# -wgp- peer: alice / updated: 2022-01-01",
  "### CLIENT alice | EXPIRES: 2027-01-01",
  "# alice / alice@example.net / updated: 2026-01-01",
])('the comment "%s" is recognised as the name alice in any case', (comment) => {
  expect(names("[Peer]", "PublicKey = A", "AllowedIPs = ::/0", comment)).toEqual({ A: "alice" });
});

describe("an unusual block", () => {
  test.each<[string, string[]]>([
    ["without a key", ["[Peer]", "# bob", "AllowedIPs = ::/0"]],
    ["with an invalid key", ["[Peer]", "# bob", "PublicKey = not a key"]],
    ["with text after its key", ["[Peer]", "# bob", `PublicKey = ${B} ${C}`]],
    [
      "with two keys",
      ["[Peer]", "# bob", "PublicKey = B", "AllowedIPs = ::/0", "# carol", "PublicKey = C"],
    ],
    ["with an invalid header", ["[Peer", "# bob", "PublicKey = B"]],
    ["of another type", ["[[Peer]]", "# bob", "PublicKey = B", "[Bob]", "# bob", "PublicKey = B"]],
    [
      "with nothing in it",
      ["[Peer]", "[Peer]", "[]", "[", "]", "=", "#", "# =", "PublicKey", "PublicKey ="],
    ],
    ["of NULs", ["\0\0[Peer]\0", "\0", "PublicKey = \0"]],
    ["with a very long comment", [`[Peer]`, `# ${"bob ".repeat(50_000)}`, "PublicKey = B"]],
  ])("a block %s does not affect the next block", (_, lines) => {
    const good = ["[Peer]", "# ada", "PublicKey = A"];
    expect(names(...lines, "", ...good)).toEqual({ A: "ada" });
    expect(names(...good, "", ...lines)).toEqual({ A: "ada" });
  });

  test.each(["[peer]", "[PEER]", "  [Peer]  ", "[ Peer ]", "[Peer]# phone"])(
    "the line %s is a header",
    (header) => {
      expect(names(header, "# friendly_name = ada", "PublicKey = A")).toEqual({ A: "ada" });
    },
  );

  test.each(["publickey=A", "\tPUBLICKEY\t=\tA\t", "PublicKey = A#x", "PublicKey=A # x"])(
    "the line %j is a key",
    (line) => {
      expect(names("[Peer]", "# friendly_name = ada", line)).toEqual({ A: "ada" });
    },
  );

  test("the last name of a repeated block counts", () => {
    const block = (name: string) => ["[Peer]", `# ${name}`, "PublicKey = A", ""];
    expect(names(...block("old"), ...block("new"), "[Peer]", "PublicKey = A")).toEqual({
      A: "new",
    });
  });
});

describe("a name", () => {
  test.each<[string, string]>([
    ["  Ada \t Lovelace  ", "Ada Lovelace"],
    ["Ada\u202egnp.exe\u2069", "Adagnp.exe"],
    ["\u001b[31mAda\u0007\u009b", "[31mAda"],
    ["Ada\u2028Bob", "Ada Bob"],
    ["👩‍💻 Ада 漢字", "👩‍💻 Ада 漢字"],
    ["x".repeat(42) + " " + "y".repeat(40), `${"x".repeat(42)} ${"y".repeat(20)}…`],
  ])("a name that is written %j becomes %j", (written, name) => {
    expect(names("[Peer]", `# friendly_name = ${written}`, "PublicKey = A")).toEqual({ A: name });
  });

  test("a name is always valid as a name in the settings", () => {
    const { parse } = peerName();
    const mark = fc.constantFrom(
      "# ",
      "# friendly_name = ",
      "### Client ",
      "# Client: ",
      "#Name# = ",
    );
    fc.assert(
      fc.property(mark, hostileText, (before, text) => {
        for (const name of Object.values(names("[Peer]", `${before}${text}`, "PublicKey = A"))) {
          expect(parse(name)).toEqual({ value: name });
        }
      }),
    );
  });
});

/** Typical lines of such files, and other text, with keys and names at any place. */
const line = fc.oneof(
  fc.constantFrom(
    "",
    " ",
    "[Peer]",
    "[Interface]",
    "#[Peer]",
    "# [WireGuardPeer]",
    "[",
    "#",
    "=",
    ";",
  ),
  fc.constantFrom(`PublicKey = ${A}`, `PublicKey=${B}`, "PublicKey", `PresharedKey = ${PRIVATE}`),
  fc.constantFrom(
    "# ada",
    "### begin ada ###",
    "### end ada ###",
    "# Client: ada (1)",
    "# END_PEER",
  ),
  fc.constantFrom(
    "# friendly_name = ada",
    "# friendly_json={",
    "#Name# = ada",
    "# -WGP- Peer: ada",
  ),
  hostileText,
);
const garbage = fc.array(line, { maxLength: 30 }).map((lines) => lines.join("\n"));

describe("parseNames", () => {
  test("parseNames does not throw for any bytes", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => void parseNames(bytes)));
    fc.assert(fc.property(garbage, (text) => void names(text)));
  });

  test("parseNames reads a block whatever text surrounds it", () => {
    const good = `[Peer]\n# friendly_name = Carol\nPublicKey = ${C}\n`;
    fc.assert(
      fc.property(garbage, garbage, (before, after) => {
        fc.pre(!`${before}${after}`.includes(C));
        expect(names(`${before}\n\n${good}\n[Peer]\n${after}`)["C"]).toBe("Carol");
      }),
    );
  });

  test("parseNames returns no key in a name, and no private key anywhere", () => {
    const secret = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const place = fc.constantFrom(
      "PrivateKey = KEY",
      "PresharedKey=KEY # ada",
      "# PrivateKey: KEY",
      "# -WGP- PrivateKey: KEY",
      "# KEY",
      "#KEY ada",
      "# ada KEY ada",
      "# friendly_name = KEY",
      '# friendly_json={"name":"KEY"}',
      "### begin KEY ###",
      "# Client: ada (KEY)",
      "[Peer] # KEY",
      "[KEY]",
      `PublicKey = ${A} # KEY`,
      `PublicKey = ${A} KEY`,
      "KEY",
    );
    const planted = fc.tuple(secret, place, fc.boolean());
    fc.assert(
      fc.property(fc.array(fc.oneof(line, planted), { maxLength: 30 }), (parts) => {
        const keys: string[] = [];
        const lines = parts.map((part) => {
          if (typeof part === "string") return part;
          const [bytes, where, isPadded] = part;
          const text = Buffer.from(bytes)
            .toString("base64")
            .slice(0, isPadded ? 44 : 43);
          keys.push(text);
          return where.replace("KEY", () => text);
        });
        const found = [...parseNames(Buffer.from(lines.join("\n")))!];
        for (const text of [...keys, PRIVATE]) {
          expect(JSON.stringify(found)).not.toContain(text.slice(0, 43));
        }
        // Only keys after PublicKey are returned as public keys.
        for (const [publicKey] of found) expect([A, B]).toContain(publicKey);
      }),
      { numRuns: 500 },
    );
  });

  test("parseNames gives no peer a name that is nearer to another block", () => {
    const form = fc.constantFrom(
      (name: string) => `# ${name}`,
      (name: string) => `# friendly_name = ${name}`,
      (name: string) => `# Client: ${name} (1)`,
      (name: string) => `### begin ${name} ###`,
      (name: string) => `### end ${name} ###`,
      (name: string) => `# ${name} start`,
      (name: string) => `# ${name} end`,
      () => "# Endpoint = 192.0.2.1:51820",
      () => "",
    );
    const filling = fc.array(form, { maxLength: 4 });
    const markers = fc.constantFrom<((name: string) => string)[]>(
      [(name) => `# ${name} start`, (name) => `# ${name} end`],
      [(name) => `# begin ${name}`, (name) => `# end ${name}`],
      [(name) => `### begin ${name} ###`, (name) => `### end ${name} ###`],
    );
    const block = fc.record({
      markers: fc.option(markers, { nil: null }),
      isDisabled: fc.boolean(),
      above: filling,
      inside: filling,
      below: filling,
    });
    fc.assert(
      fc.property(fc.array(block, { minLength: 1, maxLength: 5 }), (parts) => {
        const lines: string[] = [];
        /** First line, last line and key of each block. */
        const blocks: { first: number; last: number; key: string }[] = [];
        // The name in each line is the number of the line.
        const fill = (forms: readonly ((name: string) => string)[]) => {
          for (const write of forms) lines.push(write(`n${lines.length}`));
        };
        for (const [index, part] of parts.entries()) {
          const { markers: pair, isDisabled, above, inside, below } = part;
          const publicKey = key(String.fromCharCode(65 + index));
          const mark = isDisabled ? "#" : "";
          const between = `n${lines.length}`;
          if (pair !== null) lines.push(pair[0]!(between));
          fill(above);
          const first = lines.push(`${mark}[Peer]`) - 1;
          fill(inside);
          const last = lines.push(`${mark}PublicKey = ${publicKey}`) - 1;
          blocks.push({ first, last, key: publicKey });
          fill(below);
          if (pair !== null) lines.push(pair[1]!(between));
        }
        const isEnd = (line: string) => {
          const name = /n\d+/.exec(line)?.[0];
          const isPaired = [`# ${name} start`, `# begin ${name}`].some((each) =>
            lines.includes(each),
          );
          return line.startsWith("### end") || (/ end\b/.test(line) && isPaired);
        };
        /** Blank lines between a line and a block; -1 within the block. */
        const gap = (at: number, { first, last }: { first: number; last: number }) => {
          if (at > first && at < last) return -1;
          const between = at < first ? lines.slice(at, first) : lines.slice(last, at);
          return between.filter((line) => line === "").length;
        };
        const found = parseNames(Buffer.from(lines.join("\n")))!;
        for (const own of blocks) {
          const name = found.get(own.key as PublicKey);
          if (name === undefined) continue;
          const at = Number(/\d+/.exec(name)![0]);
          for (const other of blocks) {
            if (other !== own) expect(gap(at, own)).toBeLessThanOrEqual(gap(at, other));
          }
          // Nor a name from before the end marker of another block.
          const between = lines.slice(at + 1, own.first);
          expect(between.filter(isEnd)).toEqual([]);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    (half: string, rest: string) => `# ${half}\u200b${rest}`,
    (half: string, rest: string) => `# friendly_name = ${"ada ".repeat(8)}${half}\u2060${rest}`,
    (half: string, rest: string) => `# friendly_json={"name":"${half}\\u002b${rest}"}`,
  ])(
    "parseNames returns no key that is split by an invisible character or an escape (%#)",
    (write) => {
      const comment = write(PRIVATE.slice(0, 22), PRIVATE.slice(22, 43));
      expect(names("[Peer]", comment, "PublicKey = A")).toEqual({});
    },
  );

  test("parseNames does not read a file with too many lines", () => {
    const block = `[Peer]\n# ada\nPublicKey = ${A}\n`;
    expect(parseNames(Buffer.from("#\n".repeat(LINES_MAX - 3) + block))?.size).toBe(1);
    expect(parseNames(Buffer.from("#\n".repeat(LINES_MAX) + block))).toBeNull();
  });

  test("parseNames takes time in proportion to the size of the file, not to its square", () => {
    const costly = [
      "# a",
      "[Peer",
      "# friendly_name = a",
      `# ${"a / ".repeat(120)}`,
      `# begin ${"a ".repeat(240)}b`,
      `# client: ${" (".repeat(240)}`,
      `### Client ${" | Expires".repeat(40)}`,
      `# friendly_json=${"[".repeat(480)}`,
      `# ${"\u200d".repeat(160)}x`,
      `# ${" \u200d".repeat(120)}x`,
    ];
    const cpuMs = (line: string, size: number): number => {
      const count = Math.floor(size / Buffer.byteLength(`${line}\n`));
      const bytes = Buffer.from(`[Peer]\nPublicKey = ${A}\n${`${line}\n`.repeat(count)}`);
      const tries = Array.from({ length: 2 }, () => {
        const before = process.cpuUsage();
        expect(parseNames(bytes)).not.toBeNull();
        return process.cpuUsage(before).user / 1000;
      });
      return Math.min(...tries);
    };
    for (const line of costly) {
      cpuMs(line, 50_000);
      // For a file 8 times as large, quadratic time would be 64 times as long.
      expect(cpuMs(line, 400_000)).toBeLessThan(30 * Math.max(5, cpuMs(line, 50_000)));
    }
  });
});
