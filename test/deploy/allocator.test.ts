import { expect, test } from "bun:test";
import { join } from "node:path";

const read = (path: string) => Bun.file(join(import.meta.dir, "../..", path)).text();

test("the service and the container image start wgmon with the same setting of the allocator", async () => {
  const setting = "MIMALLOC_PURGE_HOLES=0";
  expect((await read("deploy/wgmon.service")).split("\n")).toContain(`Environment=${setting}`);
  expect((await read("Containerfile")).split("\n")).toContain(`ENV ${setting}`);
});
