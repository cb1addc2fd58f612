/**
 * A day in the life of a gateway: 100 peers, 5 % loss, round trips of 800 ms, roams, sleeping phones, a suspension, a
 * restart, and steps of the clock. Every planted fault is reported within its bound, and nothing else is.
 *
 * WGMON_TEST_DAY_SEED repeats a day; WGMON_TEST_DAYS runs several.
 */

import { describe, expect, test } from "bun:test";

import { ruleOf } from "../../src/alerts/rule.ts";
import { HOUR_MS, randomOf, SimulatedDay } from "../support/alert-day.ts";
import { AlertStory, isSent, MONDAY, textOf } from "../support/alert-story.ts";

const SEED = Number(process.env["WGMON_TEST_DAY_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const DAYS = Number(process.env["WGMON_TEST_DAYS"] ?? 1);
const MINUTE_MS = 60_000;

const rules = [
  ruleOf("down", "sites", { tags: ["site", "quiet-site"], repeatMs: 4 * HOUR_MS }),
  ruleOf("flapping", "flapping", {
    tags: ["site", "quiet-site"],
    disconnects: 3,
    withinMs: HOUR_MS,
  }),
  ruleOf("no-return-traffic", "site-holes", { tags: ["site", "quiet-site"] }),
  ruleOf("no-return-traffic", "holes"),
  ruleOf("shared-key", "copies"),
  ruleOf("changed", "changed"),
  ruleOf("traffic", "quota", {
    tags: ["laptop"],
    quota: { bytes: 1e12, period: { unit: "day", zone: "Europe/Berlin" }, percents: [100] },
  }),
];

/** Plants the faults of a day. */
function plant(day: SimulatedDay): void {
  const peer = (index: number) => day.peers[index]!;
  const outage = (index: number, atMs: number, lengthMs: number) => {
    day.at(atMs, () => (peer(index).isCutOff = true));
    day.at(atMs + lengthMs, () => (peer(index).isCutOff = false));
    // The idle timeout, a tick, and the wait; the peer may have been silent before.
    const boundMs = 180_000 + 10_000 + 30_000 + 10_000;
    const peers = [peer(index).name];
    const untilMs = atMs + lengthMs + 10 * MINUTE_MS;
    day.faults.push({ what: "outage", rule: "sites", peers, fromMs: atMs, untilMs, boundMs });
    // While the peer is cut off, data that is sent to it is not answered either.
    for (const rule of ["site-holes", "holes"]) {
      day.faults.push({ what: "outage", rule, peers, fromMs: atMs, untilMs, boundMs: Infinity });
    }
  };
  outage(2, 2 * HOUR_MS, HOUR_MS);
  outage(17, 3 * HOUR_MS, 30 * MINUTE_MS);
  outage(5, 7 * HOUR_MS, 20 * MINUTE_MS);
  outage(29, 16 * HOUR_MS, 5 * HOUR_MS);

  const blackHole = (index: number, atMs: number) => {
    const lengthMs = 2 * MINUTE_MS;
    day.at(atMs, () => (peer(index).hasNoWayBack = true));
    day.at(atMs + lengthMs, () => (peer(index).hasNoWayBack = false));
    const peers = [peer(index).name];
    const rest = {
      what: "black hole",
      peers,
      fromMs: atMs,
      untilMs: atMs + lengthMs + 5 * MINUTE_MS,
    };
    day.faults.push({ ...rest, rule: "site-holes", boundMs: 20_000 });
    day.faults.push({ ...rest, rule: "holes", boundMs: Infinity });
    day.faults.push({ ...rest, rule: "sites", boundMs: Infinity });
  };
  blackHole(0, 1.5 * HOUR_MS);
  blackHole(7, 10 * HOUR_MS);
  blackHole(8, 19 * HOUR_MS);

  const copied = (index: number, atMs: number) => {
    const place = `203.0.113.${200 + index}:4000`;
    const first = () => peer(index).endpoint;
    let home = "";
    day.at(atMs, () => {
      home = first();
      peer(index).copyAt = place;
    });
    day.at(atMs + 15 * MINUTE_MS, () => {
      peer(index).copyAt = null;
      peer(index).endpoint = home;
    });
    const untilMs = atMs + 30 * MINUTE_MS;
    const peers = [peer(index).name];
    day.faults.push({
      what: "copied key",
      rule: "copies",
      peers,
      fromMs: atMs,
      untilMs,
      boundMs: 3 * MINUTE_MS,
    });
  };
  copied(40, 9.5 * HOUR_MS);
  copied(9, 18 * HOUR_MS);

  day.at(5 * HOUR_MS, () => {
    peer(33).allowedIps = ["0.0.0.0/0"];
    day.configure();
  });
  day.faults.push({
    what: "changed allowed IPs",
    rule: "changed",
    peers: [peer(33).name],
    fromMs: 5 * HOUR_MS,
    untilMs: 5 * HOUR_MS + MINUTE_MS,
    boundMs: 20_000,
  });

  // The gateway's own connection fails: all peers at once.
  const uplink = { fromMs: 13 * HOUR_MS, lengthMs: 15 * MINUTE_MS };
  day.at(uplink.fromMs, () => {
    for (const each of day.peers) each.isCutOff = true;
  });
  day.at(uplink.fromMs + uplink.lengthMs, () => {
    for (const each of day.peers) each.isCutOff = false;
  });
  const all = day.peers.map(({ name }) => name);
  const during = {
    fromMs: uplink.fromMs,
    untilMs: uplink.fromMs + uplink.lengthMs + 10 * MINUTE_MS,
  };
  day.faults.push({ what: "uplink", rule: "sites", peers: all, ...during, boundMs: 5 * MINUTE_MS });
  for (const rule of ["site-holes", "holes"]) {
    day.faults.push({ what: "uplink", rule, peers: all, ...during, boundMs: Infinity });
  }

  // What wgmon's machine does to itself is no fault of the peers.
  day.at(4 * HOUR_MS, () => day.absent(HOUR_MS / 2, "suspended"));
  day.at(8 * HOUR_MS, () => day.absent(MINUTE_MS, "not-running"));
  day.at(11 * HOUR_MS, () => day.setClock(24 * HOUR_MS));
  day.at(12 * HOUR_MS, () => day.setClock(-24 * HOUR_MS));
  day.at(21 * HOUR_MS, () => day.absent(2 * HOUR_MS, "not-running"));
}

describe.each(Array.from({ length: DAYS }, (_, index) => SEED + index))(
  "a day with seed %d",
  (seed) => {
    const day = new SimulatedDay(rules, seed, MONDAY);
    plant(day);
    day.run(24 * HOUR_MS);
    const fired = day.notices.filter(({ notice }) => notice.type === "firing" && isSent(notice));

    test("has no false alarm", () => {
      const falseAlarms = fired.filter(
        ({ monotonicMs, notice }) =>
          !notice.alerts.every(({ peer, rule }) =>
            day.faults.some(
              (fault) =>
                fault.rule === rule &&
                fault.peers.includes(peer!.name!) &&
                fault.fromMs <= monotonicMs &&
                monotonicMs <= fault.untilMs,
            ),
          ),
      );
      expect(
        falseAlarms.map(
          ({ monotonicMs, notice }) => `${monotonicMs / HOUR_MS} h: ${textOf(notice)}`,
        ),
      ).toEqual([]);
    });

    test.each(day.faults.filter(({ boundMs }) => boundMs < Infinity))(
      "reports $what of $rule within its bound",
      ({ rule, peers, fromMs, untilMs, boundMs, what }) => {
        const reported = fired.filter(
          ({ monotonicMs, notice }) =>
            monotonicMs >= fromMs &&
            monotonicMs <= untilMs &&
            notice.rule === rule &&
            notice.alerts.some(({ peer }) => peers.includes(peer!.name!)),
        );
        // The alerts of one fault are one notice.
        expect(reported).toHaveLength(1);
        expect(reported[0]!.monotonicMs - fromMs).toBeLessThanOrEqual(boundMs);
        expect(reported[0]!.notice.cause).toBe(what === "uplink" ? "all-peers" : null);
      },
    );

    test("resolves what it reported, and ends with no alert", () => {
      const open = day.engine
        .alerts()
        .filter(({ rule, isSent: wasSent }) => wasSent && rule !== "changed");
      expect(open).toEqual([]);
    });
  },
);

test("1,000 simulated roams of single machines are no shared key", () => {
  const random = randomOf(SEED);
  const story = new AlertStory([ruleOf("shared-key", "copies")]);
  const places = ["192.0.2.1:51820", "198.51.100.1:40000", "203.0.113.9:30000"];
  story.connect("phone", places[0]);
  let handshakeMs = story.nowMs;
  for (let roam = 0; roam < 1000; roam++) {
    // Often it returns to the place that it came from, within a minute.
    story.wait(Math.ceil(random() * (roam % 3 === 0 ? 600 : 60)));
    const keysAgeMs = story.nowMs - handshakeMs;
    // It keeps its keys, unless they are old, or it was without a network for longer than 15 s, as in a lift.
    if (keysAgeMs > 120_000 || random() < 0.1) handshakeMs = story.nowMs;
    story.roam("phone", places[Math.floor(random() * places.length)]!, handshakeMs);
  }
  expect(story.told()).toEqual([]);
});
