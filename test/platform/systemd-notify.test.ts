/** Notifications to systemd at a real socket: of the Notifier alone, then of the binary. */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Log } from "../../src/platform/log.ts";
import { Notifier } from "../../src/platform/systemd-notify.ts";
import { HandClock } from "../support/clock.ts";
import { NotifySocket } from "../support/notify-socket.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS, until } from "../support/until.ts";
import { startWgmon } from "../support/wgmon.ts";

const addresses = {
  "a path": () => join(newStateFolder(), "notify"),
  "an abstract name": () => `@wgmon-test-${crypto.randomUUID()}`,
};

for (const [kind, address] of Object.entries(addresses)) {
  test(`ready, changes of the status, and the stop are sent to ${kind}`, () => {
    using socket = new NotifySocket(address());
    const { notifier, warnings } = setUp({ NOTIFY_SOCKET: socket.address });
    notifier.ready();
    notifier.publishStatus({ devices: ["wg0", "wg1"], connected: 0 });
    notifier.publishStatus({ devices: ["wg0", "wg1"], connected: 0 });
    notifier.publishStatus({ devices: ["wg0"], connected: 1 });
    notifier.publishStatus({ devices: [], connected: 0 });
    notifier.stopping();
    expect(socket.take()).toEqual([
      "READY=1",
      "STATUS=watching wg0, wg1; 0 peers connected",
      "STATUS=watching wg0; 1 peer connected",
      "STATUS=waiting for a WireGuard device",
      "STOPPING=1",
    ]);
    expect(warnings).toEqual([]);
  });
}

test("a device's name cannot add another notification", () => {
  using socket = new NotifySocket(addresses["a path"]());
  const { notifier } = setUp({ NOTIFY_SOCKET: socket.address });
  notifier.publishStatus({ devices: ["wg0\nMAINPID=1", "\u001b[31m"], connected: 0 });
  expect(socket.take()).toEqual(["STATUS=watching wg0 MAINPID=1, [31m; 0 peers connected"]);
  const many = Array.from({ length: 10 }, (_, index) => `wg${index}`);
  notifier.publishStatus({ devices: many, connected: 2 });
  expect(socket.take()).toEqual([
    "STATUS=watching wg0, wg1, wg2, wg3, wg4, wg5, wg6, wg7, 2 more; 2 peers connected",
  ]);
});

test("a reload is sent to systemd with the time of its start", () => {
  using socket = new NotifySocket(addresses["a path"]());
  const { notifier } = setUp({ NOTIFY_SOCKET: socket.address });
  notifier.reloading();
  const [, us] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(socket.take().join("|")) ?? [];
  // /proc/uptime includes the time of suspends, CLOCK_MONOTONIC does not.
  const uptimeSeconds = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  expect(Number(us) / 1e6).toBeGreaterThan(0);
  expect(Number(us) / 1e6).toBeLessThan(uptimeSeconds + 1);
});

test("the watchdog is notified twice per timeout, and not after the stop", () => {
  using socket = new NotifySocket(addresses["a path"]());
  const { notifier, clock } = setUp({
    NOTIFY_SOCKET: socket.address,
    WATCHDOG_USEC: "60000000",
    WATCHDOG_PID: String(process.pid),
  });
  expect(socket.take()).toEqual(["WATCHDOG=1"]);
  clock.advance(29_999);
  expect(socket.take()).toEqual([]);
  clock.advance(30_001);
  expect(socket.take()).toEqual(["WATCHDOG=1", "WATCHDOG=1"]);
  notifier.stopping();
  expect(socket.take()).toEqual(["STOPPING=1"]);
  expect(clock.waiting).toBe(0);
});

for (const [title, env] of Object.entries({
  "for another process": { WATCHDOG_USEC: "60000000", WATCHDOG_PID: "1" },
  "with a timeout of 0": { WATCHDOG_USEC: "0" },
  "with an invalid timeout": { WATCHDOG_USEC: "1 minute" },
  "that is not configured": {},
})) {
  test(`a watchdog ${title} is not notified`, () => {
    using socket = new NotifySocket(addresses["a path"]());
    const { clock } = setUp({ NOTIFY_SOCKET: socket.address, ...env });
    clock.advance(600_000);
    expect(socket.take()).toEqual([]);
  });
}

for (const [address, complaint] of [
  ["/nowhere/notify", "notify systemd: ENOENT"],
  [
    `/${"x".repeat(107)}`,
    "notify systemd: EINVAL (NOTIFY_SOCKET is neither a path nor an abstract name)",
  ],
  ["vsock:2:1234", "notify systemd: EINVAL (NOTIFY_SOCKET is neither a path nor an abstract name)"],
] as const) {
  test(`if systemd does not listen at ${address.slice(0, 20)}, a warning is logged`, () => {
    const { notifier, warnings } = setUp({ NOTIFY_SOCKET: address });
    notifier.ready();
    expect(warnings).toEqual([complaint]);
  });
}

test("a socket of systemd that is not read does not block wgmon", () => {
  using socket = new NotifySocket(addresses["a path"]());
  const { notifier, warnings } = setUp({ NOTIFY_SOCKET: socket.address });
  // net.unix.max_dgram_qlen is 10 to 512.
  while (warnings.length === 0) notifier.ready();
  expect(warnings[0]).toStartWith("notify systemd: EAGAIN");
  expect(socket.take().length).toBeGreaterThan(5);
});

test(
  "the binary sends ready, status, watchdog, reload and stop notifications",
  async () => {
    using socket = new NotifySocket(addresses["a path"]());
    const environment = { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: "200000" };
    await using wgmon = startWgmon(["--monitor", "poll"], { environment });
    const notifications: string[] = [];
    const waitForNotification = async (text: string | RegExp, times = 1) => {
      const isIt = (line: string) => (typeof text === "string" ? line === text : text.test(line));
      await until(`${text}, ${times} times`, () => {
        notifications.push(...socket.take());
        return notifications.filter(isIt).length >= times;
      });
    };
    await waitForNotification("READY=1");
    await waitForNotification(/^STATUS=(watching|waiting for) /);
    await waitForNotification("WATCHDOG=1", 3);
    wgmon.signal("SIGHUP");
    await waitForNotification(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
    await waitForNotification("READY=1", 2);
    expect(await wgmon.stop()).toBe(0);
    await waitForNotification("STOPPING=1");
    const order = notifications
      .filter((line) => line !== "WATCHDOG=1")
      .map((line) => line.split("=")[0]);
    expect(order).toEqual(["READY", "STATUS", "RELOADING", "READY", "STOPPING"]);
    expect(wgmon.log.filter(({ level }) => level === "error")).toEqual([]);
  },
  TEST_MS,
);

function setUp(env: Readonly<Record<string, string>>) {
  const clock = new HandClock();
  const warnings: string[] = [];
  const log = { warn: (message: string) => void warnings.push(message) } as unknown as Log;
  return { notifier: new Notifier({ env, clock, log }), clock, warnings };
}
