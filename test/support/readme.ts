/**
 * The parts of README.md that tests check. `npm run readme` writes the table of settings
 * into it.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { settingsTable } from "../../src/cli/help.ts";

const FILE = join(import.meta.dir, "../../README.md");
const SETTINGS = /(<!-- settings: [^>]*-->\n)(.*?)(\n<!-- end of settings -->)/s;

export function readReadme(): string {
  return readFileSync(FILE, "utf8");
}

/** The code block behind the comment `<!-- snippet: name -->`. */
export function snippet(name: string): string {
  const block = new RegExp(`<!-- snippet: ${name} -->\\n+\`\`\`\\w+\\n(.*?)\`\`\``, "s");
  const text = block.exec(readReadme())?.[1];
  if (text === undefined) throw new Error(`README.md has no snippet ${name}`);
  return text;
}

/** All code blocks of a language. */
export function codeBlocks(language: string): string[] {
  const blocks = readReadme().matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"));
  return [...blocks].map((match) => match[1]!);
}

export function settingsInReadme(): string {
  return SETTINGS.exec(readReadme())?.[2] ?? "";
}

if (import.meta.main) {
  // A function, because the table has $ in it for all we know.
  writeFileSync(
    FILE,
    readReadme().replace(
      SETTINGS,
      (_all, begin: string, _old: string, end: string) => `${begin}\n${settingsTable()}${end}`,
    ),
  );
  Bun.spawnSync([process.execPath, "fmt", FILE], { stdio: ["ignore", "ignore", "inherit"] });
}
