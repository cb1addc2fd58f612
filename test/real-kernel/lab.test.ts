/** Tests of test/support/lab.ts, on which the kernel tests are based. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { needs } from "../support/kernel.ts";
import { Lab, type LabDevice } from "../support/lab.ts";
import { until } from "../support/until.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

describe.skipIf(kernel.missing)(kernel.title("a lab with real WireGuard"), () => {
  let lab: Lab;
  let wg0: LabDevice;

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
  });
  afterAll(() => lab[Symbol.dispose]());

  test("a client connects, and the gateway knows its endpoint", async () => {
    const alice = await wg0.client("alice", { presharedKey: true });
    expect(await wg0.state(alice)).toMatchObject({ endpoint: null, latestHandshakeSeconds: null });
    const startedAtMs = performance.now();
    const { atMs, client } = await alice.connect();
    expect(client).toBe(alice);
    expect(atMs).toBeGreaterThan(startedAtMs);
    const { endpoint, latestHandshakeSeconds } = await wg0.state(alice);
    expect(endpoint).toBe("10.128.1.2:40001");
    expect(endpoint).toBe(alice.endpoint);
    expect(latestHandshakeSeconds).toBeGreaterThan(Date.now() / 1000 - 60);
    expect(await alice.ping(3)).toBe(3);
  });

  test("a client roams to another port, and to another address", async () => {
    const bob = await wg0.client("bob");
    const before = (await bob.connect(), bob.endpoint);
    for (const to of ["port", "address", "both"] as const) {
      const endpoint = await bob.roam(to);
      expect(endpoint).not.toBe(before);
      await bob.connect();
      expect((await wg0.state(bob)).endpoint).toBe(endpoint);
    }
  });

  test("the lab has IPv6, a VLAN and a delayed link", async () => {
    const v6 = await wg0.client("v6", { family: 6 });
    const tagged = await wg0.client("tagged", { vlan: 7 });
    const far = await wg0.client("far", { roundTripMs: 200 });
    for (const client of [v6, tagged, far]) {
      await client.connect();
      expect((await wg0.state(client)).endpoint).toBe(client.endpoint);
    }
    expect(v6.endpoint).toStartWith("[fd80:");
    // One round trip for the handshake, then half a round trip for the datagram.
    await far.forgetSession();
    const startedAtMs = performance.now();
    expect((await far.connect()).atMs - startedAtMs).toBeGreaterThan(290);
  });

  test("a link of the lab loses all packets, and works again", async () => {
    const carol = await wg0.client("carol");
    await carol.connect();
    const before = await wg0.state(carol);
    await carol.dropLink();
    expect(await carol.ping(2, 1)).toBe(0);
    expect((await wg0.state(carol)).rxBytes).toBe(before.rxBytes);
    await carol.restoreLink();
    expect(await carol.ping(1)).toBe(1);
  });

  test("a session whose first datagram is lost is confirmed by the second one", async () => {
    const dave = await wg0.client("dave");
    await dave.loseFirstDatagrams();
    expect(await dave.ping(1, 1)).toBe(0);
    const half = await wg0.state(dave);
    expect(half.endpoint).toBe(dave.endpoint);
    expect(half.latestHandshakeSeconds).toBeNull();
    await dave.connect();
    expect((await wg0.state(dave)).latestHandshakeSeconds).not.toBeNull();
    await dave.keepFirstDatagrams();
  });

  test("a wrong preshared key changes the endpoint and completes no handshake", async () => {
    const mallory = await wg0.client("mallory", { wrongPresharedKey: true });
    expect(await mallory.ping(1, 1)).toBe(0);
    const state = await wg0.state(mallory);
    expect(state).toMatchObject({ endpoint: mallory.endpoint, latestHandshakeSeconds: null });
    expect(state.rxBytes % 148).toBe(0);
  });

  test("the gateway initiates a handshake if it knows the endpoint", async () => {
    const erin = await wg0.client("erin", { endpointKnown: true });
    wg0.sendTo(erin);
    await until("a handshake", async () => (await wg0.state(erin)).latestHandshakeSeconds !== null);
    expect((await wg0.state(erin)).txBytes).toBeGreaterThan(148);
  });

  test("the lab has one key at two endpoints, and two keys at one endpoint", async () => {
    const phone = await wg0.client("phone");
    await phone.connect();
    const copy = await wg0.client("copy", { sharesKeyWith: phone, ownNamespace: true });
    expect(copy.publicKey).toBe(phone.publicKey);
    await copy.connect();
    expect((await wg0.state(phone)).endpoint).toBe(copy.endpoint);

    const { endpoint } = phone;
    await phone.down();
    const outerPort = Number(endpoint.split(":").at(-1));
    const next = await wg0.client("next", { sharesLinkWith: phone, outerPort });
    expect(next.endpoint).toBe(endpoint);
    await next.connect();
    expect((await wg0.state(next)).endpoint).toBe(endpoint);
  });

  test("rules that log to a group can be loaded and removed in the lab", async () => {
    await lab.addPlainRule(51820, 1);
    await lab.addHandshakeRules(51820, 7);
    await lab.clearRules();
  });

  test("peers and devices of the lab are removed and added again", async () => {
    const wg1 = await lab.device("wg1", { port: 51821 });
    const frank = await wg1.client("frank");
    await wg1.addSilentPeers(100);
    await frank.connect();
    await wg1.removePeer(frank);
    expect(wg1.state(frank)).rejects.toThrow("has no peer frank");
    await wg1.restorePeer(frank);
    await frank.forgetSession();
    await frank.connect();
    await wg1.delete();
  });

  test("fifty clients connect at the same time", async () => {
    const startedAtMs = performance.now();
    const names = Array.from({ length: 50 }, (_, i) => `client ${i}`);
    const clients = await wg0.clients(names);
    const builtAtMs = performance.now();
    const arrivals = await Promise.all(clients.map((client) => client.connect()));
    expect(new Set(arrivals.map(({ client }) => client.endpoint)).size).toBe(50);
    const connectedMs = performance.now() - builtAtMs;
    const text = [builtAtMs - startedAtMs, connectedMs]
      .map((ms) => ms.toFixed(0))
      .join(" ms, connected in ");
    console.log(`fifty clients were built in ${text} ms`);
  });
});
