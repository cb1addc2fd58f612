/** The documents about the components of a release: its bill of materials, and NOTICE. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { bunPackages, lockedPackage } from "../../deploy/bun.mjs";
import { libraries } from "../../deploy/libraries.ts";
import { billOfMaterials } from "../../deploy/notice.ts";

// It builds the program, to find the bundled packages.
setDefaultTimeout(120_000);

const ROOT = join(import.meta.dir, "../..");

interface Component {
  readonly name: string;
  readonly licenses: readonly { readonly expression: string }[];
  readonly hashes: readonly { readonly alg: string; readonly content: string }[];
  readonly purl: string;
}

describe.each(["x64", "arm64"] as const)("the bill of materials for %s", (machine) => {
  const sums = new Map(
    ["wgmon", ...libraries.map(({ soname }) => soname)].map((name) => [name, "00"]),
  );

  test(`the bill of materials for ${machine} has the licence of the whole, and hashes and licences of all components`, async () => {
    const document = JSON.parse(await billOfMaterials(machine, sums)) as {
      readonly metadata: { readonly component: Component };
      readonly components: readonly Component[];
    };
    const { metadata, components } = document;
    // NOTICE: some components have GPL version 2 or later, others the Apache licence, which only GPL version 3 allows.
    expect(metadata.component.licenses).toEqual([{ expression: "GPL-3.0-only" }]);
    for (const { name, hashes } of components) expect(hashes, name).toHaveLength(1);

    const bun = components.find(({ name }) => name === "bun")!;
    const { version, sha512 } = lockedPackage(bunPackages[machine]);
    expect(bun.purl).toBe(`pkg:npm/${bunPackages[machine].replace("@", "%40")}@${version}`);
    expect(bun.hashes).toEqual([{ alg: "SHA-512", content: sha512 }]);
    for (const licence of ["MIT", "LGPL-2.0-or-later", "LGPL-2.1-or-later", "Apache-2.0"]) {
      expect(bun.licenses[0]!.expression.split(" AND ")).toContain(licence);
    }
  });
});

test("NOTICE has the texts of the licences that it names", async () => {
  const notice = await Bun.file(join(ROOT, "NOTICE")).text();
  for (const title of [
    "Copyright (c) Oven and the contributors to Bun",
    "Permission is hereby granted, free of charge",
    "GNU LIBRARY GENERAL PUBLIC LICENSE",
    "GNU LESSER GENERAL PUBLIC LICENSE",
    "GNU GENERAL PUBLIC LICENSE",
    "Apache License\n",
    // One of the libraries in Bun's own list.
    "tinycc",
  ]) {
    expect(notice).toContain(title);
  }
});
