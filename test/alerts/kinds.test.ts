/** The kinds of rules, each as a table of stories: when it fires, when it is resolved, and when it does neither. */

import { describe, expect, test } from "bun:test";

import { ruleOf } from "../../src/alerts/rule.ts";
import { parseInterval, type TimeInterval } from "../../src/alerts/times.ts";
import { AlertStory, keyOf, MONDAY } from "../support/alert-story.ts";
import { mustEndpoint } from "../support/peers.ts";

function interval(text: string): TimeInterval {
  const parsed = parseInterval(text);
  if (typeof parsed === "string") throw new Error(parsed);
  return parsed;
}

/** A story whose devices exist for so long that their peers had time to return. */
function story(...rules: ConstructorParameters<typeof AlertStory>[0]): AlertStory {
  const begun = new AlertStory(rules);
  begun.input({ type: "device", device: "wg0", present: true });
  return begun.wait("10m");
}

const downNow = ruleOf("down", "sites", { forMs: 0, waitMs: 0 });

describe("down", () => {
  test("fires after `for` since the last activity, and is resolved when the peer is back", () => {
    const told = story(ruleOf("down", "sites", { forMs: 300_000, waitMs: 0 })).connect("berlin");
    expect(told.wait("1h").disconnect("berlin").wait(110).told()).toEqual([]);
    expect(told.wait(20).told()).toEqual([
      "firing sites: berlin (wg0) is down: no data for 5m; check the peer and its network",
    ]);
    expect(told.wait("1h").connect("berlin").told()).toEqual([
      "resolved sites: berlin (wg0) is back after 1h 5m",
    ]);
  });

  test("counts the time until the handshake with which the peer is back, which a scan may find later", () => {
    const told = story(downNow).connect("berlin").wait("1h").disconnect("berlin", "idle", 0);
    expect(told.told()).toHaveLength(1);
    told.wait("5m");
    const [named, startedAtMs] = [
      { publicKey: keyOf("berlin"), name: "berlin", tags: [] },
      told.nowMs,
    ];
    told.wait(9).input({
      type: "connected",
      device: "wg0",
      peer: named,
      endpoint: "192.0.2.1:51820",
      handshakeAtMs: startedAtMs,
      startedAtMs,
    });
    expect(told.told()).toEqual(["resolved sites: berlin (wg0) is back after 5m"]);
  });

  test("fires for a peer that never connected, after the grace period of a new device", () => {
    const told = new AlertStory([ruleOf("down", "sites", { forMs: 60_000, waitMs: 0 })]);
    told.configured({ berlin: ["10.0.0.2/32"] });
    expect(told.wait(170).told()).toEqual([]);
    expect(told.wait(20).told()).toEqual([
      "firing sites: berlin (wg0) has not connected since wgmon began to watch it 3m ago; check its configuration and its network",
    ]);
    expect(told.wait("1h").connect("berlin").told()).toEqual([
      "resolved sites: berlin (wg0) has connected after 1h 3m",
    ]);
  });

  test("fires in the grace period for a peer that has connected in it, because it has keys", () => {
    const told = story(downNow).connect("rome");
    const fromMs = told.nowMs;
    told.jump("1h").input({ type: "away", fromMs, reason: "suspended" }).scan();
    told.wait(5).connect("berlin").wait(60).disconnect("rome", "idle", 55);
    expect(told.told()).toEqual([]);
    expect(told.disconnect("berlin", "idle", 50).told()).toEqual([
      "firing sites: berlin (wg0) is down: no data for 50s; check the peer and its network",
    ]);
    expect(told.wait("3m").told()).toEqual([
      "firing sites: rome (wg0) is down: no data for 2m 50s; check the peer and its network",
    ]);
  });

  test("fires in the grace period for a peer that sent data in it", () => {
    const told = story(downNow)
      .connect("berlin")
      .scan({ berlin: [1000, 1000] });
    const fromMs = told.nowMs;
    told.jump("1h").input({ type: "away", fromMs, reason: "not-running" });
    // The first scan shows what came while wgmon was away; only the second shows that the peer has keys now.
    told
      .scan({ berlin: [1000, 1000] })
      .wait(10)
      .scan({ berlin: [1000, 1000] })
      .wait(60);
    expect(told.disconnect("berlin", "idle", 50).told()).toEqual([
      "firing sites: berlin (wg0) is down: no data for 50s; check the peer and its network",
    ]);
  });

  test("does not fire in the grace period for a peer that sent data only while wgmon was away", () => {
    const told = story(downNow)
      .connect("berlin")
      .scan({ berlin: [1000, 1000] });
    const fromMs = told.nowMs;
    told.jump("1h").input({ type: "away", fromMs, reason: "not-running" });
    told.scan({ berlin: [1000, 1000] }).wait(60);
    expect(told.disconnect("berlin", "idle", 50).told()).toEqual([]);
    expect(told.wait("3m").told()).toHaveLength(1);
  });

  test("fires in the first minutes of wgmon for a peer that was connected when it began", () => {
    const told = new AlertStory([downNow])
      .connect("berlin")
      .wait(60)
      .disconnect("berlin", "idle", 30);
    expect(told.told()).toEqual([
      "firing sites: berlin (wg0) is down: no data for 30s; check the peer and its network",
    ]);
  });

  test("does not fire if the peer returns within `for`", () => {
    const told = story(ruleOf("down", "sites", { forMs: 300_000 })).connect("berlin");
    told.wait("1h").disconnect("berlin").wait(60).connect("berlin").wait("1h");
    expect(told.told()).toEqual([]);
    expect(told.alerts()).toEqual([]);
  });

  test("fires after missing keep-alives if the cadence was learned, and earlier than the idle timeout", () => {
    const told = story(downNow).connect("berlin");
    for (let scans = 0; scans < 100; scans++) {
      // A keep-alive every 20 s, and a handshake every two minutes.
      if (scans % 12 === 0) told.handshake("berlin");
      told.wait(10).scan({ berlin: [scans % 2 === 0 ? 32 : 0, 0] });
    }
    expect(told.told()).toEqual([]);
    for (let scans = 0; scans < 6; scans++) told.wait(10).scan();
    expect(told.told()).toEqual([]);
    for (let scans = 0; scans < 3; scans++) told.wait(10).scan();
    expect(told.told()).toEqual([
      "firing sites: berlin (wg0) is down: no data for 1m 15s; check the peer and its network",
    ]);
    expect(
      told
        .wait(10)
        .scan({ berlin: [32, 0] })
        .told(),
    ).toEqual(["resolved sites: berlin (wg0) is back after 1m 50s"]);
  });

  test("needs scans: without them, missing keep-alives mean nothing", () => {
    const told = story(downNow).connect("berlin");
    for (let scans = 0; scans < 100; scans++) told.wait(10).scan({ berlin: [32, 0] });
    expect(told.wait("4m").told()).toEqual([]);
  });

  test("ends when the peer is no longer configured", () => {
    const told = story(downNow).configured({ berlin: [] }).connect("berlin").wait("1h");
    told.disconnect("berlin").told();
    expect(told.wait("1h").configured({}).told()).toEqual([
      "resolved sites: berlin (wg0) is no longer configured",
    ]);
  });

  test("does not fire when the device is created again and its peers return", () => {
    const told = story(downNow, ruleOf("down", "slow", { forMs: 60_000 })).connect("berlin");
    told.wait("1h").disconnect("berlin", "device-removed");
    told.input({ type: "device", device: "wg0", present: false });
    // The rule without `for` reports the removal.
    expect(told.told()).toEqual([
      "firing sites: wg0 does not exist, and 1 of its peers is down; check the device on this gateway",
      "firing sites: berlin (wg0) is down: no data for 0s; check the peer and its network [held back: device-down]",
    ]);
    told.wait(5).input({ type: "device", device: "wg0", present: true });
    expect(told.wait(100).connect("berlin").wait("1h").told()).toEqual([
      "resolved sites: berlin (wg0) is back after 1m 45s",
    ]);
  });
});

describe("flapping", () => {
  const rule = ruleOf("flapping", "flaps", {
    disconnects: 3,
    withinMs: 3_600_000,
    resolveAfterMs: 0,
  });

  test("fires after more than N disconnects within the span, and is resolved when they are past", () => {
    const told = story(rule);
    for (let count = 0; count < 3; count++) told.connect("phone").wait("5m").disconnect("phone");
    expect(told.told()).toEqual([]);
    told.connect("phone").wait("5m").disconnect("phone");
    expect(told.told()).toEqual([
      "firing flaps: phone (wg0) was disconnected 4 times within 1h; check its network and the idle timeout",
    ]);
    expect(told.wait("1h").told()).toEqual(["resolved flaps: phone (wg0) is stable again"]);
  });

  test("does not count removals, nor disconnects over a long time", () => {
    const told = story(rule);
    for (let count = 0; count < 9; count++) {
      told.connect("phone").wait("5m").disconnect("phone", "device-removed");
    }
    for (let count = 0; count < 9; count++) told.connect("phone").wait("25m").disconnect("phone");
    expect(told.told()).toEqual([]);
  });
});

describe("no-return-traffic", () => {
  const rule = ruleOf("no-return-traffic", "holes", { peers: ["*"] });

  /** A link with steady traffic in both directions. */
  function busy(scans: number, ...rules: ConstructorParameters<typeof AlertStory>[0]): AlertStory {
    const told = story(...rules).connect("berlin");
    for (let scan = 0; scan < scans; scan++) {
      if (scan % 12 === 0) told.handshake("berlin");
      told.wait(10).scan({ berlin: [3000, 5000] });
    }
    return told;
  }

  test("fires at the first tick without an answer on a steady link, and is resolved with the first answer", () => {
    const told = busy(30, rule);
    expect(
      told
        .wait(10)
        .scan({ berlin: [0, 4000] })
        .told(),
    ).toEqual([
      "firing holes: berlin (wg0) does not answer: data was sent to it, and none came back for 10s; check routing and firewalls between it and this gateway",
    ]);
    expect(
      told
        .wait("2m")
        .scan({ berlin: [0, 2000] })
        .told(),
    ).toEqual([]);
    expect(
      told
        .wait(10)
        .scan({ berlin: [400, 2000] })
        .told(),
    ).toEqual(["resolved holes: berlin (wg0) answers again after 2m 20s"]);
  });

  test("fires at the second tick without an answer if less was sent than usual, as at the end of a tick", () => {
    const told = busy(30, rule);
    told.wait(10).scan({ berlin: [0, 2000] });
    expect(told.told()).toEqual([]);
    told.wait(10).scan({ berlin: [0, 2000] });
    expect(told.told()).toHaveLength(1);
  });

  test("fires at the second tick without an answer on a link that is not steady", () => {
    const told = busy(30, rule);
    // A tick without any data.
    told.wait(20).scan({ berlin: [3000, 5000] });
    told.wait(10).scan({ berlin: [0, 5000] });
    expect(told.told()).toEqual([]);
    told.wait(10).scan({ berlin: [0, 5000] });
    expect(told.told()).toHaveLength(1);
  });

  test("is judged later after an alert that ended with the next tick, which may have been a pause of the peer", () => {
    const told = busy(30, rule);
    told
      .wait(10)
      .scan({ berlin: [0, 5000] })
      .wait(10)
      .scan({ berlin: [3000, 5000] });
    expect(told.told()).toHaveLength(2);
    told.handshake("berlin");
    for (let scan = 0; scan < 12; scan++) told.wait(10).scan({ berlin: [3000, 5000] });
    told.wait(10).scan({ berlin: [0, 5000] });
    expect(told.told()).toEqual([]);
    told.wait(10).scan({ berlin: [0, 5000] });
    expect(told.told()).toHaveLength(1);
  });

  test("stays when the peer is disconnected meanwhile, because that is no answer", () => {
    const told = busy(30, rule)
      .wait(10)
      .scan({ berlin: [0, 5000] })
      .wait(10);
    told.scan({ berlin: [0, 5000] }).told();
    expect(told.wait("3m").disconnect("berlin").wait("1h").told()).toEqual([]);
    expect(told.connect("berlin").told()).toEqual([
      "resolved holes: berlin (wg0) answers again after 1h 3m",
    ]);
  });

  test.each([
    ["only keep-alives are sent", 32],
    ["only initiations are sent", 148],
    ["nothing is sent", 0],
  ])("does not fire if %s", (_, bytes) => {
    const told = busy(30, rule);
    for (let scan = 0; scan < 12; scan++) told.wait(10).scan({ berlin: [0, bytes] });
    expect(told.told()).toEqual([]);
  });

  test("does not fire for one request without an answer on a quiet link, but for a minute of them", () => {
    const told = story(rule).connect("berlin");
    for (let scan = 0; scan < 30; scan++) {
      if (scan % 12 === 0) told.handshake("berlin");
      told.wait(10).scan({ berlin: scan % 3 === 0 ? [128, 128] : [0, 0] });
    }
    told
      .wait(10)
      .scan({ berlin: [0, 128] })
      .wait(10)
      .scan()
      .wait(10)
      .scan({ berlin: [0, 128] });
    expect(told.told()).toEqual([]);
    told.handshake("berlin");
    for (let scan = 0; scan < 9; scan++) told.wait(10).scan({ berlin: [0, 128] });
    expect(told.told()).toHaveLength(1);
  });

  test("does not fire after the keys have expired", () => {
    const told = busy(12, rule);
    told
      .wait("3m")
      .scan({ berlin: [0, 5000] })
      .wait(20)
      .scan({ berlin: [0, 5000] });
    expect(
      told
        .wait(20)
        .scan({ berlin: [0, 5000] })
        .told(),
    ).toEqual([]);
  });

  test("does not fire for a peer that sleeps", () => {
    const told = story(rule);
    for (let sleep = 0; sleep < 4; sleep++) told.connect("laptop").wait("1h").disconnect("laptop");
    told.connect("laptop");
    for (let scan = 0; scan < 30; scan++) {
      if (scan % 12 === 0) told.handshake("laptop");
      told.wait(10).scan({ laptop: [3000, 5000] });
    }
    for (let scan = 0; scan < 9; scan++) told.wait(10).scan({ laptop: [0, 5000] });
    expect(told.told()).toEqual([]);
  });

  test("does not fire for a peer that has just roamed", () => {
    const told = busy(30, rule).roam("berlin", "198.51.100.1:51820").wait(10);
    for (let scan = 0; scan < 5; scan++) told.scan({ berlin: [0, 5000] }).wait(10);
    expect(told.told()).toEqual([]);
  });

  test("a rule for all peers judges them only after a day without sleep", () => {
    expect(
      busy(30, ruleOf("no-return-traffic", "holes"))
        .wait(10)
        .scan({ berlin: [0, 5000] })
        .wait(10)
        .scan({ berlin: [0, 5000] })
        .told(),
    ).toEqual([]);
  });
});

describe("shared-key", () => {
  const rule = ruleOf("shared-key", "copies");
  const [a, b] = ["192.0.2.1:1000", "198.51.100.1:2000"];

  test("fires when two places take turns and each needs new handshakes", () => {
    const told = story(rule).connect("alice", a);
    told.wait(15).roam("alice", b, told.nowMs).wait(15).roam("alice", a, told.nowMs);
    expect(told.told()).toEqual([]);
    expect(told.wait(15).roam("alice", b, told.nowMs).told()).toEqual([
      `firing copies: the key of alice (wg0) is used from two places in turns, ${a} and ${b}: its configuration was probably copied; give each machine its own key`,
    ]);
    expect(told.wait("9m").told()).toEqual([]);
    expect(told.wait("2m").told()).toHaveLength(1);
  });

  test("continues to fire when the turns continue after a pause, until there was none for ten minutes", () => {
    const told = story(rule).connect("alice", a);
    for (const place of [b, a, b]) told.wait(15).roam("alice", place, told.nowMs);
    expect(told.told()).toHaveLength(1);
    told.wait("3m");
    for (const place of [a, b, a, b]) told.wait(15).roam("alice", place, told.nowMs);
    expect(told.wait("9m").told()).toEqual([]);
    expect(told.wait("2m").told()).toHaveLength(1);
  });

  test("does not fire for one machine between two networks, which keeps its keys", () => {
    const told = story(rule).connect("alice", a);
    for (let turn = 0; turn < 10; turn++) {
      told.wait(20).roam("alice", turn % 2 === 0 ? b : a);
      // It renews its keys every two minutes.
      if (turn % 6 === 5) told.handshake("alice");
    }
    expect(told.told()).toEqual([]);
  });

  test("does not fire for a machine that returns once with a new handshake", () => {
    const told = story(rule).connect("alice", a);
    told.wait(30).roam("alice", b, told.nowMs).wait(30).roam("alice", a, told.nowMs);
    expect(told.wait("1h").told()).toEqual([]);
  });

  test("does not fire for a journey, or for slow turns", () => {
    const told = story(rule).connect("alice", a);
    for (let place = 1; place < 20; place++) {
      told.wait(20).roam("alice", `192.0.2.${place}:1000`, told.nowMs);
    }
    for (let turn = 0; turn < 8; turn++) {
      told.wait("2m").roam("alice", turn % 2 === 0 ? b : a, told.nowMs);
    }
    expect(told.told()).toEqual([]);
  });

  test("needs one turn more if handshakes are unknown", () => {
    const told = story(rule).connect("alice", a, null);
    told.wait(20).roam("alice", b).wait(20).roam("alice", a).wait(20).roam("alice", b);
    expect(told.told()).toEqual([]);
    expect(told.wait(20).roam("alice", a).told()).toHaveLength(1);
  });
});

describe("traffic", () => {
  const period = { unit: "month", resetDay: 1, zone: "Europe/Berlin" } as const;
  const quota = { bytes: 12_000_000_000, period, percents: [80, 100] };

  test("fires at each percentage of the quota, and is resolved when the next period begins", () => {
    const told = story(ruleOf("traffic", "cap", { quota }))
      .connect("alice")
      .scan({ alice: [0, 0] });
    expect(
      told
        .wait(10)
        .scan({ alice: [9e9, 0] })
        .told(),
    ).toEqual([]);
    expect(
      told
        .wait(10)
        .scan({ alice: [0, 6e8] })
        .told(),
    ).toEqual(["firing cap: alice (wg0) has used 80 % of its 12 GB for this month"]);
    expect(
      told
        .wait(10)
        .scan({ alice: [1e9, 1e9] })
        .wait(10)
        .scan({ alice: [1e9, 1e9] })
        .told(),
    ).toEqual(["firing cap: alice (wg0) has used 113 % of its 12 GB for this month"]);
    expect(told.wait("26d").told()).toEqual([]);
    expect(told.wait("1d").told()).toEqual([
      "resolved cap: a new period of the quota of alice (wg0) has begun",
    ]);
  });

  test("its sums survive a counter reset, a device that is created again, and a restart", () => {
    const told = story(ruleOf("traffic", "cap", { quota }))
      .connect("alice")
      .scan({ alice: [0, 0] });
    told
      .wait(10)
      .scan({ alice: [4e9, 0] })
      .restart();
    told.input({ type: "away", fromMs: told.nowMs, reason: "not-running" });
    told.input({ type: "device", device: "wg0", present: false });
    told.wait(10).input({ type: "device", device: "wg0", present: true });
    // The new device counts from zero.
    const peer = { publicKey: keyOf("alice"), endpoint: null, lastHandshakeMs: null };
    told.input({ type: "scan", device: "wg0", peers: [{ ...peer, rxBytes: 3e9, txBytes: 0 }] });
    expect(told.told()).toEqual([]);
    told
      .wait(10)
      .input({ type: "scan", device: "wg0", peers: [{ ...peer, rxBytes: 27e8, txBytes: 0 }] });
    expect(told.told()).toEqual([
      "firing cap: alice (wg0) has used 80 % of its 12 GB for this month",
    ]);
  });

  test("counts the first bytes of a peer that had never connected", () => {
    const told = story(
      ruleOf("traffic", "quota", { quota: { bytes: 1000, period, percents: [100] } }),
    );
    const counters = { rxBytes: 0, txBytes: 5000, endpoint: null };
    told.configured({ alice: [] }, "wg0", counters).connect("alice");
    const endpoint = mustEndpoint("192.0.2.1:51820");
    const sampled = { publicKey: keyOf("alice"), lastHandshakeMs: told.nowMs, endpoint };
    told.input({
      type: "scan",
      device: "wg0",
      peers: [{ ...sampled, rxBytes: 900, txBytes: 5100 }],
    });
    expect(told.told()).toEqual([
      "firing quota: alice (wg0) has used 100 % of its 1 kB for this month",
    ]);
  });

  test("fires when the average rate reaches the limit, and is resolved below it", () => {
    const rate = { bytesPerSecond: 1_000_000, overMs: 60_000 };
    const told = story(ruleOf("traffic", "rate", { rate, direction: "tx" }))
      .connect("alice")
      .scan({ alice: [0, 0] });
    for (let scan = 0; scan < 5; scan++) told.wait(10).scan({ alice: [5e7, 1e7] });
    expect(told.told()).toEqual([]);
    for (let scan = 0; scan < 5; scan++) told.wait(10).scan({ alice: [5e7, 1.2e7] });
    expect(told.told()).toEqual([
      "firing rate: alice (wg0) transfers 1.03 MB/s on average over 1m; the limit is 1 MB/s",
    ]);
    expect(told.wait("3m").told()).toEqual([
      "resolved rate: the rate of alice (wg0) is below the limit again",
    ]);
  });
});

describe("hours", () => {
  const rule = ruleOf("hours", "office", {
    allowed: [interval("mon-fri 08:00-18:00 Europe/Berlin")],
  });

  test("fires for a peer that connects outside the allowed times, and is resolved when it disconnects", () => {
    const told = story(rule).connect("alice");
    expect(told.told()).toEqual([
      "firing office: alice (wg0) is connected from 192.0.2.1:51820 outside its allowed hours; ask its user, or remove the peer",
    ]);
    expect(told.wait("1h").disconnect("alice").told()).toEqual([
      "resolved office: alice (wg0) is disconnected",
    ]);
  });

  test("fires at the end of the allowed times, and is resolved at their beginning", () => {
    const told = story(rule).wait("7h").connect("alice");
    expect(told.wait("9h").told()).toEqual([]);
    // 17:10 UTC is 18:10 in Berlin.
    expect(told.wait("1h").told()).toHaveLength(1);
    expect(told.wait("13h").told()).toEqual([]);
    expect(told.wait("1h").told()).toEqual([
      "resolved office: the allowed hours of alice (wg0) have begun",
    ]);
  });
});

describe("place", () => {
  test("fires for a country that is new for the peer, but not for its first one", () => {
    const told = story(ruleOf("place", "travel")).connect("alice");
    expect(told.wait("1h").roam("alice", "192.0.2.2:1000").told()).toEqual([]);
    expect(told.wait("1h").roam("alice", "198.51.100.1:1000").told()).toEqual([
      "firing travel: alice (wg0) is connected from FR (AS3215 Orange) for the first time, with the address 198.51.100.1; ask its user if that is unexpected",
    ]);
    told.wait("1h").roam("alice", "192.0.2.1:1000").wait("1h").roam("alice", "198.51.100.1:1000");
    expect(told.wait("30d").told()).toEqual([]);
  });

  test("fires for a network that is new for the peer, if the rule says so", () => {
    const told = story(ruleOf("place", "travel", { unseen: "asn" })).connect("alice");
    expect(told.wait("1h").roam("alice", "192.0.2.2:1000").told()).toHaveLength(1);
  });

  test("fires for a place that is not on its list, once a day until the peer was elsewhere", () => {
    const told = story(ruleOf("place", "only-de", { allowed: ["DE"], unseen: null }));
    const refused =
      "firing only-de: alice (wg0) is connected from FR (AS3215 Orange), which is not allowed, with the address 198.51.100.1; ask its user, or remove the peer";
    expect(told.connect("alice", "198.51.100.1:1000").told()).toEqual([refused]);
    expect(
      told.wait("1h").disconnect("alice").wait("1h").connect("alice", "198.51.100.1:1001").told(),
    ).toEqual([]);
    expect(
      told.roam("alice", "192.0.2.1:1000").wait("1h").roam("alice", "198.51.100.1:1002").told(),
    ).toEqual([refused]);
    expect(told.wait("25h").roam("alice", "198.51.100.1:1003").told()).toEqual([refused]);
  });

  test("does not fire for an address whose place is unknown", () => {
    const told = story(ruleOf("place", "only-de", { allowed: ["DE"] })).connect(
      "alice",
      "203.0.113.1:1000",
    );
    expect(told.told()).toEqual([]);
  });
});

describe("unused", () => {
  const rule = ruleOf("unused", "stale", { days: 30, atMinute: 9 * 60, zone: "Europe/Berlin" });

  test("is one summary at its time of the day, and names each peer once", () => {
    const told = story(rule).configured({ alice: [], bob: [], carol: [] }).connect("carol");
    expect(told.wait("30d").wait("7h").told()).toEqual([]);
    expect(told.wait("1h").told()).toEqual([
      "firing stale: 2 alerts of rule stale: alice (wg0) has not connected since wgmon began to watch it 30d 7h ago; bob (wg0) has not connected since wgmon began to watch it 30d 7h ago; remove it if it is not needed",
    ]);
    expect(told.wait("40d").told()).toEqual([]);
    told.connect("bob").disconnect("carol").wait("1d");
    expect(told.told()).toEqual(["resolved stale: bob (wg0) is used again"]);
    expect(told.wait("30d").told()).toEqual([
      "firing stale: carol (wg0) was not connected for 30d 22h; remove it if it is not needed",
    ]);
  });
});

describe("the sentence of several alerts", () => {
  test("lists five of them, counts the others, and ends with the advice that they share", () => {
    const rule = ruleOf("unused", "stale", { days: 30, atMinute: 0, zone: "UTC" });
    const told = story(rule).configured({ a: [], b: [], c: [], d: [], e: [], f: [], g: [] });
    const listed = ["a", "b", "c", "d", "e"].map(
      (name) => `${name} (wg0) has not connected since wgmon began to watch it 30d 23h ago; `,
    );
    expect(told.wait("31d").told()).toEqual([
      `firing stale: 7 alerts of rule stale: ${listed.join("")}and 2 more; remove it if it is not needed`,
    ]);
  });
});

describe("changed", () => {
  const rule = ruleOf("changed", "config", { waitMs: 0 });

  test("fires for each change that another program made, and not at the first list", () => {
    const told = story(rule).configured({ alice: ["10.0.0.2/32"], bob: ["10.0.0.3/32"] });
    expect(told.told()).toEqual([]);
    told.configured({ alice: ["10.0.0.2/32", "10.1.0.0/16"], carol: ["10.0.0.4/32"] });
    expect(told.told()).toEqual([
      "firing config: 3 alerts of rule config: the allowed IPs of alice (wg0) were changed: 10.0.0.2/32 -> 10.0.0.2/32, 10.1.0.0/16; bob (wg0) was removed; carol (wg0) was added with 10.0.0.4/32; if that was not intended, check who changed the device",
    ]);
    expect(told.wait("30d").told()).toEqual([]);
    expect(told.alerts()).toEqual([]);
  });

  test("fires when the endpoint of a peer is set that has never connected, which scans do not show before", () => {
    const counters = { rxBytes: 0, txBytes: 148, endpoint: mustEndpoint("192.0.2.1:51820") };
    const told = story(rule).configured({ alice: [] }, "wg0", counters);
    const sampled = { publicKey: keyOf("alice"), lastHandshakeMs: null, ...counters };
    const endpoint = mustEndpoint("203.0.113.9:51820");
    told.input({ type: "scan", device: "wg0", peers: [{ ...sampled, endpoint }] });
    told.wait(2).scan();
    expect(told.told()).toEqual([
      "firing config: the endpoint of alice (wg0) was set: 192.0.2.1:51820 -> 203.0.113.9:51820; if that was not intended, check who changed the device",
    ]);
  });

  test("fires when an endpoint is set, and not when the peer moves it", () => {
    const told = inOffice();
    told.roam("alice", "198.51.100.1:1000").scan({ alice: [200, 0] });
    told.wait(10).scan();
    expect(told.told()).toEqual([]);
    // `roam` sets the endpoint of the story's next scan; the tracker reports nothing without received data.
    setEndpoint(told, "203.0.113.9:51820", 200);
    told.wait(1).scan();
    expect(told.told()).toEqual([]);
    told.wait(1).scan();
    expect(told.told()).toEqual([endpointSet("198.51.100.1:1000", "203.0.113.9:51820")]);
    expect(told.wait(10).scan().told()).toEqual([]);
  });

  test("does not fire when a scan sees the new endpoint of a roam before the data that moved it is counted", () => {
    const told = inOffice();
    // The kernel moves the endpoint, answers the handshake, and then counts what it received.
    setEndpoint(told, "198.51.100.1:1000", 0, 92);
    told
      .wait(10)
      .roam("alice", "198.51.100.1:1000", told.nowMs)
      .scan({ alice: [180, 92] });
    told.wait(10).scan().wait("1h");
    expect(told.told()).toEqual([]);
  });

  test("an endpoint that is set twice in a row is one alert, and one that is set back causes no alert", () => {
    const told = inOffice();
    setEndpoint(told, "198.51.100.1:1000");
    setEndpoint(told.wait(1), "203.0.113.9:51820");
    told.wait(10).scan();
    expect(told.told()).toEqual([endpointSet("192.0.2.1:51820", "203.0.113.9:51820")]);
    setEndpoint(told, "198.51.100.1:1000");
    setEndpoint(told.wait(1), "203.0.113.9:51820");
    told.wait(10).scan();
    expect(told.told()).toEqual([]);
  });

  test.each([
    ["received data follows", 200, []],
    ["no data follows", 0, [endpointSet("192.0.2.1:51820", "203.0.113.9:51820")]],
  ])(
    "a restart, or a clock that is set, before the decision changes nothing if %s",
    (_, rxBytes, expected) => {
      for (const between of [
        (told: AlertStory) => told.restart(),
        (told: AlertStory) => setClock(told, -86_400_000),
        (told: AlertStory) => setClock(told, 86_400_000),
      ]) {
        const told = inOffice();
        setEndpoint(told, "203.0.113.9:51820");
        between(told).wait(10);
        if (rxBytes === 0) told.scan();
        else setEndpoint(told, "203.0.113.9:51820", rxBytes);
        expect(told.told()).toEqual(expected);
      }
    },
  );

  /** A peer that has connected, and no data to or from it is counted yet. */
  function inOffice(): AlertStory {
    return story(rule)
      .configured({ alice: [] })
      .connect("alice")
      .scan({ alice: [0, 0] });
  }

  /** A scan that shows this endpoint of alice and these counters. */
  function setEndpoint(told: AlertStory, text: string, rxBytes = 0, txBytes = 0): void {
    const counters = { rxBytes, txBytes, endpoint: mustEndpoint(text) };
    const peer = { publicKey: keyOf("alice"), lastHandshakeMs: null, ...counters };
    told.input({ type: "scan", device: "wg0", peers: [peer] });
  }

  function setClock(told: AlertStory, ms: number): AlertStory {
    const step = { ms, fromMs: MONDAY - 1000, toMs: told.nowMs + 60_000, unsureFromMs: null };
    return told.jump(ms / 1000).input({ type: "clock", step });
  }

  function endpointSet(from: string, to: string): string {
    return `firing config: the endpoint of alice (wg0) was set: ${from} -> ${to}; if that was not intended, check who changed the device`;
  }

  test("reports what was changed while wgmon did not run", () => {
    const told = story(rule)
      .configured({ alice: ["10.0.0.2/32"] })
      .restart()
      .jump("1h");
    told.input({ type: "away", fromMs: told.nowMs - 3_600_000, reason: "not-running" });
    expect(told.configured({ alice: ["10.0.0.9/32"] }).told()).toEqual([
      "firing config: the allowed IPs of alice (wg0) were changed while wgmon was not watching: 10.0.0.2/32 -> 10.0.0.9/32; if that was not intended, check who changed the device",
    ]);
  });

  test("reports only the changes that the rule lists", () => {
    const told = story(ruleOf("changed", "config", { changes: ["removed"], waitMs: 0 }));
    told
      .configured({ alice: [] })
      .configured({ alice: ["10.0.0.9/32"] })
      .configured({});
    expect(told.told()).toHaveLength(1);
  });
});

describe("handshakes", () => {
  const rule = ruleOf("handshakes", "attempts", { messages: 10, withinMs: 600_000 });
  const attempt = {
    type: "unknown-handshakes",
    device: "wg0",
    network: "198.51.100.0/24",
  } as const;

  test("fires when more than N messages of informed senders arrive within the span, and is resolved after it", () => {
    const told = story(rule);
    told.input({ ...attempt, messages: 6, mac1: "valid", publicKeys: [] }).wait("1m");
    expect(told.told()).toEqual([]);
    told.input({ ...attempt, messages: 6, mac1: "not-checked", publicKeys: [keyOf("alice")] });
    expect(told.told()).toEqual([
      "firing attempts: wg0 received 12 handshake messages from 198.51.100.0/24 within 10m that no peer completed; check preshared keys, removed peers and the return path",
    ]);
    expect(told.wait("10m").told()).toEqual([
      "resolved attempts: wg0 no longer receives many handshake messages that no peer completes",
    ]);
  });

  test("does not fire for scanners", () => {
    const told = story(rule).input({ ...attempt, messages: 1000, mac1: "invalid", publicKeys: [] });
    expect(told.told()).toEqual([]);
  });

  test("counts only the peers that the rule selects", () => {
    const told = story({ ...rule, peers: ["alice"] })
      .add("alice")
      .connect("alice")
      .connect("bob");
    told.input({ ...attempt, messages: 11, mac1: "valid", publicKeys: [keyOf("bob")] });
    expect(told.told()).toEqual([]);
    told.input({ ...attempt, messages: 11, mac1: "valid", publicKeys: [keyOf("alice")] });
    expect(told.told()).toHaveLength(1);
  });
});

describe("target", () => {
  const rule = ruleOf("target", "delivery", { forMs: 600_000 });

  test("fires after `for`, is sent to the other targets, and is resolved when the target works", () => {
    const told = story(rule);
    told.input({ type: "target", target: "pager", state: "failing", sinceMs: told.nowMs });
    expect(told.wait("9m").told()).toEqual([]);
    told.wait("2m");
    expect(told.notices[0]!.exceptTargets).toEqual(["pager"]);
    expect(told.told()).toEqual([
      "firing delivery: target pager has failed for 10m: events wait for it; see wgmon outbox",
    ]);
    told.input({ type: "target", target: "pager", state: "ok", sinceMs: told.nowMs });
    expect(told.told()).toEqual(["resolved delivery: target pager works again"]);
  });

  test("fires at once if the target was stopped, and not if it recovers within `for`", () => {
    const told = story(rule);
    told.input({ type: "target", target: "a", state: "stopped", sinceMs: MONDAY });
    expect(told.told()).toHaveLength(1);
    told.input({ type: "target", target: "b", state: "failing", sinceMs: told.nowMs }).wait("5m");
    told.input({ type: "target", target: "b", state: "ok", sinceMs: told.nowMs }).wait("1h");
    expect(told.told()).toEqual([]);
  });
});
