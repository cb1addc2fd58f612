/** The connection to the hub across reloads of the settings. */

import { describe, expect, test } from "bun:test";

import type { Peer } from "../../src/base/wireguard.ts";
import { parseSecrets } from "../../src/channels/signature.ts";
import { FleetState } from "../../src/hub/fleet-state.ts";
import { createLog } from "../../src/platform/log.ts";
import { Store } from "../../src/store/store.ts";
import { HubLink } from "../../src/uplink/hub-link.ts";
import type { HubSettings } from "../../src/uplink/hub-settings.ts";
import { HandClock } from "../support/clock.ts";
import { HubServer } from "../support/hub-server.ts";
import { ALICE, BOB, device, peer } from "../support/peers.ts";
import { useStoreFolders } from "../support/store-folders.ts";
import { until } from "../support/until.ts";

const { opened } = useStoreFolders();

describe("a reload of the setting hub", () => {
  test("the same hub, under another URL, sees what changes afterwards, and what changed in between", async () => {
    const parsed = parseSecrets(`whsec_${"A".repeat(40)}`);
    if (!("value" in parsed)) throw new Error(parsed.problem);
    const secret = parsed.value[0]!;
    using server = new HubServer({ gateway: "berlin", secret });
    const clock = new HandClock();
    const log = createLog({ format: "text", level: "error", write: () => {} });
    const store = opened(await Store.open({ directory: null, clock, log }));
    let peers: Peer[] = [peer({ publicKey: ALICE })];
    const link = new HubLink({
      clock,
      log,
      store,
      attempted: () => {},
      source: {
        program: "0.1.0",
        startedAtMs: 0,
        now: () => clock.now(),
        host: () => "berlin",
        devices: () => [device()],
        count: () => peers.length,
        peers: () => peers,
        inCurrentClock: (each) => each,
        session: () => null,
        nameOf: () => null,
        tagsOf: () => [],
      },
    });
    const settings = (path: string): HubSettings => ({
      type: "https",
      gateway: "berlin",
      ca: null,
      url: `${server.url()}${path}`,
      secret,
    });
    const { states } = server.hub;
    const state = new FleetState();
    state.add("berlin", null, clock.now());
    let applied = 0;
    const keysAtHub = () => {
      for (const message of states.slice(applied)) {
        applied++;
        const { wantsAllPeers } = state.applyState("berlin", message, clock.now());
        server.hub.wantsAllPeers ||= wantsAllPeers;
      }
      return state.peers("berlin/wg0").map(({ publicKey }) => publicKey);
    };
    server.hub.wantsAllPeers = false;
    link.set(settings(""));
    link.start();
    await until("the hub has alice", () => keysAtHub().join() === ALICE);
    peers = [peer({ publicKey: BOB })];
    link.onScan(scanOf([], [ALICE]), []);
    link.set(settings("/fleet"));
    await until("the hub has bob instead", () => keysAtHub().join() === BOB);
    peers = [...peers, peer({ publicKey: ALICE })];
    link.onScan(scanOf(peers, []), []);
    void link.test();
    await until("the hub has both", () => keysAtHub().length === 2);
    expect(states.map(({ order }) => order)).toEqual(states.map((_, index) => index + 1));
    await link.stop(1000);
  });
});

function scanOf(changed: readonly Peer[], removed: readonly Peer["publicKey"][]) {
  const found = changed.map((each) => ({ peer: each, before: null }));
  const devices = [{ device: device(), changed: found, removed }];
  return { devices, removed: [], present: null, problems: [] };
}
