/**
 * Checks src/ and the documentation for words and phrases that plain technical English avoids. Comments, log lines,
 * errors, help and documentation name the actor and use one word for one thing.
 */

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");

/** Refused words and phrases, with replacements. Line breaks between the words of a phrase are ignored. */
const refused: Readonly<Record<string, string>> = {
  nobody: "no one; or name the actor",
  somebody: "name the actor",
  anybody: "any user, any host; or name the actor",
  everybody: "all users",
  whoever: "name the actor",
  told: "reported, logged, sent",
  "is none": "is not a ...",
  "are none of": "are not",
  "none of ours": "invalid, unknown",
  "sign of life": "activity",
  "signs of life": "activity",
  "looks at all": "scans all",
  "belong into": "put it in",
  "belongs into": "put it in",
  "take away": "remove",
  "takes away": "removes",
  "take it away": "remove it",
  "took it away": "was removed",
  "taken away": "removed",
  "tell of": "report",
  "tells of": "reports",
  "give up": "stop retrying; dead letter",
  "gives up": "stops retrying; dead letter",
  "given up": "dead letter",
  "go on": "continue",
  "goes on": "continues",
  "going on": "continuing",
  "stand on": "depend on",
  "stands on": "depends on",
  "for all that": "leave it out",
  "gone for good": "no longer exists",
  "earlier run": "previous run",
  overrule: "override",
  overrules: "overrides",
  overruled: "overridden",
};

interface Allowed {
  readonly file: string;
  readonly word: string;
  readonly reason: string;
}

const allowed: readonly Allowed[] = [
  { file: "docs/install.md", word: "nobody", reason: "the user account of this name" },
];

interface Found {
  readonly file: string;
  readonly line: number;
  readonly word: string;
}

const files = await readFiles();
const found = files.flatMap(({ file, text }) => findRefused(file, text));

describe("language", () => {
  test("src/ and the documentation use no refused word", () => {
    const places = found
      .filter((place) => !allowed.some((each) => matches(each, place)))
      .map(({ file, line, word }) => `${file}:${line}: "${word}", write: ${refused[word]}`);
    expect(places).toEqual([]);
  });

  test("each exception is still needed", () => {
    const unused = allowed.filter((each) => !found.some((place) => matches(each, place)));
    expect(unused).toEqual([]);
  });

  test("files of src/ and the documentation are read", () => {
    const names = files.map(({ file }) => file);
    expect(names).toContain("README.md");
    expect(names).toContain("docs/install.md");
    expect(names).toContain("src/main.ts");
    expect(names).toContain("src/page/overview.tsx");
  });

  test("findRefused finds words in strings and comments, in any case, and phrases across line breaks", () => {
    const sample = [
      "// Nobody knows. nobodyKnows, toldYou and retold are other words.",
      'const text = "was TOLD that there is none";',
      "/**",
      " * A cookie is",
      " * none, and it goes",
      " * on.",
      " */",
      "  -- A row belongs",
      "  -- into the table.",
    ].join("\n");
    expect(findRefused("sample.ts", sample)).toEqual([
      { file: "sample.ts", line: 1, word: "nobody" },
      { file: "sample.ts", line: 2, word: "told" },
      { file: "sample.ts", line: 2, word: "is none" },
      { file: "sample.ts", line: 4, word: "is none" },
      { file: "sample.ts", line: 5, word: "goes on" },
      { file: "sample.ts", line: 8, word: "belongs into" },
    ]);
  });

  test("findRefused finds nothing in plain text", () => {
    expect(findRefused("plain.md", "The peer is not connected.\nNone of the peers is.")).toEqual(
      [],
    );
  });
});

function matches(each: Allowed, { file, word }: Found): boolean {
  return each.file === file && each.word === word;
}

/** In the order of the text. */
function findRefused(file: string, text: string): Found[] {
  return Object.keys(refused)
    .flatMap((word) => {
      // Between the words of a phrase: spaces, and the marks at the start of a line of a comment or of a quotation.
      const pattern = new RegExp(
        `\\b${word.replaceAll(" ", "(?:[ \\t]|\\n[ \\t]*(?:\\*|//|--|#|>)?)+")}\\b`,
        "gi",
      );
      return [...text.matchAll(pattern)].map(({ index }) => ({ index, word }));
    })
    .sort((a, b) => a.index - b.index)
    .map(({ index, word }) => ({ file, line: text.slice(0, index).split("\n").length, word }));
}

async function readFiles(): Promise<{ readonly file: string; readonly text: string }[]> {
  const patterns = [
    "src/**/*.{ts,tsx,js,css}",
    "ffi/*.ts",
    "docs/*.md",
    "{README,CONTRIBUTING,SECURITY}.md",
  ];
  const names = patterns.flatMap((pattern) => [...new Bun.Glob(pattern).scanSync(ROOT)]).sort();
  return await Promise.all(
    names.map(async (file) => ({ file, text: await Bun.file(join(ROOT, file)).text() })),
  );
}
