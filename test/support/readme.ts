/**
 * The documentation as the tests read it: README.md, the other pages at the top, and docs/. `npm run readme` writes
 * the table of settings into docs/settings.md.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { settingsTable } from "../../src/cli/help.ts";

const ROOT = join(import.meta.dir, "../..");
const SETTINGS_PAGE = "docs/settings.md";
const SETTINGS = /(<!-- settings: [^>]*-->\n)(.*?)(\n<!-- end of settings -->)/s;

/** The pages, as paths from the root. */
export const pages: readonly string[] = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  ...[...new Bun.Glob("docs/*.md").scanSync(ROOT)].toSorted(),
];

export function readPage(page: string): string {
  return readFileSync(join(ROOT, page), "utf8");
}

export function readAllPages(): string {
  return pages.map(readPage).join("\n");
}

/** The code block after the comment `<!-- snippet: name -->`. @throws unless exactly one page has it. */
export function snippet(name: string): string {
  const block = new RegExp(`<!-- snippet: ${name} -->\\n+\`\`\`\\w+\\n(.*?)\`\`\``, "gs");
  const found = [...readAllPages().matchAll(block)].map(([, text]) => text!);
  if (found.length !== 1) throw new Error(`${found.length} pages have a snippet ${name}, not one`);
  return found[0]!;
}

/** All code blocks of a language on a page. */
export function codeBlocks(page: string, language: string): string[] {
  const blocks = readPage(page).matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"));
  return [...blocks].map((match) => match[1]!);
}

export function settingsInDocs(): string {
  return SETTINGS.exec(readPage(SETTINGS_PAGE))?.[2] ?? "";
}

if (import.meta.main) {
  const file = join(ROOT, SETTINGS_PAGE);
  // A function, because the table may contain a $.
  writeFileSync(
    file,
    readPage(SETTINGS_PAGE).replace(
      SETTINGS,
      (_all, begin: string, _old: string, end: string) => `${begin}\n${settingsTable()}${end}`,
    ),
  );
  Bun.spawnSync([process.execPath, "fmt", file], { stdio: ["ignore", "ignore", "inherit"] });
}
