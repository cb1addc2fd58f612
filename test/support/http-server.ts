/** Starts the HTTP server with a FakeSource, on a free port of 127.0.0.1. */

import { type Clock, systemClock } from "../../src/base/clock.ts";
import type { AlertActions } from "../../src/http/alert-model.ts";
import type { PageActions } from "../../src/http/page-actions.ts";
import { HttpServer } from "../../src/http/server.ts";
import { loadPage } from "../../src/page/load-page.ts";
import { createLog } from "../../src/platform/log.ts";
import type { FakeSource } from "./source.ts";

export interface Served extends AsyncDisposable {
  readonly origin: string;
  /** Log lines of level warn and above. */
  readonly lines: readonly string[];
  stop(): Promise<void>;
}

interface ServeOptions {
  /** A test may change the array while the server runs. */
  readonly tokens?: readonly string[];
  readonly clock?: Clock;
  /** Default: a free port. */
  readonly port?: number;
  /** Omitted: the page has no buttons for targets. */
  readonly actions?: PageActions;
  /** Omitted: silences cannot be changed. */
  readonly alertActions?: AlertActions;
}

export async function serve(source: FakeSource, options: ServeOptions = {}): Promise<Served> {
  const { tokens = [], clock = systemClock, port = 0, actions, alertActions } = options;
  const lines: string[] = [];
  const server = await HttpServer.start({
    loadPage,
    source,
    ...(actions === undefined ? {} : { actions }),
    ...(alertActions === undefined ? {} : { alertActions }),
    settings: () => ({
      listen: { address: "127.0.0.1", port },
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
