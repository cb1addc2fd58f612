/** Steps of the wall clock, simulated with a clock that the test controls. */

import { expect, test } from "bun:test";

import { type ClockState, moved, WallClock } from "../../src/base/wall-clock.ts";
import { HandClock } from "../support/clock.ts";

const HOUR_MS = 3_600_000;
const NOON = Date.UTC(2026, 10, 29, 12);
const IN_1970 = 120_000;

/** A machine that boots when its clock shows `atMs`. */
function boot(atMs: number, saved: ClockState | null = null, id: string | null = "boot") {
  const clock = new HandClock(atMs);
  clock.bootId = id;
  const wall = new WallClock({ clock, machine: clock, saved });
  const first = wall.read();
  return { clock, wall, first };
}

for (const stepMs of [-24 * HOUR_MS, -HOUR_MS, -10_000, 10_000, HOUR_MS, 24 * HOUR_MS]) {
  test(`a step of ${stepMs / 1000} s moves the times of this boot by the same amount, and no other times`, () => {
    const { clock, wall } = boot(NOON);
    clock.advance(HOUR_MS);
    const noted = wall.now().wallMs;
    clock.advance(5000);
    clock.jump(stepMs);
    const step = wall.read()!;
    expect(step.ms).toBe(stepMs);
    expect(wall.now().wallMs - moved(step, noted)).toBe(5000);
    expect(wall.now().wallMs).toBe(clock.now().wallMs);
    for (const other of [NOON - HOUR_MS, NOON + 3 * HOUR_MS])
      expect(moved(step, other)).toBe(other);
    expect(wall.read()).toBeNull();
  });
}

test("a time that was recorded in 1970 is corrected once the clock is set", () => {
  const { clock, wall } = boot(IN_1970);
  const started = wall.now().wallMs;
  clock.advance(30_000);
  clock.jump(NOON - IN_1970);
  const step = wall.read()!;
  expect(moved(step, started)).toBe(NOON);
  // A time of 2026 is from an earlier boot, whose clock was right.
  expect(moved(step, NOON - HOUR_MS)).toBe(NOON - HOUR_MS);
});

test("until a step is read, now() continues on the old clock", () => {
  const { clock, wall } = boot(NOON);
  clock.jump(-HOUR_MS);
  clock.advance(1500);
  expect(wall.now()).toEqual({ wallMs: NOON + 1500, monotonicMs: 1500 });
});

test("suspending the machine is not a step", () => {
  const { clock, wall } = boot(NOON);
  let sleptMs = 0;
  clock.bootMs = () => clock.now().monotonicMs + sleptMs;
  sleptMs = 8 * HOUR_MS;
  clock.jump(sleptMs);
  expect(wall.read()).toBeNull();
  expect(wall.now().wallMs).toBe(NOON + 8 * HOUR_MS);
});

test("a difference of less than two seconds is not a step", () => {
  const { clock, wall } = boot(NOON);
  for (let n = 0; n < 5; n++) {
    clock.jump(1500);
    expect(wall.read()).toBeNull();
    expect(wall.now().wallMs).toBe(clock.now().wallMs);
  }
});

test("past intervals are not moved if the old clock was synchronised, as before a virtual machine was paused", () => {
  const { clock, wall } = boot(NOON);
  clock.isRight = true;
  wall.read();
  clock.jump(HOUR_MS);
  expect(wall.read()).toMatchObject({ ms: HOUR_MS, unsureFromMs: null });
});

test("past intervals are moved back to the time at which the clock was last synchronised", () => {
  const { clock, wall } = boot(NOON);
  clock.isRight = true;
  clock.advance(HOUR_MS);
  wall.read();
  clock.isRight = false;
  clock.advance(HOUR_MS);
  wall.read();
  clock.advance(HOUR_MS);
  clock.jump(10_000);
  expect(wall.read()).toMatchObject({ unsureFromMs: NOON + 2 * HOUR_MS });
  clock.jump(10_000);
  expect(wall.read()).toMatchObject({ unsureFromMs: NOON + 2 * HOUR_MS + 10_000 });
});

test("a restarted wgmon notices a step that happened while it was not running", () => {
  const before = boot(IN_1970);
  const noted = before.wall.now().wallMs;
  const after = boot(NOON, before.wall.state);
  expect(moved(after.first!, noted)).toBe(NOON);
});

test("a reboot of the machine is not a step, however long it took", () => {
  const before = boot(NOON);
  expect(boot(NOON + 5 * HOUR_MS, before.wall.state, "another").first).toBeNull();
});

test("if the boot id is unknown, a restart is not a step, but a change of the clock while wgmon runs is", () => {
  const before = boot(NOON, null, null);
  const { clock, wall, first } = boot(NOON + HOUR_MS, before.wall.state, null);
  expect(first).toBeNull();
  clock.jump(HOUR_MS);
  expect(wall.read()).toMatchObject({ ms: HOUR_MS });
});

test("a machine that was booted before 2026 counts as having had the right time", () => {
  const { clock, wall } = boot(Date.UTC(2025, 11, 25));
  clock.advance(340 * 24 * HOUR_MS);
  const noted = wall.now().wallMs;
  clock.jump(HOUR_MS);
  const step = wall.read()!;
  expect(step.ms).toBe(HOUR_MS);
  expect(moved(step, noted)).toBe(noted + HOUR_MS);
  // A time of another boot.
  expect(moved(step, Date.UTC(2025, 11, 24))).toBe(Date.UTC(2025, 11, 24));
});

test("times of a boot whose clock was never set are moved by the first boot whose clock is", () => {
  const before = boot(IN_1970);
  before.clock.advance(HOUR_MS);
  const noted = before.wall.now().wallMs;
  expect(boot(IN_1970, before.wall.state, "another").first).toBeNull();
  const { first } = boot(NOON, before.wall.state, "another");
  expect(moved(first!, noted)).toBe(NOON + HOUR_MS);
});

test("the very first run moves only times of 1970", () => {
  const { first } = boot(NOON);
  expect(moved(first!, NOON - HOUR_MS)).toBe(NOON - HOUR_MS);
});

test("a handshake time from the kernel is moved if it was taken before the step", () => {
  const { clock, wall } = boot(IN_1970);
  clock.advance(60_000);
  expect(wall.current(IN_1970 + 5000)).toBe(IN_1970 + 5000);
  clock.jump(NOON - IN_1970);
  wall.read();
  clock.advance(60_000);
  wall.read();
  expect(wall.current(IN_1970 + 5000)).toBe(NOON + 5000);
  expect(wall.current(NOON + 90_000)).toBe(NOON + 90_000);
});
