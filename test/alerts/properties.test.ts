/** What holds for all rules and inputs. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import type { Notice } from "../../src/alerts/alert.ts";
import { AlertEngine } from "../../src/alerts/engine.ts";
import type { Input } from "../../src/alerts/input.ts";
import { replay } from "../../src/alerts/replay.ts";
import { type Rule, ruleOf } from "../../src/alerts/rule.ts";
import type { Rows } from "../../src/alerts/state.ts";
import { someInputs, someRules } from "../support/alert-inputs.ts";
import { AlertStory, isSent, MONDAY } from "../support/alert-story.ts";

const lookup = (address: string) =>
  address === "203.0.113.9"
    ? null
    : { country: address === "192.0.2.1" ? "DE" : "FR", asn: null, organization: null };

type Recorded = readonly { readonly atMs: number; readonly input: Input }[];

const inputs = someInputs(MONDAY);
const RUNS = Number(process.env["WGMON_TEST_ALERT_RUNS"] ?? 300);
const TICK_MS = 10_000;

/** Runs the engine as the daemon does, with a tick every ten seconds while there are deadlines. */
function run(
  rules: readonly Rule[],
  recorded: Recorded,
  onStep: (engine: AlertEngine, index: number) => AlertEngine = (engine) => engine,
) {
  let engine = new AlertEngine({ rules, lookup });
  const notices: Notice[] = [];
  for (const [index, { atMs, input }] of recorded.entries()) {
    // wgmon takes no ticks while it is away.
    const untilMs = input.type === "away" ? input.fromMs : atMs;
    notices.push(...tick(engine, untilMs));
    notices.push(...engine.advance(input, atMs));
    engine = onStep(engine, index);
  }
  const endMs = (recorded.at(-1)?.atMs ?? MONDAY) + 3 * 86_400_000;
  notices.push(...tick(engine, endMs + 1));
  return { engine, notices, endMs };
}

function* tick(engine: AlertEngine, untilMs: number): Iterable<Notice> {
  for (;;) {
    const dueMs = engine.nextDeadlineMs;
    // A deadline at the time of an input is part of its step.
    if (dueMs === null || dueMs >= untilMs) return;
    yield* engine.advance(
      { type: "tick" },
      Math.min(untilMs, Math.ceil(dueMs / TICK_MS) * TICK_MS),
    );
  }
}

function restarted(engine: AlertEngine, rules: readonly Rule[], rows = engine.save()): AlertEngine {
  const json = JSON.stringify([...rows]);
  return new AlertEngine({
    rules,
    lookup,
    saved: new Map(JSON.parse(json) as [string, string][]),
  });
}

test("a restart after any input changes nothing", () => {
  fc.assert(
    fc.property(someRules, inputs, fc.nat(), (rules, recorded, seed) => {
      const at = recorded.length === 0 ? 0 : seed % recorded.length;
      const expected = run(rules, recorded).notices;
      const { notices } = run(rules, recorded, (engine, index) =>
        index === at ? restarted(engine, rules) : engine,
      );
      expect(notices).toEqual(expected);
    }),
    { numRuns: RUNS },
  );
});

test("a restart after every input changes nothing", () => {
  fc.assert(
    fc.property(someRules, inputs, (rules, recorded) => {
      const { notices } = run(rules, recorded, (engine) => restarted(engine, rules));
      expect(notices).toEqual(run(rules, recorded).notices);
    }),
    { numRuns: Math.ceil(RUNS / 3) },
  );
});

test("the rows that changed are all that is needed for a restart", () => {
  fc.assert(
    fc.property(someRules, inputs, fc.func(fc.nat(3)), (rules, recorded, samples) => {
      const stored = new Map<string, unknown>();
      const store = (rows: Rows) => {
        for (const [key, value] of rows) {
          if (value === null) stored.delete(key);
          else stored.set(key, value);
        }
      };
      const { engine } = run(rules, recorded, (current, index) => {
        store(current.takeChanges({ samplesMax: samples(index) }));
        return current;
      });
      store(engine.takeChanges({ samplesMax: Infinity }));
      // The order of the rows does not matter.
      expect(Object.fromEntries(stored)).toEqual(Object.fromEntries(engine.save()));
    }),
    { numRuns: RUNS },
  );
});

test("live and replay give the same notices", () => {
  fc.assert(
    fc.property(someRules, inputs, (rules, recorded) => {
      const { notices, endMs } = run(rules, recorded);
      expect([...replay(recorded, { rules, lookup, untilMs: endMs })]).toEqual(notices);
    }),
    { numRuns: RUNS },
  );
});

test("nothing is sent twice, and nothing that was sent is forgotten", () => {
  fc.assert(
    fc.property(someRules, inputs, (rules, recorded) => {
      const { engine, notices } = run(rules, recorded);
      const open = new Set<string>();
      const seen = new Set<string>();
      for (const notice of notices) {
        if (!isSent(notice)) continue;
        for (const { id, resolves } of notice.alerts) {
          if (notice.type === "firing") {
            expect(seen.has(id)).toBeFalse();
            seen.add(id);
            if (resolves) open.add(id);
          } else {
            expect(open.has(id)).toBeTrue();
            if (notice.type === "resolved") open.delete(id);
          }
        }
      }
      const listed = engine.alerts().filter((alert) => alert.isSent);
      expect(new Set(listed.map(({ id }) => id))).toEqual(open);
    }),
    { numRuns: RUNS },
  );
});

test("what fires and is not sent is held back, with a record", () => {
  fc.assert(
    fc.property(someRules, inputs, (rules, recorded) => {
      const { engine, notices } = run(rules, recorded);
      const recordedIds = new Set(
        notices
          .filter((notice) => !isSent(notice))
          .flatMap(({ alerts }) => alerts.map(({ id }) => id)),
      );
      for (const { state, isSent: wasSent, id, heldBack } of engine.alerts()) {
        if (state !== "firing" || wasSent) continue;
        expect(heldBack).not.toBeNull();
        expect(recordedIds.has(id)).toBeTrue();
      }
    }),
    { numRuns: RUNS },
  );
});

test("time does not pass if nothing is due: the next deadline is later than now", () => {
  fc.assert(
    fc.property(someRules, inputs, (rules, recorded) => {
      const engine = new AlertEngine({ rules, lookup });
      for (const { atMs, input } of recorded) {
        engine.advance(input, atMs);
        expect(engine.nextDeadlineMs ?? Infinity).toBeGreaterThan(atMs);
      }
    }),
    { numRuns: RUNS },
  );
});

test("a roam is never a set endpoint, whenever the scans come and even if what it received is counted one scan later", () => {
  const scans = fc.array(
    fc.record({
      afterMs: fc.constantFrom(1, 100, 1900, 2000, 10_000, 60_000),
      roams: fc.boolean(),
      isCountedLater: fc.boolean(),
    }),
    { maxLength: 30 },
  );
  const rule = ruleOf("changed", "changed", { waitMs: 0 });
  fc.assert(
    fc.property(scans, (list) => {
      const told = new AlertStory([rule]).configured({ alice: [] }).connect("alice");
      let place = 1000;
      let owedBytes = 0;
      told.scan({ alice: [1000, 1000] });
      for (const { afterMs, roams, isCountedLater } of list) {
        told.wait(afterMs / 1000);
        let rxBytes = owedBytes;
        owedBytes = 0;
        if (roams) {
          if (isCountedLater) owedBytes = 148;
          else rxBytes += 148;
          told.roam("alice", `192.0.2.1:${++place}`);
        }
        // The kernel reports only peers that changed.
        told.scan(roams || rxBytes > 0 ? { alice: [rxBytes, 0] } : {});
      }
      expect(told.told()).toEqual([]);
    }),
    { numRuns: RUNS },
  );
});
