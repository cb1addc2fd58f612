/**
 * Which rights of wgmon the programs of exec targets and other processes of its user get, if it runs as in its
 * systemd unit: as an unprivileged user with ambient capabilities.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { needs } from "../support/kernel.ts";
import { until } from "../support/until.ts";
import { startWgmon } from "../support/wgmon.ts";

const tools = needs("root", "setpriv");
const NOBODY = 65_534;
/** Bits 12 and 13: CAP_NET_ADMIN and CAP_NET_RAW. */
const BOTH = "0000000000003000";
const NONE = "0000000000000000";

describe.skipIf(tools.missing)(
  tools.title("wgmon as the user nobody, with ambient capabilities"),
  () => {
    let folder: string;
    let wgmon: string;

    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), "wgmon-privileges-"));
      chmodSync(folder, 0o755);
      // In a folder that this user can read.
      copyFileSync(join(import.meta.dir, "../../wgmon"), join(folder, "program"));
      wgmon = join(folder, "wgmon");
      const caps = "-all,+net_admin,+net_raw";
      const words = `setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups --no-new-privs`;
      const sets = `--inh-caps ${caps} --ambient-caps ${caps} --bounding-set ${caps}`;
      writeFileSync(wgmon, `#!/bin/sh\nexec ${words} ${sets} ${folder}/program "$@"\n`);
      chmodSync(wgmon, 0o755);
    });
    afterAll(() => rmSync(folder, { recursive: true }));

    function ownFolder(name: string): string {
      const path = join(folder, name);
      mkdirSync(path);
      chownSync(path, NOBODY, NOBODY);
      return path;
    }

    test("no program of an exec target has capabilities or can read wgmon's memory", () => {
      const results = ownFolder("results");
      const program = join(folder, "program.sh");
      const script = `#!/bin/sh
{ grep ^Cap /proc/self/status; grep ^Cap /proc/$PPID/status | sed 's/^/wgmon/'
  head -c 0 /proc/$PPID/mem && echo read || echo refused; } > ${results}/$WGMON_EVENT_TYPE 2>/dev/null
`;
      writeFileSync(program, script);
      chmodSync(program, 0o755);
      const config = join(folder, "wgmon.toml");
      writeFileSync(config, `[[target]]\nexec = ["${program}"]\n`);
      const run = Bun.spawnSync([wgmon, "test-webhook", "--config", config], {
        env: { PATH: process.env["PATH"], STATE_DIRECTORY: results },
      });
      expect(run.exitCode).toBe(0);
      for (const type of ["peer.connected", "peer.disconnected"]) {
        const text = readFileSync(join(results, type), "utf8");
        for (const set of ["CapPrm", "CapEff", "CapAmb"]) {
          expect(text).toContain(`\n${set}:\t${NONE}\n`);
          // They are dropped only for the program: wgmon itself keeps its capabilities.
          expect(text).toContain(`wgmonCapEff:\t${BOTH}\n`);
        }
        expect(text).toEndWith("refused\n");
      }
    });

    test("an error for the socket of a userspace device names its owner and mode", async () => {
      const socket = join(folder, "wg9.sock");
      using server = Bun.serve({ unix: socket, fetch: () => new Response("") });
      chmodSync(socket, 0o700);
      const source = (path: string) => JSON.stringify(join(import.meta.dir, "../../src", path));
      const ask = `const { systemClock } = await import(${source("base/clock.ts")});
        const { queryUapi } = await import(${source("kernel/uapi-socket.ts")});
        await queryUapi("query userspace device wg9", ${JSON.stringify(socket)}, systemClock, () => null)
          .catch((error) => console.log(error.message));`;
      expect(server.url).toBeDefined();
      const run = Bun.spawnSync([process.execPath, "-e", `process.seteuid(${NOBODY}); ${ask}`]);
      expect(run.stdout.toString()).toStartWith(
        `query userspace device wg9: EACCES (${socket} belongs to user 0 and group 0, mode 700, and wgmon runs as user ${NOBODY}; `,
      );
      chmodSync(folder, 0o700);
      const behind = Bun.spawnSync([process.execPath, "-e", `process.seteuid(${NOBODY}); ${ask}`]);
      chmodSync(folder, 0o755);
      expect(behind.stdout.toString()).toContain(`EACCES (${folder} belongs to user 0`);
    });

    test("commands on a store of root say which user can read it", () => {
      const store = join(folder, "store");
      mkdirSync(store, { mode: 0o700 });
      writeFileSync(join(store, "wgmon.db"), "");
      const env = { RUNTIME_DIRECTORY: join(folder, "none") };
      const stderrOf = (...words: readonly string[]) =>
        Bun.spawnSync([wgmon, ...words, "--state-dir", store], { env }).stderr.toString();
      const refused = `wgmon: open ${store}/wgmon.db: EACCES (run this as root, with sudo, or as the user that wgmon runs as)\n`;
      expect(stderrOf("outbox")).toBe(refused);
      expect(stderrOf("events")).toBe(`wgmon: wgmon is not running here\n${refused}`);
    });

    test("only root can read the daemon's memory, and the daemon can read its own files in /proc", async () => {
      const environment = {
        STATE_DIRECTORY: ownFolder("state"),
        RUNTIME_DIRECTORY: ownFolder("run"),
      };
      await using daemon = startWgmon(["--monitor", "poll"], { binary: wgmon, environment });
      await daemon.ready;
      await until("root owns the memory", () => statSync(`/proc/${daemon.pid}/mem`).uid === 0);
      const status = readFileSync(`/proc/${daemon.pid}/status`, "utf8");
      expect(status).toContain(`CapEff:\t${BOTH}\n`);
      expect(status).toContain(`CapAmb:\t${BOTH}\n`);
      // The socket comes after "ready".
      const health = () => Bun.spawnSync([join(folder, "program"), "health"], { env: environment });
      await until("the daemon is healthy", () => health().stdout.toString() === "ready\n");
      expect(daemon.log.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
      expect(await daemon.stop()).toBe(0);
    });
  },
);
