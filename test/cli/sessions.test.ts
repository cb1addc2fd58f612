/** `wgmon sessions`, with the API of a fake read model. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import fc from "fast-check";

import { printSessions } from "../../src/cli/sessions.ts";
import type { SessionsRequest } from "../../src/config/command-requests.ts";
import { csvLine } from "../../src/http/csv.ts";
import { asked, type Printed, printed } from "../support/api-reader.ts";
import { hostileText } from "../support/events.ts";
import { ALICE, BOB, device, peer } from "../support/peers.ts";
import { FakeSource } from "../support/source.ts";

let source: FakeSource;

beforeEach(async () => {
  source = await FakeSource.make();
  const { wallMs } = source.clock.now();
  const alice = peer({ publicKey: ALICE, lastHandshakeMs: wallMs });
  source.found.set("wg0", { device: device(), peers: [alice, peer({ publicKey: BOB })] });
  source.names.set(ALICE, "alice");
  source.names.set(BOB, '=cmd|"/c calc"!A1');
  source.connect("wg0", alice, { startedAtMs: wallMs - 60_000, rxBytes: 4096 });
  const ended = Array.from({ length: 1500 }, (_, n) => ({
    device: n % 2 === 0 ? "wg0" : "wg1",
    publicKey: BOB,
    startedAtMs: wallMs - 3_600_000 * (n + 1),
    endedAtMs: wallMs - 3_600_000 * (n + 1) + 65_000,
    durationMs: 65_000,
    reason: "idle" as const,
    endpoint: "192.0.2.7:40000",
    rxBytes: 10,
    txBytes: 20,
    roams: 1,
    peer: peer(),
  }));
  source.store.record({ events: [], sessions: [], ended, devices: null }, 0);
});

afterEach(() => source.store[Symbol.dispose]());

async function run(
  fields: Partial<SessionsRequest> = {},
  { devices = [], output = printed() }: { devices?: string[]; output?: Printed } = {},
): Promise<Printed> {
  const request = {
    requestedDevices: devices,
    peer: null,
    since: null,
    until: null,
    limit: 2,
    format: "text" as const,
    ...fields,
  };
  const nowMs = source.clock.now().wallMs;
  await printSessions(asked(source), { ...output, request, devices, nowMs });
  return output;
}

test("wgmon sessions prints the latest session first, and a session that has not ended as open", async () => {
  expect((await run()).lines()).toEqual([
    "PEER               ADDRESS   DEVICE  STARTED  LASTED  END   ENDPOINT         FROM PEER  TO PEER  ROAMS",
    "alice              10.0.0.2  wg0     1m ago   1m      open  192.0.2.1:51820    4.0 KiB      0 B      0",
    '=cmd|"/c calc"!A1  10.0.0.2  wg0     1h ago   1m 5s   idle  192.0.2.7:40000       10 B     20 B      1',
  ]);
});

test("wgmon sessions selects sessions by peer name, key, time and device", async () => {
  const count = async (...args: Parameters<typeof run>) =>
    (await run({ format: "json", limit: null, ...args[0] }, args[1])).lines().length;
  expect(await count()).toBe(1501);
  expect(await count({ peer: "alice" })).toBe(1);
  expect(await count({ peer: BOB })).toBe(1500);
  expect(await count({ since: { agoMs: 3 * 3_600_000 } })).toBe(4);
  expect(await count({ since: { atMs: source.clock.now().wallMs } })).toBe(1);
  expect(await count({}, { devices: ["wg1"] })).toBe(750);
  expect(await count({ limit: 1200 }, { devices: ["wg0", "wg1"] })).toBe(1200);
});

test("a name that two peers have selects the sessions of both", async () => {
  source.names.set(BOB, "alice");
  expect((await run({ peer: "alice", format: "json", limit: 5 })).lines()).toHaveLength(5);
});

test("wgmon sessions queries no more pages once the reader of the output is gone", async () => {
  const output = printed(1);
  await run({ format: "json", limit: null }, { output });
  expect(output.lines()).toHaveLength(1000);
});

test("wgmon sessions --until leaves out later sessions, and says so if none is left", async () => {
  const nowMs = source.clock.now().wallMs;
  const output = await run({ until: { atMs: nowMs - 30 * 60_000 } });
  expect(output.lines().slice(1)).toEqual([
    expect.stringMatching(/10\.0\.0\.2 {2}wg0 +1h ago/) as string,
    // The peer was removed, so its tunnel address is unknown.
    expect.stringMatching(/ {12}wg1 +2h ago/) as string,
  ]);
  const none = await run({ until: { atMs: 0 } });
  expect(none.lines()).toEqual(["no sessions"]);
});

describe("wgmon sessions --csv", () => {
  test("the CSV has a header, and names that a spreadsheet does not evaluate as formulas", async () => {
    expect((await run({ format: "csv" })).text()).toBe(
      [
        "device,publicKey,name,startedAt,endedAt,durationMs,reason,endpoint,rxBytes,txBytes,roams,allowedIps",
        `wg0,${ALICE},alice,2025-12-31T23:59:00.000Z,,60000,,192.0.2.1:51820,4096,0,0,10.0.0.2/32`,
        `wg0,${BOB},"'=cmd|""/c calc""!A1",2025-12-31T23:00:00.000Z,2025-12-31T23:01:05.000Z,65000,idle,192.0.2.7:40000,10,20,1,10.0.0.2/32`,
        "",
      ].join("\r\n"),
    );
    expect((await run({ format: "csv", since: { agoMs: 0 }, peer: BOB })).lines()).toHaveLength(1);
  });

  test.each([
    ["+1", "'+1"],
    ["-1", "'-1"],
    ["@SUM(A1)", "'@SUM(A1)"],
    ["\t=1", "'=1"],
    ["\r=1", "'=1"],
    ["＝1", "'＝1"],
    [`+${"A".repeat(42)}=`, `+${"A".repeat(42)}=`],
    [-5, "-5"],
    [null, ""],
    ["a,b", '"a,b"'],
    ["a\nb", "a b"],
  ])("the CSV field for %j is %j", (value, field) => {
    expect(csvLine([value, "x"])).toBe(`${field},x\r\n`);
  });

  test("any name is one CSV field on one line", () => {
    fc.assert(
      fc.property(hostileText, (name) => {
        const line = csvLine([1, name, 2]);
        expect(line).toMatch(/^1,([^",\r\n]*|"([^"\r\n]|"")*"),2\r\n$/);
        expect(line).not.toMatch(/^1,"?[=+\-@]/);
      }),
    );
  });
});
