/** Whose past is meant. */

import { expect, test } from "bun:test";

import type { Answers } from "../../src/cli/daemon.ts";
import { keysOf, nobodyCalled } from "../../src/cli/past.ts";

/** Peers of the machine interface, in pages. */
function answersOf(names: readonly string[]): Answers {
  return {
    get<View>(path: string): Promise<View> {
      const query = new URL(path, "http://localhost").searchParams;
      const found = names
        .map((name, index) => ({ name, publicKey: `key ${index}` }))
        .filter(({ name }) => name.includes(query.get("search") ?? ""));
      const offset = Number(query.get("offset"));
      const items = found.slice(offset, offset + Number(query.get("limit")));
      return Promise.resolve({ items } as View);
    },
  };
}

test("a name is found among any number of peers whose names contain it", async () => {
  const names = Array.from({ length: 10_000 }, (_, n) => `peer-${9999 - n}`);
  expect(await keysOf(answersOf(names), "peer-1")).toEqual(["key 9998"]);
  expect(await keysOf(answersOf(names), "peer-")).toEqual([]);
  const { message } = await nobodyCalled(answersOf([...names, "alice"]), "alise");
  expect(message).toContain("did you mean alice");
});
