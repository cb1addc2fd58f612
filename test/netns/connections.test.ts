/** The TCP port of the binary while too many connections are opened. */

import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";

import { needs } from "../support/kernel.ts";
import { listenerOf } from "../support/listener.ts";
import { newStateFolder } from "../support/state.ts";
import { certificates, key } from "../support/tls.ts";
import { startWgmon } from "../support/wgmon.ts";

const PORT = 9587;
/** More than the 1,024 open files that wgmon allows. */
const CONNECTIONS = 1100;

const tools = needs("own namespaces");
const title = tools.title("the TCP port stays in use during many connections and a reload");

test.skipIf(tools.missing)(title, async () => {
  const folder = newStateFolder();
  const files = { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
  const writeFiles = () => {
    writeFileSync(files.cert, certificates.valid);
    writeFileSync(files.key, key, { mode: 0o600 });
  };
  writeFiles();
  const tls = ["--listen-tls-cert", files.cert, "--listen-tls-key", files.key];
  const listen = ["--listen", `127.0.0.1:${PORT}`, ...tls];
  await using wgmon = startWgmon(["--monitor", "poll", "--device", "wgtest-none", ...listen]);
  await wgmon.waitForLog(({ msg, url }) => msg === "listening" && url !== undefined);
  const address = { hostname: "127.0.0.1", port: PORT } as const;
  const listener = listenerOf(PORT);
  /** Attempts to bind wgmon's port, and how many succeeded. */
  let attempts = 0;
  let taken = 0;
  for (let round = 0; round < 2; round++) {
    let ended = 0;
    const socket = { data() {}, error() {}, close: () => void ended++ };
    for (let n = 0; n < CONNECTIONS; n++) await Bun.connect({ ...address, socket });
    writeFiles();
    wgmon.signal("SIGHUP");
    while (ended < CONNECTIONS) {
      attempts++;
      try {
        Bun.listen({ ...address, socket: { data() {} } }).stop(true);
        taken++;
      } catch {
        // Expected: wgmon listens on the port.
      }
      await Bun.sleep(1);
    }
    expect(listenerOf(PORT)).toBe(listener);
  }
  const trusting = { tls: { ca: certificates.valid } };
  // wgmon has held the port all the time.
  expect(attempts).toBeGreaterThan(10);
  expect(taken).toBe(0);
  const { status } = await fetch(`https://localhost:${PORT}/healthz`, trusting);
  expect(status).toBe(200);
  expect(await wgmon.stop()).toBe(0);
  const reloads = wgmon.log.filter(({ msg }) => msg === "settings reloaded").length;
  expect(reloads).toBe(2);
});
