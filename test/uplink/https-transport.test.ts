/** Requests to the hub by HTTPS: signed, with the hub's time and authority, and without secrets in any reason. */

import { describe, expect, test } from "bun:test";

import { systemClock } from "../../src/base/clock.ts";
import { parseSecrets, type SigningSecret } from "../../src/channels/signature.ts";
import { FLEET_VERSION, type StateMessage } from "../../src/fleet/messages.ts";
import { HttpsTransport } from "../../src/uplink/https-transport.ts";
import type { HubResult } from "../../src/uplink/hub-transport.ts";
import { HubServer } from "../support/hub-server.ts";
import { certificates } from "../support/tls.ts";

const DAY_MS = 86_400_000;
const TEXT = `whsec_${Buffer.from("hub".repeat(10)).toString("base64")}`;
const secret = secretOf(TEXT);
const gateway = "berlin";
const signal = new AbortController().signal;

function secretOf(text: string): SigningSecret {
  const result = parseSecrets(text);
  if (!("value" in result)) throw new Error(result.problem);
  return result.value[0]!;
}

function transportTo(
  server: Pick<HubServer, "url">,
  options: Partial<ConstructorParameters<typeof HttpsTransport>[0]> = {},
): HttpsTransport {
  const url = server.url();
  return new HttpsTransport({
    url,
    gateway,
    secret,
    ca: null,
    version: "1.2.3",
    clock: systemClock,
    ...options,
  });
}

function state(order = 1): StateMessage {
  return {
    version: FLEET_VERSION,
    epoch: "01234567",
    first: 1,
    last: 0,
    host: "berlin",
    program: "1.2.3",
    startedAtMs: 0,
    nowMs: Date.now(),
    order,
    isStopping: false,
    isComplete: true,
    hasMore: false,
    devices: [],
    peers: [],
    removed: [],
  };
}

function reasonOf(result: HubResult): string {
  return "reason" in result ? result.reason : result.type;
}

describe("HTTPS to the hub", () => {
  test("messages are signed, and the hub's answers are read", async () => {
    using server = new HubServer({ gateway, secret });
    const transport = transportTo(server);
    expect(await transport.sendState(state(), signal)).toMatchObject({
      type: "answer",
      answer: { confirmed: 0, problem: null },
    });
    expect(server.hub.states).toHaveLength(1);
    expect(transport.name).toBe(`hub ${server.url()}`);
  });

  test.each([
    ["ahead", DAY_MS],
    ["behind", -DAY_MS],
  ])("a hub whose clock is a day %s is understood with the second request", async (_, aheadMs) => {
    using server = new HubServer({ gateway, secret, aheadMs });
    const transport = transportTo(server);
    for (const order of [1, 2, 3]) {
      expect((await transport.sendState(state(order), signal)).type).toBe("answer");
    }
    expect(server.answers).toEqual([
      expect.stringContaining("401"),
      ...Array.from({ length: 3 }, () => "/v1/fleet/state 200"),
    ]);
  });

  test("a hub with a certificate of its own authority is trusted with hub-ca, and only then", async () => {
    using server = new HubServer({ gateway, secret, isTls: true });
    const trusting = transportTo(server, { ca: certificates.valid });
    expect(reasonOf(await trusting.sendState(state(), signal))).toBe("answer");
    const strict = transportTo(server);
    expect(reasonOf(await strict.sendState(state(), signal))).toContain("not trusted");
    const other = transportTo(server, { ca: certificates.expired });
    expect(reasonOf(await other.sendState(state(), signal))).toMatch(/TLS/);
  });

  test("a hub that does not know the secret is not asked for ever, and the reason names the remedy", async () => {
    using server = new HubServer({ gateway, secret: secretOf(`whsec_${"A".repeat(40)}`) });
    const result = await transportTo(server).sendState(state(), signal);
    expect(result).toEqual({
      type: "retry",
      reason:
        "401: the hub does not accept this gateway; on the hub: wgmon hub enroll berlin --replace; the hub says: no signature matches any of the secrets",
      afterMs: null,
    });
    expect(server.answers.length).toBeLessThanOrEqual(2);
  });

  test.each([
    [503, "", "503: the hub cannot accept the message now"],
    [502, "<html>", "502: the hub cannot accept the message now"],
    [401, '{"detail":"webhook-id is too long"}', "401: the hub says: webhook-id is too long"],
    [404, "", "404: there is no hub at this address; check the URL"],
    [302, "", "302: redirects are not followed; give the final URL"],
    [422, '{"detail":"no\\u0007"}', "422: the hub says: no"],
    [410, "", "410: the hub cannot accept the message now"],
    [200, "welcome", "the answer is not that of a wgmon hub; check the URL"],
    [200, `"${"x".repeat(100_000)}"`, "the answer is not that of a wgmon hub; check the URL"],
    [200, "{}", "the answer is not that of a wgmon hub; check the URL"],
  ])("an answer with status %d and body %p is not accepted", async (status, body, reason) => {
    using server = new HubServer({ gateway, secret });
    server.before = () => new Response(body, { status });
    const result = await transportTo(server).sendState(state(), signal);
    expect(reasonOf(result)).toBe(reason);
    expect(result.type).toBe("retry");
  });

  test("a hub that asks for a pause gets it, and one that does not answer is not waited for", async () => {
    using server = new HubServer({ gateway, secret });
    server.before = () => new Response("", { status: 503, headers: { "retry-after": "7" } });
    expect(await transportTo(server).sendState(state(), signal)).toMatchObject({ afterMs: 7000 });
    using silent = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => new Promise<Response>(() => {}),
    });
    const url = `http://127.0.0.1:${silent.port}`;
    const result = await transportTo({ url: () => url }, { timeoutMs: 50 }).sendState(
      state(),
      signal,
    );
    expect(reasonOf(result)).toBe("timeout");
    await silent.stop(true);
    expect(reasonOf(await transportTo({ url: () => url }).sendState(state(), signal))).toBe(
      "ECONNREFUSED",
    );
  });

  test("nothing that is shown contains the secret or a path", async () => {
    using server = new HubServer({ gateway, secret });
    server.before = () => new Response("", { status: 500 });
    const url = `${server.url()}/pl4nted`;
    const transport = transportTo({ url: () => url });
    const shown = [transport.name, JSON.stringify(await transport.sendState(state(), signal))];
    expect(shown.join()).not.toMatch(/pl4nted|whsec/);
    expect(server.answers).toEqual(["/pl4nted/v1/fleet/state 500 "]);
  });
});
