/**
 * The layout of src/: folders import each other in one direction only. .oxlintrc.json defines which folder may import
 * which, but its rule ignores `import()` and cannot find cycles between folders.
 */

import { describe, expect, test } from "bun:test";
import { dirname, join, relative } from "node:path";

const ROOT = join(import.meta.dir, "..");

interface Import {
  readonly file: string;
  readonly imported: string;
}

const imports = await readImports();

describe("layout", () => {
  test("the imports between the folders of src/ have no cycle", () => {
    const edges = new Map<string, Set<string>>();
    for (const { file, imported } of imports) {
      const [from, to] = [folderOf(file), folderOf(imported)];
      if (from !== to) edges.set(from, (edges.get(from) ?? new Set()).add(to));
    }
    expect(edges.size).toBeGreaterThan(10);
    expect(cycleIn(edges)).toBeNull();
  });

  test("cycleIn finds a cycle of three folders, and returns null without a cycle", () => {
    const chain = [
      ["a", new Set(["b"])],
      ["b", new Set(["c", "d"])],
    ] as const;
    expect(cycleIn(new Map(chain))).toBeNull();
    expect(cycleIn(new Map([...chain, ["d", new Set(["a"])]]))).toEqual(["a", "b", "d", "a"]);
  });

  test("each folder of src/ has a rule in .oxlintrc.json", async () => {
    const { overrides } = await Bun.file(join(ROOT, ".oxlintrc.json")).json();
    const ruled = (overrides as { files: string[]; rules: Record<string, unknown> }[])
      .filter(({ rules }) => "eslint/no-restricted-imports" in rules)
      .flatMap(({ files }) => files);
    const folders = new Set(imports.map(({ file }) => folderOf(file)));
    folders.delete("src");
    expect([...folders].filter((folder) => !ruled.includes(`${folder}/**`))).toEqual([]);
  });

  test("only the seams call C", () => {
    const callers = imports
      .filter(({ file, imported }) => !file.startsWith("ffi/") && imported.startsWith("ffi/"))
      .filter(({ imported }) => imported !== "ffi/errors.ts")
      .map(({ file }) => file);
    expect([...new Set(callers)].sort()).toEqual([
      "src/capture/bpf.ts",
      "src/capture/nflog.ts",
      "src/capture/packet-socket.ts",
      "src/capture/socket-reader.ts",
      "src/http/connection-limit.ts",
      "src/kernel/netlink-socket.ts",
      "src/kernel/uapi-socket.ts",
      "src/platform/clocks.ts",
      "src/platform/files.ts",
      "src/platform/machine-names.ts",
      "src/platform/process.ts",
      "src/platform/standard-streams.ts",
      "src/platform/systemd-notify.ts",
      "src/platform/versions.ts",
    ]);
  });
});

/** The imports of one own file by another, `import()` included. Paths are relative to the repository. */
async function readImports(): Promise<Import[]> {
  const found: Import[] = [];
  for await (const file of new Bun.Glob("{src,ffi}/**/*.{ts,tsx}").scan(ROOT)) {
    const text = await Bun.file(join(ROOT, file)).text();
    for (const [, spec] of text.matchAll(/(?:\bfrom |\bimport\(?)\s*"(\.[^"]+)"/g)) {
      const imported = relative(ROOT, join(ROOT, dirname(file), spec!));
      if (/^(src|ffi)\//.test(imported)) found.push({ file, imported });
    }
  }
  return found;
}

/** `src/kernel` for a file at any depth below it; `src` for app.ts and main.ts. */
function folderOf(path: string): string {
  return dirname(path).split("/").slice(0, 2).join("/");
}

/** Returns the folders of one cycle, the first again at the end; null if there is no cycle. */
function cycleIn(edges: ReadonlyMap<string, ReadonlySet<string>>): string[] | null {
  const finished = new Set<string>();
  const visit = (folder: string, path: readonly string[]): string[] | null => {
    const start = path.indexOf(folder);
    if (start !== -1) return [...path.slice(start), folder];
    if (finished.has(folder)) return null;
    for (const next of edges.get(folder) ?? []) {
      const cycle = visit(next, [...path, folder]);
      if (cycle !== null) return cycle;
    }
    finished.add(folder);
    return null;
  };
  for (const folder of edges.keys()) {
    const cycle = visit(folder, []);
    if (cycle !== null) return cycle;
  }
  return null;
}
