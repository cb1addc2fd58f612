/** `wgmon events`: past events, and new ones with --follow, also if the daemon restarts meanwhile. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import { ConnectionLost, DaemonNotRunning } from "../../src/cli/client.ts";
import { followEvents, printEvents } from "../../src/cli/events.ts";
import type { EventsRequest } from "../../src/config/command-requests.ts";
import { asked, type Printed, printed } from "../support/api-reader.ts";
import { anEvent } from "../support/events.ts";
import { ALICE, BOB, device, peer } from "../support/peers.ts";
import { FakeSource } from "../support/source.ts";

let source: FakeSource;

beforeEach(async () => {
  source = await FakeSource.make();
});

afterEach(() => source.store[Symbol.dispose]());

const request = (fields: Partial<EventsRequest> = {}): EventsRequest => ({
  follow: false,
  requestedDevices: [],
  peer: null,
  since: null,
  until: null,
  limit: 20,
  types: [],
  json: true,
  ...fields,
});

/** Event n, in turn: alice connects, bob connects, alice roams, bob roams, a device is added. */
function event(n: number) {
  const types = [
    "peer.connected",
    "peer.connected",
    "peer.roamed",
    "peer.roamed",
    "device.added",
  ] as const;
  const isAlice = n % 2 === 0;
  const someone = peer({ publicKey: isAlice ? ALICE : BOB });
  return {
    ...anEvent(types[n % 5]!, { peer: someone, name: isAlice ? "alice" : null }),
    id: `evt_${n.toString(16).padStart(32, "0")}`,
  };
}

const numbers = (output: Printed) =>
  output.lines().map((line) => parseInt((JSON.parse(line) as { id: string }).id.slice(4), 16));

describe("printEvents", () => {
  async function run(fields: Partial<EventsRequest> = {}, output = printed()) {
    const options = { ...output, request: request(fields), devices: [], clock: source.clock };
    return { output, place: await printEvents(asked(source), options) };
  }

  beforeEach(() => {
    source.record(Array.from({ length: 2500 }, (_, n) => event(n)));
    const peers = [
      peer({ publicKey: ALICE }),
      peer({ publicKey: BOB, allowedIps: ["10.0.0.9/32"] }),
    ];
    source.found.set("wg0", { device: device(), peers });
    source.names.set(ALICE, "alice");
  });

  test("printEvents prints the latest events in order of time, and returns the place after the last one", async () => {
    const { output, place } = await run({ limit: 3 });
    expect(numbers(output)).toEqual([2497, 2498, 2499]);
    expect(place).toBe(2500);
  });

  test("wgmon events says so if there are no events, but not as JSON and not before it follows", async () => {
    const none = { until: { atMs: 0 }, json: false };
    expect((await run(none)).output.text()).toBe("no events\n");
    expect((await run({ ...none, json: true })).output.text()).toBe("");
    expect((await run({ ...none, follow: true })).output.text()).toBe("");
  });

  test.each<[string, Partial<EventsRequest>, readonly number[]]>([
    ["one type", { types: ["device.added"], limit: 2 }, [2494, 2499]],
    ["types", { types: ["device.*", "peer.roamed"], limit: 4 }, [2494, 2497, 2498, 2499]],
    ["a key", { peer: BOB, limit: 2 }, [2495, 2497]],
    ["a name", { peer: "alice", limit: 2 }, [2496, 2498]],
    ["a name and a type", { peer: "alice", types: ["peer.roamed"], limit: 1 }, [2498]],
    ["a time", { until: { atMs: Date.parse(event(0).timestamp) } }, []],
    ["a later time", { until: { atMs: Date.parse(event(0).timestamp) + 1 }, limit: 1 }, [2499]],
    ["a tunnel address", { peer: "10.0.0.9", limit: 2 }, [2495, 2497]],
    ["the beginning of a key", { peer: `${BOB.slice(0, 8)}…`, limit: 2 }, [2495, 2497]],
  ])(
    "the past events that wgmon events prints can be selected by %s",
    async (_name, fields, found) => {
      expect(numbers((await run(fields)).output)).toEqual([...found]);
    },
  );

  test("wgmon events --since prints all events since a time", async () => {
    const atMs = Date.parse(event(0).timestamp);
    const { output, place } = await run({ since: { atMs }, limit: null });
    expect(numbers(output)).toEqual(Array.from({ length: 2500 }, (_, n) => n));
    expect(place).toBe(2500);
    const later = await run({ since: { atMs: atMs + 1 }, limit: null });
    expect([later.output.text(), later.place]).toEqual(["", 2500]);
  });

  test("past events are sentences if not JSON, and a name cannot break the line", async () => {
    source.record([
      { ...anEvent("peer.connected", { name: "al\u001b[2Jice\n" }), id: `evt_${"f".repeat(32)}` },
    ]);
    const { output } = await run({ limit: 1, json: false });
    expect(output.text()).toMatch(
      /^2026-11-2\d \d\d:\d\d:04 10\.0\.0\.2 {8}al \[2Jice \(wg0\) connected from 198\.51\.100\.7:40001\n$/,
    );
  });

  test("past events are no longer read once the reader of the output is gone", async () => {
    const { output, place } = await run({ since: { atMs: 0 }, limit: null }, printed(1));
    expect(numbers(output)).toHaveLength(1000);
    expect(place).toBeNull();
  });
});

describe("wgmon events --follow", () => {
  /** What the daemon sends for one request of the stream: pieces of text, or an error. */
  type Session = readonly string[] | Error;
  const message = (seq: number) => `id: ${seq}\ndata: ${JSON.stringify(event(seq))}\n\n`;

  async function follow(
    sessions: readonly Session[],
    { fields = {}, output = printed() }: { fields?: Partial<EventsRequest>; output?: Printed } = {},
  ) {
    const places: string[] = [];
    let index = 0;
    const daemon = {
      ...asked(source),
      async *follow(path: string) {
        places.push(path);
        const session = sessions[index++]!;
        if (session instanceof Error) throw session;
        yield* session;
      },
    };
    const following = followEvents(daemon, 5, {
      ...output,
      request: request(fields),
      devices: [],
      clock: {
        now: () => source.clock.now(),
        after: (_ms, callback) => (setImmediate(callback), () => {}),
      },
      // The reader of the output is gone after the last session.
      hasReader: () => index < sessions.length,
    });
    await following;
    return { output, places };
  }

  test("--follow continues after the last printed event when the connection is lost, and reports the loss", async () => {
    const { output, places } = await follow([
      [`retry: 2000\n\n${message(6)}id: 7\n`, message(7).slice(6), message(8).slice(0, 20)],
      new DaemonNotRunning("ask", "ENOENT"),
      new ConnectionLost("ask", "no answer"),
      [message(8)],
      [],
    ]);
    expect(numbers(output)).toEqual([6, 7, 8]);
    expect(places).toEqual([5, 7, 7, 7, 8].map((place) => `/v1/stream?after=${place}`));
    const gone = "connection to wgmon lost; waiting for it";
    expect(output.complaints.slice(0, 3)).toEqual([gone, "connected to wgmon again", gone]);
  });

  test("--follow reports that events are missing", async () => {
    const missed = 'id: 20\nevent: gap\ndata: {"oldest":21}\n\n';
    const { output, places } = await follow([[missed + message(21)], []]);
    expect(numbers(output)).toEqual([21]);
    expect(output.complaints[0]).toBe("some events were deleted before they could be printed");
    expect(places[1]).toBe("/v1/stream?after=21");
  });

  test("--follow prints only the selected events, but continues after the last received one", async () => {
    const found = await follow([[message(6), message(7), message(9)], []], {
      fields: { types: ["device.*"] },
    });
    expect(numbers(found.output)).toEqual([9]);
    expect(found.places[1]).toBe("/v1/stream?after=9");
  });

  test("--follow ends when the reader of the output is gone, and fails when the request is refused", async () => {
    const { places } = await follow([[message(6), message(7)], []], { output: printed(1) });
    expect(places).toHaveLength(1);
    expect(follow([new Error("refused"), []])).rejects.toThrow("refused");
  });
});
