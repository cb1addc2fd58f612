/** Rules about a public key on all devices together: on several gateways of a hub, or on several devices of one. */

import { expect, test } from "bun:test";

import { type Rule, ruleOf } from "../../src/alerts/rule.ts";
import { AlertStory, keyOf } from "../support/alert-story.ts";

const DEVICES = ["berlin/wg0", "lyon/wg0"];
const rule = ruleOf("down", "sites", { everywhere: true, forMs: 120_000, waitMs: 0 });

class Fleet extends AlertStory {
  configuredOn(devices: readonly string[], name = "alice", allNames = [name]): this {
    const peers = Object.fromEntries(allNames.map((each) => [each, []]));
    for (const device of devices) this.configured(peers, device);
    return this;
  }

  up(device: string, name = "alice"): this {
    const peer = { publicKey: keyOf("alice"), name, tags: [] };
    return this.input({
      type: "connected",
      device,
      peer,
      endpoint: "192.0.2.1:51820",
      handshakeAtMs: this.nowMs,
      startedAtMs: this.nowMs,
    });
  }

  down(device: string, name = "alice"): this {
    const peer = { publicKey: keyOf("alice"), name, tags: [] };
    const endedAtMs = this.nowMs - 60_000;
    return this.input({ type: "disconnected", device, peer, endedAtMs, reason: "idle" });
  }

  lost(device: string): this {
    return this.input({ type: "scan-failed", device });
  }
}

function fleet(rules: readonly Rule[] = [rule], devices = DEVICES): Fleet {
  const begun = new Fleet(rules).configuredOn(devices);
  return begun.up(devices[0]!).up(devices[1]!).wait("10m");
}

test("a peer that is connected on one of its gateways is not down", () => {
  const told = fleet().down("berlin/wg0").wait("1h");
  expect(told.told()).toEqual([]);
  told.up("berlin/wg0").down("lyon/wg0").wait("1h");
  expect(told.told()).toEqual([]);
  expect(told.alerts()).toEqual([]);
});

test("a peer that is connected on none of its gateways is down: one alert, from its last activity anywhere", () => {
  const told = fleet().down("berlin/wg0").wait("1h").down("lyon/wg0").wait(50);
  expect(told.told()).toEqual([]);
  expect(told.wait(20).told()).toEqual([
    "firing sites: alice (berlin/wg0, lyon/wg0) is down: no data for 2m; check the peer and its network",
  ]);
  expect(told.alerts().map(({ subject }) => subject)).toEqual([
    { type: "peer", device: "lyon/wg0", publicKey: keyOf("alice") },
  ]);
});

test("it is back when it connects on any of its gateways, and the sentence says where", () => {
  const told = fleet().down("berlin/wg0").down("lyon/wg0").wait("10m");
  expect(told.told()).toHaveLength(1);
  expect(told.up("berlin/wg0").told()).toEqual([
    "resolved sites: alice (berlin/wg0) is back after 11m",
  ]);
});

test("down on one gateway and unknown on another is not down, however long that lasts", () => {
  const told = fleet().lost("lyon/wg0").wait(10).down("berlin/wg0").wait("3d");
  expect(told.told()).toEqual([]);
  // It is judged when the gateway is back; the time in which it was not watched does not count.
  told.down("lyon/wg0").scan({}, "lyon/wg0").wait(110);
  expect(told.told()).toEqual([]);
  expect(told.wait(20).told()).toHaveLength(1);
});

test("an alert that fires stays while a gateway is lost, and is resolved by the others", () => {
  const told = fleet().down("berlin/wg0").down("lyon/wg0").wait("10m");
  expect(told.told()).toHaveLength(1);
  told.lost("lyon/wg0").wait("1h");
  expect(told.told()).toEqual([]);
  expect(told.up("berlin/wg0").told()).toEqual([
    "resolved sites: alice (berlin/wg0) is back after 1h 11m",
  ]);
});

test("if it is removed from the gateway that the alert names, the alert goes on for the others", () => {
  const told = fleet().down("berlin/wg0").wait(10).down("lyon/wg0").wait("10m");
  expect(told.told()).toHaveLength(1);
  told.configured({}, "lyon/wg0").wait(10);
  expect(told.told()).toEqual([
    "firing sites: alice (berlin/wg0) is down: no data for 11m 10s; check the peer and its network",
    "resolved sites: alice (lyon/wg0) is no longer configured",
  ]);
});

test("a connection counts on a gateway that has another name for the peer", () => {
  const named = { ...rule, peers: ["alice"] };
  const told = new Fleet([named]).configuredOn(["berlin/wg0"]);
  told.up("berlin/wg0").up("lyon/wg0", "alice-phone").wait("10m");
  expect(told.down("berlin/wg0").wait("1h").told()).toEqual([]);
  expect(told.down("lyon/wg0", "alice-phone").wait("10m").told()).toHaveLength(1);
  expect(told.up("lyon/wg0", "alice-phone").told()).toEqual([
    "resolved sites: alice-phone (lyon/wg0) is back after 11m",
  ]);
});

test("only the devices of the rule count, and without everywhere each device counts for itself", () => {
  const onBerlin = { ...rule, name: "berlin", devices: ["berlin/*"] };
  const each = ruleOf("down", "each", { waitMs: 0 });
  const told = fleet([onBerlin, each]).down("berlin/wg0").wait("10m");
  expect(told.told()).toEqual([
    "firing berlin: alice (berlin/wg0) is down: no data for 2m; check the peer and its network",
    "firing each: alice (berlin/wg0) is down: no data for 2m; check the peer and its network",
  ]);
});

test("a peer on many gateways is reported with their number, and never as the failure of one gateway's connection", () => {
  const devices = ["a/wg0", "b/wg0", "c/wg0", "d/wg0"];
  const told = fleet([rule], devices).up("c/wg0").up("d/wg0").wait("10m");
  for (const device of devices) told.down(device);
  expect(told.wait("10m").told()).toEqual([
    "firing sites: alice (4 devices) is down: no data for 2m; check the peer and its network",
  ]);
});

test("a peer is unused if it was connected on none of its devices", () => {
  const unused = ruleOf("unused", "unused", { days: 2, everywhere: true });
  const told = fleet([unused]).down("berlin/wg0").wait("1d").down("lyon/wg0").wait("1d");
  expect(told.told()).toEqual([]);
  expect(told.wait("2d").told()).toEqual([
    "firing unused: alice (berlin/wg0, lyon/wg0) was not connected for 2d 8h; remove it if it is not needed",
  ]);
  told.up("berlin/wg0").wait("1d");
  expect(told.told()).toEqual(["resolved unused: alice (berlin/wg0) is used again"]);
});

test("a gateway that is forgotten counts no more, and its alerts end", () => {
  const told = fleet().down("berlin/wg0").wait("10m");
  expect(told.told()).toEqual([]);
  told.input({ type: "devices-forgotten", prefix: "lyon/" }).wait(10);
  expect(told.told()).toEqual([
    "firing sites: alice (berlin/wg0) is down: no data for 11m; check the peer and its network",
  ]);
  told.input({ type: "devices-forgotten", prefix: "berlin/" }).restart().wait("1d");
  expect(told.told()).toEqual([
    "resolved sites: wgmon no longer watches alice (berlin/wg0): its gateway was forgotten",
  ]);
  expect(told.alerts()).toEqual([]);
  expect([...told.engine.save().keys()].filter((key) => /wg0/.test(key))).toEqual([]);
});

test("a restart of the hub changes nothing", () => {
  const told = fleet().down("berlin/wg0").restart().wait(10).down("lyon/wg0").restart();
  expect(told.wait("10m").told()).toHaveLength(1);
  expect(told.restart().up("lyon/wg0").told()).toHaveLength(1);
});
