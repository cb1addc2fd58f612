/**
 * Opens too many connections to wgmon, twice, and reloads it meanwhile. Until wgmon closes the connections, tries to
 * bind its port. Runs in a separate network namespace, with `lo` up. Prints JSON. For test/e2e/http.test.ts.
 */

import { writeFileSync } from "node:fs";

import { listenerOf } from "./listener.ts";
import { newStateFolder } from "./state.ts";
import { certificates, key } from "./tls.ts";
import { startWgmon } from "./wgmon.ts";

export interface Crowded {
  /** Attempts to bind wgmon's port, and how many succeeded. */
  readonly attempts: number;
  readonly taken: number;
  /** Number of different sockets that have listened on the port. */
  readonly listeners: number;
  /** Status of a normal request afterwards. */
  readonly status: number;
  readonly reloads: number;
  readonly exitCode: number;
}

const PORT = 9587;
/** More than the 1,024 open files that wgmon allows. */
const CONNECTIONS = 1100;

async function run(): Promise<Crowded> {
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
  const listeners = new Set([listenerOf(PORT)]);
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
    listeners.add(listenerOf(PORT));
  }
  const trusting = { tls: { ca: certificates.valid } };
  const { status } = await fetch(`https://localhost:${PORT}/healthz`, trusting);
  const exitCode = await wgmon.stop();
  const reloads = wgmon.log.filter(({ msg }) => msg === "settings reloaded").length;
  return { attempts, taken, listeners: listeners.size, status, reloads, exitCode };
}

if (import.meta.main) {
  console.log(JSON.stringify(await run()));
  process.exit(0);
}
