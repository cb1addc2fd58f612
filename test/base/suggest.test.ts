/** Which name a mistyped one is taken for. */

import { expect, test } from "bun:test";

import { didYouMean, suggest } from "../../src/base/suggest.ts";

const NAMES = ["monitor", "group", "webhook", "webhook-format", "idle-timeout", "tick", "bpf"];

test.each([
  ["montor", "monitor"],
  ["MONITOR", "monitor"],
  ["monitro", "monitor"],
  ["no-monitor", "monitor"],
  ["bfp", "bpf"],
  ["tik", "tick"],
  ["idle_timeout", "idle-timeout"],
  ["idle", "idle-timeout"],
  ["webhook-url", "webhook"],
  ["webhok-format", "webhook-format"],
])("%s was meant to be %s", (word, name) => {
  expect(suggest(word, NAMES)).toBe(name);
});

test.each(["", "x", "verbose", "web", "a".repeat(100_000)])("nothing is near %.10s", (word) => {
  expect(suggest(word, NAMES)).toBeNull();
});

test("the question ends a message, or is left out", () => {
  expect(didYouMean("montor", NAMES, (name) => `--${name}`)).toBe("; did you mean --monitor?");
  expect(didYouMean("verbose", NAMES)).toBe("");
});
