/**
 * The commands of root against a compromised daemon, which runs as another user. Each text of its answers
 * tries to set the terminal's title, ring its bell and clear it.
 */

import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { lockInstance } from "../../src/platform/instance-lock.ts";
import { createLog } from "../../src/platform/log.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { newStateFolder } from "../support/state.ts";

const WGMON = join(import.meta.dir, "../../wgmon");
const EVIL = "\x1b]0;owned\x07\x9b31m\x1b[2J\nwgmon: forged";
/** Any control character except line ends and wgmon's own colours; and a line that the daemon forged. */
const HARM = new RegExp(
  [
    String.raw`(?!\x1b\[(?:0|1|2|7|31|32|33)m)[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]`,
    String.raw`\r(?!\n)`,
    "^wgmon: forged",
  ].join("|"),
  "m",
);

const time = "2026-01-01T00:00:00.000Z";
const counters = { rxBytes: 1, txBytes: 1, roams: EVIL };
const peer = {
  publicKey: EVIL,
  name: null,
  tags: [EVIL],
  allowedIps: [EVIL],
  endpoint: EVIL,
  endpointName: EVIL,
};
const event = {
  id: EVIL,
  version: 1,
  timestamp: time,
  host: EVIL,
  type: "peer.connected",
  data: { device: EVIL, peer, session: { startedAt: time, ...counters }, initial: false },
};
const session = { startedAt: time, lastSeenAt: time, rxBytesPerSecond: 0, txBytesPerSecond: 0 };
const answers: Readonly<Record<string, unknown>> = {
  "/v1/status": {
    version: EVIL,
    host: EVIL,
    startedAt: time,
    devices: 1,
    peers: EVIL,
    connected: EVIL,
    alerts: { firing: EVIL, heldBack: EVIL, pending: EVIL, silences: EVIL },
    store: { inMemory: true, problem: EVIL },
    wakeUp: { monitor: EVIL, group: EVIL, interface: EVIL, reason: EVIL, problem: EVIL },
  },
  "/v1/devices": {
    items: [{ name: EVIL, publicKey: EVIL, listenPort: EVIL, peers: EVIL, connected: EVIL }],
  },
  "/v1/peers": {
    items: [
      {
        ...peer,
        device: EVIL,
        state: EVIL,
        lastHandshakeAt: time,
        persistentKeepaliveSeconds: 0,
        ...counters,
        rxBytes: EVIL,
        session: { ...session, ...counters },
      },
    ],
    total: 1,
  },
  "/v1/sessions": {
    items: [
      {
        device: EVIL,
        publicKey: EVIL,
        name: null,
        startedAt: time,
        endedAt: null,
        durationMs: 5,
        reason: EVIL,
        endpoint: EVIL,
        ...counters,
      },
    ],
    next: null,
  },
  "/v1/events": { items: [{ seq: 1, event }], next: null, latest: 1 },
  "/v1/targets": {
    items: [
      {
        key: EVIL,
        label: EVIL,
        state: "failing",
        waiting: 1,
        oldestAt: null,
        failures: EVIL,
        reason: EVIL,
        nextAttemptAt: null,
        dead: 1,
        hub: null,
      },
    ],
  },
};

const heldBack = {
  type: EVIL,
  silence: EVIL,
  comment: EVIL,
  device: EVIL,
  sentence: EVIL,
};
const alert = {
  id: EVIL,
  rule: EVIL,
  kind: EVIL,
  severity: EVIL,
  state: "firing",
  device: EVIL,
  peer: { publicKey: EVIL, name: EVIL, tags: [EVIL] },
  target: EVIL,
  sentence: EVIL,
  since: time,
  firedAt: time,
  resolvedAt: null,
  moment: false,
  sent: true,
  heldBack,
  dryRun: false,
};
const notice = {
  type: EVIL,
  at: time,
  sentence: EVIL,
  alerts: [EVIL],
  heldBack,
  dryRun: false,
  event: 1,
  deliveries: [{ target: EVIL, state: EVIL, reason: EVIL }],
};
const alertAnswers: Readonly<Record<string, unknown>> = {
  "/v1/alerts": { items: [alert, { ...alert, heldBack: null }], next: null },
  "/v1/alerts/alert-1": { ...alert, ruleText: [EVIL], notices: [notice] },
  "/v1/rules": {
    items: [{ name: EVIL, kind: EVIL, severity: EVIL, targets: [EVIL], dryRun: false }],
  },
  "/v1/silences": {
    items: [
      {
        id: EVIL,
        matchers: [EVIL],
        startsAt: time,
        endsAt: time,
        comment: EVIL,
        createdBy: EVIL,
      },
    ],
  },
};

const runtime = `${newStateFolder()}/run`;
mkdirSync(runtime);
let status = 200;
const server = Bun.serve({
  unix: join(runtime, "wgmon.sock"),
  fetch({ url }) {
    const { pathname } = new URL(url);
    if (pathname === "/readyz" && status === 200) return new Response(`${EVIL} ready`);
    const problem = { title: EVIL, detail: EVIL, status };
    return Response.json(
      status === 200 ? (answers[pathname] ?? alertAnswers[pathname] ?? {}) : problem,
      { status },
    );
  },
});
afterAll(async () => await server.stop(true));

const env = { RUNTIME_DIRECTORY: runtime, PATH: process.env["PATH"], TERM: "xterm" };

async function printed(...args: readonly string[]): Promise<string> {
  const child = Bun.spawn([WGMON, ...args], { env, stdout: "pipe", stderr: "pipe" });
  const texts = [new Response(child.stdout).text(), new Response(child.stderr).text()];
  return (await Promise.all(texts)).join("");
}

const state = newStateFolder();

describe.each([200, 422, 500])("a daemon that answers with the status %d", (code) => {
  test.each([
    "status",
    "status --json",
    "sessions",
    "sessions --csv",
    "sessions --json",
    "sessions --peer x",
    "events",
    "events --json",
    "alerts",
    "alerts --json",
    "alerts explain alert-1",
    "silence list",
    "silence expire x",
    "health",
    `doctor --no-network --state-dir ${state}`,
    `doctor --no-network --state-dir ${state} --json`,
  ])(
    `wgmon %s prints nothing harmful from a daemon that answers with the status ${code}`,
    async (command) => {
      status = code;
      const text = await printed(...command.split(" "));
      expect(text).not.toBe("");
      expect(text).not.toMatch(HARM);
    },
  );
});

test("wgmon top writes no escape sequences of a hostile daemon to the terminal", async () => {
  status = 200;
  let shown = "";
  const decoder = new TextDecoder();
  const { promise: drawn, resolve } = Promise.withResolvers<void>();
  const terminal = new Bun.Terminal({
    cols: 200,
    rows: 40,
    data(_terminal, bytes) {
      shown += decoder.decode(bytes, { stream: true });
      if (shown.includes("owned")) resolve();
    },
  });
  const top = Bun.spawn([WGMON, "top"], { env, terminal });
  // An error ends wgmon top before it has drawn anything.
  await Promise.race([drawn, top.exited]);
  expect(shown).toContain("owned");
  terminal.write("q");
  expect(await top.exited).toBe(0);
  terminal.close();
  // The sequences of src/cli/terminal.ts.
  // oxlint-disable-next-line no-control-regex
  const own = /\x1b\[(?:\?\d+[hl]|\d+;1H|2K)/g;
  // wgmon top clears the screen once, at its start.
  expect(shown.replace("\x1b[2J", "").replace(own, "")).not.toMatch(HARM);
});

test("wgmon outbox prints nothing harmful from a store that the daemon's user changed", async () => {
  lockInstance(state, `${newStateFolder()}/run`);
  const log = createLog({ format: "journal", level: "error", write: () => {} });
  const store = await Store.open({ directory: state, clock: new HandClock(), log });
  const added = { type: "device.added", timestamp: time, host: "gw1", version: 1 } as const;
  const data = { device: "wg0", listenPort: 0 };
  const id = `evt_${"0".repeat(32)}`;
  const events = [{ event: { ...added, id, data } as never, targets: ["a"] }];
  store.record({ events, sessions: [], ended: [], devices: null }, 0);
  store.outbox.saveTarget("a", "a", { failures: 3, retries: 3, reason: "x", nextAtMs: 0 });
  store[Symbol.dispose]();
  using file = new Database(join(state, "wgmon.db"));
  file.run("UPDATE targets SET label = ?, reason = ?", [EVIL, EVIL]);
  for (const more of [[], ["--json"]]) {
    const text = await printed("outbox", "--state-dir", state, ...more);
    expect(text).toContain("owned");
    expect(text).not.toMatch(HARM);
  }
});
