/** The commands that query wgmon, against a hub: the gateway of devices, peers and events. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import { printEvents } from "../../src/cli/events.ts";
import { columnsOf } from "../../src/cli/peer-table.ts";
import { printSessions } from "../../src/cli/sessions.ts";
import { printStatus } from "../../src/cli/status.ts";
import { plain, tableOf } from "../../src/cli/text.ts";
import { firstView, render } from "../../src/cli/top-view.ts";
import type { StatusView } from "../../src/http/schemas.ts";
import { asked, printed } from "../support/api-reader.ts";
import { hub } from "../support/sample-fleet.ts";
import { FakeSource } from "../support/source.ts";

let source: FakeSource;

beforeEach(async () => {
  source = await hub();
});

afterEach(() => source.store[Symbol.dispose]());

const base = () => ({ ...printed(), nowMs: source.clock.now().wallMs, requestedDevices: [] });

test("wgmon status prints the gateways of a hub, and each device with its gateway", async () => {
  const output = base();
  const options = { ...output, search: null, json: false, devices: [], isRunning: true };
  await printStatus(asked(source), options);
  const lines = output.lines();
  expect(lines.slice(0, 4)).toEqual([
    "gw1: wgmon 0.0.0, up 1d 2h",
    "hub of 5 gateways: 2 up, 1 lost, 1 stopped, 1 waiting",
    "2 alerts fire; wgmon alerts lists them",
    "",
  ]);
  expect(lines).toContain("berlin/wg0, port 51820: 4 of 6 peers connected");
  expect(lines).toContain("lyon/wg0, port 51820: 4 peers in an unknown state");
  const header = lines.findIndex((line) => line.startsWith("PEER"));
  expect(lines[header]).toMatch(/^PEER +HOST +STATE +ADDRESS/);
  expect(lines[header]).not.toContain("DEVICE");
  expect(lines[header + 1]).toMatch(/^alice berlin +berlin +connected/);
  expect(lines.find((line) => line.startsWith("alice lyon"))).toMatch(
    /^alice lyon +lyon +unknown /,
  );
});

test("wgmon status and wgmon sessions take a device with its gateway", async () => {
  const output = base();
  const requestedDevices = ["oslo/wg0"];
  const options = { ...output, search: null, json: true, isRunning: true, requestedDevices };
  await printStatus(asked(source), { ...options, devices: requestedDevices });
  const peers = output.lines().map((line) => JSON.parse(line) as { host: string });
  expect(peers.map(({ host }) => host)).toEqual(Array.from({ length: 5 }, () => "oslo"));
  const sessions = base();
  await printSessions(asked(source), {
    ...sessions,
    devices: requestedDevices,
    request: {
      requestedDevices,
      peer: null,
      since: null,
      until: null,
      limit: 100,
      format: "text",
    },
  });
  expect(sessions.lines()).toHaveLength(4);
  expect(sessions.lines()[1]).toContain(" oslo/wg0 ");
});

test("wgmon events prints the gateway before the device, and selects by both", async () => {
  const output = base();
  const requestedDevices = ["oslo/wg0"];
  const request = { peer: null, since: null, until: null, limit: 100, types: [], json: false };
  await printEvents(asked(source), {
    ...output,
    clock: source.clock,
    devices: requestedDevices,
    request: { ...request, requestedDevices, follow: false },
  });
  expect(output.lines()).toHaveLength(3);
  expect(output.lines()[2]).toMatch(/alice oslo \(oslo\/wg0\) connected from/);
});

test("wgmon top shows the gateways of a hub, and a column for the host", async () => {
  const api = asked(source);
  const items = async <Item>(path: string) => (await api.get<{ items: Item[] }>(path)).items;
  const shown = {
    status: await api.get<StatusView>("/v1/status"),
    devices: await items<never>("/v1/devices"),
    peers: await items<never>("/v1/peers?sort=name&limit=5"),
    total: 24,
    targets: [],
    events: await items<never>("/v1/events?limit=3"),
    alerts: await items<never>("/v1/alerts?state=current"),
  };
  const size = { columns: 130, rows: 24 };
  const nowMs = source.clock.now().wallMs;
  const lines = render(firstView(null), { ...size, shown, nowMs, problem: null, paint: plain });
  expect(lines[1]).toBe(
    "hub of 5 gateways: 2 up, 1 lost, 1 stopped, 1 waiting; 5 devices, 11 of 24 peers connected, 7 unknown",
  );
  expect(lines[4]).toMatch(/^PEER +HOST +STATE .*DEVICE/);
  expect(lines.find((line) => line.startsWith("alice lyon"))).toMatch(/lyon +unknown .* wg0/);
  expect(lines.at(-2)).toContain("/wg0) connected");
});

test("the tables of a gateway have no column for the host", async () => {
  source.fleet = null;
  const { items } = await asked(source).get<{ items: never[] }>("/v1/peers?limit=3");
  const { header } = tableOf(columnsOf(items, 0), items, { maxWidth: null, paint: plain });
  expect(header).toMatch(/^PEER +STATE +ADDRESS +DEVICE/);
});
