/** Which messages the hub accepts by HTTPS: signature, age, replay, size, and what a stolen secret can do. */

import { afterEach, describe, expect, test } from "bun:test";

import { newId } from "../../src/base/new-id.ts";
import { parseSecrets, sign } from "../../src/channels/signature.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { HttpServer } from "../../src/http/server.ts";
import { makeFleetHandler } from "../../src/hub/fleet-handler.ts";
import { HubReadModel } from "../../src/hub/hub-read-model.ts";
import { loadPage } from "../../src/page/load-page.ts";
import { HandClock } from "../support/clock.ts";
import { startHub, TestGateway } from "../support/fleet.ts";
import { parse } from "../support/settings.ts";
import { useStoreFolders } from "../support/store-folders.ts";

const { folder } = useStoreFolders();
const servers: HttpServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

const EARLIER =
  "webhook-timestamp is earlier than that of another message, or than the start of the hub";
const TOKEN = "a-token-that-is-long-enough-0123456789";

/** A hub with the gateways berlin and paris, behind a real server that has a token. */
async function start({ clock = new HandClock(), directory = null as string | null } = {}) {
  const command = parse(["hub", "--host", "hub1"]);
  if (command.type !== "hub") throw new Error();
  const running = await startHub({ clock, directory, settings: command.settings });
  const { hub, lines } = running;
  const isKnown = hub.stages.enrolled.get("berlin") !== null;
  const secrets = isKnown ? null : { berlin: hub.enroll("berlin"), paris: hub.enroll("paris") };
  const log = {
    debug() {},
    info() {},
    warn: (text: string) => void lines.push({ level: "warn", text }),
    error: (text: string) => void lines.push({ level: "error", text }),
  };
  const server = await HttpServer.start({
    loadPage,
    source: new HubReadModel("0.1.0", hub.stages),
    fleet: makeFleetHandler(hub, log),
    settings: () => ({
      listen: { address: "127.0.0.1", port: 0 },
      listenTokens: [TOKEN],
      listenTls: null,
      metrics: [],
    }),
    runtimeDir: null,
    log,
    clock,
  });
  servers.push(server);
  return { ...running, server, origin: server.url!.origin, secrets };
}

interface Sent {
  readonly gateway?: string;
  readonly secret: string;
  readonly id?: string;
  /** By the hub's clock. */
  readonly agoMs?: number;
  readonly clock: HandClock;
  readonly kind?: "events" | "state";
  readonly headers?: Record<string, string>;
}

function requestOf(message: object | string, sent: Sent): RequestInit & { readonly path: string } {
  const {
    gateway = "berlin",
    id = `msg_${crypto.randomUUID()}`,
    agoMs = 0,
    kind = "events",
  } = sent;
  const body = typeof message === "string" ? message : JSON.stringify(message);
  const timestamp = String(Math.floor((sent.clock.now().wallMs - agoMs) / 1000));
  const parsed = parseSecrets(sent.secret);
  if (!("value" in parsed)) throw new Error(parsed.problem);
  const signature = sign(parsed.value, { id, timestamp, body: new TextEncoder().encode(body) });
  return {
    path: `/v1/fleet/${kind}`,
    method: "POST",
    body,
    headers: {
      "content-type": "application/json",
      "wgmon-gateway": gateway,
      "webhook-id": id,
      "webhook-timestamp": timestamp,
      "webhook-signature": signature,
      ...sent.headers,
    },
  };
}

interface Answer {
  readonly status: number;
  readonly confirmed?: number | null;
  readonly detail?: string;
  readonly nowMs?: number;
}

async function post(
  origin: string,
  { path, ...init }: ReturnType<typeof requestOf>,
): Promise<Answer> {
  const response = await fetch(`${origin}${path}`, init);
  const body = (await response.json()) as object;
  return { ...body, status: response.status };
}

describe("a message of a gateway", () => {
  test("a signed message is accepted, without the server's token and with any Host header", async () => {
    const { origin, clock, secrets } = await start();
    const berlin = new TestGateway("berlin", clock);
    berlin.device();
    const headers = { host: "hub.example.net" };
    const request = requestOf(berlin.message(0), { secret: secrets!.berlin, clock, headers });
    expect(await post(origin, request)).toMatchObject({ status: 200, confirmed: 1 });
  });

  test("a message that was accepted is refused when it is sent again, also after a restart of the hub", async () => {
    const clock = new HandClock();
    const directory = folder();
    const first = await start({ clock, directory });
    const berlin = new TestGateway("berlin", clock);
    berlin.device();
    const { secrets } = first;
    clock.advance(120_000);
    const request = requestOf(berlin.message(0), { secret: secrets!.berlin, clock, agoMs: 60_000 });
    expect(await post(first.origin, request)).toMatchObject({ status: 200 });
    expect(await post(first.origin, request)).toMatchObject({
      status: 401,
      detail: "a message with this webhook-id was accepted before",
    });
    const later = requestOf(berlin.message(1), { secret: secrets!.berlin, clock });
    expect(await post(first.origin, later)).toMatchObject({ status: 200 });
    await first.hub.stop();
    const second = await start({ clock, directory });
    expect(await post(second.origin, request)).toMatchObject({
      status: 401,
      detail: EARLIER,
    });
    await second.hub.stop();
  });

  test("after a crash of the hub, a message that was signed before is refused, and new ones are accepted", async () => {
    const clock = new HandClock();
    const directory = folder();
    const first = await start({ clock, directory });
    const berlin = new TestGateway("berlin", clock);
    berlin.device();
    const { berlin: secret } = first.secrets!;
    const request = requestOf(berlin.message(0), { secret, clock });
    expect(await post(first.origin, request)).toMatchObject({ status: 200 });
    clock.advance(10_000);
    const second = await start({ clock, directory });
    expect(await post(second.origin, request)).toMatchObject({ status: 401, detail: EARLIER });
    const later = requestOf(berlin.message(0), { secret, clock });
    expect(await post(second.origin, later)).toMatchObject({ status: 200, confirmed: 1 });
  });

  test("messages are accepted after the hub's clock was set back by a day", async () => {
    const { origin, clock, secrets } = await start();
    const berlin = new TestGateway("berlin", clock);
    const next = () => requestOf(berlin.message(0), { secret: secrets!.berlin, clock });
    expect((await post(origin, next())).status).toBe(200);
    clock.jump(-86_400_000);
    expect((await post(origin, next())).status).toBe(200);
  });

  test.each([6, -6])(
    "a signature of %d minutes ago is refused, and the response has the hub's time",
    async (minutes) => {
      const { origin, clock, secrets } = await start();
      const berlin = new TestGateway("berlin", clock);
      const sent = { secret: secrets!.berlin, clock, agoMs: minutes * 60_000 };
      const answer = await post(origin, requestOf(berlin.message(0), sent));
      expect(answer).toMatchObject({ status: 401, nowMs: clock.now().wallMs });
      expect(answer.detail).toContain("webhook-timestamp is more than 5 minutes");
    },
  );

  test("a changed body, another gateway's secret and an unknown name get the same answer", async () => {
    const { origin, clock, secrets } = await start();
    const berlin = new TestGateway("berlin", clock);
    const right = requestOf(berlin.message(0), { secret: secrets!.berlin, clock });
    const requests = [
      { ...right, body: `${right.body as string} ` },
      requestOf(berlin.message(0), { secret: secrets!.paris, clock }),
      requestOf(berlin.message(0), { secret: secrets!.berlin, clock, gateway: "rome" }),
      requestOf(berlin.message(0), { secret: secrets!.berlin, clock, gateway: "" }),
    ];
    for (const request of requests) {
      expect(await post(origin, request)).toMatchObject({
        status: 401,
        detail: "no gateway is enrolled with this name and secret",
      });
    }
  });

  test("with a new secret the old one is refused at once, and a forgotten gateway as well", async () => {
    const { origin, clock, secrets, hub } = await start();
    const berlin = new TestGateway("berlin", clock);
    const old = () => requestOf(berlin.message(0), { secret: secrets!.berlin, clock });
    expect((await post(origin, old())).status).toBe(200);
    const secret = hub.enroll("berlin");
    expect((await post(origin, old())).status).toBe(401);
    const renewed = () => requestOf(berlin.message(0), { secret, clock });
    expect((await post(origin, renewed())).status).toBe(200);
    hub.forget("berlin");
    expect((await post(origin, renewed())).status).toBe(401);
  });

  test("bodies that do not arrive keep no gateway from sending, and end after 15 seconds", async () => {
    const { origin, clock, secrets } = await start();
    const berlin = new TestGateway("berlin", clock);
    const slow = (gateway: string, secret: string) => {
      const { path, ...init } = requestOf(berlin.message(0), { gateway, secret, clock });
      const body = new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode("{")),
      });
      return fetch(`${origin}${path}`, { ...init, body }).then(
        ({ status }) => status,
        () => 0,
      );
    };
    const waiting = Array.from({ length: 20 }, () => slow("berlin", secrets!.paris));
    await Bun.sleep(100);
    const right = requestOf(berlin.message(0), { secret: secrets!.berlin, clock });
    expect((await post(origin, right)).status).toBe(200);
    clock.advance(15_000);
    for (const status of await Promise.all(waiting)) expect([0, 400]).toContain(status);
  });

  test("without a valid signature, the answers do not tell which gateways are enrolled", async () => {
    const { origin, clock, secrets } = await start();
    const berlin = new TestGateway("berlin", clock);
    const answers = async (gateway: string) => {
      const secret = secrets!.paris;
      const sent = { gateway, secret, clock };
      const requests = [
        requestOf(berlin.message(0), { ...sent, agoMs: 360_000 }),
        requestOf(berlin.message(0), { ...sent, id: "x".repeat(101) }),
        ...["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) =>
          requestOf(berlin.message(0), { ...sent, headers: { [name]: "" } }),
        ),
        requestOf("not JSON", sent),
      ];
      return await Promise.all(requests.map((request) => post(origin, request)));
    };
    expect(await answers("berlin")).toEqual(await answers("rome"));
  });

  test("a gateway can begin 50 epochs in an hour, and is asked to try later then", async () => {
    const { origin, clock, secrets } = await start();
    const berlin = new TestGateway("berlin", clock);
    const next = async () => {
      berlin.epoch = crypto.randomUUID().slice(0, 8);
      return await post(origin, requestOf(berlin.message(0), { secret: secrets!.berlin, clock }));
    };
    for (let n = 0; n < 50; n++) expect((await next()).status).toBe(200);
    expect(await next()).toMatchObject({ status: 429 });
    clock.advance(3_600_000);
    expect((await next()).status).toBe(200);
  });

  test("a secret that is replaced, or a gateway that is forgotten, while the body arrives is refused", async () => {
    const { origin, clock, secrets, hub } = await start();
    const berlin = new TestGateway("berlin", clock);
    let secret = secrets!.berlin;
    const change = [() => (secret = hub.enroll("berlin")), () => hub.forget("berlin")];
    for (const each of change) {
      const { path, ...init } = requestOf(berlin.message(0), { secret, clock });
      const started = Promise.withResolvers<void>();
      const body = new ReadableStream({
        async start(controller) {
          const bytes = new TextEncoder().encode(init.body as string);
          controller.enqueue(bytes.slice(0, 10));
          await started.promise;
          controller.enqueue(bytes.slice(10));
          controller.close();
        },
      });
      const answer = fetch(`${origin}${path}`, { ...init, body });
      await Bun.sleep(50);
      each();
      started.resolve();
      expect((await answer).status).toBe(401);
    }
  });

  test.each([
    ["not JSON", "{", 400],
    ["of another version", JSON.stringify({ version: 2 }), 422],
    ["of the wrong form", JSON.stringify({ version: 1, epoch: "x" }), 422],
    ["null", "null", 400],
  ])("a message that is %s is refused, and does not change anything", async (_, body, status) => {
    const { origin, clock, secrets, store } = await start();
    const request = requestOf(body, { secret: secrets!.berlin, clock });
    expect((await post(origin, request)).status).toBe(status);
    expect(store.fleet.epochs("berlin")).toEqual([]);
  });

  test("fields that this version does not know are ignored", async () => {
    const { origin, clock, secrets, store } = await start();
    const berlin = new TestGateway("berlin", clock);
    berlin.device();
    const message = berlin.message(0);
    const [first] = message.events;
    const known = first!.event as Event;
    const event = { ...known, data: { ...known.data, colour: "red" }, mood: 1 };
    const events = [{ seq: 1, event, weight: 2 }];
    const secret = secrets!.berlin;
    const newer = { ...message, events, compression: "none" };
    expect(await post(origin, requestOf(newer, { secret, clock }))).toMatchObject({ confirmed: 1 });
    expect(store.events.sequenceRange().last).toBe(1);
  });

  test("an event of a type that only newer gateways know is stored as it is and shown", async () => {
    const { origin, clock, secrets, store } = await start();
    const berlin = new TestGateway("berlin", clock);
    const known = berlin.device();
    const data = { device: "wg0", peer: null, peers: "many", alerts: 3, session: "x" };
    const newer = { ...known, id: newId("evt"), type: "peer.teleported", data };
    const events = [
      { seq: 1, event: newer },
      { seq: 2, event: known },
    ];
    const message = { ...berlin.message(0), events };
    const secret = secrets!.berlin;
    const answer = await post(origin, requestOf(message, { secret, clock }));
    expect(answer).toMatchObject({ confirmed: 2, problem: null });
    const none = { type: null, publicKey: null, sinceMs: null, from: null };
    const stored = store.events.query({ order: "oldest", limit: 9, ...none });
    expect(stored.map(({ event }) => JSON.stringify(event))).toEqual(
      events.map(({ event }) => JSON.stringify(event)),
    );
    const headers = { authorization: `Bearer ${TOKEN}` };
    const list = await fetch(`${origin}/v1/events?host=berlin`, { headers });
    expect(list.status).toBe(200);
    expect(await list.text()).toContain('"type":"peer.teleported"');
    const page = await fetch(`${origin}/gateways/berlin`, { headers });
    expect(page.status).toBe(200);
    expect(await page.text()).toContain(
      "peer.teleported (berlin/wg0): an event of a newer version of wgmon",
    );
  });

  test("an event of an unknown version is refused with the advice to update the hub, and nothing of the message is stored", async () => {
    const { origin, clock, secrets, store } = await start();
    const berlin = new TestGateway("berlin", clock);
    berlin.device();
    const message = berlin.message(0);
    const unknown = { ...message.events[0]!.event, version: 2 };
    const events = [...message.events, { seq: 2, event: unknown }];
    const answer = await post(
      origin,
      requestOf({ ...message, events }, { secret: secrets!.berlin, clock }),
    );
    expect(answer).toMatchObject({ status: 422 });
    expect(answer.detail).toBe(
      "event 2 has version 2, and this wgmon knows version 1; update the hub before its gateways",
    );
    expect(store.events.sequenceRange().last).toBe(0);
  });

  test("a message of a megabyte is accepted, a longer one is not, and other paths accept 12 KiB as before", async () => {
    const { origin, clock, secrets } = await start();
    const secret = secrets!.berlin;
    const padded = (length: number) => " ".repeat(length);
    expect((await post(origin, requestOf(padded(1_000_000), { secret, clock }))).status).toBe(400);
    const long = requestOf(padded(1_000_001), { secret, clock });
    const { status } = await fetch(`${origin}${long.path}`, long);
    expect(status).toBe(413);
    const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
    const silence = await fetch(`${origin}/v1/silences`, {
      method: "POST",
      headers,
      body: padded(13_000),
    });
    expect(silence.status).toBe(413);
  });

  test("the requests of wgmon hub are answered on the Unix socket only", async () => {
    const { origin, store } = await start();
    const headers = { authorization: `Bearer ${TOKEN}` };
    for (const [method, path] of [
      ["POST", "/v1/fleet/gateways/rome"],
      ["DELETE", "/v1/fleet/gateways/berlin"],
      ["GET", "/v1/fleet/gateways"],
      ["POST", "/v1/fleet/rebuild"],
    ] as const) {
      expect((await fetch(`${origin}${path}`, { method, headers })).status).toBe(404);
    }
    expect(store.fleet.gateways().map(({ gateway }) => gateway)).toEqual(["berlin", "paris"]);
  });

  test("refused messages are one line in the log each minute, which has no secret", async () => {
    const { origin, clock, secrets, lines } = await start();
    const berlin = new TestGateway("berlin", clock);
    for (let n = 0; n < 5; n++) {
      await post(origin, requestOf(berlin.message(0), { secret: secrets!.paris, clock }));
    }
    const warnings = lines.filter(({ level }) => level === "warn");
    expect(warnings.map(({ text }) => text)).toEqual([
      "a message of a gateway was refused: no gateway is enrolled with this name and secret",
    ]);
  });
});

test("a hub that is stopping refuses messages, and the gateway sends them again later", async () => {
  const { origin, clock, secrets, hub, lines } = await start();
  const berlin = new TestGateway("berlin", clock);
  berlin.device();
  await hub.stop();
  const sent = { secret: secrets!.berlin, clock };
  expect((await post(origin, requestOf(berlin.message(0), sent))).status).toBe(503);
  const state = requestOf(berlin.state(), { ...sent, kind: "state" });
  expect((await post(origin, state)).status).toBe(503);
  expect(lines.filter(({ level }) => level === "error")).toEqual([]);
});

test("the secret of an enrolled gateway is valid in a URL as it is, and 32 bytes long", async () => {
  const { hub } = await start();
  for (let n = 0; n < 50; n++) {
    const secret = hub.enroll("rome");
    expect(new URL(`https://rome:${secret}@hub.example.net`).password).toBe(secret);
    const parsed = parseSecrets(secret);
    expect("value" in parsed && parsed.value.length).toBe(1);
    expect(secret).toMatch(/^whsec_[A-Za-z0-9]{43}$/);
  }
});
