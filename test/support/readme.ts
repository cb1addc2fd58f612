/**
 * The documentation as the tests read it: README.md, the other pages at the top, and docs/. `npm run readme` writes
 * the tables of settings, formats and alerts into docs/settings.md, docs/formats.md and docs/alerts.md.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { formats } from "../../src/channels/formats/index.ts";
import {
  alertKeysTable,
  alertKindsTable,
  markdownTable,
  settingsTable,
} from "../../src/cli/help.ts";

const ROOT = join(import.meta.dir, "../..");

interface GeneratedTable {
  readonly page: string;
  /** Begins the comments before and after the table. */
  readonly name: string;
  readonly make: () => string;
}

/** The tables that `npm run readme` writes. */
export const generatedTables: readonly GeneratedTable[] = [
  { page: "docs/settings.md", name: "settings", make: settingsTable },
  { page: "docs/formats.md", name: "formats", make: formatsTable },
  { page: "docs/alerts.md", name: "kinds", make: alertKindsTable },
  { page: "docs/alerts.md", name: "keys", make: alertKeysTable },
];

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

/** A generated table as its page has it. */
export function tableInDocs(table: GeneratedTable): string {
  return placeOf(table).exec(readPage(table.page))?.[2] ?? "";
}

function placeOf({ name }: GeneratedTable): RegExp {
  return new RegExp(`(<!-- ${name}: [^>]*-->\\n)(.*?)(\\n<!-- end of ${name} -->)`, "s");
}

function formatsTable(): string {
  const rows = Object.entries(formats).map(([name, { docs }]) => [
    `\`${name}\``,
    docs.url,
    docs.recognised,
    docs.arrives,
    docs.limit,
  ]);
  const header = ["Format", "URL", "Recognised automatically", "What arrives", "Limit"];
  return markdownTable(header, rows);
}

if (import.meta.main) {
  for (const table of generatedTables) {
    const file = join(ROOT, table.page);
    // A function, because the table may contain a $.
    const insert = (_all: string, begin: string, _old: string, end: string) =>
      `${begin}\n${table.make()}${end}`;
    writeFileSync(file, readPage(table.page).replace(placeOf(table), insert));
    Bun.spawnSync([process.execPath, "fmt", file], { stdio: ["ignore", "ignore", "inherit"] });
  }
}
