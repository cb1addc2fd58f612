/** A machine's clock that is set, on a clock that the test sets. */

import { expect, test } from "bun:test";

import { type ClockState, moved, WallClock } from "../../src/base/wall-clock.ts";
import { HandClock } from "../support/clock.ts";

const HOUR_MS = 3_600_000;
const NOON = Date.UTC(2026, 10, 29, 12);
const IN_1970 = 120_000;

/** A machine that was booted at that time, by its own clock. */
function boot(atMs: number, saved: ClockState | null = null, id: string | null = "boot") {
  const clock = new HandClock(atMs);
  clock.bootId = id;
  const wall = new WallClock({ clock, machine: clock, saved });
  const first = wall.read();
  return { clock, wall, first };
}

for (const stepMs of [-24 * HOUR_MS, -HOUR_MS, -10_000, 10_000, HOUR_MS, 24 * HOUR_MS]) {
  test(`a step of ${stepMs / 1000} s moves the times of this boot by as much, and no others`, () => {
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

test("a start in 1970 counts from the boot once the clock is right", () => {
  const { clock, wall } = boot(IN_1970);
  const started = wall.now().wallMs;
  clock.advance(30_000);
  clock.jump(NOON - IN_1970);
  const step = wall.read()!;
  expect(moved(step, started)).toBe(NOON);
  // What an earlier boot waited with in 2026 has its right time.
  expect(moved(step, NOON - HOUR_MS)).toBe(NOON - HOUR_MS);
});

test("until a step is read, now goes on by the old clock", () => {
  const { clock, wall } = boot(NOON);
  clock.jump(-HOUR_MS);
  clock.advance(1500);
  expect(wall.now()).toEqual({ wallMs: NOON + 1500, monotonicMs: 1500 });
});

test("time that passes while the machine is suspended is no step", () => {
  const { clock, wall } = boot(NOON);
  let sleptMs = 0;
  clock.bootMs = () => clock.now().monotonicMs + sleptMs;
  sleptMs = 8 * HOUR_MS;
  clock.jump(sleptMs);
  expect(wall.read()).toBeNull();
  expect(wall.now().wallMs).toBe(NOON + 8 * HOUR_MS);
});

test("less than two seconds are no step", () => {
  const { clock, wall } = boot(NOON);
  for (let n = 0; n < 5; n++) {
    clock.jump(1500);
    expect(wall.read()).toBeNull();
    expect(wall.now().wallMs).toBe(clock.now().wallMs);
  }
});

test("what is over is not moved when the old clock was kept right, as when a virtual machine was paused", () => {
  const { clock, wall } = boot(NOON);
  clock.isRight = true;
  wall.read();
  clock.jump(HOUR_MS);
  expect(wall.read()).toMatchObject({ ms: HOUR_MS, unsureFromMs: null });
});

test("what is over is moved as far back as nothing kept the clock right", () => {
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

test("a restart of wgmon notices a step since", () => {
  const before = boot(IN_1970);
  const noted = before.wall.now().wallMs;
  const after = boot(NOON, before.wall.state);
  expect(moved(after.first!, noted)).toBe(NOON);
});

test("a restart of the machine is no step, whatever the time until then", () => {
  const before = boot(NOON);
  expect(boot(NOON + 5 * HOUR_MS, before.wall.state, "another").first).toBeNull();
});

test("where the boot is unknown, a restart is no step, and a step while it runs is one", () => {
  const before = boot(NOON, null, null);
  const { clock, wall, first } = boot(NOON + HOUR_MS, before.wall.state, null);
  expect(first).toBeNull();
  clock.jump(HOUR_MS);
  expect(wall.read()).toMatchObject({ ms: HOUR_MS });
});

test("a machine that was booted before 2026 and is up for long knows the time", () => {
  const { clock, wall } = boot(Date.UTC(2025, 11, 25));
  clock.advance(340 * 24 * HOUR_MS);
  const noted = wall.now().wallMs;
  clock.jump(HOUR_MS);
  const step = wall.read()!;
  expect(step.ms).toBe(HOUR_MS);
  expect(moved(step, noted)).toBe(noted + HOUR_MS);
  // Of another boot.
  expect(moved(step, Date.UTC(2025, 11, 24))).toBe(Date.UTC(2025, 11, 24));
});

test("times of a boot that never knew the time are moved by the next that does", () => {
  const before = boot(IN_1970);
  before.clock.advance(HOUR_MS);
  const noted = before.wall.now().wallMs;
  expect(boot(IN_1970, before.wall.state, "another").first).toBeNull();
  const { first } = boot(NOON, before.wall.state, "another");
  expect(moved(first!, noted)).toBe(NOON + HOUR_MS);
});

test("the first run of all moves nothing but times of 1970", () => {
  const { first } = boot(NOON);
  expect(moved(first!, NOON - HOUR_MS)).toBe(NOON - HOUR_MS);
});

test("the kernel's time of a handshake is moved if it cannot be by the present clock", () => {
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
