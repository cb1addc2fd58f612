/** What the stages do together: who is named how, and who is mute. Real ones, but for the senses. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { App } from "../src/app.ts";
import type { Message, Target } from "../src/channel/channel.ts";
import type { Settings } from "../src/config.ts";
import { sentence } from "../src/event.ts";
import type { LookResult } from "../src/kernel/devices.ts";
import type { Fields } from "../src/log.ts";
import type { Senses } from "../src/senses.ts";
import { Store } from "../src/store/store.ts";
import type { Look } from "../src/wireguard.ts";
import { HandClock } from "./support/clock.ts";
import { ALICE, BOB, device, LookMaker, peer } from "./support/peers.ts";
import { run } from "./support/settings.ts";

const WG0 = device();

let folder: string;
let clock: HandClock;
let looks: LookMaker;
let app: App | null = null;
let sent: Message[];
let logged: { message: string; fields: Fields }[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "wgmon-app-"));
  clock = new HandClock();
  looks = new LookMaker();
  sent = [];
  logged = [];
});

afterEach(async () => {
  await app?.stop();
  rmSync(folder, { recursive: true });
});

/** As the settings file has it, with the names in the folder. */
function settings(toml = ""): Settings {
  const names = `names = ${JSON.stringify(`${folder}/%i.conf`)}\nmonitor = "poll"\n`;
  return run([], { toml: `${names}${toml}` }).settings;
}

/** A wgmon that sees these peers connected when it starts. */
async function start(toml: string): Promise<App> {
  const log = () => {};
  const store = await Store.open({
    directory: join(folder, "state"),
    clock,
    log: { debug: log, info: log, warn: log, error: log },
  });
  const result = (look: Look): LookResult => ({ ...look, problems: [] });
  const connected = [ALICE, BOB].map((publicKey) =>
    peer({ publicKey, lastHandshakeMs: clock.now().wallMs - 1000 }),
  );
  const senses = {
    devices: {
      known: [WG0],
      look: () => Promise.resolve(result(looks.look([WG0, connected]))),
      [Symbol.dispose]() {},
    },
    capture: { setPorts() {} },
    firstLook: result(looks.look([WG0, connected])),
    attend() {},
    close() {},
  } as unknown as Senses;
  const target: Target = {
    key: "target",
    channel: {
      name: "target",
      attempt(message, signal) {
        // The warm-up is none.
        if (!signal.aborted) sent.push(message);
        return Promise.resolve({ type: "delivered" });
      },
    },
    accepts: () => true,
    digestMs: 0,
  };
  app = new App(settings(toml), {
    clock,
    log: {
      debug: log,
      info: (message, fields = {}) => void logged.push({ message, fields }),
      warn: log,
      error: log,
    },
    senses,
    store,
    rules: null,
    makeTargets: () => [target],
  });
  app.start();
  await settled();
  return app;
}

/** All promises that can go on have gone on. */
async function settled(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
}

test("names come from the device's file, tags from the settings, and both are in the event and the log", async () => {
  writeFileSync(join(folder, "wg0.conf"), `[Peer]\n# ada\nPublicKey = ${ALICE}\n`);
  await start(`[peers."${ALICE}"]\ntags = ["phone", "family"]\n[peers."${BOB}"]\nname = "bob"`);
  const told = sent.flatMap(({ events }) => events);
  const peers = told.flatMap(({ data }) => ("peer" in data ? data.peer : []));
  expect(peers.map(({ name, tags }) => [name, tags])).toEqual([
    ["ada", ["phone", "family"]],
    ["bob", []],
  ]);
  const lines = logged.filter(({ fields }) => fields["event"] === "peer.connected");
  expect(lines.map(({ message, fields }) => [message, fields["name"], fields["tags"]])).toEqual([
    [
      "ada (wg0) connected from 192.0.2.1:51820 already when wgmon started",
      "ada",
      ["phone", "family"],
    ],
    ["bob (wg0) connected from 192.0.2.1:51820 already when wgmon started", "bob", undefined],
  ]);
});

test("of a mute peer the log tells, and no target", async () => {
  await start(`[peers."${ALICE}"]\nname = "ada"\nmute = true`);
  const told = sent.flatMap(({ events }) => events).map((event) => sentence(event));
  expect(told.filter((text) => text.includes("connected"))).toEqual([
    `${BOB} (wg0) connected from 192.0.2.1:51820 already when wgmon started`,
  ]);
  expect(logged.map(({ message }) => message)).toContain(
    "ada (wg0) connected from 192.0.2.1:51820 already when wgmon started",
  );
});

test("after a reload names and mute are as they are now", async () => {
  const running = await start(`[peers."${ALICE}"]\nmute = true`);
  writeFileSync(join(folder, "wg0.conf"), `[Peer]\n# ada\nPublicKey = ${ALICE}\n`);
  running.reload(settings(`idle_timeout = "10s"\n[peers."${BOB}"]\nmute = true`));
  sent = [];
  for (let second = 0; second < 300; second += 10) {
    clock.advance(10_000);
    await settled();
  }
  expect(sent.flatMap(({ events }) => events).map((event) => sentence(event))).toEqual([
    "ada (wg0) disconnected after 0s",
  ]);
});
