/** Names out of wg-quick's files: each convention, which comment counts where, and what never becomes a name. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { peerName } from "../src/config/kinds.ts";
import { parseNames } from "../src/names.ts";
import { hostileText } from "./support/events.ts";

/** 32 bytes in base64. */
function key(letter: string): string {
  return `${letter.repeat(42)}I=`;
}

const [A, B, C] = [key("A"), key("B"), key("C")];
const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

/** The names in a file, in which `A`, `B` and `C` stand for public keys. */
function names(...lines: readonly string[]): Record<string, string> {
  const text = lines.join("\n").replace(/(?<=PublicKey\s*=\s*)[ABC]\b/gi, key);
  const letters = [...parseNames(Buffer.from(text))].map(([each, name]) => [each[0]!, name]);
  return Object.fromEntries(letters) as Record<string, string>;
}

describe("each convention", () => {
  const block = ["[Peer]", "PublicKey = A", "AllowedIPs = 10.0.0.2/32"];
  const [header, ...settings] = block as [string, ...string[]];
  const server = ["[Interface]", `PrivateKey = ${PRIVATE}`, "ListenPort = 51820", ""];

  test.each<[string, string[], string?]>([
    ["prometheus_wireguard_exporter", [header, "# friendly_name = Ada's phone", ...settings]],
    ["the same, without blanks", [header, "#friendly_name=Ada's phone", ...settings]],
    [
      "the same, with JSON",
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
    ["greenpixel", [...block, "# Ada's phone"]],
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
  ])("%s", (_, lines, name = "Ada's phone") => {
    expect(names(...server, ...lines)).toEqual({ A: name });
    // With others around it, with the ends of lines of Windows, and with nothing at all after it.
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

  test("all peers of a file that a program wrote", () => {
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

describe("which comment counts", () => {
  test.each<[string, string[], Record<string, string>]>([
    [
      "the most telling one, wherever it stands",
      [
        "# a heading",
        "### begin tagged ###",
        "[Peer]",
        "# bare",
        "PublicKey = A",
        '# friendly_json={"name":"json"}',
        "# friendly_name = friendly",
      ],
      { A: "friendly" },
    ],
    [
      "JSON before what is tagged",
      ["# Client: tagged (1)", "[Peer]", '# friendly_json={"name":"json"}', "PublicKey = A"],
      { A: "json" },
    ],
    [
      "what is tagged before what is not",
      ["# Client: tagged (1)", "[Peer]", "# behind a NAT", "PublicKey = A"],
      { A: "tagged" },
    ],
    ["inside before above", ["# above", "[Peer]", "# inside", "PublicKey = A"], { A: "inside" }],
    ["the first of several", ["# one", "# two", "[Peer]", "PublicKey = A"], { A: "one" }],
    [
      "a name above a header is not the block's before",
      [
        "# ada",
        "[Peer]",
        "PublicKey = A",
        "# bob",
        "[Peer]",
        "PublicKey = B",
        "# carol",
        "[Peer]",
        "PublicKey = C",
      ],
      { A: "ada", B: "bob", C: "carol" },
    ],
    [
      "unless all have it at their end",
      [
        "[Peer]",
        "PublicKey = A",
        "# ada",
        "[Peer]",
        "PublicKey = B",
        "# bob",
        "[Peer]",
        "PublicKey = C",
        "# carol",
      ],
      { A: "ada", B: "bob", C: "carol" },
    ],
    [
      "at the end of a block, with a blank line after it",
      ["[Peer]", "PublicKey = A", "# ada", "", "[Peer]", "PublicKey = B"],
      { A: "ada" },
    ],
    [
      "a blank line inside a block",
      ["[Peer]", "", "# ada", "PublicKey = A", "", "[Peer]", "# bob", "", "PublicKey = B"],
      { A: "ada", B: "bob" },
    ],
    [
      "a heading between blank lines is nobody's name",
      ["[Peer]", "PublicKey = A", "", "# ---- Phones ----", "", "[Peer]", "PublicKey = B"],
      {},
    ],
    [
      "what announces a block does so over blank lines",
      ["[Peer]", "PublicKey = A", "", "### Client bob", "", "[Peer]", "PublicKey = B"],
      { B: "bob" },
    ],
    [
      "but not over another block",
      ["### Client bob", "", "[Interface]", "ListenPort = 1", "", "[Peer]", "PublicKey = A"],
      {},
    ],
    [
      "the exporter's lines count anywhere in their block",
      ["[Peer]", "PublicKey = A", "", "# friendly_name = ada", "", "[Peer]", "PublicKey = B"],
      { A: "ada" },
    ],
    [
      "a block that was taken out takes its name with it",
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
      "settings that were taken out are no names",
      [
        "# Endpoint = 192.0.2.1:51820",
        "[Peer]",
        "#PersistentKeepalive=25",
        "# AllowedIPs = ::/0",
        "PublicKey = A",
      ],
      {},
    ],
    [
      "nor are prose, lines, addresses and passwords",
      [
        "# The peers follow; to add one, copy a block of these, and change its key and its address",
        "#########",
        "# https://wiki.example.net/vpn",
        "# password: hunter2",
        "# Private key: see the safe",
        "# Email: ada@example.net",
        "#",
        "[Peer]",
        "PublicKey = A",
      ],
      {},
    ],
    [
      "an empty name is none",
      ["# ada", "[Peer]", "# friendly_name =", "PublicKey = A"],
      { A: "ada" },
    ],
    [
      "JSON that is none",
      ["[Peer]", '# friendly_json={"name":', "# ada", "PublicKey = A"],
      { A: "ada" },
    ],
    [
      "JSON without a name",
      ["[Peer]", '# friendly_json={"name":null,"user":{}}', "PublicKey = A"],
      {},
    ],
    [
      "JSON that names a prototype",
      ["[Peer]", "# friendly_json=[1]", "# ada", "PublicKey = A"],
      { A: "ada" },
    ],
  ])("%s", (_, lines, expected) => {
    expect(names(...lines)).toEqual(expected);
  });
});

describe("an odd block", () => {
  test.each<[string, string[]]>([
    ["without a key", ["[Peer]", "# bob", "AllowedIPs = ::/0"]],
    ["with a key that is none", ["[Peer]", "# bob", "PublicKey = not a key"]],
    ["with a key that goes on", ["[Peer]", "# bob", `PublicKey = ${B} ${C}`]],
    [
      "with two keys",
      ["[Peer]", "# bob", "PublicKey = B", "AllowedIPs = ::/0", "# carol", "PublicKey = C"],
    ],
    ["with a header that is none", ["[Peer", "# bob", "PublicKey = B"]],
    ["of another sort", ["[[Peer]]", "# bob", "PublicKey = B", "[Bob]", "# bob", "PublicKey = B"]],
    [
      "with nothing in it",
      ["[Peer]", "[Peer]", "[]", "[", "]", "=", "#", "# =", "PublicKey", "PublicKey ="],
    ],
    ["of NULs", ["\0\0[Peer]\0", "\0", "PublicKey = \0"]],
    ["with a comment without end", [`[Peer]`, `# ${"bob ".repeat(50_000)}`, "PublicKey = B"]],
  ])("%s is no matter for the next", (_, lines) => {
    const good = ["[Peer]", "# ada", "PublicKey = A"];
    expect(names(...lines, "", ...good)).toEqual({ A: "ada" });
    expect(names(...good, "", ...lines)).toEqual({ A: "ada" });
  });

  test.each(["[peer]", "[PEER]", "  [Peer]  ", "[ Peer ]", "[Peer]# phone"])(
    "%s is a header",
    (header) => {
      expect(names(header, "# friendly_name = ada", "PublicKey = A")).toEqual({ A: "ada" });
    },
  );

  test.each(["publickey=A", "\tPUBLICKEY\t=\tA\t", "PublicKey = A#x", "PublicKey=A # x"])(
    "%j is a key",
    (line) => {
      expect(names("[Peer]", "# friendly_name = ada", line)).toEqual({ A: "ada" });
    },
  );

  test("a file twice over: the last name counts", () => {
    const block = (name: string) => ["[Peer]", `# ${name}`, "PublicKey = A", ""];
    expect(names(...block("old"), ...block("new"), "[Peer]", "PublicKey = A")).toEqual({
      A: "new",
    });
  });
});

describe("what becomes a name", () => {
  test.each<[string, string]>([
    ["  Ada \t Lovelace  ", "Ada Lovelace"],
    ["Ada\u202egnp.exe\u2069", "Adagnp.exe"],
    ["\u001b[31mAda\u0007\u009b", "[31mAda"],
    ["Ada\u2028Bob", "Ada Bob"],
    ["👩‍💻 Ада 漢字", "👩‍💻 Ада 漢字"],
    ["x".repeat(42) + " " + "y".repeat(40), `${"x".repeat(42)} ${"y".repeat(20)}…`],
  ])("%j: %j", (written, name) => {
    expect(names("[Peer]", `# friendly_name = ${written}`, "PublicKey = A")).toEqual({ A: name });
  });

  test("the settings would take it, whatever was written", () => {
    const { read } = peerName();
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
          expect(read(name)).toEqual({ value: name });
        }
      }),
    );
  });
});

/** Lines as they stand in such files, and other text, with keys and names anywhere. */
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

describe("properties", () => {
  test("any bytes have names or have none", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => void parseNames(bytes)));
    fc.assert(fc.property(garbage, (text) => void names(text)));
  });

  test("a block is read whatever stands around it", () => {
    const good = `[Peer]\n# friendly_name = Carol\nPublicKey = ${C}\n`;
    fc.assert(
      fc.property(garbage, garbage, (before, after) => {
        fc.pre(!`${before}${after}`.includes(C));
        expect(names(`${before}\n${good}\n[Peer]\n${after}`)["C"]).toBe("Carol");
      }),
    );
  });

  test("no key is in a name, and no private one in anything", () => {
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
        const found = [...parseNames(Buffer.from(lines.join("\n")))];
        for (const text of [...keys, PRIVATE]) {
          expect(JSON.stringify(found)).not.toContain(text.slice(0, 43));
        }
        // What is a public key there stood behind PublicKey.
        for (const [publicKey] of found) expect([A, B]).toContain(publicKey);
      }),
      { numRuns: 500 },
    );
  });
});
