/** `wgmon alerts test`: what rules would have sent, from the store of a fake source and of the whole program. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import fc from "fast-check";

import { type Rule, ruleOf } from "../../src/alerts/rule.ts";
import { parseInterval } from "../../src/alerts/times.ts";
import type { PastStore } from "../../src/cli/recorded-past.ts";
import { testAlerts } from "../../src/cli/test-alerts.ts";
import type { AlertTestRequest } from "../../src/config/command-requests.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { ALL_ALERTS } from "../../src/store/alert-rows.ts";
import { AlertGateway } from "../support/alert-gateway.ts";
import { printed } from "../support/api-reader.ts";
import { anEvent } from "../support/events.ts";
import { ALICE, BOB, peer } from "../support/peers.ts";
import { run as settingsOf } from "../support/settings.ts";
import { FakeSource } from "../support/source.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** A Monday. */
const START_MS = Date.UTC(2025, 11, 29);

const toml = `
  [[target]]
  name = "ops"
  url = "https://a.example"
  [[target]]
  name = "mail"
  url = "https://b.example"
  events = ["peer.*"]`;

let source: FakeSource;
let count = 0;

beforeEach(async () => {
  source = await FakeSource.make();
});

afterEach(() => source.store[Symbol.dispose]());

/** Stores an event of alice, or of bob. */
function add(type: "peer.connected" | "peer.disconnected", atMs: number, key = ALICE): void {
  const timestamp = new Date(atMs).toISOString();
  const name = key === ALICE ? "alice" : "bob";
  const event = anEvent(type, { name, peer: peer({ publicKey: key }) });
  const id = `evt_${String(++count).padStart(32, "0")}`;
  const times =
    event.type === "peer.connected"
      ? { startedAt: timestamp }
      : { startedAt: timestamp, endedAt: timestamp };
  const session = { ...(event.data as { session: object }).session, ...times };
  source.record([{ ...event, id, timestamp, data: { ...event.data, session } } as Event]);
}

function run(
  rules: readonly Rule[],
  fields: Partial<AlertTestRequest> = {},
  { store = source.store as PastStore, nowMs = START_MS + 2 * DAY_MS, output = printed() } = {},
): string[] {
  const { settings } = settingsOf([], { toml });
  const request: AlertTestRequest = {
    action: "test",
    since: { agoMs: 30 * DAY_MS },
    until: null,
    requestedDevices: [],
    file: null,
    rule: null,
    json: false,
    ...fields,
  };
  const named = (publicKey: string) => ({ publicKey, name: "old", tags: [] });
  testAlerts(store, { ...output, request, rules, settings, named, nowMs });
  return output.lines();
}

const down = ruleOf("down", "down", { forMs: 2 * MINUTE_MS, waitMs: 0, targets: ["ops"] });

/** alice is away from the second to the third hour. */
function fill(): void {
  add("peer.connected", START_MS);
  add("peer.disconnected", START_MS + 2 * HOUR_MS);
  add("peer.connected", START_MS + 3 * HOUR_MS);
  // The gateway ran all the time.
  for (let atMs = START_MS; atMs < START_MS + 2 * DAY_MS; atMs += 5 * MINUTE_MS) {
    source.store.totals.add({ rxBytes: 0, txBytes: 0, connected: 1 }, atMs);
  }
}

describe("wgmon alerts test", () => {
  test("it prints what the rules would have sent, to which targets, and a summary", () => {
    fill();
    expect(run([down])).toEqual([
      "2025-12-29 02:02:00 firing    down: alice (wg0) is down: no data for 2m; check the peer and its network (to ops)",
      "2025-12-29 03:00:00 resolved  down: alice (wg0) is back after 1h (to ops)",
      "2d, which is all that the store has: 3 events, 1 rule: 2 messages (1 firing, 1 resolved), 0 held back",
    ]);
  });

  test("it prints what would have been held back, and why", () => {
    fill();
    const interval = parseInterval("08:00-18:00");
    const times = [interval as Exclude<typeof interval, string>];
    const lines = run([
      { ...down, times },
      { ...down, name: "dry", dryRun: true },
      { ...down, name: "all", targets: [] },
    ]);
    expect(lines.filter((line) => line.includes("02:02")).sort()).toEqual([
      // The filter of the target mail does not accept alerts.
      expect.stringMatching(/firing {4}all: .* \(to ops\)$/),
      expect.stringMatching(/firing {4}dry: .* \(not sent: dry_run\)$/),
      expect.stringMatching(/held back down: .* \(firing; outside the times of the rule\)$/),
    ] as string[]);
    expect(lines.slice(-4)).toEqual([
      "2d, which is all that the store has: 3 events, 3 rules: 4 messages (2 firing, 2 resolved), 2 held back",
      "  down: 0 messages, 2 held back",
      "  dry: 2 messages (1 firing, 1 resolved), 0 held back",
      "  all: 2 messages (1 firing, 1 resolved), 0 held back",
    ]);
  });

  test("only messages of the period are printed, but what was so before it is known", () => {
    fill();
    const since = { atMs: START_MS + 2.5 * HOUR_MS };
    const lines = run([down], { since });
    expect(lines[0]).toContain("resolved  down: alice (wg0) is back");
    expect(lines.at(-1)).toBe("1d 21h: 1 event, 1 rule: 1 message (1 resolved), 0 held back");
    expect(run([down], { since, until: { atMs: START_MS + 2.8 * HOUR_MS } })[0]).toContain(
      "0 messages",
    );
  });

  test("what happens now belongs to the period, and what happens at the time of --until does not", () => {
    fill();
    const backMs = START_MS + 3 * HOUR_MS;
    expect(run([down], {}, { nowMs: backMs })).toContainEqual(expect.stringContaining("resolved"));
    const lines = run([down], { until: { atMs: backMs } });
    expect(lines).not.toContainEqual(expect.stringContaining("resolved"));
  });

  test("a session that was open before the first event is known", () => {
    source.connect("wg0", peer({ publicKey: BOB }), { startedAtMs: START_MS - DAY_MS });
    fill();
    const lines = run([ruleOf("hours", "hours", { allowed: [interval("tue")], waitMs: 0 })]);
    expect(lines[0]).toContain("old (wg0)");
  });

  test("in a young store, a peer is judged as it was live: there is no grace period for it", () => {
    add("peer.connected", START_MS);
    add("peer.disconnected", START_MS + MINUTE_MS, BOB);
    add("peer.disconnected", START_MS + 90_000);
    const rules = [ruleOf("down", "down", { forMs: 30_000, waitMs: 0, targets: ["ops"] })];
    const lines = run(rules, {}, { nowMs: START_MS + 150_000 });
    expect(lines).toEqual([
      expect.stringContaining("00:01:30 firing    down: bob (wg0) is down"),
      expect.stringContaining("00:02:00 firing    down: alice (wg0) is down"),
      expect.stringContaining("2 messages (2 firing), 0 held back"),
      "2 alerts still fire at the end: bob (wg0, down), alice (wg0, down)",
    ] as string[]);
  });

  test("--json without a message prints the summary as a complaint, so that it is not taken for a failure", () => {
    add("peer.connected", START_MS);
    const output = printed();
    expect(run([down], { json: true }, { output })).toEqual([]);
    expect(output.complaints).toEqual([expect.stringContaining("1 event, 1 rule: 0 messages")]);
  });

  test("--json prints a line for each message", () => {
    fill();
    const [first, ...others] = run([down], { json: true }).map(
      (line) => JSON.parse(line) as object,
    );
    expect(others).toHaveLength(1);
    expect(first).toMatchObject({
      at: "2025-12-29T02:02:00.000Z",
      type: "firing",
      rule: "down",
      kind: "down",
      severity: "critical",
      device: "wg0",
      heldBack: null,
      dryRun: false,
      targets: ["ops"],
      alerts: [
        { device: "wg0", publicKey: ALICE, name: "alice", since: "2025-12-29T02:00:00.000Z" },
      ],
    });
  });

  test("a rule that the store cannot test is named with the reason", () => {
    const lines = run([ruleOf("changed", "changes"), ruleOf("place", "places")]);
    expect(lines).toContain(
      "rule changes (changed) cannot be tested on the past: the store has no settings of peers",
    );
    expect(lines.at(-1)).toContain("rule places (place) cannot be tested on the past");
  });

  test("no time counts in which wgmon did not run", () => {
    fill();
    // As `fill`, but wgmon did not run from 02:01 to 02:58.
    using stopped = source.store;
    const totals = {
      gaps: () => [
        {
          fromMs: START_MS + 2 * HOUR_MS + MINUTE_MS,
          toMs: START_MS + 3 * HOUR_MS - 2 * MINUTE_MS,
        },
      ],
    };
    const { events, sessions, traffic } = stopped;
    const lines = run(
      [down],
      {},
      { store: { events, sessions, traffic, totals }, nowMs: START_MS + DAY_MS },
    );
    expect(lines).toHaveLength(1);
  });
});

describe("rules of traffic on the past", () => {
  /** Deletes the sums of five minutes, as after a day. */
  const trim = () => {
    const retention = { keepMs: 90 * DAY_MS, maxBytes: 1e9 };
    while (source.store.trim(retention, START_MS + 3 * DAY_MS));
  };
  const day = { unit: "day", zone: "UTC" } as const;

  test("a quota counts the sums of the store", () => {
    fill();
    for (let hour = 0; hour < 20; hour++) {
      const row = { device: "wg0", publicKey: ALICE, rxBytes: 50, txBytes: 50 };
      source.store.traffic.add([row], START_MS + hour * HOUR_MS + 1);
    }
    trim();
    const quota = { bytes: 1000, period: day, percents: [50, 100] };
    const lines = run([ruleOf("traffic", "quota", { quota, waitMs: 0 })]);
    expect(lines.map((line) => line.slice(0, 28)).slice(0, 3)).toEqual([
      "2025-12-29 04:59:59 firing  ",
      "2025-12-29 09:59:59 firing  ",
      "2025-12-30 00:00:00 resolved",
    ]);
  });

  test("a rate counts the bytes of an hour as evenly distributed", () => {
    fill();
    const row = { device: "wg0", publicKey: ALICE, rxBytes: 3_600_000, txBytes: 0 };
    source.store.traffic.add([row], START_MS + 5 * HOUR_MS);
    trim();
    const rate = (bytesPerSecond: number) =>
      run([
        ruleOf("traffic", "rate", { rate: { bytesPerSecond, overMs: 10 * MINUTE_MS }, waitMs: 0 }),
      ]);
    expect(rate(500)[0]).toContain("05:");
    expect(rate(1100)).toHaveLength(1);
    expect(rate(1_000_000)).toHaveLength(1);
  });
});

test("live and wgmon alerts test give the same messages for what the program recorded", async () => {
  const office = interval("08:00-10:00");
  const rules = [
    // Live, the missing keepalives of a peer are noticed before the idle timeout, which is 3 minutes.
    // Peers return at full minutes. No reminder is due between a return and the scan that finds it: live, it is sent.
    ruleOf("down", "down", { forMs: 5 * MINUTE_MS, waitMs: 0, repeatMs: 30 * MINUTE_MS - 5000 }),
    ruleOf("down", "office", { forMs: 4 * MINUTE_MS, waitMs: 30_000, times: [office] }),
    ruleOf("flapping", "flapping", { disconnects: 1, withinMs: HOUR_MS, waitMs: 0 }),
    ruleOf("hours", "hours", { allowed: [office], waitMs: 0 }),
  ];
  const step = fc.record({
    name: fc.constantFrom("alice", "bob", "carol"),
    isActive: fc.boolean(),
    minutes: fc.integer({ min: 1, max: 25 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 8 }), async (steps) => {
      await using gateway = new AlertGateway(rules);
      for (const name of ["alice", "bob", "carol"]) gateway.add(name);
      await gateway.start();
      for (const name of gateway.peers.keys()) gateway.connect(name);
      for (const { name, isActive, minutes } of steps) {
        if (isActive) gateway.connect(name);
        else gateway.active.delete(name);
        await gateway.pass(minutes * MINUTE_MS);
      }
      const nowMs = gateway.clock.now().wallMs;
      const tested = run(rules, { json: true }, { store: gateway.store, nowMs });
      expect(tested.map(shownOf)).toEqual(recordedNotices(gateway));
    }),
    { numRuns: 12 },
  );
});

function shownOf(line: string): string {
  const { type, rule, sentence, heldBack } = JSON.parse(line) as Record<string, unknown>;
  return JSON.stringify({
    type,
    rule,
    sentence,
    heldBack: (heldBack as { type: string } | null)?.type,
  });
}

/** The notices that the program recorded, in their order. */
function recordedNotices({ store }: AlertGateway): string[] {
  const alerts = store.alerts.query({ ...ALL_ALERTS, limit: 1000 });
  const notices = new Map(
    alerts.flatMap(({ id }) => store.alerts.notices(id)).map((notice) => [notice.seq, notice]),
  );
  return [...notices.values()]
    .sort((a, b) => a.seq - b.seq)
    .map(({ type, rule, sentence, heldBack }) =>
      JSON.stringify({
        type,
        rule,
        sentence,
        heldBack: heldBack?.type,
      }),
    );
}

function interval(text: string) {
  const parsed = parseInterval(text);
  if (typeof parsed === "string") throw new Error(parsed);
  return parsed;
}
