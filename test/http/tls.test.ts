/** The server with TLS: clients that trust its certificate can connect, and plain HTTP is refused. */

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";

import { systemClock } from "../../src/base/clock.ts";
import { HttpServer } from "../../src/http/server.ts";
import { loadPage } from "../../src/page/load-page.ts";
import { createLog } from "../../src/platform/log.ts";
import { FakeSource } from "../support/source.ts";
import { certificates, key } from "../support/tls.ts";

test("with a certificate and its key, the server serves only HTTPS with modern ciphers", async () => {
  const folder = mkdtempSync(join(tmpdir(), "wgmon-tls-"));
  writeFileSync(join(folder, "cert.pem"), certificates.valid);
  writeFileSync(join(folder, "key.pem"), key);
  const source = await FakeSource.make();
  const lines: string[] = [];
  const server = await HttpServer.start({
    loadPage,
    source,
    settings: () => ({
      listen: { address: "127.0.0.1", port: 0 },
      listenTokens: [],
      listenTls: { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") },
      metrics: [],
    }),
    runtimeDir: null,
    log: createLog({ format: "journal", level: "warn", write: (line) => lines.push(line) }),
    clock: systemClock,
  });
  try {
    expect(lines).toEqual([]);
    const { port, protocol } = server.url!;
    expect(protocol).toBe("https:");
    const url = `https://localhost:${port}/v1/status`;
    const trusting = { tls: { ca: certificates.valid } };
    expect(await (await fetch(url, trusting)).json()).toMatchObject({ host: "gw1" });
    expect(await fetch(url).catch(() => null)).toBeNull();
    expect(await fetch(url.replace("https", "http")).catch(() => null)).toBeNull();
    const [good, cbc] = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"];
    expect([await isAccepted(Number(port), good), await isAccepted(Number(port), cbc)]).toEqual([
      true,
      false,
    ]);
  } finally {
    await server.stop();
    source.store[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  }
});

/** Whether the server accepts this cipher of TLS 1.2. */
async function isAccepted(port: number, ciphers: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const options = { host: "127.0.0.1", port, ciphers, maxVersion: "TLSv1.2" } as const;
  const socket = connect({ ...options, rejectUnauthorized: false });
  socket.once("secureConnect", () => resolve(true));
  socket.once("error", () => resolve(false));
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}
