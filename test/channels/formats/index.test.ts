/** The list of all formats. */

import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { formats } from "../../../src/channels/formats/index.ts";

const SOURCES = join(import.meta.dir, "../../../src/channels/formats");

test.each(Object.keys(formats))(
  "the format %s has a source file, and a test file with testFormat()",
  (name) => {
    expect(existsSync(join(SOURCES, `${name}.ts`))).toBe(true);
    const tests = readFileSync(join(import.meta.dir, `${name}.test.ts`), "utf8");
    expect(tests).toContain(`testFormat("${name}"`);
  },
);
