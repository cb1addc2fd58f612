/** The messages about the state: a hub that applies them has the same peers as the gateway. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import type { Peer, PublicKey } from "../../src/base/wireguard.ts";
import type { StateMessage } from "../../src/fleet/messages.ts";
import { StateReport, type StateSource } from "../../src/uplink/state-report.ts";
import { FakeHub } from "../support/fake-hub.ts";
import { ALICE, BOB, device, peer } from "../support/peers.ts";
import { keyOf } from "../support/source.ts";

const head = { epoch: "01234567", first: 1, last: 0, isStopping: false, isProbe: false };

/** A gateway with peers on wg0, its report, and the hub that receives it. */
class World {
  readonly peers = new Map<PublicKey, Peer>();
  readonly hub = new FakeHub(() => 0);
  readonly names = new Map<PublicKey, string>();
  readonly report: StateReport;
  nowMs = 0;
  isReadable = true;
  /** How often all peers were read. */
  reads = 0;

  constructor() {
    const source: StateSource = {
      program: "0.1.0",
      startedAtMs: 0,
      now: () => ({ wallMs: this.nowMs, monotonicMs: this.nowMs }),
      host: () => "berlin",
      devices: () => [device()],
      count: () => this.peers.size,
      peers: () => {
        this.reads++;
        if (!this.isReadable) throw new Error("EBUSY");
        return [...this.peers.values()];
      },
      inCurrentClock: (each) => each,
      session: () => null,
      nameOf: (key) => this.names.get(key) ?? null,
      tagsOf: () => [],
    };
    this.report = new StateReport(source);
  }

  /** As a scan finds it: a peer without a handshake may be omitted. */
  change(changed: Peer, isFound = true): void {
    this.peers.set(changed.publicKey, changed);
    if (isFound) this.#scan([changed], []);
  }

  remove(publicKey: PublicKey): void {
    this.peers.delete(publicKey);
    this.#scan([], [publicKey]);
  }

  send(fate: "ok" | "lost" | "answer-lost" = "ok"): StateMessage {
    const message = this.report.next(head);
    const answer = fate === "lost" ? null : this.hub.receiveState(message);
    if (fate !== "ok") this.report.failed();
    else {
      this.report.answered();
      if (answer!.wantsAllPeers) this.report.wantAll();
    }
    return message;
  }

  get atHub(): string[] {
    return [...this.hub.peers.values()].map(describePeer).toSorted();
  }

  get here(): string[] {
    return [...this.peers.values()]
      .map((each) => describePeer({ ...each, name: this.names.get(each.publicKey) ?? null }))
      .toSorted();
  }

  #scan(changed: readonly Peer[], removed: readonly PublicKey[]): void {
    const found = changed.map((each) => ({ peer: each, before: null }));
    const devices = [{ device: device(), changed: found, removed }];
    this.report.onScan({ devices, removed: [], present: null, problems: [] }, []);
  }
}

function describePeer(each: { publicKey: string; rxBytes: number; name: string | null }): string {
  return `${each.publicKey} ${each.rxBytes} ${each.name}`;
}

describe("the state report", () => {
  test("the first message has all peers, and later ones those that changed", () => {
    const world = new World();
    world.change(peer());
    world.change(peer({ publicKey: BOB }));
    expect(world.send()).toMatchObject({ isComplete: true, hasMore: false });
    world.change(peer({ rxBytes: 5 }));
    const { isComplete, peers } = world.send();
    expect([isComplete, peers.map(({ publicKey }) => publicKey)]).toEqual([false, [ALICE]]);
    world.remove(BOB);
    expect(world.send()).toMatchObject({ peers: [], removed: [{ device: "wg0", publicKey: BOB }] });
    expect(world.send()).toMatchObject({ peers: [], removed: [] });
    expect(world.atHub).toEqual(world.here);
  });

  test("a device that could not be scanned is shown with its own reason", () => {
    const world = new World();
    const problems = [new Error("wg10: EBUSY"), new Error("EPERM")];
    const reasons = new Map([
      ["wg10", "wg10: EBUSY"],
      ["wg0", "EPERM"],
    ]);
    const failed = ["wg10", "wg0"];
    world.report.onScan({ devices: [], removed: [], present: null, problems, failed, reasons }, []);
    expect(world.send().devices).toMatchObject([{ name: "wg0", problem: "EPERM" }]);
  });

  test("a peer that no scan reports is found by the number of peers, and a new name within ten minutes", () => {
    const world = new World();
    world.change(peer());
    world.send();
    world.change(peer({ publicKey: BOB }), false);
    expect(world.send().peers.map(({ publicKey }) => publicKey)).toEqual([BOB]);
    const { reads } = world;
    world.names.set(BOB, "bob");
    expect(world.send().peers).toEqual([]);
    expect(world.reads).toBe(reads);
    world.nowMs += 600_000;
    expect(world.send().peers.map(({ name }) => name)).toEqual(["bob"]);
    world.names.set(ALICE, "alice");
    world.report.compareSoon();
    expect(world.send().peers.map(({ name }) => name)).toEqual(["alice"]);
  });

  test("a long list is sent in several messages of a limited size, and a change meanwhile after it", () => {
    const world = new World();
    const allowedIps = Array.from(
      { length: 100 },
      (_, n) => `2001:db8:0:0:1234:5678:9abc:${n}/128`,
    );
    for (let n = 0; n < 500; n++) world.change(peer({ publicKey: keyOf(n), allowedIps }), false);
    const first = world.send();
    expect(first).toMatchObject({ isComplete: true, hasMore: true });
    expect(JSON.stringify(first).length).toBeLessThan(1_000_000);
    world.change(peer({ publicKey: keyOf(0), rxBytes: 7, allowedIps }));
    let message = first;
    while (message.hasMore) message = world.send();
    expect(message.isComplete).toBe(true);
    world.send();
    expect(world.atHub).toEqual(world.here);
  });

  test("a probe has no peers, and does not read them", () => {
    const world = new World();
    world.change(peer());
    expect(world.report.next({ ...head, isProbe: true })).toMatchObject({
      isComplete: false,
      peers: [],
      devices: [{ name: "wg0" }],
    });
    expect(world.report.answered()).toBe(true);
    expect(world.reads).toBe(0);
    expect(world.send()).toMatchObject({ isComplete: true, peers: [{ publicKey: ALICE }] });
  });

  test("a device that cannot be read is reported with the reason, and its peers once it can", () => {
    const world = new World();
    world.change(peer(), false);
    world.isReadable = false;
    expect(world.send()).toMatchObject({ peers: [], devices: [{ problem: "EBUSY" }] });
    expect(world.send()).toMatchObject({ peers: [], devices: [{ problem: "EBUSY" }] });
    world.isReadable = true;
    world.send();
    expect(world.atHub).toEqual(world.here);
  });

  test("whatever changes, and whichever messages are lost, the hub ends with the peers of the gateway", () => {
    const step = fc.record({
      type: fc.constantFrom("change", "hide", "remove", "send", "lost", "answer-lost", "forget"),
      key: fc.nat(5),
      rxBytes: fc.nat(3),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const world = new World();
        for (const { type, key, rxBytes } of steps) {
          const publicKey = keyOf(key);
          if (type === "change") world.change(peer({ publicKey, rxBytes }));
          else if (type === "hide" && !world.peers.has(publicKey))
            world.change(peer({ publicKey }), false);
          else if (type === "remove" && world.peers.has(publicKey)) world.remove(publicKey);
          else if (type === "send") world.send();
          else if (type === "lost" || type === "answer-lost") world.send(type);
          else if (type === "forget") world.hub.forget();
        }
        for (let n = 0; n < 4; n++) world.send();
        expect(world.atHub).toEqual(world.here);
      }),
      { numRuns: Number(process.env["FLEET_RUNS"] ?? 300) },
    );
  });
});
