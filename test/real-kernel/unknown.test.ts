/**
 * `--report-unknown` at a gateway with real WireGuard: handshakes that no peer completes, with NFLOG and managed rules,
 * and with bpf. The events are sent a minute after the first message.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { needs } from "../support/kernel.ts";
import { type Client, Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { TEST_MS } from "../support/until.ts";
import { Watcher } from "../support/watcher.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

describe.skipIf(kernel.missing)(kernel.title("a handshake that no peer completes"), () => {
  const receiver = new Receiver();
  let lab: Lab;
  let wg0: LabDevice;
  let watchers: readonly Watcher[];

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    const nflog = ["--monitor", "nflog", "--group", "7", "--manage-rules"];
    const bpf = ["--monitor", "bpf", "--interface", "any"];
    watchers = [nflog, bpf].map((args) => new Watcher(receiver, ...args, "--report-unknown"));
    for (const { wgmon } of watchers) await wgmon.ready;
    await watchers[0]!.logs("firewall rules");
  }, TEST_MS);

  afterAll(async () => {
    for (const { wgmon } of watchers) await wgmon[Symbol.asyncDispose]();
    receiver[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  function networkOf({ endpoint }: Client): string {
    return endpoint.replace(/\.\d+:\d+$/, ".0/24");
  }

  test(
    "a handshake that no peer completes is reported by network: with the peer for a wrong preshared key, without a peer for a removed one",
    async () => {
      const mallory = await wg0.client("mallory", { wrongPresharedKey: true });
      const removed = await wg0.client("removed");
      await wg0.removePeer(removed);
      const alice = await wg0.client("alice");
      mallory.sendDatagram();
      removed.sendDatagram();
      await alice.connect();

      for (const watcher of watchers) {
        const found = () =>
          watcher.events.flatMap(({ type, data }) => (type === "handshake.unknown" ? data : []));
        await watcher.waitFor("two networks", () => found().length >= 2);
        const of = (client: Client) =>
          found().find(({ network }) => network === networkOf(client))!;
        expect(of(mallory)).toMatchObject({
          device: "wg0",
          listenPort: 51820,
          sources: [mallory.endpoint],
          mac1: "valid",
          peers: [{ publicKey: mallory.publicKey }],
        });
        expect(of(removed)).toMatchObject({
          sources: [removed.endpoint],
          messages: { response: 0, data: 0 },
          mac1: "valid",
          peers: [],
        });
        expect(of(removed).messages.initiation).toBeGreaterThan(0);
        expect(of(alice)).toBeUndefined();
        expect(watcher.typesOf(alice)).toEqual(["peer.connected"]);
        expect([watcher.typesOf(mallory), watcher.typesOf(removed)]).toEqual([[], []]);
      }
    },
    TEST_MS,
  );
});
