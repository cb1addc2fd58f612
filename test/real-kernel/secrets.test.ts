/**
 * Each scan of a device contains its private key and its peers' preshared keys. They must not be in the log, in webhook
 * requests, or in wgmon's memory after the scan.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { $ } from "bun";

import { needs } from "../support/kernel.ts";
import { type Client, Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { searchBetweenScans, secretsOf, texts } from "../support/secrets.ts";
import { TEST_MS } from "../support/until.ts";
import { Watcher } from "../support/watcher.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

describe.skipIf(kernel.missing)(kernel.title("private and preshared keys"), () => {
  const receiver = new Receiver();
  let lab: Lab;
  let wg0: LabDevice;
  let clients: Client[];

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    await lab.addPlainRule(wg0.port, 1);
    clients = await wg0.clients(["alice", "bob", "carol"], { presharedKey: true });
    // The answer to a scan fills more than one message.
    await wg0.addSilentPeers(400);
  }, TEST_MS);

  afterAll(() => {
    receiver[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  test(
    "private and preshared keys are in no log line, no webhook request and not in memory, after scans for every reason",
    async () => {
      await using watcher = new Watcher(receiver, "--tick", "200ms", "--reconcile", "500ms");
      const { wgmon } = watcher;
      await wgmon.ready;
      for (const client of clients) await client.connect();
      await receiver.waitFor((requests) => requests.length >= clients.length);
      await clients[0]!.roam();
      await clients[0]!.connect();
      await wg0.removePeer(clients[1]!);
      await wg0.restorePeer(clients[1]!);
      await $`ip link set wg0 mtu 1400`;
      for (const reason of ["start", "packet", "tick", "reconcile", "link"]) {
        await watcher.scannedFor(reason, reason === "tick" ? 20 : 1);
      }

      const keys = await secretsOf("wg0");
      expect(keys).toHaveLength(1 + clients.length);
      const publicKeys = clients.map(({ publicKey }) => Buffer.from(publicKey, "base64"));
      const found = await searchBetweenScans(watcher, { secrets: keys, known: publicKeys }, () =>
        watcher.scannedFor("tick", watcher.scans("tick") + 1),
      );
      expect(found).toEqual(publicKeys);
      expect(await wgmon.stop()).toBe(0);

      const output = [wgmon.logText, await wgmon.stdout(), ...receiver.requests.map(asText)].join(
        "\n",
      );
      expect(output).toContain(clients[0]!.publicKey);
      for (const text of keys.flatMap(texts)) expect(output.includes(text)).toBe(false);
    },
    TEST_MS,
  );
});

function asText({ body, headers, path }: Receiver["requests"][number]): string {
  return [path, body, ...headers.values()].join("\n");
}
