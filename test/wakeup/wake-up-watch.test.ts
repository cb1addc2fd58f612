/** When the daemon warns that its wake-up is not effective, and the text of the warnings. */

import { beforeEach, expect, test } from "bun:test";

import { type Finding, ok, problem, skipped, warning } from "../../src/base/check.ts";
import { SystemError } from "../../src/base/errors.ts";
import { WakeUpWatch } from "../../src/wakeup/wake-up-watch.ts";
import type { WakeUp } from "../../src/wakeup/wakeup.ts";
import { HandClock } from "../support/clock.ts";

const PORT = 51820;
const NO_RULE = problem(`no rule logs wg0's port ${PORT} to group 1`, "wgmon rules --install");
const NO_RULE_TEXT = `no rule logs wg0's port ${PORT} to group 1. Fix: wgmon rules --install`;

let clock: HandClock;
let findings: Finding[];
let checks: number;
/** null: the check does not fail. */
let failure: SystemError | null;
let warnings: string[];

beforeEach(() => {
  clock = new HandClock();
  findings = [ok("all is well")];
  checks = 0;
  failure = null;
  warnings = [];
});

function watch(wakeUp: WakeUp = { monitor: "nflog", reason: null }): WakeUpWatch {
  return new WakeUpWatch({
    wakeUp,
    clock,
    log: { warn: (message) => void warnings.push(message) },
    isManaged: false,
    portOf: () => PORT,
    check() {
      checks++;
      return failure === null ? Promise.resolve(findings) : Promise.reject(failure);
    },
  });
}

async function pass(ms: number): Promise<void> {
  clock.advance(ms);
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
}

/** Reports a connect that no packet announced; by default with a handshake just now. Returns the new warnings. */
async function connect(watched: WakeUpWatch, handshakeMs: number | null = clock.now().wallMs) {
  await watched.warnOfMissingPackets({ device: "wg0", peer: { lastHandshakeMs: handshakeMs } });
  return warnings.splice(0);
}

test("a packet that is read from the receive buffer while the check runs does not count as lost", async () => {
  const watched = watch();
  clock.advance(1000);
  const connected = connect(watched);
  watched.messageCaptured(PORT);
  expect(await connected).toEqual([]);
  // The device is checked again at the next connect without a packet.
  clock.advance(60_000);
  expect(await connect(watched)).toEqual([]);
  expect(checks).toBe(2);
});

test("missing rules cause one warning with the remedy at the start", async () => {
  findings = [NO_RULE];
  const watched = watch();
  watched.setPorts([PORT]);
  expect(warnings).toEqual([]);
  await pass(1000);
  expect(warnings.splice(0)).toEqual([`packets may not wake wgmon: ${NO_RULE_TEXT}`]);
  expect(watched.problem).toBe(NO_RULE_TEXT);
  watched.setPorts([PORT]);
  await pass(60_000);
  expect(checks).toBe(1);
  expect(await connect(watched)).toEqual([]);
});

test("the check of an effective wake-up logs nothing", async () => {
  const watched = watch();
  watched.setPorts([PORT]);
  await pass(1000);
  expect(checks).toBe(1);
  expect(warnings).toEqual([]);
  expect(watched.problem).toBeNull();
});

test("a new port is checked once it has been stable for a second", async () => {
  const watched = watch();
  watched.setPorts([]);
  await pass(500);
  watched.setPorts([0]);
  await pass(500);
  watched.setPorts([PORT]);
  findings = [warning("it is logged, but not over IPv6", null)];
  await pass(1000);
  expect(checks).toBe(1);
  expect(warnings).toEqual(["packets may not wake wgmon: it is logged, but not over IPv6"]);
});

test("a solved problem ends with the next packet to its port, even if there were packets before", async () => {
  const watched = watch();
  watched.setPorts([PORT]);
  watched.messageCaptured(PORT);
  findings = [NO_RULE];
  await pass(1000);
  expect(watched.problem).toBe(NO_RULE_TEXT);
  findings = [ok("logged")];
  await pass(10_000);
  watched.messageCaptured(PORT);
  watched.messageCaptured(PORT);
  await pass(1000);
  expect(watched.problem).toBeNull();
  expect(checks).toBe(2);
});

test("a skipped check changes nothing", async () => {
  findings = [NO_RULE];
  const watched = watch();
  watched.setPorts([PORT]);
  await pass(1000);
  findings = [skipped("nft: timed out")];
  watched.checkSoon();
  await pass(1000);
  expect(watched.problem).toBe(NO_RULE_TEXT);
});

test("a clock that was set back does not hide a handshake", async () => {
  const watched = watch();
  await pass(60_000);
  const before = clock.now().wallMs;
  clock.jump(-3_600_000);
  watched.clockSet({ ms: -3_600_000, fromMs: 0, toMs: before, unsureFromMs: null });
  findings = [NO_RULE];
  expect(await connect(watched)).toHaveLength(1);
});

test("a solved problem ends with the first packet to its port", async () => {
  findings = [NO_RULE];
  const watched = watch();
  watched.setPorts([PORT]);
  await pass(1000);
  findings = [ok("logged")];
  await pass(10_000);
  watched.messageCaptured(PORT);
  await pass(1000);
  expect(watched.problem).toBeNull();
  expect(warnings).toEqual([`packets may not wake wgmon: ${NO_RULE_TEXT}`]);
});

test("a handshake that no packet announced causes one warning per device, with the finding of the check", async () => {
  const watched = watch();
  await pass(60_000);
  findings = [NO_RULE];
  const text = `a peer of wg0 connected, but no packet of its handshake was captured: ${NO_RULE_TEXT}`;
  expect(await connect(watched)).toEqual([text]);
  expect(await connect(watched)).toEqual([]);
});

test("the warning has a remedy even if the check finds no problem", async () => {
  for (const monitor of ["nflog", "bpf"] as const) {
    const watched = watch({ monitor, reason: null });
    await pass(60_000);
    const [text] = await connect(watched);
    expect(text).toMatch(
      /^a peer of wg0 connected, but no packet of its handshake was captured: .*51820.* Fix: /,
    );
  }
});

test.each([
  ["whose packet was received", 1000],
  ["whose initiation was received before it", 10_000],
])("a handshake %s causes no warning", async (_, agoMs) => {
  const watched = watch();
  await pass(60_000);
  watched.messageCaptured(PORT);
  await pass(agoMs);
  findings = [NO_RULE];
  expect(await connect(watched)).toEqual([]);
});

test("a lost packet causes no warning, but removed rules do", async () => {
  const watched = watch();
  await pass(60_000);
  watched.messageCaptured(PORT);
  await pass(600_000);
  expect(await connect(watched)).toEqual([]);
  const other = watch();
  other.messageCaptured(PORT);
  await pass(600_000);
  findings = [NO_RULE];
  expect(await connect(other)).toHaveLength(1);
});

test("a peer that returns after a restart with earlier keys causes no warning", async () => {
  const beforeMs = clock.now().wallMs - 30_000;
  findings = [NO_RULE];
  const watched = watch();
  await pass(60_000);
  expect(await connect(watched, beforeMs)).toEqual([]);
  expect(await connect(watched, null)).toEqual([]);
  expect(checks).toBe(0);
});

test("poll causes a warning at once unless it was configured", async () => {
  const chosen = watch({ monitor: "poll", reason: "EPERM" });
  expect(warnings.splice(0)).toEqual([chosen.problem!]);
  expect(chosen.problem).toContain("EPERM");
  const wanted = watch({ monitor: "poll", reason: null });
  wanted.setPorts([PORT]);
  await pass(60_000);
  expect(await connect(wanted)).toEqual([]);
  expect(wanted.problem).toBeNull();
  expect(checks).toBe(0);
});

test("a check that fails, for example because no descriptor is free, changes nothing", async () => {
  const watched = watch();
  failure = new SystemError("read /proc/net/if_inet6", "EMFILE");
  watched.setPorts([PORT]);
  await pass(1000);
  expect([checks, watched.problem, warnings]).toEqual([1, null, []]);

  failure = null;
  findings = [NO_RULE];
  watched.setPorts([PORT + 1]);
  await pass(1000);
  expect(watched.problem).toBe(NO_RULE_TEXT);
  failure = new SystemError("read /proc/net/if_inet6", "EMFILE");
  watched.setPorts([PORT]);
  await pass(1000);
  expect(watched.problem).toBe(NO_RULE_TEXT);
});
