/** Text from others cannot control a terminal, and wgmon's own colours stay. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { printable, printableLine, STYLES, visible } from "../../src/base/visible.ts";
import { coloured } from "../../src/cli/text.ts";
import { hostileText } from "../support/events.ts";

/** The output matches none of these once wgmon's own colours are removed. */
const HARMFUL = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/u;
// oxlint-disable-next-line no-control-regex
const COLOURS = /\x1b\[(?:0|1|2|7|31|32|33)m/g;

test("control characters, line ends and direction marks are escaped", () => {
  fc.assert(
    fc.property(hostileText, (text) => {
      expect(visible(text)).not.toMatch(HARMFUL);
      expect(printableLine(text).replace(COLOURS, "")).not.toMatch(HARMFUL);
      expect(
        printable(text)
          .replace(COLOURS, "")
          .replace(/\t|\r?\n/g, ""),
      ).not.toMatch(HARMFUL);
    }),
  );
  for (let code = 0; code < 0x2100; code++) {
    expect(visible(String.fromCharCode(code))).not.toMatch(HARMFUL);
  }
});

test("an escaped JSON text parses to the same value", () => {
  fc.assert(
    fc.property(hostileText, (text) => {
      const json = visible(JSON.stringify({ text }));
      expect(JSON.parse(json)).toEqual({ text });
    }),
  );
});

test("wgmon's own colour sequences stay, and all other sequences are escaped", () => {
  for (const style of Object.keys(STYLES) as (keyof typeof STYLES)[]) {
    const painted = coloured(style, "alice");
    expect(printableLine(painted)).toBe(painted);
    expect(printable(`${painted}\r\n`)).toBe(`${painted}\r\n`);
  }
  expect(printable("\x1b]0;owned\x07\x1b[2J\x9b31m\x1b[5m\x1b[31;5m\r")).toBe(
    "\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m\\u001b[5m\\u001b[31;5m\\u000d",
  );
  expect(printable("a\tb\nc\r\nd")).toBe("a\tb\nc\r\nd");
  expect(printableLine("a\tb\nc")).toBe("a\\u0009b\\u000ac");
});
