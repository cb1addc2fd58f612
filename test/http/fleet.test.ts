/** The HTTP API of a hub: its gateways, and the gateway as a field and a filter. A gateway's API has no such parts. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import { FormatRegistry, type TSchema } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import { urlKey } from "../../src/base/wireguard.ts";
import { type Api, makeApi } from "../../src/http/api.ts";
import { describeOnHub, eventOnHub } from "../../src/http/hub-event.ts";
import { anEvent } from "../support/events.ts";
import { ALICE, device, peer } from "../support/peers.ts";
import { hub, peerKey, recordOf } from "../support/sample-fleet.ts";
import { FakeSource } from "../support/source.ts";

if (!FormatRegistry.Has("date-time")) {
  FormatRegistry.Set("date-time", (text) => !Number.isNaN(Date.parse(text)));
}

let source: FakeSource;
let api: Api;

afterEach(() => {
  api[Symbol.dispose]();
  source.store[Symbol.dispose]();
});

async function ask(path: string) {
  const response = await api.handle(new Request(`http://hub${path}`));
  // oxlint-disable-next-line typescript/no-explicit-any -- any JSON
  const body = (await response.json()) as any;
  return { status: response.status, body };
}

/** The answer, which matches the schema of its route. */
async function get(path: string) {
  const { status, body } = await ask(path);
  expect({ status, path }).toEqual({ status: 200, path });
  const plain = path.split("?")[0]!;
  const route = api.routes.find(
    (each) =>
      each.method === "GET" &&
      new RegExp(`^${each.path.replaceAll(/:\w+/g, "[^/]+")}$`).test(plain),
  )!;
  const schema = (route.hooks as { response: Record<number, TSchema> }).response[200]!;
  const errors = [...Value.Errors(schema, body)].map((each) => `${each.path} ${each.message}`);
  expect(errors).toEqual([]);
  return body;
}

const fieldsOf = <Row extends object>(items: readonly Row[], field: keyof Row) => [
  ...new Set(items.map((each) => each[field])),
];

describe("a hub", () => {
  beforeEach(async () => {
    source = await hub();
    api = makeApi(source);
  });

  test("lists its gateways by name, and nothing is known of one that has not reported", async () => {
    const { items } = await get("/v1/gateways");
    expect(fieldsOf(items, "name")).toEqual(["berlin", "kyoto", "lyon", "nairobi", "oslo"]);
    expect(items[0]).toMatchObject({
      host: "berlin",
      condition: "up",
      version: "1.4.0",
      lag: 0,
      devices: 2,
      peers: 12,
      connected: 8,
    });
    expect(items[2]).toMatchObject({ condition: "lost", peers: 4, connected: null });
    expect(items[3]).toMatchObject({ condition: "waiting", host: null, lag: null, epoch: null });
    expect(await get("/v1/gateways/oslo")).toMatchObject({ lag: 120, clockOffsetMs: 3400 });
    expect(await ask("/v1/gateways/rome")).toMatchObject({ status: 404 });
  });

  test("counts its gateways by condition, and peers whose state is unknown are not disconnected", async () => {
    expect(await get("/v1/status")).toMatchObject({
      wakeUp: null,
      peers: 24,
      connected: 11,
      unknown: 7,
      gateways: { up: 2, lost: 1, stopped: 1, waiting: 1 },
    });
    const { items } = await get("/v1/devices");
    expect(items[0]).toMatchObject({ name: "berlin/wg0", host: "berlin", connected: 4 });
    expect(items[0]).not.toHaveProperty("unknown");
    expect(items.find(({ name }: { name: string }) => name === "lyon/wg0")).toMatchObject({
      connected: 0,
      unknown: 4,
    });
    const unknown = await get("/v1/peers?state=unknown");
    expect(unknown.total).toBe(7);
    expect(fieldsOf(unknown.items, "host")).toEqual(["kyoto", "lyon"]);
    expect(fieldsOf(unknown.items, "session")).toEqual([null]);
    const disconnected = await get("/v1/peers?state=disconnected");
    expect(fieldsOf(disconnected.items, "host")).toEqual(["berlin", "oslo"]);
  });

  test("peers are selected by the name of a gateway, by its host, and by their device", async () => {
    const total = async (query: string) => (await get(`/v1/peers?${query}`)).total as number;
    expect(await total("host=berlin")).toBe(12);
    expect(await total("host=Berlin")).toBe(12);
    expect(await total("host=berlin&device=wg1")).toBe(6);
    expect(await total("device=berlin/wg1")).toBe(6);
    expect(await total("device=wg1")).toBe(0);
    expect(await total("host=lyon&device=berlin/wg1")).toBe(0);
    expect(await total("host=rome")).toBe(0);
    const key = peerKey("oslo", 1);
    const found = await get(`/v1/peers/oslo%2Fwg0/${urlKey(key)}`);
    expect(found).toMatchObject({ device: "oslo/wg0", host: "oslo", name: "bob oslo" });
    expect(found.sessions[0]).toMatchObject({ device: "oslo/wg0", host: "oslo", endedAt: null });
    expect(await ask(`/v1/peers/berlin%2Fwg0/${urlKey(key)}`)).toMatchObject({ status: 404 });
  });

  test("sessions are selected by gateway, and one of a lost gateway does not get longer", async () => {
    const { items } = await get("/v1/sessions?host=lyon");
    expect(fieldsOf(items, "device")).toEqual(["lyon/wg0"]);
    expect(items).toHaveLength(2);
    // It was last seen four minutes ago.
    expect(items[0]).toMatchObject({ host: "lyon", endedAt: null, durationMs: 16 * 60_000 });
    expect((await get("/v1/sessions?host=berlin&limit=3")).items).toHaveLength(3);
    const page = await get("/v1/sessions?host=berlin&limit=3");
    const rest = await get(`/v1/sessions?host=berlin&limit=10&cursor=${page.next}`);
    expect(rest.items).toHaveLength(5);
    expect(fieldsOf([...page.items, ...rest.items], "host")).toEqual(["berlin"]);
  });

  test("the times of sessions are the hub's, also if the clock of the gateway is a day ahead", async () => {
    const before = (await get("/v1/sessions?host=oslo")).items[0];
    source.fleet!.offsets.set("oslo", 86_400_000);
    const after = (await get("/v1/sessions?host=oslo")).items[0];
    expect(Date.parse(before.startedAt) - Date.parse(after.startedAt)).toBe(86_400_000);
    expect((await get("/v1/sessions?host=berlin")).items[0].startedAt).toBe(before.startedAt);
  });

  test("events are selected by gateway, with the hub's own about it, and stay as the gateway sent them", async () => {
    const { items } = await get("/v1/events?host=oslo");
    expect(items).toHaveLength(3);
    expect(items[0]).toMatchObject({
      host: "oslo",
      event: { host: "oslo", data: { device: "wg0" } },
    });
    const own = source.record([
      {
        ...anEvent("device.added", { device: "oslo/wg0", host: "hub" }),
        id: `evt_${"c".repeat(32)}`,
      },
    ]);
    const latest = (await get("/v1/events?host=oslo")).items[0];
    expect(latest).toMatchObject({ seq: own[0], host: "oslo" });
    expect((await get("/v1/events?host=oslo&device=wg0")).items).toHaveLength(4);
    expect((await get("/v1/events?device=oslo/wg0&type=peer.connected")).items).toHaveLength(3);
    expect((await get("/v1/events?device=oslo/wg1")).items).toEqual([]);
    expect((await get("/v1/events?host=lyon&device=oslo/wg0")).items).toEqual([]);
    const key = urlKey(peerKey("oslo", 0));
    expect((await get(`/v1/events?host=oslo&peer=${key}`)).items).toHaveLength(1);
    expect((await get(`/v1/events?host=berlin&peer=${key}`)).items).toEqual([]);
    expect((await get("/v1/events?limit=1000")).items).toHaveLength(14);
  });

  test("a gateway cannot claim an event of another one", async () => {
    const event = anEvent("device.added", { device: "berlin/wg0", host: "lyon" });
    recordOf(source, "lyon", { ...event, id: `evt_${"d".repeat(32)}` });
    expect((await get("/v1/events?host=berlin&type=device.added")).items).toEqual([]);
    expect((await get("/v1/events?host=lyon&type=device.added")).items).toHaveLength(1);
  });

  test("alerts are selected by gateway", async () => {
    const { items } = await get("/v1/alerts?host=lyon");
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({ host: "lyon", device: "lyon/wg0" });
    expect((await get("/v1/alerts?host=oslo")).items).toEqual([]);
    expect((await get("/v1/alerts")).items).toHaveLength(2);
  });

  test("downloads name the device with its gateway", async () => {
    const response = await api.handle(
      new Request("http://hub/v1/events/download?format=csv&host=oslo"),
    );
    const lines = (await response.text()).trim().split("\r\n");
    expect(lines).toHaveLength(4);
    expect(lines[1]).toContain(",oslo,oslo/wg0,");
    const sessions = await api.handle(
      new Request("http://hub/v1/sessions/download?format=json&host=lyon"),
    );
    expect(await sessions.json()).toHaveLength(2);
  });

  test("Prometheus finds the gateways that have reported", async () => {
    const found = await get("/v1/sd?port=9587");
    expect(fieldsOf(found, "targets")).toHaveLength(4);
    expect(found[2]).toEqual({
      targets: ["lyon:9587"],
      labels: {
        __meta_wgmon_gateway: "lyon",
        __meta_wgmon_condition: "lost",
        __meta_wgmon_version: "1.4.0",
      },
    });
    expect((await get("/v1/sd"))[0].targets).toEqual(["berlin"]);
    expect(await ask("/v1/sd?port=0")).toMatchObject({ status: 422 });
  });
});

describe("a gateway", () => {
  beforeEach(async () => {
    source = await FakeSource.make();
    source.found.set("wg0", { device: device(), peers: [peer({ publicKey: ALICE })] });
    source.tell(anEvent("peer.connected"));
    api = makeApi(source);
  });

  test("has no gateways, and refuses the filter by gateway", async () => {
    const problem = { status: 404, body: { detail: "this is not a hub" } };
    for (const path of ["/v1/gateways", "/v1/gateways/berlin", "/v1/sd"]) {
      expect(await ask(path)).toMatchObject(problem);
    }
    for (const list of ["peers", "sessions", "events", "alerts"]) {
      expect(await ask(`/v1/${list}?host=berlin`)).toMatchObject({
        status: 422,
        body: { errors: [{ parameter: "host", detail: "this is not a hub: it has one gateway" }] },
      });
    }
  });

  test("returns no field that only a hub has", async () => {
    const texts = await Promise.all(
      ["status", "devices", "peers", "sessions", "alerts"].map(async (list) =>
        JSON.stringify(await get(`/v1/${list}`)),
      ),
    );
    for (const field of ["unknown", "gateways", '"fleet'])
      expect(texts.join()).not.toContain(field);
    for (const text of texts.slice(1)) expect(text).not.toContain('"host"');
    const { items } = await get("/v1/events");
    expect(Object.keys(items[0] as object)).toEqual(["seq", "event"]);
  });
});

test("an event of a gateway is described with the gateway before its device", () => {
  const text = (event: Parameters<typeof describeOnHub>[0], gateway?: string) =>
    describeOnHub(event, gateway);
  const connected = anEvent("peer.connected");
  expect(text(connected)).toBe("alice (wg0) connected from 198.51.100.7:40001");
  expect(text(connected, "berlin")).toBe("alice (berlin/wg0) connected from 198.51.100.7:40001");
  expect(text(anEvent("device.removed"), "berlin")).toBe("berlin/wg0 removed");
  expect(text(anEvent("handshake.unknown"), "berlin")).toStartWith("berlin/wg0: ");
  const alert = text(anEvent("alert.firing"), "berlin");
  expect(alert).toContain("alice (berlin/wg0) is down");
  // The hub's own events have the gateway already.
  const own = anEvent("alert.firing", { device: "berlin/wg0" });
  expect(text(own, "berlin")).toBe(text(own));
  expect(eventOnHub(connected, "berlin").data).toMatchObject({ device: "berlin/wg0" });
  expect(eventOnHub(own, "berlin")).toBe(own);
  expect(eventOnHub(connected, undefined)).toBe(connected);
});
