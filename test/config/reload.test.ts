/** What a reload changes at once, and what needs a restart. */

import { expect, test } from "bun:test";

import type { Settings } from "../../src/config/config.ts";
import { changedSettings, mergeReloaded } from "../../src/config/reload.ts";
import { run } from "../support/settings.ts";

const current = run([]).settings;

test("a setting that can change at run time takes effect without a restart", () => {
  const wanted = { ...current, tickMs: 1000, holdMs: 5000, host: "gw2" };
  expect(mergeReloaded(current, wanted)).toEqual({ settings: wanted, needRestart: [] });
});

const fixed: [string, Partial<Settings>][] = [
  ["monitor", { monitor: "poll" }],
  ["group", { group: 7 }],
  ["interface", { captureInterface: "eth7" }],
  ["manage-rules", { manageRules: true }],
  ["filter", { filter: "udp" }],
  ["device", { devices: ["wg7"] }],
  ["state-dir", { stateDir: "/x" }],
  ["log-format", { logFormat: "json" }],
  ["listen", { listen: { address: "127.0.0.1", port: 9587 } }],
  ["listen-tls-cert or listen-tls-key", { listenTls: { cert: "/c", key: "/k" } }],
];

test.each(fixed)(
  "a reload keeps the old value of %s, whose change needs a restart",
  (name, change) => {
    const { settings, needRestart } = mergeReloaded(current, { ...current, ...change, tickMs: 1 });
    expect(needRestart).toEqual([name]);
    expect(settings).toEqual({ ...current, tickMs: 1 });
  },
);

test("a listen address that stays open keeps its tokens if the settings name another address", () => {
  const open = { ...current, listen: { address: "0.0.0.0", port: 1 }, listenTokens: ["old"] };
  const moved = { ...open, listen: { address: "127.0.0.1", port: 1 }, listenTokens: [] };
  expect(mergeReloaded(open, moved).settings.listenTokens).toEqual(["old"]);
  const rotated = { ...open, listenTokens: ["new"] };
  expect(mergeReloaded(open, rotated).settings.listenTokens).toEqual(["new"]);
});

test("a reload names the settings that changed, and no value of them", () => {
  const toml = (secret: string, body: string, tick: string) => `
    tick = "${tick}"
    [[target]]
    name = "ops"
    url = "https://hooks.example.net/${secret}"
    format = "template"
    template = '{"text": "${body}"}'`;
  const settings = (...values: [string, string, string]) =>
    run([], { toml: toml(...values) }).settings;
  const before = settings("a", "{{ sentence }}", "10s");
  expect(changedSettings(before, settings("a", "{{ sentence }}", "10s"))).toEqual([]);
  expect(changedSettings(before, settings("b", "{{ sentence }}", "10s"))).toEqual(["target"]);
  expect(changedSettings(before, settings("a", "x", "5s"))).toEqual(["tick", "target"]);
  expect(changedSettings(before, { ...before, ...fixedValues() })).toEqual([
    "interface",
    "device",
    "max-store",
  ]);
});

function fixedValues(): Partial<Settings> {
  return { captureInterface: "eth7", devices: ["wg7"], maxStoreBytes: 1 };
}
