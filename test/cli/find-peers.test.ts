/** The names in flags of commands: which peers, devices and targets they select, and that unknown names are refused. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import { ConfigError } from "../../src/base/errors.ts";
import { printEvents } from "../../src/cli/events.ts";
import { checkDevices, findPeers, peerNotFound, targetKeyOf } from "../../src/cli/find-peers.ts";
import { printSessions } from "../../src/cli/sessions.ts";
import { printStatus } from "../../src/cli/status.ts";
import type { EventsRequest } from "../../src/config/command-requests.ts";
import { asked, printed } from "../support/api-reader.ts";
import { anEvent } from "../support/events.ts";
import { ALICE, BOB, device, peer } from "../support/peers.ts";
import { webhook } from "../support/settings.ts";
import { FakeSource, keyOf } from "../support/source.ts";

/** A peer that was removed; only events contain it. */
const CAROL = keyOf(40);

let source: FakeSource;

beforeEach(async () => {
  source = await FakeSource.make();
  const peers = [peer({ publicKey: ALICE }), peer({ publicKey: BOB })];
  source.found.set("wg0", { device: device(), peers });
  source.names.set(ALICE, "alice");
  source.record([
    anEvent("peer.connected", { peer: peer({ publicKey: CAROL }), name: "carol", device: "wg8" }),
    { ...anEvent("device.removed", { device: "wg9" }), id: `evt_${"9".repeat(32)}` },
  ]);
});

afterEach(() => source.store[Symbol.dispose]());

describe("--peer", () => {
  test.each([
    ["a name", "alice", [ALICE], true],
    ["a key", BOB, [BOB], false],
    ["the beginning of a key", `${BOB.slice(0, 8)}…`, [BOB], false],
    ["the beginning of a key without the ellipsis", BOB.slice(0, 12), [BOB], false],
    ["too little of a key", BOB.slice(0, 7), [], true],
    ["the name of a peer that was removed", "carol", [CAROL], true],
    ["its key", CAROL, [CAROL], false],
    ["the beginning of its key", CAROL.slice(0, 8), [CAROL], false],
    ["an unknown name", "alcie", [], true],
    ["a key that no peer ever had", keyOf(41), [], false],
  ])("--peer finds the expected peers for %s", async (_what, word, keys, isName) => {
    expect(await findPeers(asked(source), word)).toEqual({ keys: [...keys], isName });
  });

  test("--peer finds a name among any number of peers whose names contain it", async () => {
    const peers = Array.from({ length: 2500 }, (_, n) => peer({ publicKey: keyOf(n) }));
    source.found.set("wg0", { device: device(), peers });
    for (const [n, { publicKey }] of peers.entries()) source.names.set(publicKey, `peer-${n}`);
    const answers = asked(source);
    expect((await findPeers(answers, "peer-1")).keys).toEqual([keyOf(1)]);
    expect((await findPeers(answers, "peer-")).keys).toEqual([]);
    expect((await peerNotFound(answers, "pear-2499")).message).toContain("did you mean peer-2499?");
  });

  test("--peer finds a removed peer among any number of removed peers", async () => {
    const events = Array.from({ length: 500 }, (_, n) => ({
      ...anEvent("peer.connected", {
        peer: peer({ publicKey: keyOf(1000 + n) }),
        name: `old-${n}`,
      }),
      id: `evt_f${n.toString(16).padStart(31, "0")}`,
    }));
    source.record(events);
    for (const n of [0, 250, 499]) {
      expect((await findPeers(asked(source), `old-${n}`)).keys).toEqual([keyOf(1000 + n)]);
    }
  });

  test.each<[string, Partial<EventsRequest>]>([
    ["the latest", {}],
    ["since a time", { since: { agoMs: 1000 }, limit: null }],
  ])("events, %s, refuse an unknown peer with the same message as sessions", async (_, part) => {
    const output = printed();
    const base = {
      requestedDevices: [],
      since: null,
      until: null,
      limit: 20,
      types: [],
      json: false,
    };
    const { clock } = source;
    const options = { ...output, devices: [], clock, nowMs: clock.now().wallMs };
    const complaintsOf = async (word: string) => {
      const request = { ...base, follow: false, ...part, peer: word };
      const tries = [
        printEvents(asked(source), { ...options, request }),
        printSessions(asked(source), { ...options, request: { ...request, format: "text" } }),
      ];
      return await Promise.all(
        tries.map(async (each) => {
          const error: unknown = await each.then(
            () => null,
            (thrown: unknown) => thrown,
          );
          expect(error).toBeInstanceOf(ConfigError);
          return (error as ConfigError).errors[0];
        }),
      );
    };
    const slip = '--peer: there is no peer "alcie"; did you mean alice?';
    expect(await complaintsOf("alcie")).toEqual([slip, slip]);
    const gone = '--peer: there is no peer "carl"; did you mean carol?';
    expect(await complaintsOf("carl")).toEqual([gone, gone]);
    const none = `--peer: there is no peer ${JSON.stringify(keyOf(41))}; there are alice and carol`;
    expect(await complaintsOf(keyOf(41))).toEqual([none, none]);
    expect(output.text()).toBe("");
  });

  test("a name that a peer had before it was renamed finds the events of that time", async () => {
    source.record([
      {
        ...anEvent("peer.roamed", { peer: peer({ publicKey: CAROL }), name: "caroline" }),
        id: `evt_${"8".repeat(32)}`,
      },
    ]);
    const output = printed();
    const request = {
      requestedDevices: [],
      since: null,
      until: null,
      limit: 20,
      types: [],
      json: false,
    };
    const { clock } = source;
    const options = { ...output, devices: [], clock };
    await printEvents(asked(source), {
      ...options,
      request: { ...request, follow: false, peer: "carol" },
    });
    expect(output.lines()).toEqual([expect.stringContaining("carol (wg8) connected")]);
  });
});

describe("--device", () => {
  test("--device accepts a device that exists, and for past data also one that was removed", async () => {
    const answers = asked(source);
    await checkDevices(answers, [], { allowsPast: false });
    await checkDevices(answers, ["wg0"], { allowsPast: false });
    await checkDevices(answers, ["wg0", "wg9"], { allowsPast: true });
    source.connect("wg7", peer({ publicKey: BOB }));
    await checkDevices(answers, ["wg7"], { allowsPast: true });
    const complaint = '--device: there is no device "wgg0"; did you mean wg0?';
    for (const allowsPast of [false, true]) {
      expect(checkDevices(answers, ["wgg0"], { allowsPast })).rejects.toThrow(complaint);
    }
    expect(checkDevices(answers, ["wg9"], { allowsPast: false })).rejects.toThrow(ConfigError);
  });

  test("status, sessions and events refuse --device if the device is unknown", async () => {
    const { clock } = source;
    const asking = { requestedDevices: ["wgg0"], devices: ["wgg0"] };
    const past = {
      ...asking,
      peer: null,
      since: null,
      until: null,
      limit: 20,
      types: [],
      json: false,
    };
    const options = { ...printed(), ...asking, clock, nowMs: clock.now().wallMs };
    const request = { ...past, follow: false, format: "text" as const };
    const slip = '--device: there is no device "wgg0"; did you mean wg0?';
    const status = printStatus(asked(source), {
      ...options,
      search: null,
      json: false,
      isRunning: true,
    });
    expect(status).rejects.toThrow(slip);
    expect(printSessions(asked(source), { ...options, request })).rejects.toThrow(slip);
    expect(printEvents(asked(source), { ...options, request })).rejects.toThrow(slip);
  });
});

test("--target selects a target of the settings by name or number, or a target that only the store has", () => {
  const targets = [
    webhook("https://hooks.example.net/a", "json", { name: "ops" }),
    webhook("https://hooks.example.net/b"),
  ];
  const store = {
    outbox: {
      queues: () => [],
      deadCounts: () => [{ target: "old", label: "old", count: 3 }],
    },
    targetKey: (address: string) => `key of ${address}`,
  };
  const find = (word: string) => targetKeyOf(word, { targets, hub: null }, store);
  expect(find("ops")).toBe("ops");
  expect(find("1")).toBe("ops");
  expect(find("2")).toBe("key of https://hooks.example.net/b");
  expect(find("old")).toBe("old");
  expect(() => find("opz")).toThrow('--target: there is no target "opz"; did you mean ops?');
  expect(() => find("foo")).toThrow('--target: there is no target "foo"; there are ops, 2 and old');
  expect(() => find("foo")).toThrow(ConfigError);
});
