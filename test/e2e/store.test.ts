/** The binary and its store: the boot id, a second wgmon, and a folder that does not exist. */

import { Database as Sqlite } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { newStateFolder } from "../support/state.ts";
import { until } from "../support/until.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

const WGMON = join(import.meta.dir, "../../wgmon");
const POLL = ["--monitor", "poll", "--device", "wgtest-none"];

/** Waits for "ready" and then for the store, which is opened later. */
async function started(wgmon: Wgmon, folder: string): Promise<void> {
  await wgmon.ready;
  await until("the store exists", () => existsSync(join(folder, "wgmon.db")));
}

test("the store has the boot id, so that the next run notices a reboot or a step of the clock", async () => {
  const folder = newStateFolder();
  await using wgmon = startWgmon([...POLL, "--state-dir", folder]);
  await started(wgmon, folder);
  expect(await wgmon.stop()).toBe(0);
  using file = new Sqlite(join(folder, "wgmon.db"), { readonly: true });
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  expect(file.query("SELECT boot_id FROM clock").get()).toEqual({ boot_id: boot });
});

test("a second wgmon on the same store or socket does not start, and the first continues", async () => {
  const folder = join(newStateFolder(), "deep", "er");
  const runtime = `${newStateFolder()}/run`;
  const environment = { RUNTIME_DIRECTORY: runtime };
  await using first = startWgmon([...POLL, "--state-dir", folder], { environment });
  await started(first, folder);
  const stop = `Stop it (systemctl stop wgmon, or kill ${first.pid})`;
  await using sameStore = startWgmon([...POLL, "--state-dir", folder]);
  expect(await sameStore.exited).toBe(1);
  expect(sameStore.logText).toEndWith(
    `\nwgmon: already running: process ${first.pid} (wgmon) uses ${folder}. ${stop}, or start this one with another --state-dir`,
  );
  await using sameSocket = startWgmon(POLL, { environment });
  expect(await sameSocket.exited).toBe(1);
  expect(sameSocket.logText).toContain(
    `\nwgmon: already running: process ${first.pid} (wgmon) uses ${runtime}/wgmon.sock. ${stop}, or start`,
  );
  // A command can use the same store.
  const outbox = Bun.spawnSync([WGMON, "outbox", "--state-dir", folder]);
  expect(outbox.stdout.toString()).toBe("no events are waiting, and there are no dead letters\n");
  // Through its socket, the running wgmon tells a command where its store is.
  const env = { RUNTIME_DIRECTORY: runtime };
  await until("it can be queried", () => {
    const { stdout } = Bun.spawnSync([WGMON, "outbox"], { env });
    return stdout.toString() === "no events are waiting, and there are no dead letters\n";
  });
  expect(first.log.filter(({ level }) => level === "error")).toEqual([]);
  expect(await first.stop("SIGKILL")).toBe(128 + 9);
  // The locks and the socket that it left do not prevent the next start.
  await using next = startWgmon([...POLL, "--state-dir", folder], { environment });
  await started(next, folder);
  expect(next.log.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
});
