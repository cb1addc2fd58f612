/** The text of the firewall rules. What they do to packets: test/e2e/rules.test.ts. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { iptablesRules, nftRemoval, nftRules, tableOf } from "../src/rules.ts";

const port = fc.integer({ min: 1, max: 65535 });
const ports = fc.uniqueArray(port, { minLength: 1, maxLength: 60 });
const group = fc.integer({ min: 0, max: 65535 });

/** Without comments, which are for people. */
function code(text: string): string[] {
  return text.split("\n").filter((line) => line.trim() !== "" && !line.trim().startsWith("#"));
}

describe.each([
  ["nft", nftRules],
  ["iptables", iptablesRules],
] as const)("%s", (_name, rules) => {
  test("ports in any order, and named twice, give the same text", () => {
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

  test("each port and the group are in it, and no other group", () => {
    fc.assert(
      fc.property(ports, group, (ports, group) => {
        const lines = code(rules({ ports, group })).join("\n");
        const dports = lines.match(/dports? (\{[^}]*\}|[\d,]+)/g)!.join(" ");
        const found = new Set(dports.match(/\d+/g)!.map(Number));
        expect([...found].toSorted((a, b) => a - b)).toEqual(ports.toSorted((a, b) => a - b));
        const groups = new Set(
          [...lines.matchAll(/(?:nflog-group|log group) (\d+)/g)].map(([, digits]) =>
            Number(digits),
          ),
        );
        expect([...groups]).toEqual([group]);
      }),
    );
  });

  test("what is no number of a port or a group is refused", () => {
    for (const wrong of [-1, 65_536, 1.5, Number.NaN, Infinity, "22 accept" as unknown as number]) {
      expect(() => rules({ ports: [51820, wrong], group: 1 })).toThrow(RangeError);
      expect(() => rules({ ports: [51820], group: wrong })).toThrow(RangeError);
    }
  });

  test("a limit for every kind of message, and nothing that decides about a packet", () => {
    const text = code(rules({ ports: [51820, 51821], group: 1 })).join("\n");
    expect(text).not.toMatch(
      /\b(drop|reject|queue(?!-)|DROP|REJECT|ACCEPT|QUEUE|policy (?!accept))\b/,
    );
    const unlimited = text
      .split("\n")
      .filter((line) => /\blog group|NFLOG/.test(line) && !/limit/.test(line));
    // Those of nft that take an index away at the same time.
    expect(unlimited.filter((line) => !line.includes("delete @indexes"))).toEqual([]);
  });
});

describe("nft", () => {
  test("each group has a table of its own, and no other is named", () => {
    expect(tableOf(1)).toBe("inet wgmon");
    fc.assert(
      fc.property(ports, group, (ports, group) => {
        for (const text of [nftRules({ ports, group }), nftRemoval(group)]) {
          const named = new Set(text.match(/\btable \w+ [\w-]+/g));
          expect([...named]).toEqual([`table ${tableOf(group)}`]);
        }
      }),
    );
    const tables = Array.from({ length: 65_536 }, (_, group) => tableOf(group));
    expect(new Set(tables).size).toBe(65_536);
  });

  test("without ports the table is taken away", () => {
    const gone = "add table inet wgmon\ndelete table inet wgmon\n";
    expect(nftRules({ ports: [], group: 1 })).toBe(gone);
    expect(nftRules({ ports: [0, 0], group: 1 })).toBe(gone);
  });
});

describe("iptables", () => {
  test("no rule names more ports than multiport takes", () => {
    fc.assert(
      fc.property(ports, (ports) => {
        for (const [, list] of iptablesRules({ ports, group: 1 }).matchAll(/--dports (\S+)/g)) {
          expect(list!.split(",").length).toBeWithin(2, 16);
        }
      }),
    );
  });

  test("hashlimit, which drops what it has no room for, always comes behind a limit", () => {
    const text = iptablesRules({ ports: [51820], group: 1 });
    const lines = text.split("\n").filter((line) => line.includes("-m hashlimit"));
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      const [, perSecond, burst] = /-m limit --limit (\d+)\/s --limit-burst (\d+) -m hashlimit/
        .exec(line)!
        .map(Number);
      const [, room] = /--hashlimit-htable-max (\d+)/.exec(line)!.map(Number);
      const [, expireMs] = /--hashlimit-htable-expire (\d+)/.exec(line)!.map(Number);
      // Ten times what there can be if it is cleaned when it should.
      expect(room!).toBeGreaterThan(burst! + 10 * perSecond! * (expireMs! / 1000 + 1));
    }
  });

  test("each line stands for itself and can be run again", () => {
    for (const line of code(iptablesRules({ ports: [51820], group: 2 }))) {
      expect(line).toMatch(
        /^(ip6?tables) -w (-N \S+ 2>\/dev\/null|-F \S+|-A WGMON-2.*|-C INPUT -p udp -j WGMON-2 2>\/dev\/null \|\| \1 -w -I INPUT -p udp -j WGMON-2)$/,
      );
    }
  });
});
