/** The text of the firewall rules. test/netns/firewall.test.ts tests their effect on packets. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { iptablesRules, nftRemoval, nftRules, tableName } from "../../src/firewall/nft-rules.ts";

const port = fc.integer({ min: 1, max: 65535 });
const ports = fc.uniqueArray(port, { minLength: 1, maxLength: 60 });
const group = fc.integer({ min: 0, max: 65535 });

/** The lines without comments and empty lines. */
function code(text: string): string[] {
  return text.split("\n").filter((line) => line.trim() !== "" && !line.trim().startsWith("#"));
}

describe.each([
  ["nft", nftRules],
  ["iptables", iptablesRules],
] as const)("%s", (name, rules) => {
  test(`the rules of ${name} have the same text for the same ports in any order and with duplicates`, () => {
    const shuffled = ports.chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }), group),
    );
    fc.assert(
      fc.property(shuffled, ([all, others, group]) => {
        const text = rules({ ports: all, group });
        expect(rules({ ports: [...others, ...all, 0], group })).toBe(text);
      }),
    );
  });

  test(`the rules of ${name} contain each port in both directions, and no group except the given one`, () => {
    fc.assert(
      fc.property(ports, group, (ports, group) => {
        const lines = code(rules({ ports, group })).join("\n");
        for (const end of ["d", "s"]) {
          const named = new RegExp(`\\b${end}ports? (\\{[^}]*\\}|[\\d,]+)`, "g");
          const found = new Set(lines.match(named)!.join(" ").match(/\d+/g)!.map(Number));
          expect([...found].toSorted((a, b) => a - b)).toEqual(ports.toSorted((a, b) => a - b));
        }
        const groups = new Set(
          [...lines.matchAll(/(?:nflog-group|log group) (\d+)/g)].map(([, digits]) =>
            Number(digits),
          ),
        );
        expect([...groups]).toEqual([group]);
      }),
    );
  });

  test(`a RangeError is thrown for an invalid port or group in the rules of ${name}`, () => {
    for (const wrong of [-1, 65_536, 1.5, Number.NaN, Infinity, "22 accept" as unknown as number]) {
      expect(() => rules({ ports: [51820, wrong], group: 1 })).toThrow(RangeError);
      expect(() => rules({ ports: [51820], group: wrong })).toThrow(RangeError);
    }
  });

  test(`the rules of ${name} accept or drop no packet, and log no initiation`, () => {
    const text = rules({ ports: [51820, 51821], group: 1 });
    expect(code(text).join("\n")).not.toMatch(
      /\b(drop|reject|queue(?!-)|DROP|REJECT|ACCEPT|QUEUE|policy (?!accept))\b/,
    );
    const initiations = loggingOf(text).filter((line) => line.includes("0x01000000"));
    expect(initiations).toEqual([]);
  });
});

/** The lines of rules that log. */
function loggingOf(text: string): string[] {
  return code(text).filter((line) => /\blog group|NFLOG/.test(line));
}

describe("nft", () => {
  test("each group has its own table of nft, and the text mentions no other table", () => {
    expect(tableName(1)).toBe("inet wgmon");
    fc.assert(
      fc.property(ports, group, (ports, group) => {
        for (const text of [nftRules({ ports, group }), nftRemoval(group)]) {
          const named = new Set(text.match(/\btable \w+ [\w-]+/g));
          expect([...named]).toEqual([`table ${tableName(group)}`]);
        }
      }),
    );
    const tables = Array.from({ length: 65_536 }, (_, group) => tableName(group));
    expect(new Set(tables).size).toBe(65_536);
  });

  test("a rule of nft logs a received message only if its index was sent before, and deletes the index at the same time", () => {
    const lines = loggingOf(nftRules({ ports: [51820], group: 1 }));
    const [sent, ...received] = lines.map((line) => line.trim());
    // The responses of this machine, which cannot be forged.
    expect(sent).toStartWith("@th,64,32 0x02000000 log group 1 ");
    expect(received).toHaveLength(2);
    for (const line of received) {
      expect(line).toMatch(/(@th,\d+,32) @indexes delete @indexes \{ \1 \} log group 1 /);
    }
  });

  test("without ports the table of nft is deleted", () => {
    const removal = "add table inet wgmon\ndelete table inet wgmon\n";
    expect(nftRules({ ports: [], group: 1 })).toBe(removal);
    expect(nftRules({ ports: [0, 0], group: 1 })).toBe(removal);
  });
});

describe("iptables", () => {
  test("no rule of iptables has more ports than multiport accepts", () => {
    fc.assert(
      fc.property(ports, (ports) => {
        for (const [, list] of iptablesRules({ ports, group: 1 }).matchAll(/--[ds]ports (\S+)/g)) {
          expect(list!.split(",").length).toBeWithin(2, 16);
        }
      }),
    );
  });

  test("in the rules of iptables, each kind of received message has a limit, and sent responses have none", () => {
    const lines = loggingOf(iptablesRules({ ports: [51820], group: 1 }));
    const limited = lines.filter((line) => /-m limit --limit 500\/s --limit-burst 500 /.test(line));
    // First data and responses, IPv4 and IPv6.
    expect(limited).toHaveLength(4);
    expect(limited.every((line) => line.includes(" -A WGMON-LOG "))).toBe(true);
    const others = lines.filter((line) => !limited.includes(line));
    expect(others).toHaveLength(2);
    for (const line of others) expect(line).toMatch(/ -A WGMON-SENT .*0x02000000.* --sport 51820 /);
  });

  test("the rules of iptables have no hashlimit, which drops packets when its table of sources is full", () => {
    expect(iptablesRules({ ports: [51820], group: 1 })).not.toContain("hashlimit");
  });

  test("each line of the rules of iptables is a complete command that can be run again", () => {
    for (const line of code(iptablesRules({ ports: [51820], group: 2 }))) {
      expect(line).toMatch(
        /^(ip6?tables) -w (-N \S+ 2>\/dev\/null|-F \S+|-A WGMON-2.*|-C (INPUT|OUTPUT) -p udp -j (WGMON-2(?:-SENT)?) 2>\/dev\/null \|\| \1 -w -I \3 -p udp -j \4)$/,
      );
    }
  });
});
