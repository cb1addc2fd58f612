/** The HTTP server before a source that a test plays, on a port of its own. */

import { systemClock } from "../../src/clock.ts";
import { HttpServer } from "../../src/http/server.ts";
import { createLog } from "../../src/log.ts";
import type { FakeSource } from "./source.ts";

export interface Served extends AsyncDisposable {
  readonly origin: string;
  readonly lines: readonly string[];
  stop(): Promise<void>;
}

/** @param tokens may be changed while it runs. */
export async function serve(
  source: FakeSource,
  {
    tokens = [],
    clock = systemClock,
  }: { tokens?: readonly string[]; clock?: typeof systemClock } = {},
): Promise<Served> {
  const lines: string[] = [];
  const server = await HttpServer.start({
    source,
    settings: () => ({
      listen: { address: "127.0.0.1", port: 0 },
      listenTokens: tokens,
      listenTls: null,
      metrics: [],
    }),
    runtimeDir: null,
    log: createLog({ format: "journal", level: "warn", write: (line) => lines.push(line) }),
    clock,
  });
  const stop = async () => await server.stop();
  return { origin: server.url!.origin, lines, stop, [Symbol.asyncDispose]: stop };
}
