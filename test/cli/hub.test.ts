/** `wgmon hub enroll`, `forget`, `gateways`, `rebuild` and `init`: with a running hub, and with its store alone. */

import { afterEach, describe, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { ConfigError, NotFound } from "../../src/base/errors.ts";
import { runHubCommand } from "../../src/cli/hub.ts";
import type { HubRequest } from "../../src/config/command-requests.ts";
import { HttpServer } from "../../src/http/server.ts";
import { makeFleetHandler } from "../../src/hub/fleet-handler.ts";
import { HubReadModel } from "../../src/hub/hub-read-model.ts";
import { loadPage } from "../../src/page/load-page.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { startHub, TestGateway } from "../support/fleet.ts";
import { errors, parse } from "../support/settings.ts";
import { useStoreFolders } from "../support/store-folders.ts";

const { folder } = useStoreFolders();
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** The folders of a hub, and its commands. */
function setUp() {
  const clock = new HandClock();
  const stateDir = folder();
  const runtimeDir = folder();
  const argv = ["hub", "--host", "hub.example.net", "--listen", "127.0.0.1:9587"];
  const command = parse([...argv, "--state-dir", stateDir]);
  if (command.type !== "hub") throw new Error();
  const { settings } = command;
  const run = async (
    request: Exclude<HubRequest, { action: "run" | "doctor" }>,
  ): Promise<string[]> => {
    const lines: string[] = [];
    const print = (line: string) => void lines.push(line);
    const env = { RUNTIME_DIRECTORY: runtimeDir };
    const lock = () => ({ stateDir: null, socket: null });
    await runHubCommand(request, { settings, env, clock, log: silent, lock, print });
    return lines;
  };
  const start = async () => {
    const running = await startHub({ settings, clock, directory: stateDir });
    const server = await HttpServer.start({
      loadPage,
      source: new HubReadModel("0.1.0", running.hub.stages),
      fleet: makeFleetHandler(running.hub, silent),
      settings: () => ({ listen: null, listenTokens: [], listenTls: null, metrics: [] }),
      runtimeDir,
      log: silent,
      clock,
    });
    stops.push(async () => {
      await server.stop();
      await running.hub.stop();
    });
    return running;
  };
  return { clock, stateDir, run, start };
}

function enroll(gateway: string, replace = false) {
  return { action: "enroll", gateway, replace, secretFile: null } as const;
}

const LINE = /^hub = "https:\/\/berlin:whsec_[A-Za-z0-9]{43}@hub\.example\.net:9587"$/;

describe("wgmon hub with a running hub", () => {
  test("enroll prints the line of settings, and the gateway is known at once", async () => {
    const { run, start } = setUp();
    const { hub } = await start();
    const [line, ...more] = await run(enroll("berlin"));
    expect(line).toMatch(LINE);
    expect(more).toEqual([]);
    expect(hub.stages.fleet.gateways()).toMatchObject([{ name: "berlin", condition: "waiting" }]);
    const { secrets } = hub.stages.enrolled.get("berlin")!;
    const again = await run(enroll("berlin")).catch((error: unknown) => error);
    expect(again).toMatchObject({
      errors: ["berlin is enrolled already, and its secret is not shown again"],
      nextStep: expect.stringContaining("wgmon hub enroll berlin --replace") as string,
    });
    expect(hub.stages.enrolled.get("berlin")!.secrets).toBe(secrets);
    const [renewed] = await run(enroll("berlin", true));
    expect(renewed).toMatch(LINE);
    expect(renewed).not.toBe(line);
  });

  test("enroll takes the secret from the line that another hub has printed, running or not", async () => {
    const [first, second, third] = [setUp(), setUp(), setUp()];
    const running = await first.start();
    const started = await second.start();
    const [line = ""] = await first.run(enroll("berlin"));
    const secretFile = join(folder(), "berlin");
    await writeFile(secretFile, `${line}\n`);
    const request = { ...enroll("berlin"), secretFile };
    const said = [
      "berlin is enrolled with the secret of the other hub; the gateway needs no change",
    ];
    expect(await second.run(request)).toEqual(said);
    expect(await third.run(request)).toEqual(said);
    const { secrets } = running.hub.stages.enrolled.get("berlin")!;
    expect(secrets).toHaveLength(1);
    expect(started.hub.stages.enrolled.get("berlin")!.secrets).toEqual(secrets);
    await writeFile(secretFile, "nothing\n");
    expect(await second.run(request).catch(String)).toContain("has no secret");
    const missing = { ...request, secretFile: "/nowhere" };
    expect(await second.run(missing).catch(String)).toContain("read /nowhere: ENOENT");
  });

  test("gateways prints a table, or JSON", async () => {
    const { run, start, clock } = setUp();
    const running = await start();
    expect(await run({ action: "gateways", json: false })).toEqual([
      "no gateway is enrolled yet: wgmon hub enroll NAME",
    ]);
    for (const name of ["lyon", "berlin"]) running.hub.enroll(name);
    const berlin = new TestGateway("berlin", clock);
    for (let n = 0; n < 3; n++) berlin.device();
    berlin.report(running);
    clock.advance(5000);
    expect(await run({ action: "gateways", json: false })).toEqual([
      "GATEWAY  CONDITION  LAST-MESSAGE  PEERS  LAG  VERSION",
      "berlin   up         5s ago        0/0      3  0.1.0",
      "lyon     waiting    never         ?/0",
    ]);
    const items = await run({ action: "gateways", json: true });
    expect(items.map((item) => JSON.parse(item) as object)).toMatchObject([
      { name: "berlin", condition: "up", lastSeq: 3, confirmedSeq: 0 },
      { name: "lyon", condition: "waiting", host: null },
    ]);
  });

  test("forget removes a gateway and its secret, and keeps its events", async () => {
    const { run, start, clock } = setUp();
    const running = await start();
    running.hub.enroll("berlin");
    const berlin = new TestGateway("berlin", clock);
    berlin.device();
    berlin.sendAll(running);
    expect(await run({ action: "forget", gateway: "berlin" })).toEqual([
      "berlin is forgotten; its events stay for --keep",
    ]);
    expect(running.hub.stages.fleet.gateways()).toEqual([]);
    expect(running.store.fleet.gateways()).toEqual([]);
    expect(running.store.events.sequenceRange().last).toBe(1);
    const again = run({ action: "forget", gateway: "berlin" });
    expect(await again.catch((error: unknown) => error)).toBeInstanceOf(NotFound);
    running.hub.enroll("berlin");
    expect(berlin.sendAll(running)).toMatchObject({ confirmed: 1 });
    expect(running.store.events.sequenceRange().last).toBe(1);
  });

  test("rebuild asks one gateway, or all, for their events", async () => {
    const { run, start } = setUp();
    const { hub } = await start();
    for (const name of ["lyon", "berlin"]) hub.enroll(name);
    expect(await run({ action: "rebuild", gateway: null })).toEqual([
      "2 gateways are asked for all events again",
    ]);
    expect(await run({ action: "rebuild", gateway: "lyon" })).toEqual([
      "1 gateway is asked for all events again",
    ]);
    const unknown = run({ action: "rebuild", gateway: "rome" });
    expect(await unknown.catch((error: unknown) => error)).toBeInstanceOf(NotFound);
  });
});

test("enroll and forget work with the store if the hub does not run", async () => {
  const { run, clock, stateDir, start } = setUp();
  const [line] = await run(enroll("berlin"));
  expect(line).toMatch(LINE);
  const again = await run(enroll("berlin")).catch((error: unknown) => error);
  expect(again).toBeInstanceOf(ConfigError);
  const [renewed] = await run(enroll("berlin", true));
  expect(renewed).toMatch(LINE);
  expect(renewed).not.toBe(line);
  await run(enroll("lyon"));
  await run({ action: "forget", gateway: "lyon" });
  const store = await Store.open({ directory: stateDir, clock, log: silent, isHub: true });
  expect(store.fleet.gateways().map(({ gateway }) => gateway)).toEqual(["berlin"]);
  store[Symbol.dispose]();
  const { hub } = await start();
  expect(hub.stages.fleet.gateways()).toMatchObject([{ name: "berlin" }]);
});

test("init prints the settings of the hub, and what to do next", async () => {
  const { run } = setUp();
  const text = (await run({ action: "init", isNats: false })).join("\n");
  expect(text).toContain('host = "hub.example.net"');
  expect(text).toContain('listen = "127.0.0.1:9587"');
  expect(text).toContain("wgmon hub enroll NAME");
});

describe("the command line of wgmon hub", () => {
  test.each<[string[], HubRequest]>([
    [[], { action: "run" }],
    [["init"], { action: "init", isNats: false }],
    [["gateways", "--json"], { action: "gateways", json: true }],
    [["enroll", "gw-7"], enroll("gw-7")],
    [["enroll", "gw-7", "--replace"], enroll("gw-7", true)],
    [["doctor", "--json"], { action: "doctor", json: true, network: true, errors: [] }],
    [["doctor", "--no-network"], { action: "doctor", json: false, network: false, errors: [] }],
    [["forget", "berlin"], { action: "forget", gateway: "berlin" }],
    [["rebuild"], { action: "rebuild", gateway: null }],
    [["rebuild", "berlin"], { action: "rebuild", gateway: "berlin" }],
  ])("wgmon hub %j is parsed", (words, request) => {
    expect(parse(["hub", ...words])).toMatchObject({ type: "hub", ...request });
  });

  test.each<[string[], string]>([
    [["enroll"], "wgmon hub enroll needs the name of a gateway"],
    [
      ["enroll", "Berlin.example.net"],
      '"Berlin.example.net" is not the name of a gateway: lower-case letters, digits and hyphens, at most 63, such as berlin-example-net',
    ],
    [["--json"], "--json: is for wgmon hub gateways and wgmon hub doctor"],
    [["forget", "berlin", "--replace"], "--replace: is for wgmon hub enroll"],
    [["gateways", "--no-network"], "--no-network: is for wgmon hub doctor"],
    [["gateways", "--secret-file", "/a"], "--secret-file: is for wgmon hub enroll"],
    [["--tick", "5s"], "--tick: is a setting of gateways; a hub has no devices"],
    [["--manage-rules"], "--manage-rules: is a setting of gateways; a hub has no devices"],
  ])("wgmon hub %j is refused", (words, message) => {
    expect(errors(["hub", ...words])).toEqual([message]);
  });

  test("a hub has its own settings file and state directory, because its machine may also be a gateway", () => {
    const files = {
      "/etc/wgmon/hub.toml": 'host = "hub1"',
      "/etc/wgmon/wgmon.toml": 'tick = "5s"',
    };
    expect(parse(["hub"], { files })).toMatchObject({
      settings: { host: "hub1", stateDir: "/var/lib/wgmon-hub", file: "/etc/wgmon/hub.toml" },
    });
  });
});
