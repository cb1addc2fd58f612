/** `wgmon status` shows the same data of a real device as `wg show`, with a daemon and without. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { $ } from "bun";

import type { PeerView } from "../../src/http/schemas.ts";
import { needs } from "../support/kernel.ts";
import { type Client, Lab } from "../support/lab.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS, until } from "../support/until.ts";
import { startWgmon } from "../support/wgmon.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

/** Longer than src/http/daemon-read-model.ts caches the list of peers. */
const LIST_AGE_MS = 1000;

const BINARY = join(import.meta.dir, "../../wgmon");

describe.skipIf(kernel.missing)(kernel.title("wgmon status"), () => {
  const environment = {
    STATE_DIRECTORY: newStateFolder(),
    RUNTIME_DIRECTORY: `${newStateFolder()}/run`,
  };
  let lab: Lab;
  let alice: Client;

  beforeAll(async () => {
    lab = await Lab.create();
    const wg0 = await lab.device("wg0", { port: 51820 });
    [alice] = (await wg0.clients(["alice", "bob"])) as [Client, Client];
    await wg0.addSilentPeers(200);
    await alice.connect();
  }, TEST_MS);

  afterAll(() => lab[Symbol.dispose]());

  const ask = () => $`${BINARY} status --json --device wg0`.env(environment).quiet().nothrow();

  async function status(): Promise<PeerView[]> {
    let output = await ask();
    // On a busy emulated processor, the command may time out.
    await until("status has an answer", async () => {
      if (output.stderr.toString().includes("no answer")) output = await ask();
      return output.exitCode === 0;
    });
    const lines = output.stdout.toString().trimEnd().split("\n");
    return lines.map((line) => JSON.parse(line) as PeerView);
  }

  /** The peers from `wg show wg0 dump`, without the first line, which is the device's. */
  async function wgShow(): Promise<object[]> {
    const dump = (await $`wg show wg0 dump`.text()).trimEnd().split("\n").slice(1);
    return dump.map((line) => {
      const [publicKey, , endpoint, allowedIps, handshake, rx, tx, keepalive] = line.split("\t");
      return {
        publicKey,
        endpoint: endpoint === "(none)" ? null : endpoint,
        allowedIps: allowedIps === "(none)" ? [] : allowedIps!.split(","),
        handshakeSeconds: Number(handshake),
        rxBytes: Number(rx),
        txBytes: Number(tx),
        persistentKeepaliveSeconds: keepalive === "off" ? 0 : Number(keepalive),
      };
    });
  }

  const byKey = (peers: readonly object[]) =>
    peers.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));

  async function expectAgreement(): Promise<PeerView[]> {
    // WireGuard sends keepalives, and the daemon's list may be half a second old: compares only data
    // from a time without changes.
    let before = await wgShow();
    await until("nothing has changed for a while", async () => {
      const earlier = before;
      await Bun.sleep(LIST_AGE_MS);
      before = await wgShow();
      return Bun.deepEquals(earlier, before);
    });
    const peers = await status();
    const after = await wgShow();
    if (!Bun.deepEquals(before, after)) return await expectAgreement();
    const ours = peers.map((peer) => ({
      publicKey: peer.publicKey,
      endpoint: peer.endpoint,
      allowedIps: peer.allowedIps,
      handshakeSeconds:
        peer.lastHandshakeAt === null ? 0 : Math.floor(Date.parse(peer.lastHandshakeAt) / 1000),
      rxBytes: peer.rxBytes,
      txBytes: peer.txBytes,
      persistentKeepaliveSeconds: peer.persistentKeepaliveSeconds,
    }));
    expect(byKey(ours)).toEqual(byKey(before));
    expect(peers).toHaveLength(202);
    expect(peers[0]).toMatchObject({ publicKey: alice.publicKey, state: "connected" });
    expect(new Set(peers.slice(1).map(({ state }) => state))).toEqual(new Set(["never"]));
    return peers;
  }

  test(
    "wgmon status agrees with wg show",
    async () => {
      expect((await expectAgreement())[0]!.session).toBeNull();
      await using wgmon = startWgmon(["--monitor", "poll", "--log-level", "debug"], {
        environment,
      });
      await wgmon.waitForLog(({ msg }) => msg === "listening");
      await wgmon.waitForLog(({ event }) => event === "peer.connected");
      await expectAgreement();
      // Rates need two answers that are at least a second apart.
      await alice.ping(3);
      for (let known = false; !known;) {
        const [first] = await status();
        const { rxBytesPerSecond } = first!.session!;
        known = rxBytesPerSecond !== null && rxBytesPerSecond > 0;
        if (!known) await alice.ping(1);
      }
    },
    TEST_MS,
  );
});
