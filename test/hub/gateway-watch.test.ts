/** When a gateway is lost, is back, or was stopped; and that no gateway is lost that reports. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { GatewayWatch, type WatchFinding } from "../../src/hub/gateway-watch.ts";
import { HandClock } from "../support/clock.ts";

const SECOND_MS = 1000;
const live = { isStopping: false };

/** A hub with gateways that report every 15 s while they are in `reporting`. */
class Story {
  readonly clock = new HandClock();
  readonly watch: GatewayWatch;
  readonly reporting = new Set<string>();
  readonly found: [seconds: number, WatchFinding][] = [];

  constructor(...gateways: string[]) {
    this.watch = new GatewayWatch(this.clock.now());
    for (const gateway of gateways) {
      this.watch.add(gateway, null);
      this.reporting.add(gateway);
    }
  }

  report(gateway: string, isStopping = false): void {
    this.note(this.watch.heard(gateway, { isStopping }, this.clock.now()));
  }

  note(findings: readonly WatchFinding[]): void {
    const seconds = Math.round(this.clock.now().monotonicMs / SECOND_MS);
    for (const finding of findings) this.found.push([seconds, finding]);
  }

  /** Each gateway reports at its own second of the 15; the watch ticks every 5 s. */
  run(seconds: number): this {
    for (let n = 0; n < seconds; n++) {
      const at = Math.round(this.clock.now().monotonicMs / SECOND_MS);
      for (const [index, gateway] of [...this.reporting].entries()) {
        if (at % 15 === (index * 4) % 15) this.report(gateway);
      }
      if (at % 5 === 0) this.note(this.watch.tick(this.clock.now()));
      this.clock.advance(SECOND_MS);
    }
    return this;
  }

  types(): string[] {
    return this.found.map(([, finding]) =>
      "gateway" in finding ? `${finding.type} ${finding.gateway}` : finding.type,
    );
  }
}

describe("one gateway of several", () => {
  const names = ["berlin", "paris", "rome", "oslo", "bern", "wien"];

  test("a gateway that stops reporting is lost a minute after its last message, and only it", () => {
    const story = new Story(...names).run(121);
    story.reporting.delete("berlin");
    story.run(120);
    expect(story.types()).toEqual(["lost berlin"]);
    const [seconds, finding] = story.found[0]!;
    expect(seconds).toBeGreaterThanOrEqual(180);
    expect(seconds).toBeLessThanOrEqual(185);
    expect(finding).toMatchObject({ seenMs: story.clock.now().wallMs - 241_000 + 120_000 });
    expect(story.watch.condition("berlin")).toBe("lost");
    expect(story.watch.condition("paris")).toBe("up");
  });

  test("a lost gateway is back with its second message, with the time that the hub did not hear it", () => {
    const story = new Story(...names).run(121);
    story.reporting.delete("berlin");
    story.run(600);
    story.found.length = 0;
    story.report("berlin");
    expect(story.watch.condition("berlin")).toBe("lost");
    story.clock.advance(15 * SECOND_MS);
    story.report("berlin");
    expect(story.found).toEqual([
      [736, { type: "back", gateway: "berlin", unobservedMs: 616_000 }],
    ]);
    expect(story.watch.condition("berlin")).toBe("up");
  });

  test("one message in a minute does not bring a lost gateway back", () => {
    const story = new Story(...names).run(121);
    story.reporting.delete("berlin");
    story.run(120);
    for (let n = 0; n < 5; n++) {
      story.report("berlin");
      story.run(61);
    }
    expect(story.types()).toEqual(["lost berlin"]);
  });

  test("a gateway that says that it stops is stopped at once, is not lost later, and is back when it runs again", () => {
    const story = new Story(...names).run(121);
    story.reporting.delete("berlin");
    story.report("berlin", true);
    story.report("berlin", true);
    expect(story.types()).toEqual(["stopped berlin"]);
    story.run(600);
    story.reporting.add("berlin");
    story.run(30);
    expect(story.types()).toEqual(["stopped berlin", "back berlin"]);
  });

  test("a gateway that was enrolled and never reported is waiting, and is never lost", () => {
    const story = new Story("berlin");
    story.reporting.clear();
    story.run(3600);
    expect(story.found).toEqual([]);
    expect(story.watch.condition("berlin")).toBe("waiting");
    story.report("berlin");
    expect(story.watch.condition("berlin")).toBe("up");
    expect(story.found).toEqual([]);
  });

  test("a gateway that was removed is not lost", () => {
    const story = new Story(...names).run(121);
    story.watch.remove("berlin");
    story.reporting.delete("berlin");
    story.run(300);
    expect(story.found).toEqual([]);
  });
});

describe("the hub itself", () => {
  test("a gateway that reported before the hub was restarted, and not after, is lost 90 s after the start", () => {
    const story = new Story("paris", "rome", "oslo");
    const { wallMs } = story.clock.now();
    story.watch.add("berlin", { condition: "up", seenMs: wallMs - 5000 });
    story.run(86);
    expect(story.found).toEqual([]);
    story.run(10);
    expect(story.found).toEqual([[90, { type: "lost", gateway: "berlin", seenMs: wallMs - 5000 }]]);
  });

  test.each(["lost", "stopped"] as const)(
    "a gateway that was %s before the hub was restarted is not reported again, only its return",
    (condition) => {
      const story = new Story("paris", "rome", "oslo");
      const { wallMs } = story.clock.now();
      story.watch.add("berlin", { condition, seenMs: wallMs - 3_600_000 });
      story.run(300);
      expect(story.found).toEqual([]);
      expect(story.watch.condition("berlin")).toBe(condition);
      story.report("berlin");
      story.report("berlin");
      expect(story.found).toEqual([
        [300, { type: "back", gateway: "berlin", unobservedMs: 3_900_000 }],
      ]);
    },
  );

  test("after a suspension of the hub no gateway is lost for 90 s, and none that reports again", () => {
    const story = new Story("berlin", "paris", "rome").run(300);
    story.watch.disturbed(story.clock.now());
    // The gateways need a minute to connect again.
    story.reporting.clear();
    story.run(70);
    for (const gateway of ["berlin", "paris", "rome"]) story.reporting.add(gateway);
    story.run(300);
    expect(story.found).toEqual([]);
  });

  test("a hub that was stopped for an hour notices it by its own clock", () => {
    const story = new Story("berlin", "paris", "rome").run(300);
    story.clock.advance(3_600_000);
    story.run(300);
    expect(story.found).toEqual([]);
  });
});

describe("many gateways at once", () => {
  const names = Array.from({ length: 10 }, (_, index) => `gw${index}`);

  test("more than 30 % that become lost together are one finding, within 75 s", () => {
    const story = new Story(...names).run(120);
    for (const name of names.slice(0, 4)) story.reporting.delete(name);
    story.run(300);
    expect(story.types()).toEqual(["partition"]);
    const [seconds, finding] = story.found[0]!;
    expect(finding).toEqual({ type: "partition", gateways: names.slice(0, 4), known: 10 });
    expect(seconds).toBeLessThanOrEqual(120 + 75);
    for (const name of names.slice(0, 4)) expect(story.watch.condition(name)).toBe("lost");
  });

  test("30 % or less are lost one by one", () => {
    const story = new Story(...names).run(120);
    for (const name of names.slice(0, 3)) story.reporting.delete(name);
    story.run(300);
    expect(story.types().toSorted()).toEqual(["lost gw0", "lost gw1", "lost gw2"]);
  });

  test("two gateways of two are lost one by one", () => {
    const story = new Story("berlin", "paris").run(120);
    story.reporting.clear();
    story.run(300);
    expect(story.types().toSorted()).toEqual(["lost berlin", "lost paris"]);
  });

  test("gateways that fail slowly, one after the other, do not keep the first one waiting for more than 30 s", () => {
    const story = new Story(...names).run(120);
    for (const name of names) {
      story.reporting.delete(name);
      story.run(14);
    }
    const [seconds] = story.found[0]!;
    expect(seconds).toBeLessThanOrEqual(120 + 60 + 30 + 15 + 5);
  });

  test("each gateway of a partition is back by itself", () => {
    const story = new Story(...names).run(120);
    story.reporting.clear();
    story.run(300);
    for (const name of names) story.reporting.add(name);
    story.run(60);
    expect(story.types().slice(1).toSorted()).toEqual(names.map((name) => `back ${name}`));
  });
});

describe("any course of events", () => {
  /** A gateway's pauses between reports, each shorter than 30 s: it may lose a report, or be slow. */
  const pauses = fc.array(fc.integer({ min: 1, max: 29_000 }), { minLength: 1, maxLength: 40 });
  /** What happens to the hub: it is suspended (monotonic time does not pass), stalled or reconnected. */
  const disturbance = fc.record({
    atMs: fc.integer({ min: 0, max: 600_000 }),
    type: fc.constantFrom("stall", "reconnect"),
    ms: fc.integer({ min: 0, max: 200_000 }),
  });

  test("no gateway is lost while each reports within 60 s of the hub's running time, whatever happens to the hub", () => {
    fc.assert(
      fc.property(
        fc.array(pauses, { minLength: 1, maxLength: 12 }),
        fc.array(disturbance, { maxLength: 4 }),
        (gateways, disturbances) => {
          const clock = new HandClock();
          const watch = new GatewayWatch(clock.now());
          const due = gateways.map(([first]) => first!);
          const next = gateways.map(() => 0);
          for (const index of gateways.keys()) watch.add(`gw${index}`, null);
          const pending = [...disturbances].sort((a, b) => a.atMs - b.atMs);
          const found: WatchFinding[] = [];
          for (let tick = 0; tick < 120; tick++) {
            const disturbed = pending[0];
            if (disturbed !== undefined && disturbed.atMs <= clock.now().monotonicMs) {
              pending.shift();
              // The hub does not run, or is not connected; the gateways report again right after.
              if (disturbed.type === "stall") clock.advance(disturbed.ms);
              else watch.disturbed(clock.now());
              for (const index of due.keys()) due[index] = clock.now().monotonicMs;
            }
            for (const [index, list] of gateways.entries()) {
              while (due[index]! <= clock.now().monotonicMs) {
                found.push(...watch.heard(`gw${index}`, live, clock.now()));
                due[index]! += list[next[index]!++ % list.length]!;
              }
            }
            found.push(...watch.tick(clock.now()));
            clock.advance(5000);
          }
          expect(found).toEqual([]);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("findings of a gateway alternate: it is lost or stopped, then back, and never lost twice", () => {
    const step = fc.record({
      gateway: fc.integer({ min: 0, max: 4 }),
      ms: fc.integer({ min: 0, max: 40_000 }),
      does: fc.constantFrom("report", "report", "report", "stop", "nothing"),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const story = new Story();
        for (let index = 0; index < 5; index++) story.watch.add(`gw${index}`, null);
        for (const { gateway, ms, does } of steps) {
          if (does !== "nothing") story.report(`gw${gateway}`, does === "stop");
          for (let at = 0; at < ms; at += 5000) {
            story.clock.advance(5000);
            story.note(story.watch.tick(story.clock.now()));
          }
        }
        const isGone = new Set<string>();
        for (const [, finding] of story.found) {
          if (finding.type === "back") {
            expect(isGone.delete(finding.gateway)).toBe(true);
            expect(finding.unobservedMs).toBeGreaterThanOrEqual(0);
          } else if (finding.type === "stopped") {
            isGone.add(finding.gateway);
          } else {
            const gateways = "gateways" in finding ? finding.gateways : [finding.gateway];
            for (const each of gateways) {
              expect(isGone.has(each)).toBe(false);
              isGone.add(each);
            }
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
