/** Around the kinds: states, grouping, reminders, silences, times, inhibition, and what wgmon could not see. */

import { describe, expect, test } from "bun:test";

import { AlertEngine } from "../../src/alerts/engine.ts";
import { ruleOf } from "../../src/alerts/rule.ts";
import type { Silence } from "../../src/alerts/silences.ts";
import { parseInterval } from "../../src/alerts/times.ts";
import { AlertStory, MONDAY } from "../support/alert-story.ts";

const HOUR = 3_600_000;
const down = ruleOf("down", "sites", { forMs: 60_000, waitMs: 0 });

function story(...rules: ConstructorParameters<typeof AlertStory>[0]): AlertStory {
  const begun = new AlertStory(rules);
  begun.input({ type: "device", device: "wg0", present: true });
  return begun.wait("10m");
}

function silence(now: number, values: Partial<Silence> = {}): Silence {
  const matchers = [{ field: "peer", pattern: "berlin" } as const];
  const base = { id: "s1", matchers, startMs: now, endMs: now + 2 * HOUR };
  return { ...base, comment: "maintenance", createdBy: "alice", ...values };
}

const office = parseInterval("mon-fri 08:00-18:00");
if (typeof office === "string") throw new Error(office);

describe("states", () => {
  test("an alert is pending for `for`, then fires, and is in the list meanwhile", () => {
    const told = story(down).connect("berlin").wait("1h").disconnect("berlin", "idle", 0);
    expect(told.alerts()).toMatchObject([{ state: "pending", isSent: false, id: "" }]);
    told.wait(70);
    expect(told.alerts()).toMatchObject([{ state: "firing", isSent: true, id: "alert-1" }]);
    told.connect("berlin");
    expect(told.alerts()).toEqual([]);
  });

  test("with resolveAfter, a short return resolves nothing, and nothing is sent twice", () => {
    const told = story({ ...down, resolveAfterMs: 300_000 })
      .connect("berlin")
      .wait("1h");
    told.disconnect("berlin").wait(60).told();
    told.connect("berlin").wait("2m").disconnect("berlin", "idle", 0).wait("1h");
    expect(told.told()).toEqual([]);
    expect(told.connect("berlin").wait("4m").told()).toEqual([]);
    expect(told.wait("2m").told()).toHaveLength(1);
  });

  test("a dry run is marked, and otherwise the same", () => {
    const told = story({ ...down, dryRun: true })
      .connect("berlin")
      .disconnect("berlin");
    expect(told.wait("5m").notices.map(({ dryRun }) => dryRun)).toEqual([true]);
  });
});

describe("grouping and reminders", () => {
  test("peers that fail within `wait` are one notice, and so are their returns", () => {
    const told = story({ ...down, waitMs: 30_000 })
      .connect("a")
      .connect("b")
      .connect("c")
      .connect("d");
    told
      .scan({ c: [0, 0] })
      .wait("1h")
      .scan({ c: [100, 100] });
    told.disconnect("a").wait(10).disconnect("b").wait(10);
    expect(told.told()).toEqual([]);
    told.wait(20);
    expect(told.notices.map(({ alerts }) => alerts.length)).toEqual([2]);
    told.told();
    told.wait("1h").connect("b").wait(10).connect("a").wait("1m");
    expect(told.told()).toEqual([
      "resolved sites: 2 alerts of rule sites: a (wg0) is back after 1h 3m; b (wg0) is back after 1h 3m",
    ]);
  });

  test("what is over within `wait` is recorded and not sent, nor is its end", () => {
    const told = story({ ...down, forMs: 0, waitMs: 60_000 })
      .connect("a")
      .wait("1h");
    told.disconnect("a").wait(30).connect("a").wait("1h");
    expect(told.told()).toEqual([
      "resolved sites: a (wg0) is back after 3m 30s [held back: over-before-sent]",
    ]);
  });

  test("what is resolved and fires again within `wait` is still the same alert", () => {
    const told = story({ ...down, forMs: 0, waitMs: 60_000 })
      .connect("a")
      .wait("1h");
    told.disconnect("a").wait("5m").told();
    told.connect("a").wait(20).disconnect("a", "idle", 0).wait("1h");
    expect(told.told()).toEqual([]);
    expect(told.alerts()).toMatchObject([{ state: "firing", isSent: true }]);
  });

  test("a reminder is not sent with the end of its alert if the peer was back when it was due", () => {
    for (const [seconds, startedAgo, expected] of [
      [0, 0, 1],
      // The scan comes 7 s after the reminder was due; the handshake was before or after that.
      [7, 9, 1],
      [7, 5, 2],
    ] as const) {
      const told = story({ ...down, repeatMs: HOUR })
        .connect("berlin")
        .wait("1h");
      told.disconnect("berlin", "idle", 0).wait("5m");
      expect(told.told()).toHaveLength(1);
      const [due] =
        told.engine
          .save()
          .get(`group sites\nwg0`)!
          .match(/(?<="remindAtMs":)\d+/) ?? [];
      told.jump((Number(due) - told.nowMs) / 1000 + seconds);
      told.connect("berlin", undefined, undefined, startedAgo);
      expect(told.told()).toHaveLength(expected);
    }
  });

  test("reminders come every `repeat` while an alert fires", () => {
    const told = story({ ...down, repeatMs: 4 * HOUR })
      .connect("berlin")
      .wait("1h");
    told.disconnect("berlin").wait("1h").told();
    expect(told.wait("9h").told()).toEqual([
      "reminder sites: berlin (wg0) is down: no data for 4h 3m; check the peer and its network",
      "reminder sites: berlin (wg0) is down: no data for 8h 3m; check the peer and its network",
    ]);
    told.connect("berlin").told();
    expect(told.wait("9h").told()).toEqual([]);
  });
});

describe("silences", () => {
  test("a silence holds a notice back, records why, and the alert is sent at its end", () => {
    const told = story(down).connect("berlin").connect("paris").wait("1h");
    told.input({ type: "silence", silence: silence(told.nowMs) });
    told.disconnect("berlin").disconnect("paris").wait("1m");
    expect(told.told()).toEqual(
      [
        "firing sites: berlin (wg0) is down: no data for 3m; check the peer and its network [held back: silence]",
        "firing sites: paris (wg0) is down: no data for 3m; check the peer and its network",
      ]
        .toSorted((a) => (a.includes("paris") ? -1 : 1))
        .toReversed(),
    );
    expect(told.wait("1h").told()).toEqual([]);
    expect(told.wait("1h").told()).toEqual([
      "firing sites: berlin (wg0) is down: no data for 2h 3m; check the peer and its network",
    ]);
  });

  test("what was down before a maintenance is not repeated after it", () => {
    const told = story({ ...down, repeatMs: 4 * HOUR })
      .connect("berlin")
      .wait("1h");
    told.disconnect("berlin").wait("3h").told();
    told.input({ type: "silence", silence: silence(told.nowMs) });
    expect(told.wait("2h").told()).toEqual([
      "reminder sites: berlin (wg0) is down: no data for 4h 3m; check the peer and its network [held back: silence]",
    ]);
    expect(told.wait("2h").told()).toEqual([]);
    expect(told.wait("2h").sent()).toHaveLength(1);
  });

  test("what ends during the silence is sent as resolved if its beginning was, else not at all", () => {
    const told = story(down)
      .connect("berlin")
      .connect("bonn")
      .wait("1h")
      .disconnect("berlin")
      .wait("1h");
    told.told();
    const matchers = [{ field: "peer", pattern: "b*" } as const];
    told.input({ type: "silence", silence: silence(told.nowMs, { matchers }) });
    told.disconnect("bonn").wait("5m").connect("bonn").connect("berlin").wait("5h");
    expect(told.sent()).toEqual(["resolved sites: berlin (wg0) is back after 1h 8m"]);
  });

  test("a silence that is expired by hand lets the alert through", () => {
    const told = story(down).connect("berlin").wait("1h");
    told.input({ type: "silence", silence: silence(told.nowMs) });
    told.disconnect("berlin").wait("5m").told();
    told.input({ type: "silence-expired", id: "s1" });
    expect(told.sent()).toHaveLength(1);
  });

  test("a change of settings during a silence is recorded only", () => {
    const told = story(ruleOf("changed", "config")).configured({ berlin: [] }).wait("1h");
    told.input({ type: "silence", silence: silence(told.nowMs) });
    told.configured({ berlin: ["10.0.0.2/32"] }).wait("1d");
    expect(told.notices.map(({ heldBack }) => heldBack?.type)).toEqual(["silence"]);
  });
});

describe("times", () => {
  test("an alert that fires outside the rule's times is sent when they begin, if it still fires", () => {
    const told = story({ ...down, times: [office] })
      .connect("berlin")
      .connect("paris")
      .wait("1h");
    told.disconnect("berlin").disconnect("paris").wait("1h").connect("paris");
    expect(told.sent()).toEqual([]);
    // It is 02:10 UTC on Monday.
    expect(told.wait("5h").sent()).toEqual([]);
    expect(told.wait("1h").sent()).toEqual([
      "firing sites: berlin (wg0) is down: no data for 6h 53m; check the peer and its network",
    ]);
  });

  test("a moment waits for the times of its rule", () => {
    const told = story(ruleOf("changed", "config", { times: [office] })).configured({ a: [] });
    told.configured({ a: ["10.0.0.2/32"] }).wait("7h");
    expect(told.sent()).toEqual([]);
    expect(told.wait("1h").sent()).toHaveLength(1);
    expect(told.wait("9d").sent()).toEqual([]);
  });
});

describe("inhibition", () => {
  test("peers of a removed device are one notice, and are recorded one by one", () => {
    const told = story(down);
    for (const name of ["a", "b", "c", "d"]) told.connect(name);
    told.wait("1h");
    for (const name of ["a", "b", "c", "d"]) told.disconnect(name, "device-removed");
    told.input({ type: "device", device: "wg0", present: false }).wait("5m");
    expect(
      told.notices.map(({ cause, heldBack, alerts }) => [cause, heldBack?.type, alerts.length]),
    ).toEqual([
      ["device-down", undefined, 4],
      [null, "device-down", 4],
    ]);
    expect(told.sent()).toEqual([
      "firing sites: wg0 does not exist, and 4 of its peers are down; check the device on this gateway",
    ]);
  });

  test("a device that is restarted quickly causes nothing", () => {
    const told = story(down).connect("a").connect("b").wait("1h");
    told.disconnect("a", "device-removed").disconnect("b", "device-removed");
    told.input({ type: "device", device: "wg0", present: false }).wait(3);
    told.input({ type: "device", device: "wg0", present: true });
    told.wait(20).connect("a").wait("2m").connect("b").wait("1h");
    expect(told.told()).toEqual([]);
  });

  test("a failed uplink, whose peers become silent one after the other, is one notice", () => {
    const told = story({ ...down, forMs: 0, waitMs: 30_000 });
    const names = ["a", "b", "c", "d", "e"];
    for (const name of names) told.connect(name);
    // The last data of all peers is now; their idle timeouts differ.
    told.scan(Object.fromEntries(names.map((name) => [name, [100, 100] as const])));
    told.wait("2m").disconnect("a", "idle", 120).disconnect("b", "idle", 120).wait(40);
    expect(told.told()).toEqual([
      "firing sites: 2 alerts of rule sites: a (wg0) is down: no data for 2m 30s; b (wg0) is down: no data for 2m 30s; check the peer and its network [held back: all-peers]",
    ]);
    told.wait(20).disconnect("c").disconnect("d").disconnect("e").wait("1h");
    expect(told.sent()).toEqual([
      "firing sites: all peers of wg0 are silent (5 alerts of rule sites); check this gateway's own connection",
    ]);
  });

  test("the first peer of a failed uplink is not reported alone if the others were active until then", () => {
    const told = story({ ...down, forMs: 0, waitMs: 0 });
    const names = ["a", "b", "c", "d"];
    for (const name of names) told.connect(name);
    const others = (bytes: number) =>
      Object.fromEntries(names.slice(1).map((name) => [name, [bytes, bytes] as const]));
    told.scan(others(0)).wait(60).scan(others(100));
    told.wait("2m").disconnect("a").wait(60);
    for (const name of names.slice(1)) told.disconnect(name);
    expect(told.wait("1h").sent()).toEqual([
      "firing sites: all peers of wg0 are silent (4 alerts of rule sites); check this gateway's own connection",
    ]);
  });

  test("a peer is reported at once if the others had been quiet before", () => {
    const told = story({ ...down, forMs: 0, waitMs: 0 });
    for (const name of ["a", "b", "c", "d"]) told.connect(name);
    told.scan({ b: [0, 0], c: [0, 0] }).wait("2m");
    told.scan({ b: [100, 100], c: [100, 100] });
    expect(told.wait("2m").disconnect("a").sent()).toHaveLength(1);
  });

  test("two peers of many are reported one by one", () => {
    const told = story(down);
    for (const name of ["a", "b", "c", "d", "e"]) told.connect(name);
    told
      .scan({ c: [0, 0] })
      .wait("1h")
      .scan({ c: [100, 100] })
      .disconnect("a")
      .disconnect("b")
      .wait("1h");
    expect(told.notices.map(({ cause, alerts }) => [cause, alerts.length])).toEqual([
      [null, 1],
      [null, 1],
    ]);
  });
});

describe("what wgmon could not see", () => {
  test("a peer that was down and came back while wgmon did not run causes nothing", () => {
    const told = story(down).connect("berlin").wait("1h").restart().jump("3h");
    told.input({ type: "away", fromMs: told.nowMs - 3 * HOUR, reason: "not-running" });
    told.disconnect("berlin", "idle", 7200).connect("berlin").scan().wait("1h");
    expect(told.told()).toEqual([]);
  });

  test("a peer that is still down after that fires, when it had time to return", () => {
    const told = story(down).connect("berlin").wait("1h").restart().jump("3h");
    told.input({ type: "away", fromMs: told.nowMs - 3 * HOUR, reason: "not-running" });
    told.disconnect("berlin", "idle", 7200).scan();
    expect(told.wait("2m").told()).toEqual([]);
    expect(told.wait("2m").told()).toHaveLength(1);
  });

  test("an alert that fired before stays, is not sent again, and is resolved", () => {
    const told = story(down).connect("berlin").wait("1h").disconnect("berlin").wait("5m");
    expect(told.told()).toHaveLength(1);
    told.restart().jump("3h");
    told.input({ type: "away", fromMs: told.nowMs - 3 * HOUR, reason: "not-running" }).scan();
    expect(told.wait("1h").told()).toEqual([]);
    expect(told.connect("berlin").told()).toHaveLength(1);
  });

  test("a suspension that is noticed only by its length counts as one", () => {
    const told = story(down)
      .connect("berlin")
      .connect("paris")
      .wait("1h")
      .disconnect("berlin", "idle", 0);
    told.jump("8h").input({ type: "tick" });
    expect(told.told()).toEqual([]);
    told.connect("berlin").scan().wait("1h");
    expect(told.told()).toEqual([]);
  });

  test("a device that was removed while wgmon did not run is reported", () => {
    const told = story(down).connect("berlin").wait("1h").restart().jump("3h");
    told.input({ type: "away", fromMs: told.nowMs - 3 * HOUR, reason: "not-running" });
    told.disconnect("berlin", "device-removed");
    told.input({ type: "device", device: "wg0", present: false }).wait("2m");
    expect(told.sent()).toEqual([
      "firing sites: wg0 does not exist, and 1 of its peers is down; check the device on this gateway",
    ]);
  });

  test("while scans fail, nothing fires; reminders wait; afterwards what is so fires", () => {
    const told = story({ ...down, repeatMs: HOUR })
      .connect("berlin")
      .connect("paris")
      .wait("1h");
    told.disconnect("berlin").wait("5m").told();
    told.disconnect("paris", "idle", 0).wait(10).input({ type: "scan-failed", device: null });
    told.wait("2h");
    expect(told.sent()).toEqual([]);
    told.scan().wait("5m");
    expect(told.sent()).toHaveLength(2);
  });

  test("outside hours: who was connected before a suspension is not accused of the night", () => {
    const rule = ruleOf("hours", "office", { allowed: [office] });
    const told = story(rule).wait("9h").connect("alice").wait("1h").jump("20h");
    told.input({ type: "away", fromMs: told.nowMs - 20 * HOUR, reason: "suspended" });
    told
      .disconnect("alice", "idle", 19 * 3600)
      .scan()
      .wait("1h");
    expect(told.told()).toEqual([]);
  });

  test.each([86_400_000, -86_400_000])(
    "a clock step of %d ms causes nothing, and loses no deadline",
    (ms) => {
      const told = story({ ...down, forMs: 600_000, repeatMs: 4 * HOUR })
        .connect("berlin")
        .connect("paris");
      told.wait("1h").disconnect("berlin", "idle", 0).wait("5m");
      const fromMs = MONDAY - 1;
      told.jump(ms / 1000).input({
        type: "clock",
        step: { ms, fromMs, toMs: told.nowMs - ms + 1000, unsureFromMs: null },
      });
      expect(told.wait("4m").told()).toEqual([]);
      expect(told.wait("2m").told()).toEqual([
        "firing sites: berlin (wg0) is down: no data for 10m; check the peer and its network",
      ]);
      expect(told.wait("4h").told()).toHaveLength(1);
    },
  );
});

describe("changed rules", () => {
  test("an alert whose rule was removed is resolved, for the targets that received it", () => {
    const told = story({ ...down, targets: ["pager"] })
      .connect("berlin")
      .wait("1h");
    told.disconnect("berlin").wait("5m").told();
    const notices = told.engine.setRules([], told.nowMs);
    expect(notices).toMatchObject([{ type: "resolved", rule: "sites", targets: ["pager"] }]);
    expect(told.alerts()).toEqual([]);
    expect(told.engine.setRules([], told.nowMs)).toEqual([]);
  });

  test("the same holds if the rule was removed while wgmon did not run", () => {
    const told = story({ ...down, targets: ["pager"] })
      .connect("berlin")
      .wait("1h");
    told.disconnect("berlin").wait("5m").told();
    told.restart([]).input({ type: "tick" });
    expect(told.notices).toMatchObject([{ type: "resolved", rule: "sites", targets: ["pager"] }]);
  });

  test("a rule of the same name keeps its alerts; a new rule judges what is so now", () => {
    const told = story(down).connect("berlin").wait("1h").disconnect("berlin").wait("5m");
    told.told();
    const rules = [{ ...down, repeatMs: HOUR }, ruleOf("down", "also", { waitMs: 0 })];
    expect(told.engine.setRules(rules, told.nowMs)).toMatchObject([
      { type: "firing", rule: "also" },
    ]);
    expect(told.alerts()).toHaveLength(2);
  });

  test("a peer that gets a name which no rule selects has no alerts any more", () => {
    const told = story({ ...down, peers: ["branch-*"] }).configured({ "branch-1": [] });
    expect(told.wait("5m").told()).toHaveLength(1);
    const named = { publicKey: told.alerts()[0]!.subject, name: "laptop", tags: [] };
    const { publicKey } = named.publicKey as { publicKey: string };
    told.input({
      type: "peers",
      device: "wg0",
      peers: [
        {
          publicKey,
          name: "laptop",
          tags: [],
          allowedIps: [],
          persistentKeepaliveSeconds: 0,
          lastHandshakeMs: null,
        },
      ],
      removed: [],
      complete: true,
    });
    expect(told.told()).toEqual(["resolved sites: rule sites no longer applies to laptop (wg0)"]);
    expect(told.alerts()).toEqual([]);
  });
});

test("an alert that an earlier version saved, without the reason that holds it back, is not held back", () => {
  const told = story(down).connect("berlin").wait("1h").disconnect("berlin").wait("10m");
  const rows = new Map(told.engine.save());
  for (const [key, row] of rows) rows.set(key, row!.replace(',"heldBack":null', ""));
  const engine = new AlertEngine({ rules: [down], saved: rows });
  expect(engine.alerts()).toEqual(told.alerts());
});

test("an engine without rules and inputs has no deadline", () => {
  const engine = new AlertEngine({ rules: [] });
  expect(engine.advance({ type: "tick" }, MONDAY)).toEqual([]);
  expect(engine.nextDeadlineMs).toBeNull();
});

describe("what holds reminders and notices back ends", () => {
  test("a peer of a device that stays removed is reminded of after a restart", () => {
    const told = story({ ...down, repeatMs: 4 * HOUR })
      .connect("berlin")
      .wait("1h");
    told.disconnect("berlin", "device-removed");
    told.input({ type: "device", device: "wg0", present: false }).wait("5m").told();
    const fromMs = told.nowMs;
    told.jump("10m").restart().input({ type: "away", fromMs, reason: "not-running" });
    told.input({ type: "devices-listed" });
    expect(told.wait("9h").told()).toEqual([
      "reminder sites: berlin (wg0) is down: no data for 4h 1m; check the peer and its network",
      "reminder sites: berlin (wg0) is down: no data for 8h 1m; check the peer and its network",
    ]);
  });

  test("a reminder that is due while scans fail comes later, and is not recorded each minute", () => {
    const told = story({ ...down, repeatMs: HOUR })
      .connect("berlin")
      .wait("1h");
    told.disconnect("berlin").wait("5m").told();
    told.input({ type: "scan-failed", device: "wg0" });
    expect(told.wait("9h").told()).toEqual([]);
    expect(told.scan().wait("2m").told()).toEqual([
      "reminder sites: berlin (wg0) is down: no data for 9h 9m; check the peer and its network",
    ]);
  });

  test("new times of a rule apply to what the old ones held back", () => {
    const told = story({ ...down, times: [office] })
      .connect("berlin")
      .wait("1h");
    told.disconnect("berlin").wait("5m").told();
    told.notices.push(...told.engine.setRules([down], told.nowMs));
    expect(told.told()).toEqual([
      "firing sites: berlin (wg0) is down: no data for 8m; check the peer and its network",
    ]);
  });

  test("a new or shorter `repeat` applies to alerts that were sent before, and a removed one ends reminders", () => {
    const told = story(down).connect("berlin").wait("1h");
    told.disconnect("berlin").wait("5m").told();
    told.notices.push(...told.engine.setRules([{ ...down, repeatMs: 6 * HOUR }], told.nowMs));
    told.notices.push(...told.engine.setRules([{ ...down, repeatMs: HOUR }], told.nowMs));
    expect(told.wait("2h").told()).toHaveLength(2);
    told.notices.push(...told.engine.setRules([down], told.nowMs));
    expect(told.wait("9h").told()).toEqual([]);
  });

  test("the alerts of a rule whose kind a reload changed are resolved, and the new kind has its own", () => {
    const told = story(down).connect("berlin").wait("1h");
    told.disconnect("berlin").wait("3d").told();
    const unused = ruleOf("unused", "sites", { days: 2 });
    told.notices.push(...told.engine.setRules([unused], told.nowMs));
    expect(told.wait("1d").told()).toEqual([
      "firing sites: berlin (wg0) was not connected for 3d 7h; remove it if it is not needed",
      "resolved sites: rule sites no longer applies to berlin (wg0)",
    ]);
  });

  test("a silence lasts as long as it was meant to when the clock is set", () => {
    const told = story(down).connect("berlin").wait("1h");
    told.input({ type: "silence", silence: silence(told.nowMs) });
    told.disconnect("berlin").wait("5m").told();
    const step = { ms: -24 * HOUR, fromMs: 0, toMs: told.nowMs, unsureFromMs: null };
    told.jump(step.ms / 1000).input({ type: "clock", step });
    expect(told.wait("1h").told()).toEqual([]);
    expect(told.wait("1h").told()).toEqual([
      "firing sites: berlin (wg0) is down: no data for 2h 3m; check the peer and its network",
    ]);
  });

  test("a device that is created again at once is no outage of its idle peers", () => {
    const told = story({ ...down, forMs: 120_000, waitMs: 30_000 })
      .connect("berlin")
      .wait("1h")
      .disconnect("berlin", "device-removed", 175)
      .input({ type: "device", device: "wg0", present: false })
      .wait(2)
      .input({ type: "device", device: "wg0", present: true })
      .wait("2m")
      .connect("berlin");
    expect(told.wait("1h").told()).toEqual([]);
  });
});
