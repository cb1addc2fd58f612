/** Parses what terminals send for keys, whole and in pieces. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { type Key, readKeys } from "../../src/cli/keys.ts";

const text = (character: string): Key => ({ text: character });

test.each<[string, readonly Key[], string?]>([
  ["q", [text("q")]],
  ["/é漢😀", [text("/"), text("é"), text("漢"), text("😀")]],
  ["\x1b[A\x1b[B\x1b[C\x1b[D", ["up", "down", "right", "left"]],
  ["\x1bOA\x1bOH\x1bOF", ["up", "home", "end"]],
  [
    "\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~",
    ["page-up", "page-down", "home", "end", "home", "end"],
  ],
  ["\x1b[1;5A\x1b[1;2B", ["up", "down"]],
  [
    "\r\n\x7f\b\x03\x1a\f\x15",
    ["enter", "enter", "backspace", "backspace", "ctrl-c", "ctrl-z", "ctrl-l", "ctrl-u"],
  ],
  // Function keys, a mouse, and answers of a terminal are ignored.
  ["\x1b[15~\x1b[<0;1;1M\x1b[?62;c\x01\0", []],
  ["\x1bx", ["escape", text("x")]],
  ["\x1b", [], "\x1b"],
  ["j\x1b[1;", [text("j")], "\x1b[1;"],
  ["\x1b\x1b[A", ["escape", "up"]],
])("the input %j is parsed into the expected keys", (input, keys, rest = "") => {
  expect(readKeys(input)).toEqual({ keys, rest });
});

test("the keys are the same wherever the input is split", () => {
  const pieces = fc.constantFrom(
    "q",
    "é",
    "\x1b[A",
    "\x1bOB",
    "\x1b[5~",
    "\x1b[1;5C",
    "\r",
    "\x03",
    "\x1b[?1;2c",
  );
  fc.assert(
    fc.property(fc.array(pieces), fc.array(fc.integer({ min: 1, max: 4 })), (sent, cuts) => {
      const whole = sent.join("");
      const keys: Key[] = [];
      let rest = "";
      let from = 0;
      for (const length of [...cuts, whole.length]) {
        const read = readKeys(rest + whole.slice(from, from + length));
        from += length;
        keys.push(...read.keys);
        rest = read.rest;
      }
      expect({ keys, rest }).toEqual(readKeys(whole) as { keys: Key[]; rest: string });
    }),
  );
});

test("any input is parsed without an error", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (input) => {
      const { keys, rest } = readKeys(input);
      expect(keys.length + rest.length).toBeLessThanOrEqual(input.length);
      for (const key of keys) if (typeof key === "object") expect(key.text).not.toMatch(/\p{Cc}/u);
    }),
  );
});
