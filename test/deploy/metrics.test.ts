/**
 * The files for Prometheus and Grafana: alert rules that fire when they should, a dashboard whose
 * expressions are valid, only metrics that wgmon exports in both, and metrics that promtool accepts.
 */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { exposition, type Naming, namings } from "../../src/http/metrics.ts";
import { anEvent } from "../support/events.ts";
import { device, peer } from "../support/peers.ts";
import { promtoolNeeds, runPromtool } from "../support/promtool.ts";
import { FakeSource, keyOf } from "../support/source.ts";

const ROOT = join(import.meta.dir, "../..");
const ALERTS = join(ROOT, "deploy/alerts.yaml");

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly targets: readonly { readonly refId: string; readonly expr: string }[];
}

interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly definition?: string }[];
  };
}

const dashboardText = readFileSync(join(ROOT, "deploy/grafana-dashboard.json"), "utf8");
const dashboard = JSON.parse(dashboardText) as Dashboard;
const expressions = dashboard.panels.flatMap(({ title, targets }) =>
  targets.map(({ expr }) => ({ title, expr })),
);

let source: FakeSource;
let folder: string;

beforeEach(async () => {
  source = await FakeSource.make();
  folder = mkdtempSync(join(tmpdir(), "wgmon-promtool-"));
});

afterEach(() => {
  source.store[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

/** The metrics of a wgmon with at least one sample of each. */
function exposed(wanted: readonly Naming[], accept = ""): string {
  const someone = peer({
    publicKey: keyOf(1),
    lastHandshakeMs: source.clock.now().wallMs,
    allowedIps: ["10.0.0.2/32", "2001:db8::/32"],
  });
  source.found.set("wg0", { device: device({ publicKey: keyOf(9) }), peers: [someone] });
  source.names.set(keyOf(1), 'Max "the\\\n" Müller');
  source.connect("wg0", someone);
  source.targetStates = [
    { key: "ops", label: "ops", waiting: 1, isStopped: false, failures: 2, reason: "503" },
  ];
  const [seq] = source.record([anEvent("peer.connected")], ["ops"]);
  source.store.outbox.deadLetter("ops", "ops", [seq!], "410", 0);
  source.counters.scans.add(["tick"]);
  source.counters.attempts.add(["ops", "retry"]);
  const { chunks } = exposition(source, { namings: wanted, accept });
  return Array.from({ [Symbol.iterator]: () => chunks }).join("");
}

/** Names of the series, with the suffixes of histograms. */
function seriesOf(text: string): ReadonlySet<string> {
  return new Set([...text.matchAll(/^([a-z]\w*)(?:\{| )/gm)].map(([, name]) => name!));
}

function metricsIn(text: string): string[] {
  return [...text.matchAll(/\b(?:wgmon|wireguard)_\w+/g)].map(([name]) => name);
}

describe("the alert rules", () => {
  const text = readFileSync(ALERTS, "utf8");

  test("the alert rules use only metrics that exist", () => {
    const named = metricsIn(text);
    expect(new Set(named).size).toBeGreaterThan(10);
    const known = seriesOf(exposed(["mdlayher"]));
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });

  test("the alert rules have a severity, a summary and a description", () => {
    const { groups } = Bun.YAML.parse(text) as {
      groups: { rules: { labels: object; annotations: object }[] }[];
    };
    for (const rule of groups.flatMap(({ rules }) => rules)) {
      expect(rule).toMatchObject({
        labels: { severity: expect.stringMatching(/^(critical|warning)$/) },
        annotations: {
          summary: expect.stringMatching(/\S/),
          description: expect.stringMatching(/\.$/),
        },
      });
    }
  });

  test.skipIf(promtoolNeeds.missing)(
    promtoolNeeds.title("the alert rules fire when they should, and only then"),
    () => {
      expect(runPromtool(["check", "rules", ALERTS])).toMatchObject({ isGood: true });
      const tests = join(import.meta.dir, "alerts.yaml");
      expect(runPromtool(["test", "rules", tests])).toEqual({
        isGood: true,
        text: expect.stringContaining("SUCCESS"),
      });
      // The tests make each alert fire.
      const alerts = [...text.matchAll(/- alert: (\w+)/g)].map(([, name]) => name!);
      const fired = readFileSync(tests, "utf8");
      expect(alerts.filter((name) => !fired.includes(`alertname="${name}"`))).toEqual([]);
    },
  );
});

describe("the dashboard", () => {
  test("the dashboard uses only metrics that exist", () => {
    const texts = dashboard.templating.list.map(({ definition }) => definition ?? "");
    const named = metricsIn([...texts, ...expressions.map(({ expr }) => expr)].join(" "));
    expect(new Set(named).size).toBeGreaterThan(20);
    const known = seriesOf(exposed(["mdlayher"]));
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });

  test("the dashboard has panels that do not overlap, and defines the variables that it uses", () => {
    expect(dashboard.uid).toBe("wgmon");
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, n) => `${x + (n % w)},${y + Math.floor(n / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(dashboard.panels.every(({ gridPos: { x, w } }) => x + w <= 24)).toBe(true);
    const names = dashboard.templating.list.map(({ name }) => name);
    const used = [...dashboardText.matchAll(/\$\{?([a-z]\w*)/g)].map(([, name]) => name!);
    expect([...new Set(used)].toSorted()).toEqual(names.toSorted());
    // The uid of a particular data source would not exist in another Grafana.
    const sources = dashboardText.match(/"uid": "[^"]*"/g)!;
    expect(new Set(sources)).toEqual(new Set(['"uid": "wgmon"', '"uid": "${datasource}"']));
  });

  test.skipIf(promtoolNeeds.missing)(
    promtoolNeeds.title("the dashboard has expressions that are PromQL"),
    () => {
      const rules = expressions.map(({ expr }, n) => ({
        record: `test:expression${n}`,
        expr: expr.replaceAll(/\$__\w+/g, "5m").replaceAll(/\$\w+/g, ".*"),
      }));
      const file = join(folder, "rules.yaml");
      // JSON is YAML.
      writeFileSync(file, JSON.stringify({ groups: [{ name: "dashboard", rules }] }));
      const { isGood, text } = runPromtool(["check", "rules", file]);
      expect({ isGood, text }).toEqual({ isGood: true, text: expect.stringContaining("SUCCESS") });
      writeFileSync(
        file,
        JSON.stringify({ groups: [{ name: "x", rules: [{ record: "x", expr: "sum(" }] }] }),
      );
      expect(runPromtool(["check", "rules", file]).isGood).toBe(false);
    },
  );
});

describe.skipIf(promtoolNeeds.missing)(promtoolNeeds.title("promtool check metrics"), () => {
  /** Metrics under the names of other exporters, which must keep those names. */
  const foreign = /^wireguard_/;

  test.each([[[]], [["mdlayher"]], [["mindflavor"]], [namings]] as const)(
    "promtool accepts the metrics with the names of %j",
    (wanted) => {
      const { text } = runPromtool(["check", "metrics"], exposed(wanted));
      const complaints = text.split("\n").filter((line) => line !== "" && !foreign.test(line));
      expect(complaints).toEqual([]);
    },
  );

  test("promtool rejects invalid metrics", () => {
    const broken = exposed([]).replace("wgmon_events_total{", "wgmon_events_total{{");
    expect(runPromtool(["check", "metrics"], broken).isGood).toBe(false);
  });
});
