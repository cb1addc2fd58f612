/**
 * Runs in a virtual machine: tests the image as a WireGuard gateway. WGMON_TEST_STORE is the path of the host's podman
 * store, which has the image.
 */

import { mkdirSync, writeFileSync } from "node:fs";

import { until } from "../support/until.ts";
import { Gateway } from "./network.ts";
import { Reports } from "./reports.ts";
import { expect, run, step } from "./steps.ts";

const IMAGE = "localhost/wgmon:latest";
const CONF = "/run/wireguard-conf";

using reports = new Reports();
const gateway = new Gateway(2);
const [first, second] = gateway.peers;

await step("machine: podman has the host's image", () => {
  run(["modprobe", "wireguard"]);
  run(["mount", "-t", "cgroup2", "cgroup", "/sys/fs/cgroup"]);
  mkdirSync("/run/store");
  run(["mount", "-t", "tmpfs", "store", "/run/store"]);
  writeFileSync(
    "/run/storage.conf",
    `[storage]
driver = "overlay"
graphroot = "/run/store/graph"
runroot = "/run/containers"
[storage.options]
additionalimagestores = ["${process.env["WGMON_TEST_STORE"]}"]
`,
  );
  writeFileSync(
    "/run/containers.conf",
    `[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "crun"\n`,
  );
  process.env["CONTAINERS_STORAGE_CONF"] = "/run/storage.conf";
  process.env["CONTAINERS_CONF"] = "/run/containers.conf";
  run(["podman", "image", "exists", IMAGE]);
  mkdirSync(CONF, { mode: 0o700 });
  writeFileSync(`${CONF}/wg0.conf`, gateway.conf, { mode: 0o600 });
});

await step(
  "container: wg-quick creates the interface, and a peer is reported with its name",
  async () => {
    start("wgmon1");
    await until("ready", () => /ready monitor=nflog .*devices=wg0/.test(logs("wgmon1")));
    await until("the rules", () => run(["nft", "list", "tables"]).includes("wgmon"));
    first!.connect();
    await reports.connected(first!);
    expect(logs("wgmon1").includes("peer1 (wg0) connected"), logs("wgmon1"));
    const capabilities = run(["podman", "exec", "wgmon1", "grep", "CapEff", "/proc/1/status"]);
    expect(capabilities.includes("0000000000003000"), capabilities);
  },
);

await step(
  "container: after a kill, a new container uses the existing interface and reports only new events",
  async () => {
    run(["podman", "kill", "-s", "KILL", "wgmon1"]);
    reports.forget();
    start("wgmon2");
    await until("ready", () => /ready monitor=nflog .*devices=wg0/.test(logs("wgmon2")));
    expect(!logs("wgmon2").includes("wg-quick"), logs("wgmon2"));
    second!.connect();
    await reports.connected(second!);
    expect(reports.count === 1, `${reports.count} events received`);
  },
);

await step("container: it stops with exit code 0 on a signal", () => {
  run(["podman", "stop", "-t", "20", "wgmon2"]);
  const code = run(["podman", "inspect", "--format", "{{.State.ExitCode}}", "wgmon2"]).trim();
  expect(code === "0", `exit code ${code}`);
  // On a busy machine nft may be too slow; then the log says how to remove the rules.
  const isRemoved = !run(["nft", "list", "tables"]).includes("wgmon");
  const log = logs("wgmon2");
  expect(isRemoved || /not removed within \d+ s; if it remains: nft delete table/.test(log), log);
});

process.exit(0);

function start(name: string): void {
  const words = `podman run -d --name ${name} --pull=never --read-only --network=host
    --cap-drop=all --cap-add=NET_ADMIN --cap-add=NET_RAW --security-opt=no-new-privileges
    -v ${CONF}:/etc/wireguard:ro -v state:/var/lib/wgmon
    -e WGMON_MANAGE_RULES=true -e WGMON_WEBHOOK=${reports.url} ${IMAGE}`;
  run(words.split(/\s+/));
}

function logs(name: string): string {
  return run(["podman", "logs", name]);
}
