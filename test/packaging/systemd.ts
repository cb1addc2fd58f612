/**
 * Runs in a virtual machine with systemd as its first process: tests the installed package and wgmon as a service, from
 * boot to purge. WGMON_TEST_DEB is the path of a newer version of the package.
 */

import { Database as Sqlite } from "bun:sqlite";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { until } from "../support/until.ts";
import { Gateway } from "./network.ts";
import { Reports } from "./reports.ts";
import { counts, expect, run, step } from "./steps.ts";

const NEW = process.env["WGMON_TEST_DEB"]!;
const SETTINGS = "/etc/wgmon/wgmon.toml";
const DROP_INS = "/run/systemd/system/wgmon.service.d";
/** Long enough for a busy machine: wgmon must get processor time within half of this. */
const WATCHDOG_SECONDS = 20;
/** CAP_NET_ADMIN and CAP_NET_RAW, capability.h: bits 12 and 13. */
const CAPABILITIES = "0000000000003000";

using reports = new Reports();
const gateway = new Gateway(5);
const [first, second, third, fourth, fifth] = gateway.peers;

await step("boot: the service is ready and reports that there is no device", async () => {
  expectActive();
  expect(run(["systemctl", "is-enabled", "wgmon"]).trim() === "enabled", "it is not enabled");
  expect(/ready monitor=bpf interface=any reason=.* devices=none/.test(journal()), journal());
});

await step(
  "names: without /etc/wireguard the service starts, and only root can read the new folder",
  () => {
    run(["systemctl", "stop", "wgmon"]);
    expect(!existsSync("/run/wgmon-names"), "the copy of the names was not removed at the stop");
    rmSync("/etc/wireguard", { recursive: true });
    run(["systemctl", "start", "wgmon"]);
    expectActive();
    expect(
      run(["stat", "-c", "%U %a", "/etc/wireguard"]) === "root 700\n",
      "/etc/wireguard is not owned by root with mode 700",
    );
  },
);

await step("machine: WireGuard and the peers' configuration", async () => {
  writeFileSync("/etc/wireguard/wg0.conf", gateway.conf, { mode: 0o600 });
  run(["modprobe", "wireguard"]);
  run(["wg-quick", "up", "wg0"]);
  await until("the status", () => show("StatusText") === "watching wg0; 0 peers connected");
});

await step("names: after a reload the service can read the names and no private key", () => {
  run(["systemctl", "reload", "wgmon"]);
  const seen = inService("cat", "/etc/wireguard/wg0.conf");
  for (const { name, keys } of gateway.peers) {
    expect(seen.includes(name) && seen.includes(keys.publicKey), `no ${name} in ${seen}`);
  }
  expect(
    !/PrivateKey/.test(seen) && !seen.includes(gateway.keys.privateKey),
    "the service can read a private key",
  );
  expect(
    inService("find", "/etc/wireguard", "-type", "f") === "/etc/wireguard/wg0.conf\n",
    "files",
  );
  const modes = run(["stat", "-c", "%U %a", "/run/wgmon-names", "/run/wgmon-names/wg0.conf"]);
  expect(modes === "root 750\nroot 640\n", `owners and modes: ${modes}`);
});

await step("credentials: webhooks are read from a file that only root can read", () => {
  mkdirSync("/etc/credstore", { recursive: true, mode: 0o700 });
  writeFileSync("/etc/credstore/wgmon.webhooks", `${reports.url}\n`, { mode: 0o600 });
  run(["systemctl", "restart", "wgmon"]);
  expectActive();
  expect(journal().includes('targets="1 json:http://127.0.0.1'), journal());
});

await step("unit: a dynamic user, two capabilities, no new privileges", () => {
  const status = readFileSync(`/proc/${show("MainPID")}/status`, "utf8");
  const field = (name: string): string => new RegExp(`^${name}:\\s+(.*)$`, "m").exec(status)![1]!;
  expect(Number(field("Uid").split("\t")[0]) >= 61_184, `it runs as ${field("Uid")}`);
  for (const set of ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"]) {
    expect(field(set) === CAPABILITIES, `${set} is ${field(set)}`);
  }
  expect(
    field("NoNewPrivs") === "1" && field("Seccomp") === "2",
    "NoNewPrivs or Seccomp is not set",
  );
  const state = run(["stat", "-c", "%a", "/var/lib/private/wgmon", "/run/wgmon/wgmon.sock"]);
  expect(state === "700\n600\n", `modes of state and socket: ${state}`);
});

await step("unit: systemd-analyze finds no error and an exposure of at most 1.8", () => {
  const complaint = run(["systemd-analyze", "verify", "--man=no", "wgmon.service"]);
  expect(complaint === "", complaint);
  run(["systemd-analyze", "security", "--no-pager", "--threshold=18", "wgmon.service"]);
});

await step(
  "unit: the store has the boot id, which reveals a clock that is set while wgmon is stopped",
  () => {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8");
    expect(
      inService("cat", "/proc/sys/kernel/random/boot_id") === boot,
      "the service sees another boot id",
    );
    using store = new Sqlite("/var/lib/private/wgmon/wgmon.db", { readonly: true });
    const { boot_id: storedId } = store.query("SELECT boot_id FROM clock").get() as {
      boot_id: string;
    };
    expect(storedId === boot.trim(), `${storedId} is not ${boot}`);
  },
);

await step(
  "as installed: a packet wakes wgmon, and the peer is reported with its name",
  async () => {
    // Without reconcile scans only a packet can: there are no ticks while no peer is connected.
    writeFileSync(SETTINGS, 'reconcile = "0s"\n');
    run(["systemctl", "restart", "wgmon"]);
    first!.connect();
    await reports.connected(first!);
    await until("the status", () => show("StatusText") === "watching wg0; 1 peer connected");
    expect(journal().includes("peer1 (wg0) connected"), journal());
  },
);

await step("nflog: rules of `wgmon rules --install` are used, and a peer is reported", async () => {
  run(["wgmon", "rules", "--install"]);
  run(["systemctl", "restart", "wgmon"]);
  expect(/ready monitor=nflog .*devices=wg0/.test(journal()), journal());
  fifth!.connect();
  await reports.connected(fifth!);
});

await step(
  "kill -9: wgmon restarts, delivers the undelivered event, and repeats none",
  async () => {
    reports.status = 503;
    second!.connect();
    await reports.connected(second!);
    const before = show("MainPID");
    process.kill(Number(before), "SIGKILL");
    await until("another process", () => !["0", before].includes(show("MainPID")));
    await until("it is ready", () => show("ActiveState") === "active");
    reports.forget();
    reports.status = 204;
    await reports.connected(second!);
    third!.connect();
    await reports.connected(third!);
    // Events arrive in order: a repeated event would have arrived before the third.
    expect(reports.count === 2, `${reports.count} events received`);
  },
);

await step("watchdog: systemd restarts a process that hangs", async () => {
  dropIn(`WatchdogSec=${WATCHDOG_SECONDS}`);
  run(["systemctl", "restart", "wgmon"]);
  // The next daemon-reload restores the unit.
  rmSync(DROP_INS, { recursive: true });
  const before = show("MainPID");
  // First waits longer than the watchdog timeout: wgmon must send keep-alive notifications. In microseconds.
  const startedUs = Number(show("ActiveEnterTimestampMonotonic"));
  await until("a watchdog notification after the watchdog timeout", () => {
    const aliveUs = Number(show("WatchdogTimestampMonotonic"));
    return aliveUs - startedUs > WATCHDOG_SECONDS * 1_000_000;
  });
  expect(show("MainPID") === before, "systemd restarted a process that did not hang");
  process.kill(Number(before), "SIGSTOP");
  await until("another process", () => !["0", before].includes(show("MainPID")));
  await until("it is ready", () => show("ActiveState") === "active");
  const log = journal();
  expect(/Watchdog timeout/.test(log), log);
  expect(!/panic|bun\.report/.test(log), log);
});

await step("upgrade: state and settings are kept, and no event is repeated", async () => {
  writeFileSync(SETTINGS, 'monitor = "bpf"\ninterface = "any"\n');
  reports.forget();
  run(["dpkg", "-i", NEW]);
  expectActive();
  expect(readFileSync(SETTINGS, "utf8").startsWith('monitor = "bpf"'), "the settings are lost");
  expect(/ready monitor=bpf/.test(journal()), "it does not use the settings");
  fourth!.connect();
  await reports.connected(fourth!);
  expect(reports.count === 1, `${reports.count} events received`);
});

await step("reload: settings are read again", async () => {
  writeFileSync(SETTINGS, 'monitor = "bpf"\ninterface = "any"\nhost = "gw-reloaded"\n');
  run(["systemctl", "reload", "wgmon"]);
  await until("the reload", () => /settings reloaded .*host=gw-reloaded/.test(journal()));
  await until("it is ready", () => show("ActiveState") === "active");
});

await step(
  "invalid settings: wgmon exits with the reason in the journal and is not restarted",
  async () => {
    writeFileSync(SETTINGS, 'monitr = "bpf"\n');
    run(["systemctl", "restart", "wgmon"], { mayFail: true });
    await until("the end", () => show("ActiveState") === "failed");
    expect(show("ExecMainStatus") === "2", `exit code ${show("ExecMainStatus")}`);
    expect(/monitr.*did you mean monitor/.test(journal()), journal());
    writeFileSync(SETTINGS, 'monitor = "poll"\n');
    run(["systemctl", "start", "wgmon"]);
  },
);

await step("stop: wgmon exits with code 0", () => {
  run(["systemctl", "stop", "wgmon"]);
  const end = `${show("Result")} ${show("ExecMainStatus")} ${show("ActiveState")}`;
  expect(end === "success 0 inactive", end);
});

await step("remove keeps settings and state, purge deletes them", () => {
  run(["systemctl", "start", "wgmon"]);
  // The last step needs the binary.
  run(["cp", "/usr/bin/wgmon", "/usr/local/bin/wgmon"]);
  const packed = run(["dpkg", "-L", "wgmon"]).split("\n");
  run(["dpkg", "--remove", "wgmon"]);
  expect(show("ActiveState") === "inactive", `it is ${show("ActiveState")}`);
  expect(existsSync(SETTINGS), "the settings were deleted");
  expect(existsSync("/var/lib/private/wgmon/wgmon.db"), "the state was deleted");
  run(["dpkg", "--purge", "wgmon"]);
  const left = run(
    "find /etc /var/lib /run/systemd ( -path /var/lib/dpkg -o -path /etc/credstore ) -prune -o"
      .concat(" -name *wgmon* ! -name *wgmon-test* -print")
      .split(" "),
  );
  expect(left === "", `left: ${left}`);
  const files = packed.filter((path) => path.includes("wgmon") && existsSync(path));
  expect(files.length === 0, `left: ${files.join(", ")}`);
});

await step(
  "install-service: installs the binary as a service; uninstall-service removes it",
  () => {
    const installed = run(["/usr/local/bin/wgmon", "install-service"]);
    expect(installed.includes("wrote /etc/systemd/system/wgmon.service"), installed);
    expectActive();
    const complaint = run(["systemd-analyze", "verify", "wgmon.service"]);
    expect(complaint === "", complaint);
    const removed = run(["/usr/local/bin/wgmon", "uninstall-service"]);
    expect(removed.includes("removed /etc/systemd/system/wgmon.service"), removed);
    expect(show("LoadState") === "not-found", `the unit is ${show("LoadState")}`);
  },
);

if (counts.failed > 0) console.log(journal());
process.exit(0);

function show(property: string): string {
  return run(["systemctl", "show", "-P", property, "wgmon"]).trim();
}

/** Runs a program as the service's user, in the service's mount namespace. */
function inService(...command: readonly string[]): string {
  const pid = show("MainPID");
  const [uid, gid] = ["Uid", "Gid"].map(
    (name) =>
      new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]!,
  );
  return run(["nsenter", "-t", pid, "-m", "-S", uid!, "-G", gid!, ...command]);
}

function dropIn(line: string): void {
  mkdirSync(DROP_INS, { recursive: true });
  writeFileSync(join(DROP_INS, "test.conf"), `[Service]\n${line}\n`);
  run(["systemctl", "daemon-reload"]);
}

function expectActive(): void {
  expect(show("ActiveState") === "active", `it is ${show("ActiveState")}\n${journal()}`);
}

function journal(): string {
  return run(["journalctl", "-u", "wgmon", "--no-pager", "-o", "cat"]);
}
