/**
 * Opens too many connections to the binary, twice, and reloads it meanwhile, while it tries to take the port of
 * the binary. Runs in a network namespace of its own, with `lo` up. Prints JSON. For test/e2e/http.test.ts.
 */

import { writeFileSync } from "node:fs";

import { listenerOf } from "./listener.ts";
import { newStateFolder } from "./state.ts";
import { certificates, key } from "./tls.ts";
import { startWgmon } from "./wgmon.ts";

export interface Crowded {
  /** Attempts to take the port, and how many succeeded. */
  readonly attempts: number;
  readonly taken: number;
  /** Sockets that listened on the port, one after the other. */
  readonly listeners: number;
  /** Of an honest request afterwards. */
  readonly status: number;
  readonly reloads: number;
  readonly exitCode: number;
}

const PORT = 9587;
/** More than the 1,024 files that wgmon lets be open. */
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
  const place = { hostname: "127.0.0.1", port: PORT } as const;
  const listeners = new Set([listenerOf(PORT)]);
  let attempts = 0;
  let taken = 0;
  for (let round = 0; round < 2; round++) {
    let ended = 0;
    const socket = { data() {}, error() {}, close: () => void ended++ };
    for (let n = 0; n < CONNECTIONS; n++) await Bun.connect({ ...place, socket });
    writeFiles();
    wgmon.signal("SIGHUP");
    while (ended < CONNECTIONS) {
      attempts++;
      try {
        Bun.listen({ ...place, socket: { data() {} } }).stop(true);
        taken++;
      } catch {
        // As it should be: wgmon has it.
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
