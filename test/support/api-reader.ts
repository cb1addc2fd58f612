/** The machine interface over a made-up source, as the commands ask it, and what they print. */

import { type ApiReader, viewOf } from "../../src/cli/client.ts";
import { type Output, plain } from "../../src/cli/text.ts";
import { makeApi } from "../../src/http/api.ts";
import type { FakeSource } from "./source.ts";

/** Remembers what it was asked. */
export interface Asked extends ApiReader {
  readonly paths: string[];
}

export function asked(source: FakeSource): Asked {
  const api = makeApi(source);
  const paths: string[] = [];
  return {
    paths,
    async get(path) {
      paths.push(path);
      return await viewOf(await api.handle(new Request(`http://localhost${path}`)), path);
    },
  };
}

/** What was printed. */
export interface Printed extends Output {
  readonly text: () => string;
  readonly lines: () => string[];
  readonly complaints: string[];
}

/** @param reads how many times its reader takes something. */
export function printed(reads = Infinity): Printed {
  let text = "";
  let left = reads;
  const complaints: string[] = [];
  return {
    paint: plain,
    maxWidth: null,
    complaints,
    warn: (line) => void complaints.push(line),
    print(more) {
      text += more;
      return --left > 0;
    },
    text: () => text,
    lines: () => text.split("\n").slice(0, -1),
  };
}
