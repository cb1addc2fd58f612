/** Filters of targets and tables of peers that match no existing peer or device: which cause a warning. */

import { describe, expect, test } from "bun:test";

import { SystemError } from "../../src/base/errors.ts";
import type { PublicKey } from "../../src/base/wireguard.ts";
import { unmatched, warnOfUnmatched } from "../../src/names/unmatched.ts";
import { ALICE, BOB } from "../support/peers.ts";
import { run } from "../support/settings.ts";

const present = {
  devices: ["wg0", "office"],
  publicKeys: new Set<string>([ALICE]),
  names: new Set(["alice", "bob's phone"]),
  tags: ["site", "phone"],
};

/** The warnings for settings with these lines and a webhook. */
function warnings(toml: string, seen = present): string[] {
  const { settings } = run([], { toml: `webhook = "https://a.example"\n${toml}` });
  return unmatched(settings, seen);
}

describe("warnOfUnmatched", () => {
  test.each<[string, string, string[]]>([
    [
      "for a name that no peer has",
      `webhook_peers = ["alcie", "zoe"]`,
      [
        'no peer is called "alcie" now; did you mean alice? (target 1)',
        'no peer is called "zoe" now (target 1)',
      ],
    ],
    [
      "for a key that no peer has",
      `webhook_peers = "${BOB}"`,
      [`no device has the peer ${BOB} now (target 1)`],
    ],
    [
      "for a device that does not exist",
      `webhook_devices = ["wg0", "ofice"]`,
      ['wgmon watches no device "ofice" now; did you mean office? (target 1)'],
    ],
    [
      "with all targets that have the same fault",
      `[[target]]\nname = "ops"\nurl = "https://b.example"\npeers = ["alcie"]\ndevices = ["wg1"]
       [[target]]\nurl = "https://c.example"\npeers = ["alcie", "alice"]`,
      [
        'wgmon watches no device "wg1" now; did you mean wg0? (target ops)',
        'no peer is called "alcie" now; did you mean alice? (target ops, target 3)',
      ],
    ],
    [
      "for a table of a peer that no device has",
      `[peers."${BOB}"]\nmute = true`,
      [`no device has these peers of the settings now: ${BOB}`],
    ],
    [
      "for a rule whose name or pattern matches no peer, and not for one that matches",
      `[[alert]]\nname = "a"\nkind = "down"\npeers = ["al*", "bob?s*", "berlin-*", "alcie", "${ALICE.slice(0, 5)}*"]
       [[alert]]\nname = "b"\nkind = "flapping"\npeers = ["berlin-*"]\ndevices = ["wg?", "wg7"]`,
      [
        'wgmon watches no device "wg7" now; did you mean wg0? (alert b)',
        'no peer is called "berlin-*" now (alert a, alert b)',
        'no peer is called "alcie" now; did you mean alice? (alert a)',
      ],
    ],
    [
      "for a tag of a rule that no peer has",
      `[[alert]]\nname = "a"\nkind = "down"\ntags = ["stie", "ph*", "zz*"]`,
      [
        'no peer in the settings has the tag "stie"; did you mean site? (alert a)',
        'no peer in the settings has the tag "zz*" (alert a)',
      ],
    ],
    [
      "for a pattern in the filter of a target, where it is only text",
      `webhook_peers = ["al*"]`,
      ['no peer is called "al*" now (target 1)'],
    ],
    [
      "without control characters",
      `webhook_peers = ["a\\u202eb"]`,
      ['no peer is called "a\\u{202e}b" now (target 1)'],
    ],
  ])("a warning is given %s", (_, toml, expected) => {
    expect(warnings(toml)).toEqual(expected);
  });

  test("a warning is given with only the first of many peers", () => {
    const keys = Array.from({ length: 9 }, (_, index) =>
      Buffer.alloc(32, index + 100).toString("base64"),
    );
    const toml = keys.map((key) => `[peers."${key}"]\nmute = true`).join("\n");
    expect(warnings(toml)).toEqual([
      `no device has these peers of the settings now: ${keys.slice(0, 3).join(", ")}, 6 more`,
    ]);
  });
});

test.each([
  [
    "names and keys that match",
    `webhook_peers = ["alice", "bob's phone", "${ALICE}"]\nwebhook_devices = ["wg0"]\n[peers."${ALICE}"]\nmute = true`,
  ],
  ["no filter", ""],
])("there is no warning for %s", (_, toml) => {
  expect(warnings(toml)).toEqual([]);
});

test("there is no warning for a peer if there is no device", () => {
  const nothing = { ...present, devices: [], publicKeys: new Set<string>() };
  expect(warnings(`webhook_peers = "alice"\nwebhook_devices = "wg0"`, nothing)).toEqual([
    'wgmon watches no device "wg0" now (target 1)',
  ]);
});

describe("the peers of the devices", () => {
  const book = { nameOf: (key: PublicKey) => (key === ALICE ? "alice" : null) };
  function warned(toml: string, peers: (name: string) => { publicKey: PublicKey }[]): string[] {
    const { settings } = run([], { toml: `webhook = "https://a.example"\n${toml}` });
    const log: string[] = [];
    const devices = { lastScanned: [{ name: "wg0" }], peers };
    warnOfUnmatched(settings, {
      devices,
      names: book,
      log: { warn: (text) => void log.push(text) },
    });
    return log;
  }

  test("the peers of the devices provide the names for a warning", () => {
    expect(warned(`webhook_peers = ["alice", "alcie"]`, () => [{ publicKey: ALICE }])).toEqual([
      'no peer is called "alcie" now; did you mean alice? (target 1)',
    ]);
  });

  test("the peers of the devices are read only if the settings mention a peer", () => {
    const peers = (): never => {
      throw new Error("asked");
    };
    expect(warned(`webhook_devices = "wg0"`, peers)).toEqual([]);
    expect(() => warned(`webhook_peers = "alice"`, peers)).toThrow("asked");
  });

  test("there is no warning if the peers of the devices are unreadable", () => {
    const peers = (): never => {
      throw new SystemError("scan wg0", "EPERM");
    };
    expect(warned(`webhook_peers = "alice"`, peers)).toEqual([]);
  });
});
