/** Suggestions for misspelt names. */

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
])("for the misspelled word %j, the suggestion is %s", (word, name) => {
  expect(suggest(word, NAMES)).toBe(name);
});

test.each(["", "x", "verbose", "web", "a".repeat(100_000)])(
  "for the word %.10j, there is no suggestion",
  (word) => {
    expect(suggest(word, NAMES)).toBeNull();
  },
);

test("the suggestion is a question at the end of a message, or empty", () => {
  expect(didYouMean("montor", NAMES, (name) => `--${name}`)).toBe("; did you mean --monitor?");
  expect(didYouMean("verbose", NAMES)).toBe("");
});
