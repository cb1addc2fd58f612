/** Parses rules as nft and iptables-save print them, and finds which datagrams they log. */

import { describe, expect, test } from "bun:test";

import { ParseError } from "../../src/base/errors.ts";
import { parseIptables } from "../../src/firewall/parse-iptables.ts";
import { parseNft, portSetsOf } from "../../src/firewall/parse-nft.ts";
import { type Firewall, groupsOf, matchingLogRules } from "../../src/firewall/ruleset.ts";

const udpPort = { payload: { protocol: "udp", field: "dport" } };
const match = (left: unknown, right: unknown, op = "==") => ({ match: { op, left, right } });
const log = (group: number, more = {}) => ({ log: { group, ...more } });

/** A table with these rules in its input chain, and with other chains by name. */
function table(
  rules: readonly (readonly unknown[])[],
  {
    family = "inet",
    hook = "input",
    others = {},
    sets = [],
    withXtables = true,
  }: {
    family?: string;
    hook?: string;
    others?: Readonly<Record<string, readonly (readonly unknown[])[]>>;
    sets?: readonly unknown[];
    withXtables?: boolean;
  } = {},
): Firewall {
  const ids = { family, table: "t" };
  const chains = Object.entries({ input: rules, ...others });
  const nftables = [
    { metainfo: { json_schema_version: 1 } },
    ...chains.map(([name]) => ({
      chain: { ...ids, name, ...(name === "input" ? { hook } : {}) },
    })),
    ...sets.map((set) => ({ set: { ...ids, ...(set as object) } })),
    ...chains.flatMap(([chain, each]) => each.map((expr) => ({ rule: { ...ids, chain, expr } }))),
  ];
  return parseNft(JSON.stringify({ nftables }), { withXtables });
}

const iptables = (...lines: readonly string[]): Firewall =>
  parseIptables(["*filter", ":INPUT ACCEPT [0:0]", ":OWN - [0:0]", ...lines, "COMMIT"].join("\n"), {
    program: "iptables",
    version: 4,
  });

/** The output of `nft -j --terse`: a rule with a set of ports, without the elements of the set. */
const TERSE = JSON.stringify({
  nftables: [
    { chain: { family: "inet", table: "t", name: "input", hook: "input" } },
    { set: { family: "inet", table: "t", name: "ports" } },
    { set: { family: "inet", table: "t", name: "hosts" } },
    {
      rule: {
        family: "inet",
        table: "t",
        chain: "input",
        expr: [
          match({ payload: { protocol: "ip", field: "saddr" } }, "@hosts"),
          match(udpPort, "@ports"),
          log(1),
        ],
      },
    },
  ],
});

test("portSetsOf returns only the sets that contain ports", () => {
  expect(portSetsOf(TERSE)).toEqual([["set", "inet", "t", "ports"]]);
  const set = { family: "inet", table: "t", name: "ports", elem: [100] };
  const sets = [JSON.stringify({ nftables: [{ set }] })];
  const firewall = parseNft(TERSE, { sets, withXtables: false });
  expect(groupsFor(firewall, 100)).toEqual([1]);
  expect(groupsFor(firewall, 200)).toEqual([]);
});

test("a set whose elements are unknown may contain any port", () => {
  const firewall = parseNft(TERSE, { withXtables: false });
  expect([groupsFor(firewall, 100), groupsFor(firewall, 200)]).toEqual([[1], [1]]);
});

test.each(["", "{", "[]", "null", "1", '{"nftables":null}', '{"nftables":{}}'])(
  "text that is not JSON of nft is a ParseError: %s",
  (text) => {
    expect(() => parseNft(text, { withXtables: true })).toThrow(ParseError);
    expect(() => portSetsOf(text)).toThrow(ParseError);
  },
);

test("entries of nft of an unknown shape are skipped", () => {
  for (const entry of [null, 1, { chain: null }, { rule: 3 }, { rule: { expr: [null, 7] } }]) {
    const text = JSON.stringify({ nftables: [entry] });
    expect(parseNft(text, { withXtables: true }).chains.size).toBe(0);
    expect(portSetsOf(text)).toEqual([]);
  }
});

function groupsFor(firewall: Firewall, port: number, version: 4 | 6 = 4): number[] {
  return matchingLogRules([firewall], { port, version }).map(({ group }) => group);
}

describe("a rule of nft", () => {
  const cases: readonly (readonly [string, readonly unknown[], readonly number[]])[] = [
    // Each case is tested with the ports 100, 200 and 300.
    ["one port", [match(udpPort, 100), log(1)], [100]],
    ["all ports except one", [match(udpPort, 100, "!="), log(1)], [200, 300]],
    ["a range", [match(udpPort, { range: [150, 300] }), log(1)], [200, 300]],
    ["a set", [match(udpPort, { set: [100, { range: [290, 310] }] }), log(1)], [100, 300]],
    ["at least", [match(udpPort, 200, ">="), log(1)], [200, 300]],
    ["less than", [match(udpPort, 200, "<"), log(1)], [100]],
    ["two conditions", [match(udpPort, 200, "<="), match(udpPort, 200, ">="), log(1)], [200]],
    ["no condition", [log(1)], [100, 200, 300]],
    [
      "any transport's port",
      [match({ payload: { protocol: "th", field: "dport" } }, 100), log(1)],
      [100],
    ],
    [
      "a source port",
      [match({ payload: { protocol: "udp", field: "sport" } }, 9), log(1)],
      [100, 200, 300],
    ],
    ["TCP", [match({ payload: { protocol: "tcp", field: "dport" } }, 100), log(1)], []],
    ["l4proto tcp", [match({ meta: { key: "l4proto" } }, "tcp"), log(1)], []],
    ["l4proto not udp", [match({ meta: { key: "l4proto" } }, "udp", "!="), log(1)], []],
    [
      "protocols",
      [match({ payload: { protocol: "ip", field: "protocol" } }, { set: ["tcp", "udp"] }), log(1)],
      [100, 200, 300],
    ],
    ["only IPv6", [match({ meta: { key: "nfproto" } }, "ipv6"), log(1)], []],
    [
      "an interface, which may match",
      [match({ meta: { key: "iifname" } }, "eth0"), log(1)],
      [100, 200, 300],
    ],
    ["a log without a group", [{ log: null }], []],
    ["a jump", [match(udpPort, 100), { jump: { target: "other" } }], [100]],
    ["a goto", [match(udpPort, 100), { goto: { target: "other" } }], [100]],
    [
      "a map of verdicts",
      [
        {
          vmap: {
            key: udpPort,
            data: {
              set: [
                [100, { jump: { target: "other" } }],
                [200, { accept: null }],
              ],
            },
          },
        },
      ],
      [100],
    ],
    ["a named set", [match(udpPort, "@ports"), log(1)], [100, 200]],
    ["an unknown expression", [{ brandNew: {} }, log(1)], [100, 200, 300]],
  ];

  test.each(cases)(
    "a rule of nft logs datagrams to the expected ports if it has %s",
    (_name, rule, ports) => {
      const others = { other: [[log(1)]] };
      const sets = [{ name: "ports", elem: [100, { elem: { val: 200, timeout: 9 } }] }];
      const firewall = table([rule], { others, sets });
      expect([100, 200, 300].filter((port) => groupsFor(firewall, port).includes(1))).toEqual([
        ...ports,
      ]);
    },
  );

  test("a rule of nft logs a datagram unless an earlier rule certainly ends its evaluation", () => {
    const accept = { accept: null };
    expect(groupsFor(table([[match(udpPort, 100), accept], [log(1)]]), 100)).toEqual([]);
    expect(groupsFor(table([[match(udpPort, 100), accept], [log(1)]]), 200)).toEqual([1]);
    expect(groupsFor(table([[{ limit: {} }, accept], [log(1)]]), 100)).toEqual([1]);
    expect(groupsFor(table([[{ counter: {} }, { drop: null }], [log(1)]]), 100)).toEqual([]);
    const jump = [[{ jump: { target: "other" } }], [log(1)]];
    expect(groupsFor(table(jump, { others: { other: [[accept]] } }), 100)).toEqual([]);
    expect(groupsFor(table(jump, { others: { other: [[{ return: null }]] } }), 100)).toEqual([1]);
  });

  test("a rule of nft logs datagrams of the IP versions of its table's family", () => {
    for (const [family, versions] of [
      ["inet", [4, 6]],
      ["ip", [4]],
      ["ip6", [6]],
      ["bridge", []],
    ] as const) {
      const firewall = table([[log(1)]], { family });
      expect(([4, 6] as const).filter((each) => groupsFor(firewall, 1, each).length > 0)).toEqual([
        ...versions,
      ]);
    }
  });

  test("a rule of nft logs a datagram only in a hook for received packets", () => {
    const logs = (hook: string) => groupsFor(table([[log(1)]], { hook }), 1).length > 0;
    expect(
      ["ingress", "prerouting", "input", "forward", "output", "postrouting"].filter(logs),
    ).toEqual(["ingress", "prerouting", "input"]);
  });

  test("a rule of nft logs with the snaplen of the rule", () => {
    const firewall = table([[log(7, { snaplen: 99, "queue-threshold": 3 })]]);
    expect(matchingLogRules([firewall], { port: 1, version: 4 })).toEqual([
      { group: 7, snaplen: 99, where: "inet t input" },
    ]);
  });

  test("a rule of iptables among those of nft is skipped if iptables-save is available", () => {
    const rules = [[{ xt: { type: "match", name: "multiport" } }, log(1)]];
    expect(groupsFor(table(rules, { withXtables: true }), 1)).toEqual([1]);
    expect(groupsFor(table(rules, { withXtables: false }), 1)).toEqual([]);
  });

  test("rules of nft in chains that jump to each other are found, without an endless loop", () => {
    const jump = [{ jump: { target: "other" } }];
    expect(groupsFor(table([jump], { others: { other: [jump, [log(1)]] } }), 1)).toEqual([1]);
  });
});

describe("a rule of iptables", () => {
  const cases: readonly (readonly [string, readonly number[]])[] = [
    ["-A INPUT -p udp -m udp --dport 100 -j NFLOG --nflog-group 1", [100]],
    ["-A INPUT -p udp -m udp ! --dport 100 -j NFLOG --nflog-group 1", [200, 300]],
    ["-A INPUT -p udp -m udp --dport 150:300 -j NFLOG --nflog-group 1", [200, 300]],
    ["-A INPUT -p udp -m multiport --dports 100,290:310 -j NFLOG --nflog-group 1", [100, 300]],
    ["-A INPUT -p tcp -m tcp --dport 100 -j NFLOG --nflog-group 1", []],
    ["-A INPUT ! -p udp -j NFLOG --nflog-group 1", []],
    ["-A INPUT ! -p tcp -j NFLOG --nflog-group 1", [100, 200, 300]],
    ["-A INPUT -i eth0 -j NFLOG --nflog-group 1", [100, 200, 300]],
    ["-A INPUT -j LOG", []],
    ["-A INPUT -p udp -m udp --dport 100 -j OWN", [100]],
    ["-A INPUT -p udp -m udp --dport 100 -g OWN", [100]],
    [
      '-A INPUT -p udp -m comment --comment "a -j DROP \\" b" -j NFLOG --nflog-group 1',
      [100, 200, 300],
    ],
    ['-A INPUT -p udp -m comment --comment "-s wgmon" -j NFLOG --nflog-group 1', [100, 200, 300]],
    ["-A INPUT -p udp -m comment --comment -j -j NFLOG --nflog-group 1", [100, 200, 300]],
  ];

  test.each(cases)("a rule of iptables logs datagrams to the expected ports: %s", (rule, ports) => {
    const firewall = iptables(rule, "-A OWN -j NFLOG --nflog-group 1");
    expect([100, 200, 300].filter((port) => groupsFor(firewall, port).includes(1))).toEqual([
      ...ports,
    ]);
  });

  test("a rule of iptables logs a datagram unless an earlier rule certainly ends its evaluation", () => {
    const nflog = "-A INPUT -j NFLOG --nflog-group 1";
    expect(groupsFor(iptables("-A INPUT -p udp -j ACCEPT", nflog), 1)).toEqual([]);
    expect(groupsFor(iptables("-A INPUT -p tcp -j ACCEPT", nflog), 1)).toEqual([1]);
    const established = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    expect(groupsFor(iptables(established, nflog), 1)).toEqual([1]);
    expect(groupsFor(iptables('-A INPUT -m comment --comment "all" -j DROP', nflog), 1)).toEqual(
      [],
    );
    expect(groupsFor(iptables("-A INPUT -j OWN", "-A OWN -j DROP", nflog), 1)).toEqual([]);
  });

  test("a rule of iptables logs with the snaplen of the rule, and to group 0 by default", () => {
    const firewall = iptables("-A INPUT -j NFLOG --nflog-prefix x --nflog-size 80");
    expect(matchingLogRules([firewall], { port: 1, version: 4 })).toEqual([
      { group: 0, snaplen: 80, where: "iptables filter INPUT" },
    ]);
    expect(matchingLogRules([firewall], { port: 1, version: 6 })).toEqual([]);
  });
});

test("groupsOf finds all groups, also of rules that no datagram reaches", () => {
  const firewall = table([[{ drop: null }], [log(9)]], { others: { other: [[log(3)]] } });
  expect(groupsOf([firewall, iptables("-A OWN -j NFLOG --nflog-group 3")])).toEqual([3, 9]);
});
