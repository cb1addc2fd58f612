/**
 * Checks the form of the documentation: no broken link, no long page, and each page names its readers. Also checks the
 * GitHub workflow, which runs the commands of CONTRIBUTING.md.
 */

import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { dirname, join, relative } from "node:path";

import { pages, readPage } from "./support/readme.ts";

const ROOT = join(import.meta.dir, "..");
const README_LINES_MAX = 200;
const PAGE_LINES_MAX = 400;
/** A list with a line for each file, which is searched, not read: two lists would be harder to search. */
const LIST = "docs/source-tree.md";

test("no page of the documentation is too long", () => {
  const tooLong = pages.filter((page) => {
    if (page === LIST) return false;
    const lines = readPage(page).trimEnd().split("\n").length;
    return lines > (page === "README.md" ? README_LINES_MAX : PAGE_LINES_MAX);
  });
  expect(tooLong).toEqual([]);
});

test("each page of the documentation except the README begins with the readers it is for", () => {
  const others = pages.filter((page) => page !== "README.md");
  expect(others.filter((page) => !/^# .*\n\nThis page is for /.test(readPage(page)))).toEqual([]);
});

test("the index of the documentation lists every page", () => {
  const links = linksOf("docs/README.md").map(({ file }) => file);
  const listed = pages.filter((page) => page !== "README.md" && page !== "docs/README.md");
  expect(listed.filter((page) => !links.includes(page))).toEqual([]);
});

test("no link in the documentation is dead", () => {
  const isDead = ({ file, anchor }: Link) =>
    !existsSync(join(ROOT, file)) ||
    (anchor !== "" && !(file.endsWith(".md") && anchorsOf(file).includes(anchor)));
  const dead = pages.flatMap((page) =>
    linksOf(page)
      .filter(isDead)
      .map(({ file, anchor }) => `${page}: ${file}#${anchor}`),
  );
  expect(dead).toEqual([]);
});

test("GitHub's workflow runs .ci/run, builds releases, and pins its actions", async () => {
  const file = Bun.file(join(ROOT, ".github/workflows/ci.yml"));
  const { permissions, jobs } = Bun.YAML.parse(await file.text()) as Workflow;
  const steps = (job: string) => jobs[job]!.steps;
  const commands = (job: string) => steps(job).flatMap(({ run }) => run ?? []);
  expect(Object.keys(jobs)).toEqual(["test", "build", "publish"]);
  expect(commands("test")).toEqual([expect.stringMatching(/(^| )\.ci\/run$/)]);
  expect(commands("build")).toEqual(
    expect.arrayContaining(["npm run release", "npm run deb"]) as string[],
  );
  const actions = Object.keys(jobs).flatMap((job) => steps(job).flatMap(({ uses }) => uses ?? []));
  expect(actions.length).toBeGreaterThan(0);
  expect(actions.filter((action) => !/^actions\/[\w-]+@[0-9a-f]{40}$/.test(action))).toEqual([]);
  // Only the job that publishes may write, and it runs no code of the repository.
  expect(permissions).toEqual({ contents: "read" });
  const writing = Object.keys(jobs).filter((job) => jobs[job]!.permissions !== undefined);
  expect(writing).toEqual(["publish"]);
});

interface Workflow {
  readonly permissions: unknown;
  readonly jobs: Readonly<
    Record<
      string,
      {
        readonly permissions?: unknown;
        readonly steps: readonly { readonly uses?: string; readonly run?: string }[];
      }
    >
  >;
}

interface Link {
  /** From the root. */
  readonly file: string;
  readonly anchor: string;
}

/** The links of a page to files and to anchors in them. Links to other servers are left out. */
function linksOf(page: string): Link[] {
  const targets = withoutCode(page).matchAll(/\]\((?![a-z]+:)([^)#]*)#?([^)]*)\)/g);
  return [...targets].map(([, path, anchor]) => ({
    file: path === "" ? page : relative(ROOT, join(ROOT, dirname(page), path!)),
    anchor: anchor!,
  }));
}

/** The anchors that GitHub creates for a page's headings; a repeated heading gets a number. */
function anchorsOf(page: string): string[] {
  const seen = new Map<string, number>();
  return [...withoutCode(page).matchAll(/^#+ (.*)$/gm)].map(([, title]) => {
    const name = title!
      .toLowerCase()
      .replace(/[^\w -]/g, "")
      .replaceAll(" ", "-");
    const count = seen.get(name) ?? 0;
    seen.set(name, count + 1);
    return count === 0 ? name : `${name}-${count}`;
  });
}

/** Without blocks of code, in which a line may begin with #. */
function withoutCode(page: string): string {
  return readPage(page).replace(/^ *```.*?^ *```$/gms, "");
}
