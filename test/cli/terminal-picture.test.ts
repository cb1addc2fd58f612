/** docs/images/terminal.svg shows what the commands print, and is small. */

import { expect, test } from "bun:test";
import { join } from "node:path";

import { svgOf, terminalPicture } from "../support/terminal-picture.ts";

const FILE = join(import.meta.dir, "../../docs/images/terminal.svg");
const BYTES_MAX = 20_000;

test("the picture of a terminal is the one that npm run picture:terminal writes", async () => {
  // Times are local; bun test runs in UTC.
  const picture = await terminalPicture();
  expect(picture).toBe(await Bun.file(FILE).text());
  expect(picture.length).toBeLessThan(BYTES_MAX);
  expect(picture).not.toContain("\u001b");
});

test("text in the picture is escaped, and placed by its column", () => {
  const svg = svgOf("a<b  \u001b[32m& c\u001b[0m\n", "x < y");
  expect(svg).toContain("<title>x &lt; y</title>");
  expect(svg).toContain(">a&lt;b</text>");
  // Column 5: the margin of 18 and five characters of 7.8 pixels.
  expect(svg).toMatch(/<text x="57" y="31" class="g" textLength="23.4">&amp; c<\/text>/);
  expect(svg).toContain("prefers-color-scheme:dark");
});
