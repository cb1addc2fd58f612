/** The NATS library in a compiled program, with the flags that wgmon is compiled with. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { buildFlags } from "../../build.ts";
import { fleetServer } from "../support/fleet-nats.ts";
import { natsNeeds, natsServers } from "../support/nats.ts";
import { newStateFolder } from "../support/state.ts";
import { certificates, key } from "../support/tls.ts";
import { TEST_MS } from "../support/until.ts";

setDefaultTimeout(TEST_MS);

const ROOT = join(import.meta.dir, "../..");

async function run(command: readonly string[]) {
  const child = Bun.spawn([...command], {
    cwd: ROOT,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr };
}

describe("the NATS library", () => {
  test("is imported when it is needed, so that wgmon without NATS does not load it", async () => {
    const imports: string[] = [];
    for await (const file of new Bun.Glob("src/**/*.{ts,tsx}").scan(ROOT)) {
      const text = await Bun.file(join(ROOT, file)).text();
      // `import type` and `import()` remain.
      for (const [line] of text.matchAll(
        /^(?:import|export)\b(?! type\b)[^;]*?from "@nats-io\/[^;]*;/gm,
      )) {
        imports.push(`${file}: ${line}`);
      }
    }
    expect(imports).toEqual([]);
  });
});

describe.skipIf(natsNeeds.missing)(natsNeeds.title("a compiled program"), () => {
  test("sends events over TLS and receives them, and the library prints nothing", async () => {
    const folder = newStateFolder();
    const program = join(folder, "program");
    const source = join(ROOT, "test/support/nats-program.ts");
    const built = await run([
      process.execPath,
      "build",
      ...buildFlags,
      source,
      "--outfile",
      program,
    ]);
    expect(built).toMatchObject({ exitCode: 0 });
    const ca = join(folder, "ca.pem");
    await writeFile(ca, certificates.valid);
    for (const { program: natsProgram } of natsServers) {
      await using server = await fleetServer(natsProgram, ["berlin"]);
      await server.kill();
      await writeFile(join(server.folder, "crt"), certificates.valid);
      await writeFile(join(server.folder, "key"), key);
      await server.edit((config) =>
        config.replace("jetstream {", `tls { cert_file: "crt", key_file: "key" }\njetstream {`),
      );
      await server.start();
      expect(await run([program, `localhost:${server.port}`, ca])).toEqual({
        exitCode: 0,
        stdout: "berlin 0a1b2c3d 20\n",
        stderr: "",
      });
    }
  });
});
