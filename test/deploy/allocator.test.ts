import { expect, test } from "bun:test";
import { join } from "node:path";

const read = (path: string) => Bun.file(join(import.meta.dir, "../..", path)).text();

test("the services and the container image start wgmon with the same setting of the allocator", async () => {
  const setting = "MIMALLOC_PURGE_HOLES=0";
  expect((await read("deploy/wgmon-hub.service")).split("\n")).toContain(`Environment=${setting}`);
  expect((await read("deploy/wgmon.service")).split("\n")).toContain(`Environment=${setting}`);
  expect((await read("Containerfile")).split("\n")).toContain(`ENV ${setting}`);
});

test("the service of the hub has no capability, and else the sandbox of the service of a gateway", async () => {
  const lines = async (unit: string) => (await read(unit)).split("\n");
  const hub = await lines("deploy/wgmon-hub.service");
  expect(hub).toContain("CapabilityBoundingSet=");
  expect(hub.filter((line) => line.startsWith("AmbientCapabilities="))).toEqual([]);
  const sandbox =
    /^(?:Protect|Private|Restrict|Lock|Remove|Keyring|UMask|Limit|SystemCall|NoNew|Device)/;
  const isOfBoth = (line: string) => sandbox.test(line) && !line.startsWith("RestrictAddress");
  expect(hub.filter(isOfBoth)).toEqual((await lines("deploy/wgmon.service")).filter(isOfBoth));
});
