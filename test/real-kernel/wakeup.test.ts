/**
 * Unusual handshakes at a gateway with real WireGuard. Only packets cause scans; each peer is reported immediately or
 * within the documented time.
 */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { $ } from "bun";

import { KernelGateway } from "../bench/gateways/kernel.ts";
import { needs } from "../support/kernel.ts";
import { Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { TEST_MS, until } from "../support/until.ts";
import { Watcher } from "../support/watcher.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

/** Scans only after packets, otherwise once an hour. */
const BY_PACKETS = ["--tick", "1h", "--reconcile", "0"];
const WGMON = join(import.meta.dir, "../../wgmon");
const PORT = 51_820;
/** Number of peers that connect at the same time. */
const STORM = 500;

const MONITORS = {
  bpf: ["--monitor", "bpf", "--interface", "any"],
  "nflog with the printed rules": ["--monitor", "nflog"],
  "nflog with the plain rule": ["--monitor", "nflog", "--group", "9"],
} as const;
type Way = keyof typeof MONITORS;
const WAYS = Object.keys(MONITORS) as Way[];

describe.skipIf(kernel.missing)(kernel.title("scans caused by packets only"), () => {
  const receiver = new Receiver();

  afterAll(() => receiver[Symbol.dispose]());

  async function watch(way: Way, ...args: readonly string[]): Promise<Watcher> {
    const watcher = new Watcher(receiver, ...BY_PACKETS, ...MONITORS[way], ...args);
    await watcher.logs("warm");
    return watcher;
  }

  /** Loads the printed rules and the plain rule, which log to different groups. */
  async function loadRules(): Promise<void> {
    await $`${WGMON} rules --install`.quiet();
    await logPlainly("");
  }

  /** @param messages an nft match of the messages to log; empty: all. */
  async function logPlainly(messages: string): Promise<void> {
    const rule = `udp dport ${PORT} ${messages} log group 9 queue-threshold 1`;
    const script = `table inet test { chain input { type filter hook input priority 0; ${rule}; }; }`;
    await $`nft -f - < ${Buffer.from(script)}`.quiet();
  }

  afterEach(async () => {
    await $`nft flush ruleset`.quiet();
  });

  describe("one peer", () => {
    let lab: Lab;
    let wg0: LabDevice;

    beforeAll(async () => {
      lab = await Lab.create();
      wg0 = await lab.device("wg0", { port: PORT });
    }, TEST_MS);

    afterAll(async () => {
      await wg0.delete();
      lab[Symbol.dispose]();
    });

    test.each(WAYS)(
      "a peer is reported if wgmon starts in the middle of its handshake (%s)",
      async (way) => {
        await loadRules();
        const client = await wg0.client(`early ${way}`, { roundTripMs: 4000 });
        client.sendDatagram();
        await until("the response has left", async () => (await wg0.state(client)).txBytes > 0);
        await using watcher = await watch(way);
        const { data } = await watcher.reports("peer.connected", client);
        expect(data.peer.endpoint).toBe(client.endpoint);
      },
      TEST_MS,
    );

    test(
      "a handshake whose completing packet was not captured is reported within two seconds",
      async () => {
        await logPlainly("@th,64,32 0x01000000");
        await using watcher = await watch("nflog with the plain rule");
        const client = await wg0.client("not captured");
        client.sendDatagram();
        const event = await watcher.reports("peer.connected", client);
        const line = await watcher.wgmon.waitForLog(({ id }) => id === event.id);
        const lateMs = Date.parse(String(line["time"])) - Date.parse(event.data.session.startedAt);
        expect(lateMs).toBeGreaterThan(500);
        expect(lateMs).toBeLessThan(2000);
      },
      TEST_MS,
    );

    test.each(["nflog with the printed rules", "nflog with the plain rule", "bpf"] as const)(
      "a peer whose packets are redirected to the port is reported (%s)",
      async (way) => {
        await loadRules();
        await $`nft 'table ip redirected {
          chain prerouting {
            type nat hook prerouting priority -100;
            udp dport 443 redirect to :${PORT}
          }
        }'`.quiet();
        const filter = way === "bpf" ? ["--filter", "udp and dst port 443"] : [];
        await using watcher = await watch(way, ...filter);
        const client = await wg0.client(`redirected ${way}`);
        const endpoint = `${client.link.gatewayAddress}:443`;
        // The clients of a device share a namespace.
        const script = `for d in $(wg show interfaces); do
          [ "$(wg show $d public-key)" != '${client.publicKey}' ] ||
            wg set $d peer "$(wg show $d peers)" endpoint ${endpoint}
        done`;
        await client.run("sh", "-c", script);
        client.sendDatagram();
        await watcher.reports("peer.connected", client);
      },
      TEST_MS,
    );
  });

  test.each(WAYS)(
    `${STORM} peers that all reconnect are each reported once (%s)`,
    async (way) => {
      await using gateway = await KernelGateway.create();
      await loadRules();
      const peers = await gateway.addPeers(STORM);
      await using watcher = await watch(way);
      const keys = new Set(peers.map(({ publicKey }) => publicKey));
      await Promise.all(peers.map((peer) => peer.connect()));
      const reported = () =>
        watcher.events.flatMap(({ type, data }) =>
          type === "peer.connected" && "peer" in data ? data.peer.publicKey : [],
        );
      await watcher.waitFor("all peers", () => reported().length >= STORM);
      expect(new Set(reported())).toEqual(keys);
      expect(reported()).toHaveLength(STORM);
    },
    TEST_MS,
  );
});
