import { expect, test } from "bun:test";

import { Thinning } from "../src/capture/thinning.ts";
import { HandClock } from "./support/clock.ts";

function scene() {
  const clock = new HandClock();
  const set: string[] = [];
  const thinning = new Thinning(clock, (isThinned) => set.push(isThinned ? "thin" : "all"));
  return { clock, set, thinning };
}

test("data is kept out for ten seconds, and then let in again", () => {
  const { clock, set, thinning } = scene();
  thinning.busy();
  clock.advance(9_999);
  expect(set).toEqual(["thin"]);
  clock.advance(1);
  expect(set).toEqual(["thin", "all"]);
  thinning.busy();
  expect(set).toEqual(["thin", "all", "thin"]);
});

test("as long as it is busy all the same, such as in a flood of handshakes, it stays so", () => {
  const { clock, set, thinning } = scene();
  for (let second = 0; second < 30; second++) {
    thinning.busy();
    clock.advance(1000);
  }
  expect(set).toEqual(["thin"]);
});

test("nothing happens after the end", () => {
  const { clock, set, thinning } = scene();
  thinning.busy();
  thinning.stop();
  clock.advance(60_000);
  expect(set).toEqual(["thin"]);
});
