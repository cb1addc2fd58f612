/** The HTTP API of a FakeSource as the commands query it, and an output that records what they print. */

import { type ApiReader, type DaemonClient, viewOf } from "../../src/cli/client.ts";
import { type Output, plain } from "../../src/cli/text.ts";
import { makeApi } from "../../src/http/api.ts";
import type { FakeSource } from "./source.ts";

/** Records the paths of all requests. */
export interface Asked extends ApiReader, Pick<DaemonClient, "send"> {
  readonly paths: string[];
}

export function asked(source: FakeSource): Asked {
  const api = makeApi(source, { actions: source.alerts });
  const paths: string[] = [];
  return {
    paths,
    async get(path) {
      paths.push(path);
      return await viewOf(await api.handle(new Request(`http://localhost${path}`)), path);
    },
    async send(method, path, body) {
      paths.push(`${method} ${path}`);
      const headers = { "content-type": "application/json" };
      const init = body === null ? { method } : { method, headers, body: JSON.stringify(body) };
      const request = new Request(`http://localhost${path}`, init);
      return await viewOf(await api.handle(request), path);
    },
  };
}

/** Records all output. */
export interface Printed extends Output {
  readonly text: () => string;
  readonly lines: () => string[];
  readonly complaints: string[];
}

/** @param reads number of `print` calls until the reader closes the output. */
export function printed(reads = Infinity): Printed {
  let text = "";
  let remaining = reads;
  const complaints: string[] = [];
  return {
    paint: plain,
    maxWidth: null,
    complaints,
    warn: (line) => void complaints.push(line),
    print(more) {
      text += more;
      return --remaining > 0;
    },
    text: () => text,
    lines: () => text.split("\n").slice(0, -1),
  };
}
