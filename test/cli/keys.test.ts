/** What terminals send for keys, whole and in pieces, as node:readline and `keysOf` read it. */

import { expect, test } from "bun:test";
import { emitKeypressEvents, type Key as Keypress } from "node:readline";
import { PassThrough } from "node:stream";

import fc from "fast-check";

import { type Key, keysOf } from "../../src/cli/keys.ts";

const text = (character: string): Key => ({ text: character });

/** The keys in the input. */
function readKeys(...pieces: readonly string[]): Key[] {
  const input = new PassThrough();
  const keys: Key[] = [];
  emitKeypressEvents(input);
  input.on("keypress", (character: string | undefined, keypress: Keypress) => {
    keys.push(...keysOf(character, keypress));
  });
  for (const piece of pieces) input.emit("data", Buffer.from(piece));
  return keys;
}

test.each<[string, readonly Key[]]>([
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
  ["\x1b[15~\x01\0", []],
  ["\x1bx", ["escape", text("x")]],
  ["\x1b\x1b[A", ["up"]],
])("the input %j is read as the expected keys", (input, keys) => {
  expect(readKeys(input)).toEqual([...keys]);
});

test("the keys are the same wherever the input is split", () => {
  const pieces = fc.constantFrom("q", "\x1b[A", "\x1bOB", "\x1b[5~", "\x1b[1;5C", "\r", "\x03");
  fc.assert(
    fc.property(fc.array(pieces), fc.array(fc.integer({ min: 1, max: 4 })), (sent, cuts) => {
      const whole = sent.join("");
      const parts: string[] = [];
      let from = 0;
      for (const length of [...cuts, whole.length]) {
        parts.push(whole.slice(from, from + length));
        from += length;
      }
      expect(readKeys(...parts)).toEqual(readKeys(whole));
    }),
  );
});

test("any input is read without an error, and no control character is taken for text", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (input) => {
      for (const key of readKeys(input)) {
        if (typeof key === "object") expect(key.text).not.toMatch(/\p{Cc}/u);
      }
    }),
  );
});
