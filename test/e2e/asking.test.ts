/**
 * The binary's `status`, `sessions`, `events` and `top`, on a device whose peers connect and roam: with
 * a daemon, without one, and with one that is killed meanwhile.
 */

import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import type { Event } from "../../src/events/event-schema.ts";
import type { PeerView } from "../../src/http/schemas.ts";
import { whyNoTunnel } from "../support/kernel.ts";
import type { AskedFigures } from "../support/query-scenarios.ts";
import { TEST_MS } from "../support/until.ts";

const missing = whyNoTunnel();
if (missing !== null && process.env["WGMON_KERNEL_TESTS"] === "require") {
  throw new Error(`WGMON_KERNEL_TESTS=require, but: ${missing}`);
}
const note = missing === null ? "" : ` [skipped: ${missing}]`;
const KEY = /^[A-Za-z0-9+/]{8}… /;

describe.skipIf(missing !== null)(`the query commands${note}`, () => {
  let found: AskedFigures;

  beforeAll(async () => {
    const script = join(import.meta.dir, "../support/query-scenarios.ts");
    const child = Bun.spawn(["unshare", "--net", "--mount", process.execPath, script], {
      stdout: "pipe",
      stderr: "inherit",
    });
    found = JSON.parse(await child.stdout.text()) as AskedFigures;
  }, TEST_MS);

  test("without a daemon, status shows from the kernel which peers are connected, but not since when", () => {
    const { status, sessions, top } = found.without;
    expect(status.exitCode).toBe(0);
    expect(status.stderr).toBe("wgmon: wgmon is not running here; showing data from the kernel\n");
    expect(status.stdout).toStartWith("played0, port 51820: 1 of 2 peers connected\n");
    expect(status.stdout).toMatch(/^\S{8}… +connected +\?  .*  \?$/m);
    expect(status.stdout).toMatch(/^\S{8}… +never  /m);
    expect(sessions.exitCode).toBe(1);
    expect(sessions.stderr).toMatch(
      /^wgmon: wgmon is not running here\nwgmon: open \S+\/wgmon\.db: ENOENT \(.*\)\n$/,
    );
    expect(top).toMatchObject({ exitCode: 1, stdout: "" });
    expect(top.stderr).toMatch(
      /^wgmon: wgmon top: ENOTTY \(it needs a terminal; wgmon status .*\n$/,
    );
  });

  test("status prints both peers", () => {
    const { status, statusJson } = found;
    expect(status).toMatchObject({ exitCode: 0, stderr: "" });
    expect(status.stdout).toMatch(
      /^gw1: wgmon \d\S+, up \d+s\nwoken by poll\n\nplayed0, port 51820: 2 of 2 peers/,
    );
    expect(status.stdout).not.toContain("\x1b");
    const peers = statusJson.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as PeerView);
    expect(peers).toHaveLength(2);
    for (const peer of peers) {
      expect(peer).toMatchObject({ device: "played0", state: "connected", name: null });
      expect(peer.session).toMatchObject({ roams: 0 });
    }
  });

  test("sessions prints the sessions of both peers", () => {
    const { sessions, csv } = found;
    expect(sessions).toMatchObject({ exitCode: 0, stderr: "" });
    const lines = sessions.stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(/^PEER +DEVICE +STARTED +LASTED +END +ENDPOINT +RX +TX +ROAMS$/);
    for (const line of lines.slice(1)) expect(line).toMatch(KEY);
    expect(csv.stdout).toMatch(/^device,.*\r\nplayed0,\S{44},,.*\r\n$/);
  });

  test("events prints both connects, and ends when its reader is gone", () => {
    const { events, piped } = found;
    expect(events).toMatchObject({ exitCode: 0, stderr: "" });
    const lines = events.stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      expect(line).toMatch(
        /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S{8}… \(played0\) connected from 127\./,
      );
    }
    expect(piped).toMatchObject({ exitCode: 0, stderr: "" });
    expect(piped.stdout.split("\n")).toHaveLength(2);
  });

  test("events --follow prints each event once, even if the daemon is killed meanwhile", () => {
    const { exitCode, stdout, stderr } = found.follow;
    expect({ exitCode, stderr }).toEqual({
      exitCode: 0,
      stderr: "wgmon: connection to wgmon lost; waiting for it\nwgmon: connected to wgmon again\n",
    });
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Event);
    expect(events.map(({ id }) => id)).toEqual([...found.stored]);
    const roams = events.filter(({ type }) => type === "peer.roamed");
    expect(roams.length).toBeGreaterThanOrEqual(3);
  });

  test("after the daemon was killed, status reads the start of sessions from the store", () => {
    const { stdout, stderr } = found.afterwards;
    expect(stderr).toContain("wgmon is not running here");
    expect(stdout).toContain("played0, port 51820: 2 of 2 peers connected");
    expect(stdout).not.toMatch(/connected +\?/);
  });

  test("an unknown name is refused with exit code 2, with a daemon and without one", () => {
    const peer = /^wgmon: --peer: there is no peer "alcie"\nwgmon status lists the peers\.\n$/m;
    const device =
      /^wgmon: --device: there is no device "playd0"; did you mean played0\?\nwgmon status lists the devices\.\n$/m;
    const target =
      /^wgmon: --target: there is no target "foo"\nwgmon (outbox list shows the targets that have events|test-webhook --help lists its flags)\.\n$/m;
    const type =
      /^wgmon: --type: "peer\.conected" is not .*; did you mean peer\.connected\?\nwgmon events --help lists its flags\.\n$/m;
    for (const runs of [found.refused.beside, found.refused.without]) {
      expect(runs.map(({ exitCode, stdout }) => ({ exitCode, stdout }))).toEqual(
        runs.map(() => ({ exitCode: 2, stdout: "" })),
      );
      const wanted = [
        peer,
        peer,
        peer,
        device,
        device,
        device,
        target,
        target,
        target,
        target,
        type,
      ];
      for (const [index, { stderr }] of runs.entries()) expect(stderr).toMatch(wanted[index]!);
    }
  });

  test("top restores the terminal in all ways in which it can end", () => {
    const ways = ["q", "Ctrl-C", "SIGTERM", "SIGINT", "SIGHUP", "resized, sorted, filtered"];
    expect(found.top.slice(0, -1)).toEqual(
      ways.map((way) => ({ way, exitCode: 0, enteredRaw: true, restored: true })),
    );
    expect(found.top.at(-1)).toMatchObject({ way: "a bug", exitCode: 1, restored: true });
    expect(found.wasCooked).toBe(true);
  });
});
