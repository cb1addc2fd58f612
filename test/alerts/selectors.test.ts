/** Which peers rules and silences apply to. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { matcherOf, selectorOf } from "../../src/alerts/selectors.ts";
import {
  parseMatcher,
  type Silence,
  type SilenceMatcher,
  silenceOf,
} from "../../src/alerts/silences.ts";
import { Timers } from "../../src/alerts/timers.ts";
import { keyOf } from "../support/alert-story.ts";

const alice = {
  device: "wg0",
  publicKey: keyOf("alice"),
  name: "alice",
  tags: ["laptop", "sales"],
};
const unnamed = { device: "wg1", publicKey: keyOf("x"), name: null, tags: [] };
const everything = { peers: [], tags: [], devices: [] };

describe("selectors", () => {
  test.each([
    [{}, true, true],
    [{ peers: ["alice"] }, true, false],
    [{ peers: ["al*"] }, true, false],
    [{ peers: ["?lice", "bob"] }, true, false],
    [{ peers: ["Alice"] }, false, false],
    [{ peers: [keyOf("x")] }, false, true],
    [{ peers: ["*"] }, true, true],
    [{ tags: ["sales", "other"] }, true, false],
    [{ devices: ["wg1"] }, false, true],
    [{ devices: ["wg*"], tags: ["laptop"] }, true, false],
    [{ peers: ["alice"], devices: ["wg1"] }, false, false],
  ])("%o", (values, isAlice, isUnnamed) => {
    const isSelected = selectorOf({ ...everything, ...values });
    expect([isSelected(alice), isSelected(unnamed)]).toEqual([isAlice, isUnnamed]);
  });

  test("a pattern is no regular expression, and stays fast", () => {
    expect(matcherOf(["a.c+*"])("a.c+d")).toBeTrue();
    expect(matcherOf(["a.c*"])("abc")).toBeFalse();
    expect(matcherOf([`${"*a".repeat(8)}b`])("a".repeat(128))).toBeFalse();
  });
});

describe("silences", () => {
  const alert = {
    rule: "sites",
    severity: "critical",
    device: "wg0",
    peer: alice,
    target: null,
  } as const;
  const silence = (id: string, texts: readonly string[], endMs = 100): Silence => ({
    id,
    matchers: texts.map((text) => parseMatcher(text) as SilenceMatcher),
    startMs: 10,
    endMs,
    comment: "",
    createdBy: "",
  });

  test.each([
    [["peer=al*"], "s"],
    [["peer=bob"], undefined],
    [["tag=sales", "device=wg0"], "s"],
    [["tag=sales", "device=wg1"], undefined],
    [["rule=si*", "severity=critical"], "s"],
    [["target=*"], undefined],
  ])("%o", (texts, id) => {
    expect(silenceOf([silence("s", texts)], alert, 50)?.id).toBe(id!);
  });

  test("a silence holds from its start until its end; of several, the last to end counts", () => {
    const both = [silence("a", ["peer=*"], 60), silence("b", ["peer=*"], 90)];
    const at = (ms: number) => silenceOf(both, alert, ms)?.id ?? null;
    expect([9, 10, 50, 60, 89, 90].map(at)).toEqual([null, "b", "b", "b", "b", null]);
  });

  test.each([
    ["peer", '"peer" must be a field and a value; an example is peer=branch-*'],
    ["peer=", '"peer=" must be a field and a value; an example is peer=branch-*'],
    [
      "pear=x",
      'unknown field "pear": use peer, tag, device, rule, severity, target; did you mean peer?',
    ],
  ])("%s is refused with a remedy", (text, message) => {
    expect(parseMatcher(text)).toBe(message);
  });
});

test("timers are taken in the order of their time, then of their names", () => {
  const operation = fc.record({
    key: fc.constantFrom("a", "b", "c", "d", "e"),
    dueMs: fc.nat(20),
    isSet: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 300 }), (operations) => {
      const timers = new Timers();
      const expected = new Map<string, number>();
      for (const { key, dueMs, isSet } of operations) {
        if (isSet) {
          timers.set(key, dueMs);
          expected.set(key, dueMs);
        } else {
          timers.delete(key);
          expected.delete(key);
        }
        expect(timers.nextMs).toBe(expected.size === 0 ? null : Math.min(...expected.values()));
      }
      const taken: string[] = [];
      for (let timer = timers.take(99); timer !== null; timer = timers.take(99))
        taken.push(timer.key);
      const order = [...expected].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1));
      expect(taken).toEqual(order.map(([key]) => key));
    }),
  );
});
