/** `wgmon receive` over real sockets: what it prints, what it answers, and what it refuses. */

import { afterEach, describe, expect, test } from "bun:test";

import fc from "fast-check";

import { type Clock, systemClock } from "../../src/base/clock.ts";
import { SystemError } from "../../src/base/errors.ts";
import { form } from "../../src/channels/formats/form.ts";
import type { Format } from "../../src/channels/formats/format.ts";
import { json } from "../../src/channels/formats/json.ts";
import { slack } from "../../src/channels/formats/slack.ts";
import { parseSecrets, sign, type SigningSecret } from "../../src/channels/signature.ts";
import { createWebhook } from "../../src/channels/webhook.ts";
import {
  receive,
  type ReceiveOptions,
  RecentIds,
  type WebhookReceiver,
} from "../../src/cli/receive.ts";
import type { Message } from "../../src/delivery/target.ts";
import { threadCpuMs } from "../../src/platform/clocks.ts";
import { HandClock } from "../support/clock.ts";
import { anEvent, eventTypes, hostileMessage, hostileText, messageOf } from "../support/events.ts";

const NOW_MS = new Date(2026, 10, 22, 16, 19, 4).getTime();
const MINUTE_MS = 60_000;
const KEY = `whsec_${Buffer.alloc(32, 1).toString("base64")}`;
const OTHER_KEY = `whsec_${Buffer.alloc(32, 2).toString("base64")}`;
const CONNECTED = "16:19:04 alice (wg0) connected from 198.51.100.7:40001";

function secrets(...keys: readonly string[]): readonly SigningSecret[] {
  const reading = parseSecrets(keys.join("\n"));
  if ("problem" in reading) throw new Error(reading.problem);
  return reading.value;
}

/** The time of day is fixed, but timers run. */
const clock: Clock = {
  now: () => new HandClock(NOW_MS).now(),
  after: (delayMs, callback) => systemClock.after(delayMs, callback),
};

type Body = string | Uint8Array<ArrayBuffer> | AsyncIterable<Uint8Array>;

class TestReceiver {
  readonly start: readonly string[];
  readonly #lines: string[] = [];
  readonly #receiving: WebhookReceiver;

  constructor(options: Partial<ReceiveOptions> = {}) {
    const print = (line: string) => void this.#lines.push(line);
    const common = { port: 0, address: "127.0.0.1", secrets: [], print, clock };
    this.#receiving = receive({ ...common, ...options });
    this.start = this.lines();
  }

  get url(): string {
    return this.#receiving.url;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** What was printed since the last call. */
  lines(): readonly string[] {
    return this.#lines.splice(0);
  }

  /** Sends the message as wgmon does. Returns the type of the result, then the printed lines. */
  async deliver(message: Message, format: Format = json, keys: readonly SigningSecret[] = []) {
    const common = { label: "test", version: "1.2.3", clock, secrets: keys };
    const channel = createWebhook({ ...common, url: `${this.url}hook`, format });
    const { type } = await channel.attempt(message, new AbortController().signal);
    return [type, ...this.lines()];
  }

  async post(body: Body, headers: Record<string, string> = {}): Promise<Response> {
    return await fetch(this.url, { method: "POST", body, headers });
  }

  /** The lines that are printed for this body. */
  async linesOn(body: Body, headers: Record<string, string> = {}): Promise<readonly string[]> {
    const response = await this.post(body, headers);
    expect(response.status).toBe(200);
    return this.lines();
  }

  stop(): Promise<void> {
    return this.#receiving.stop();
  }
}

const running: TestReceiver[] = [];

function start(options: Partial<ReceiveOptions> = {}): TestReceiver {
  const receiver = new TestReceiver(options);
  running.push(receiver);
  return receiver;
}

afterEach(async () => {
  for (const receiver of running.splice(0)) await receiver.stop();
});

/** Sends text as it is, for requests that no client would make. */
async function connect(port: number, text: string) {
  const closed = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<string>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      open: (open) => void open.write(text),
      data: (_, bytes) => answered.resolve(bytes.toString()),
      close: () => closed.resolve(),
      error: () => closed.resolve(),
    },
  });
  return { socket, closed: closed.promise, answered: answered.promise };
}

describe("the start of wgmon receive", () => {
  test("wgmon receive prints at its start its URL, how to send samples, and that signatures are not checked", () => {
    const { url, start: lines } = start();
    expect(lines).toEqual([
      `waiting for webhooks at ${url}; Ctrl-C ends it`,
      `to send samples: wgmon test-webhook --webhook ${url}`,
      "signatures are not checked, so anyone can be the sender; --secret-file FILE checks them",
    ]);
  });

  test("wgmon receive prints no warning at its start with secrets, and an IPv6 address in brackets", () => {
    const { url, start: lines } = start({ secrets: secrets(KEY), address: "::1" });
    expect(url).toMatch(/^http:\/\/\[::1\]:\d+\/$/);
    expect(lines).toEqual([
      `waiting for webhooks at ${url}; Ctrl-C ends it`,
      `to send samples: wgmon test-webhook --webhook ${url} --webhook-secret-file FILE`,
    ]);
  });
});

describe("the output of wgmon receive", () => {
  test.each(eventTypes)("wgmon receive prints %s as its sentence", async (type) => {
    const sentences: Record<(typeof eventTypes)[number], string> = {
      "peer.connected": "alice (wg0) connected from 198.51.100.7:40001",
      "peer.roamed": "alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001",
      "peer.disconnected": "alice (wg0) disconnected after 4s",
      "device.added": "wg0 added, listening on port 51820",
      "device.removed": "wg0 removed",
      "handshake.unknown":
        "wg0: 3 handshakes from 198.51.100.0/24 that no peer completed; they know wg0's public key (wrong preshared key, or a peer that was removed?)",
      "alert.firing":
        "critical: alice (wg0) is down: no data for 5m; check the peer and its network (rule offices)",
      "alert.resolved": "resolved: alice (wg0) is back after 5m (rule offices)",
    };
    expect(await start().deliver(messageOf(anEvent(type)))).toEqual([
      "delivered",
      `16:19:04 ${sentences[type]}`,
    ]);
  });

  test("wgmon receive prints a digest as a line for each event", async () => {
    const digest = messageOf(anEvent("peer.connected"), anEvent("device.removed"));
    expect(await start().deliver(digest)).toEqual(["delivered", CONNECTED, "16:19:04 wg0 removed"]);
  });

  test("wgmon receive prints a form as its field content, a line for each event", async () => {
    const digest = messageOf(anEvent("peer.roamed"), anEvent("device.removed"));
    expect(await start().deliver(digest, form)).toEqual([
      "delivered",
      "16:19:04 alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001",
      "16:19:04 wg0 removed",
    ]);
  });

  test("wgmon receive prints a message in the format of a service unchanged", async () => {
    const [verdict, line] = await start().deliver(messageOf(anEvent("device.removed")), slack);
    expect(verdict).toBe("delivered");
    expect(line).toStartWith('16:19:04 {"text":');
    expect(line).toContain("wg0 removed");
  });

  test.each([
    ["", "a message without content"],
    [" \n\r\n\t", "a message without content"],
    ["hello", "hello"],
    ["null", "null"],
    // Almost an event, and one of a later version.
    ['{"type":"peer.connected"}', '{"type":"peer.connected"}'],
    ['{"version":2,"type":"peer.connected"}', '{"version":2,"type":"peer.connected"}'],
    ["\x1b[2J\x07\u009b31mred\u202egnp.exe", "[2J 31mredgnp.exe"],
  ])("wgmon receive prints a line for the body %j", async (body, line) => {
    expect(await start().linesOn(body)).toEqual([`16:19:04 ${line}`]);
  });

  test("wgmon receive prints the beginning of JSON that is nested too deep", async () => {
    const [line] = await start().linesOn("[".repeat(100_000));
    expect(line).toBe(`16:19:04 ${"[".repeat(999)}…`);
  });

  test("wgmon receive prints an event that has unknown fields", async () => {
    const event = { ...anEvent("peer.connected"), colour: "blue" };
    expect(await start().linesOn(JSON.stringify(event))).toEqual([CONNECTED]);
  });

  test("wgmon receive prints no more than 2000 characters of a body, however many lines it has", async () => {
    const lines = await start().linesOn("x\n".repeat(400_000));
    expect(lines).toHaveLength(1000);
    expect(lines.slice(-2)).toEqual(["16:19:04 x", "16:19:04 x…"]);
  });

  test("wgmon receive prints no control characters and no direction marks of a body", async () => {
    const receiver = start();
    // Sent directly, because wgmon's formats would sanitize it.
    const check = async (body: string, headers: Record<string, string> = {}) => {
      for (const line of await receiver.linesOn(body, headers)) {
        expect(line).toStartWith("16:19:04 ");
        expect(line).not.toMatch(
          /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u,
        );
        expect(line.length).toBeLessThan(1100);
      }
    };
    const formType = { "content-type": "application/x-www-form-urlencoded" };
    await fc.assert(
      fc.asyncProperty(hostileText, hostileMessage, async (text, message) => {
        await check(text);
        await check(`content=${encodeURIComponent(text.toWellFormed())}`, formType);
        const events = message.events.slice(0, 2).map((event) => {
          if (!("peer" in event.data)) return event;
          const peer = { ...event.data.peer, publicKey: text, endpoint: text };
          return { ...event, data: { ...event.data, peer } };
        });
        const { id } = message;
        const digest = { id, version: 1, timestamp: "2026-11-22T16:19:04Z", host: "gw1" };
        await check(JSON.stringify(events[0]));
        await check(JSON.stringify({ ...digest, type: "digest", data: { events } }));
      }),
      { numRuns: 50 },
    );
  });

  test("wgmon receive prints a megabyte that is expensive to sanitize within a second", async () => {
    // Measured in processor time, which does not depend on the load of the machine.
    const beforeMs = threadCpuMs();
    const event = anEvent("peer.connected", { name: `a${"\u200d".repeat(300_000)}b` });
    expect(await start().linesOn(JSON.stringify(event))).toHaveLength(1);
    expect(threadCpuMs() - beforeMs).toBeLessThan(1000);
  });
});

describe("repeated messages", () => {
  test("wgmon receive answers repeated messages with 200, and prints them as repeated", async () => {
    const receiver = start();
    const message = messageOf(anEvent("peer.connected"));
    expect(await receiver.deliver(message)).toEqual(["delivered", CONNECTED]);
    const repeated = `16:19:04 repeated: ${CONNECTED.slice(9)}`;
    expect(await receiver.deliver(message)).toEqual(["delivered", repeated]);
  });

  test("wgmon receive recognises repeated messages only by their id", async () => {
    const receiver = start();
    for (let i = 0; i < 2; i++) expect(await receiver.linesOn("hello")).toEqual(["16:19:04 hello"]);
  });

  test("wgmon receive recognises repeated messages until it received 10,000 other ids, and never by an id that is too long", () => {
    const ids = new RecentIds();
    for (let i = 0; i < 10_000; i++) ids.add(`evt_${i}`);
    expect(ids.has("evt_0")).toBe(true);
    ids.add("evt_9999");
    expect(ids.has("evt_0")).toBe(true);
    ids.add("evt_10000");
    expect(ids.has("evt_0")).toBe(false);
    expect(ids.has("evt_1")).toBe(true);
    const long = "x".repeat(101);
    ids.add(long);
    expect(ids.has(long)).toBe(false);
    expect(ids.has(null)).toBe(false);
  });
});

describe("the signatures that wgmon receive checks", () => {
  const body = JSON.stringify(anEvent("peer.connected"));
  const bytes = new TextEncoder().encode(body);

  function headers({ key = KEY, ageMs = 0, id = "msg_1" } = {}): Record<string, string> {
    const timestamp = String((NOW_MS - ageMs) / 1000);
    return {
      "webhook-id": id,
      "webhook-timestamp": timestamp,
      "webhook-signature": sign(secrets(key), { id, timestamp, body: bytes }),
    };
  }

  test("wgmon receive accepts signatures of wgmon with either secret while the secret is being replaced", async () => {
    const receiver = start({ secrets: secrets(KEY, OTHER_KEY) });
    for (const [index, keys] of [
      [KEY],
      [OTHER_KEY],
      [`whsec_${Buffer.alloc(32, 3).toString("base64")}`, KEY],
    ].entries()) {
      const message = { ...messageOf(anEvent("peer.connected")), id: `msg_${index}` };
      const result = await receiver.deliver(message, json, secrets(...keys));
      expect(result).toEqual(["delivered", CONNECTED]);
    }
  });

  test.each([
    ["no headers", {}, "webhook-id is missing"],
    [
      "no signature",
      { ...headers(), "webhook-signature": "" },
      "no signature matches any of the secrets",
    ],
    ["of another sender", headers({ key: OTHER_KEY }), "no signature matches any of the secrets"],
    [
      "of another message",
      { ...headers(), "webhook-id": "msg_2" },
      "no signature matches any of the secrets",
    ],
    ["too old", headers({ ageMs: 6 * MINUTE_MS }), "webhook-timestamp is more than 5 minutes ago"],
    [
      "too new",
      headers({ ageMs: -6 * MINUTE_MS }),
      "webhook-timestamp is more than 5 minutes ahead",
    ],
  ])(
    "wgmon receive refuses a message with 401, and does not print it, in this case: %s",
    async (_, given, reason) => {
      const receiver = start({ secrets: secrets(KEY) });
      const response = await receiver.post(body, given);
      expect([response.status, await response.text()]).toEqual([401, `refused: ${reason}\n`]);
      expect(receiver.lines()).toEqual([`16:19:04 refused: ${reason}`]);
    },
  );

  test("a message with a wrong signature does not make the next delivery a repetition", async () => {
    const receiver = start({ secrets: secrets(KEY) });
    expect((await receiver.post(body, headers({ key: OTHER_KEY }))).status).toBe(401);
    receiver.lines();
    expect(await receiver.linesOn(body, headers())).toEqual([CONNECTED]);
  });

  test("a message in the format form has no signature, and is refused", async () => {
    const receiver = start({ secrets: secrets(KEY) });
    const result = await receiver.deliver(messageOf(anEvent("peer.connected")), form);
    expect(result).toEqual(["drop", "16:19:04 refused: webhook-id is missing"]);
  });
});

describe("the refusals of wgmon receive", () => {
  test("wgmon receive refuses a body of more than 1 MiB, with and without a content length", async () => {
    const receiver = start();
    const most = new Uint8Array(1024 * 1024);
    expect((await receiver.post(most)).status).toBe(200);
    expect((await receiver.post(new Uint8Array(most.length + 1))).status).toBe(413);
    async function* chunks() {
      for (let i = 0; i < 32; i++) yield most.subarray(0, 65_536);
    }
    expect((await receiver.post(chunks())).status).toBe(413);
  });

  test("wgmon receive refuses a request that is cut off", async () => {
    const seen = Promise.withResolvers<string>();
    const print = (line: string) => {
      if (line.includes("refused")) seen.resolve(line);
    };
    const { port } = start({ print, address: "127.0.0.1" });
    const { socket } = await connect(
      port,
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
    );
    // The first request has been read once a later one is answered.
    await fetch(`http://127.0.0.1:${port}/`);
    socket.terminate();
    expect(await seen.promise).toEndWith("the request was cut off, too slow or longer than 1 MiB");
  });

  test("wgmon receive refuses a 33rd concurrent request with 503 and Retry-After", async () => {
    const { port } = start();
    const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
    const open = [];
    for (let i = 0; i < 32; i++) open.push(await connect(port, `${head}ab`));
    await fetch(`http://127.0.0.1:${port}/`);
    const answer = await (await connect(port, head)).answered;
    expect(answer).toStartWith("HTTP/1.1 503 ");
    expect(answer.toLowerCase()).toContain("retry-after: 1\r\n");
    for (const { socket } of open) socket.write("c");
    for (const { answered } of open) expect(await answered).toStartWith("HTTP/1.1 200 ");
  });

  test.each(["GET", "PUT", "DELETE", "OPTIONS", "SECRET"])(
    "wgmon receive refuses %s /s3cret with 405",
    async (method) => {
      const receiver = start();
      const response = await fetch(`${receiver.url}s3cret?s3cret`, { method });
      expect([response.status, await response.text()]).toEqual([
        405,
        "only POST is accepted here\n",
      ]);
      expect(response.headers.get("allow")).toBe("POST");
      expect(receiver.lines()).toEqual([]);
    },
  );

  test("wgmon receive accepts a POST to any path", async () => {
    const { url } = start();
    for (const path of ["", "hook", "a/b/c", "%ff%zz?%ff", "//x"]) {
      const response = await fetch(url + path, { method: "POST", body: "hello" });
      expect([path, response.status]).toEqual([path, 200]);
    }
  });

  test("wgmon receive answers GET / with a description of the program", async () => {
    const response = await fetch(start().url);
    expect([response.status, await response.text()]).toEqual([
      200,
      "This is wgmon receive. It prints the webhooks that are sent to it, for trying out wgmon.\n" +
        "Webhooks are sent with POST, to any path.\n",
    ]);
  });
});

describe("the failures of wgmon receive at its start", () => {
  test("wgmon receive cannot start if the port is in use", () => {
    const { port } = start();
    expect(() => start({ port })).toThrow(
      new SystemError(
        `listen on 127.0.0.1 port ${port}`,
        "EADDRINUSE",
        "another program uses this port; choose another with --port, or 0 for any free one",
      ),
    );
  });

  test("wgmon receive cannot start if the address is not one of this machine", () => {
    expect(() => start({ address: "192.0.2.1" })).toThrow(
      "listen on 192.0.2.1 port 0: EADDRNOTAVAIL (this machine does not have this address; choose one that it has with --address)",
    );
  });
});

describe("Receiver.stop()", () => {
  test("stop() returns at once, and the port is free again", async () => {
    // The clock does not advance, so no timer can end it.
    const receiver = start({ clock: new HandClock(NOW_MS) });
    await (await receiver.post("hello")).text();
    const { port } = receiver;
    await receiver.stop();
    expect(start({ port }).port).toBe(port);
  });

  test("stop() returns within a second even if a client does not finish its request", async () => {
    const hand = new HandClock(NOW_MS);
    const receiver = start({ clock: hand });
    const { closed } = await connect(
      receiver.port,
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
    );
    await fetch(receiver.url);
    const stopped = receiver.stop();
    hand.advance(1000);
    await stopped;
    await closed;
  });
});
