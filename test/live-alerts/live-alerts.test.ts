/** The alert engine in the daemon: what it is given, what is stored, and what is sent, whatever happens to the program. */

import { afterEach, describe, expect, test } from "bun:test";

import { type Rule, ruleOf } from "../../src/alerts/rule.ts";
import { type AlertQuery, ALL_ALERTS } from "../../src/store/alert-rows.ts";
import { AlertGateway } from "../support/alert-gateway.ts";
import { keyOf } from "../support/alert-story.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const gateways: AlertGateway[] = [];
afterEach(async () => {
  for (const gateway of gateways.splice(0)) await gateway[Symbol.asyncDispose]();
});

function gatewayWith(...rules: readonly Rule[]): AlertGateway {
  const gateway = new AlertGateway(rules);
  gateways.push(gateway);
  return gateway;
}

const all: AlertQuery = { ...ALL_ALERTS, limit: 100 };
const down = ruleOf("down", "down", { forMs: MINUTE_MS, waitMs: 0 });
const changed = ruleOf("changed", "changed", { waitMs: 0 });

describe("a peer that is down", () => {
  test("its alert is sent to all targets, stored with its notices, and resolved when the peer is back", async () => {
    const gateway = gatewayWith(down);
    gateway.add("alice");
    gateway.add("bob");
    await gateway.start();
    gateway.connect("alice");
    gateway.connect("bob");
    await gateway.pass(5 * MINUTE_MS);
    expect(gateway.texts).toEqual([]);
    gateway.active.delete("alice");
    await gateway.pass(5 * MINUTE_MS);
    const text = "alice (wg0) is down: no data for 1m; check the peer and its network";
    expect(gateway.texts).toEqual([`pager: firing down: ${text}`, `mail: firing down: ${text}`]);
    expect(gateway.alerts.current()).toMatchObject([
      { id: "alert-1", state: "firing", isSent: true },
    ]);
    expect(gateway.store.alerts.query({ ...all, state: "firing" })).toMatchObject([
      { id: "alert-1", rule: "down", publicKey: keyOf("alice"), peerName: "alice", isSent: true },
    ]);
    gateway.connect("alice");
    await gateway.pass(MINUTE_MS);
    expect(gateway.texts.slice(2)).toEqual([
      "pager: resolved down: alice (wg0) is back after 5m",
      "mail: resolved down: alice (wg0) is back after 5m",
    ]);
    expect(gateway.alerts.current()).toEqual([]);
    const [stored] = gateway.store.alerts.query(all);
    expect(stored).toMatchObject({
      id: "alert-1",
      resolves: true,
      resolvedAtMs: expect.any(Number),
    });
    const notices = gateway.store.alerts.notices("alert-1");
    const targets = ["pager (json https://pager.example)", "mail (json https://mail.example)"];
    expect(notices).toMatchObject([
      { type: "firing", heldBack: null, targets },
      { type: "resolved", heldBack: null, targets },
    ]);
    const events = gateway.store.events.query({
      order: "oldest",
      from: null,
      limit: 100,
      type: "alert.firing",
      publicKey: null,
      sinceMs: null,
    });
    expect(notices[0]!.eventSeq).toBe(events[0]!.seq);
  });

  test("a rule with targets sends to these only, and a rule about a mute peer to none", async () => {
    const gateway = gatewayWith({ ...down, targets: ["mail"] });
    gateway.mute("bob");
    gateway.add("alice");
    gateway.add("bob");
    gateway.add("carol");
    await gateway.start();
    for (const name of ["alice", "bob", "carol"]) gateway.connect(name);
    await gateway.pass(5 * MINUTE_MS);
    gateway.active.delete("alice");
    await gateway.pass(6 * MINUTE_MS);
    gateway.active.delete("bob");
    await gateway.pass(6 * MINUTE_MS);
    expect(gateway.texts.map((text) => text.slice(0, 30))).toEqual([
      "mail: firing down: alice (wg0)",
    ]);
    expect(gateway.store.alerts.notices("alert-2")).toMatchObject([
      { type: "firing", targets: [], eventSeq: expect.any(Number) },
    ]);
  });

  test("a dry run is stored and not sent", async () => {
    const gateway = gatewayWith({ ...down, dryRun: true });
    gateway.add("alice");
    await gateway.start();
    await gateway.pass(10 * MINUTE_MS);
    expect(gateway.texts).toEqual([]);
    expect(gateway.store.alerts.notices("alert-1")).toMatchObject([
      { type: "firing", dryRun: true, eventSeq: null },
    ]);
  });

  test("a deadline is met without a scan when no scan is due", async () => {
    const gateway = gatewayWith(down);
    gateway.add("alice");
    await gateway.start("nflog", "reconcile = 0");
    await gateway.pass(2000);
    const { scans } = gateway;
    await gateway.pass(5 * MINUTE_MS);
    expect(gateway.scans).toBe(scans);
    expect(gateway.texts).toHaveLength(2);
  });
});

describe("changes of peers", () => {
  test("a changed setting of an idle peer is found at the next reconcile, and told once", async () => {
    const gateway = gatewayWith(changed);
    gateway.add("alice");
    await gateway.start("nflog");
    await gateway.pass(2 * MINUTE_MS);
    expect(gateway.texts).toEqual([]);
    gateway.set("alice", { allowedIps: ["10.0.0.9/32"] });
    await gateway.pass(3 * MINUTE_MS);
    expect(gateway.texts.filter((text) => text.startsWith("pager"))).toEqual([
      "pager: firing changed: the allowed IPs of alice (wg0) were changed: 10.0.0.2/32 -> 10.0.0.9/32; if that was not intended, check who changed the device",
    ]);
  });

  test("a peer that is added and connects at once, and a connected peer that is removed, are reported", async () => {
    const gateway = gatewayWith(changed);
    gateway.add("alice");
    await gateway.start();
    await gateway.pass(MINUTE_MS);
    gateway.add("bob");
    gateway.connect("bob");
    await gateway.pass(MINUTE_MS);
    gateway.peers.delete("bob");
    await gateway.pass(MINUTE_MS);
    const texts = gateway.texts.filter((text) => text.startsWith("pager"));
    expect(texts.map((text) => text.split(/[;,]| with/)[0])).toEqual([
      "pager: firing changed: bob (wg0) was added",
      "pager: firing changed: bob (wg0) was removed",
    ]);
  });

  test("a peer that was removed while wgmon did not run is reported at the start", async () => {
    const gateway = gatewayWith(changed);
    for (const name of ["alice", "bob"]) gateway.add(name);
    await gateway.start();
    gateway.connect("bob");
    await gateway.pass(MINUTE_MS);
    await gateway.stop();
    gateway.peers.delete("bob");
    await gateway.start();
    await gateway.pass(MINUTE_MS);
    expect(gateway.texts.filter((text) => text.startsWith("pager"))).toEqual([
      "pager: firing changed: bob (wg0) was removed while wgmon was not watching; if that was not intended, check who changed the device",
    ]);
  });

  test("a device that is created again with the same peers changes nothing", async () => {
    const gateway = gatewayWith(changed);
    for (const name of ["alice", "bob"]) gateway.add(name);
    await gateway.start();
    gateway.connect("bob");
    await gateway.pass(2 * MINUTE_MS);
    gateway.isDevicePresent = false;
    await gateway.pass(20_000);
    gateway.isDevicePresent = true;
    gateway.recreate();
    // It is configured in a second step.
    await gateway.pass(1);
    for (const name of ["alice", "bob"]) gateway.add(name);
    await gateway.pass(3 * MINUTE_MS);
    expect(gateway.texts).toEqual([]);
  });

  test("without a rule about settings, the list of peers is read once, and when their number changes", async () => {
    const gateway = gatewayWith(down);
    gateway.add("alice");
    await gateway.start();
    const { lists } = gateway;
    await gateway.pass(5 * MINUTE_MS);
    expect(gateway.lists).toBe(lists);
    gateway.add("bob");
    await gateway.pass(MINUTE_MS);
    expect(gateway.lists).toBe(lists + 1);
    await gateway.pass(5 * MINUTE_MS);
    expect(gateway.lists).toBe(lists + 1);
    expect(gateway.texts.at(-1)).toContain("bob (wg0) has not connected");
  });
});

describe("the end of the program", () => {
  const story = async (interrupt: (gateway: AlertGateway, step: number) => Promise<void>) => {
    const gateway = gatewayWith(down, changed);
    for (const name of ["alice", "bob", "carol"]) gateway.add(name);
    await gateway.start();
    for (const name of ["alice", "bob", "carol"]) gateway.connect(name);
    for (let step = 0; step < 24; step++) {
      if (step === 4) gateway.active.delete("alice");
      if (step === 10) gateway.set("bob", { allowedIps: ["10.9.9.9/32"] });
      if (step === 16) gateway.connect("alice");
      await gateway.pass(MINUTE_MS / 2);
      await interrupt(gateway, step);
    }
    await gateway.pass(10 * MINUTE_MS);
    return gateway.texts
      .filter((text) => text.startsWith("pager"))
      .map((text) => text.replace(/ (while wgmon was not watching|for \d.*|after \d.*)/, ""));
  };

  test("a restart or a crash at any time neither repeats nor forgets a message", async () => {
    const expected = await story(() => Promise.resolve());
    expect(expected).toHaveLength(3);
    for (let at = 0; at < 24; at++) {
      for (const isCrash of [false, true]) {
        const texts = await story(async (gateway, step) => {
          if (step !== at) return;
          if (isCrash) gateway.kill();
          else await gateway.stop();
          await gateway.start();
        });
        expect({ at, isCrash, texts: texts.toSorted() }).toEqual({
          at,
          isCrash,
          texts: expected.toSorted(),
        });
      }
    }
  }, 120_000);

  test("a restart every two minutes neither repeats nor forgets a message", async () => {
    const expected = await story(() => Promise.resolve());
    const texts = await story(async (gateway, step) => {
      if (step % 4 !== 3) return;
      await gateway.stop();
      await gateway.start();
    });
    expect(texts.toSorted()).toEqual(expected.toSorted());
  }, 120_000);
});

describe("the clock", () => {
  test("a step of a day causes no message, and the alert that fires is resolved with the right duration", async () => {
    for (const ms of [DAY_MS, -DAY_MS]) {
      const gateway = gatewayWith(down);
      for (const name of ["alice", "bob"]) gateway.add(name);
      await gateway.start();
      for (const name of ["alice", "bob"]) gateway.connect(name);
      await gateway.pass(5 * MINUTE_MS);
      gateway.active.delete("alice");
      await gateway.pass(6 * MINUTE_MS);
      gateway.clock.jump(ms);
      await gateway.pass(2 * MINUTE_MS);
      expect(gateway.texts).toHaveLength(2);
      const [alert] = gateway.alerts.current();
      expect(gateway.clock.now().wallMs - alert!.sinceMs).toBeWithin(7 * MINUTE_MS, 9 * MINUTE_MS);
      expect(gateway.store.alerts.find("alert-1")!.sinceMs).toBe(alert!.sinceMs);
      await gateway.stop();
      // Also while it does not run.
      gateway.clock.jump(ms);
      await gateway.start();
      gateway.connect("alice");
      await gateway.pass(MINUTE_MS);
      expect(gateway.texts.slice(2).map((text) => text.slice(0, 40))).toEqual([
        "pager: resolved down: alice (wg0) is bac",
        "mail: resolved down: alice (wg0) is back",
      ]);
      expect(gateway.texts.at(-1)).toMatch(/after (8|9)m( |$)/);
    }
  });

  test("after a suspension, peers have time to return", async () => {
    const gateway = gatewayWith({ ...down, forMs: 0 });
    for (const name of ["alice", "bob"]) gateway.add(name);
    await gateway.start();
    for (const name of ["alice", "bob"]) gateway.connect(name);
    await gateway.pass(5 * MINUTE_MS);
    gateway.active.clear();
    gateway.clock.suspend(3 * 3_600_000);
    await gateway.pass(2 * MINUTE_MS);
    expect(gateway.texts).toEqual([]);
    for (const name of ["alice", "bob"]) gateway.connect(name);
    await gateway.pass(5 * MINUTE_MS);
    expect(gateway.texts).toEqual([]);
  });
});

test("a target that fails is reported to the others, also if it failed before a restart", async () => {
  const gateway = gatewayWith(ruleOf("target", "targets"), { ...down, forMs: 0 });
  gateway.verdicts.set("pager", { type: "retry", reason: "503", afterMs: null });
  gateway.add("alice");
  await gateway.start();
  await gateway.pass(8 * MINUTE_MS);
  await gateway.stop();
  await gateway.start();
  await gateway.pass(6 * MINUTE_MS);
  expect(gateway.texts.filter((text) => text.includes("targets"))).toEqual([
    "mail: firing targets: target pager has failed for 10m: events wait for it; see wgmon outbox",
  ]);
  gateway.verdicts.clear();
  await gateway.pass(40 * MINUTE_MS);
  expect(gateway.texts.filter((text) => text.includes("targets"))).toEqual([
    expect.anything(),
    "mail: resolved targets: target pager works again",
  ]);
});

test("while the devices cannot be scanned, nothing is said about their peers", async () => {
  const gateway = gatewayWith(down);
  for (const name of ["alice", "bob"]) gateway.add(name);
  await gateway.start();
  for (const name of ["alice", "bob"]) gateway.connect(name);
  await gateway.pass(5 * MINUTE_MS);
  gateway.isUnreadable = true;
  await gateway.pass(20 * MINUTE_MS);
  expect(gateway.texts).toEqual([]);
});

describe("silences", () => {
  const matchers = [{ field: "peer", pattern: "al*" }] as const;

  test("a silenced alert is held back with a record, and sent when the silence ends early", async () => {
    const gateway = gatewayWith(down);
    for (const name of ["alice", "bob"]) gateway.add(name);
    await gateway.start();
    gateway.connect("bob");
    const endMs = gateway.clock.now().wallMs + 3_600_000;
    const silence = gateway.alerts.addSilence({
      matchers,
      endMs,
      comment: "move",
      createdBy: "ann",
    });
    await gateway.pass(10 * MINUTE_MS);
    expect(gateway.texts).toEqual([]);
    expect(gateway.store.alerts.notices("alert-1")).toMatchObject([
      { heldBack: { type: "silence", id: silence.id, comment: "move" }, eventSeq: null },
    ]);
    await gateway.stop();
    await gateway.start();
    expect(gateway.alerts.silences()).toEqual([silence]);
    expect(gateway.alerts.expireSilence("other")).toBeFalse();
    await gateway.pass(MINUTE_MS);
    expect(gateway.alerts.expireSilence(silence.id)).toBeTrue();
    await gateway.pass(MINUTE_MS);
    expect(gateway.texts).toHaveLength(2);
    expect(gateway.alerts.silences()).toEqual([]);
  });

  test("without rules, a silence moves with the clock, also while wgmon does not run, and is deleted when it ends", async () => {
    const gateway = gatewayWith();
    await gateway.start();
    const { wallMs } = gateway.clock.now();
    const endMs = wallMs + 3_600_000;
    gateway.alerts.addSilence({ matchers, endMs, comment: "", createdBy: "" });
    const left = () =>
      gateway.alerts.silences().map((each) => each.endMs - gateway.clock.now().wallMs);
    gateway.clock.jump(DAY_MS);
    await gateway.pass(MINUTE_MS);
    expect(left()[0]).toBeWithin(58 * MINUTE_MS, 60 * MINUTE_MS);
    await gateway.stop();
    gateway.clock.jump(-DAY_MS);
    await gateway.start();
    expect(left()[0]).toBeWithin(56 * MINUTE_MS, 60 * MINUTE_MS);
    await gateway.pass(62 * MINUTE_MS);
    expect(gateway.alerts.silences()).toEqual([]);
    expect([...gateway.store.alerts.loadState().keys()]).not.toContainEqual(
      expect.stringContaining("silence"),
    );
  });

  test("a silence without rules is kept until there are rules", async () => {
    const gateway = gatewayWith();
    gateway.add("alice");
    await gateway.start();
    const endMs = gateway.clock.now().wallMs + 3_600_000;
    const silence = gateway.alerts.addSilence({ matchers, endMs, comment: "", createdBy: "" });
    const other = gateway.alerts.addSilence({ matchers, endMs, comment: "", createdBy: "" });
    expect(gateway.alerts.expireSilence(other.id)).toBeTrue();
    gateway.kill();
    await gateway.start();
    expect(gateway.alerts.silences()).toEqual([silence]);
    await gateway.reload([down]);
    expect(gateway.alerts.silences()).toEqual([silence]);
    await gateway.pass(10 * MINUTE_MS);
    expect(gateway.texts).toEqual([]);
    expect(gateway.alerts.current()).toMatchObject([{ heldBack: { type: "silence" } }]);
  });
});

test("the alert of a device that the settings no longer name ends at the next start", async () => {
  const gateway = gatewayWith(down);
  gateway.add("alice");
  await gateway.start();
  gateway.connect("alice");
  await gateway.pass(5 * MINUTE_MS);
  gateway.active.delete("alice");
  await gateway.pass(10 * MINUTE_MS);
  expect(gateway.texts).toHaveLength(2);
  await gateway.stop();
  gateway.isDevicePresent = false;
  await gateway.start("poll", 'device = "wg1"');
  await gateway.pass(MINUTE_MS);
  expect(gateway.texts.at(-1)).toBe(
    "mail: resolved down: wgmon no longer watches alice (wg0): its settings do not name wg0",
  );
  await gateway.pass(60 * MINUTE_MS);
  expect(gateway.texts).toHaveLength(4);
  expect(gateway.alerts.current()).toEqual([]);
});

describe("the rules", () => {
  test("rules that a reload adds know the connected peers; when all rules are gone, nothing is left but the next id", async () => {
    const gateway = gatewayWith();
    for (const name of ["alice", "bob"]) gateway.add(name);
    await gateway.start();
    const { lists } = gateway;
    for (const name of ["alice", "bob"]) gateway.connect(name);
    await gateway.pass(5 * MINUTE_MS);
    expect(gateway.store.alerts.loadState().size).toBe(0);
    expect(gateway.lists).toBe(lists);
    await gateway.reload([down]);
    await gateway.pass(5 * MINUTE_MS);
    expect(gateway.texts).toEqual([]);
    gateway.active.delete("alice");
    await gateway.pass(6 * MINUTE_MS);
    expect(gateway.texts).toHaveLength(2);
    await gateway.reload([]);
    await gateway.pass(MINUTE_MS);
    expect(gateway.texts.at(-1)).toContain("rule down no longer applies to alice (wg0)");
    const state = gateway.store.alerts.loadState();
    expect([...state]).toEqual([["engine", JSON.stringify({ nowMs: 0, nextId: 2 })]]);
    expect(gateway.store.alerts.query({ ...all, state: "firing" })).toEqual([]);
    await gateway.stop();
    await gateway.start();
    await gateway.reload([down]);
    await gateway.pass(6 * MINUTE_MS);
    expect(gateway.alerts.current()).toMatchObject([{ id: "alert-2" }]);
  });

  test("an alert of a rule that was removed while wgmon did not run is resolved at the start", async () => {
    const gateway = gatewayWith(down);
    gateway.add("alice");
    await gateway.start();
    await gateway.pass(10 * MINUTE_MS);
    expect(gateway.texts).toHaveLength(2);
    await gateway.stop();
    gateway.setRules([]);
    await gateway.start();
    await gateway.pass(MINUTE_MS);
    expect(gateway.texts).toHaveLength(4);
    expect(gateway.store.alerts.loadState().size).toBe(1);
  });
});
