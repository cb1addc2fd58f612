/** `wgmon alerts` and `wgmon alerts explain`, with the API of a fake read model. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import fc from "fast-check";

import { ruleOf } from "../../src/alerts/rule.ts";
import { NotFound } from "../../src/base/errors.ts";
import { printAlerts } from "../../src/cli/alerts.ts";
import type { ApiReader } from "../../src/cli/client.ts";
import { explainAlert } from "../../src/cli/explain-alert.ts";
import type { AlertListRequest } from "../../src/config/command-requests.ts";
import { asked, type Printed, printed } from "../support/api-reader.ts";
import { anEvent, hostileText } from "../support/events.ts";
import { ALICE, BOB, device, peer } from "../support/peers.ts";
import { FakeSource } from "../support/source.ts";
import { alertRecord, alertView, newNotice, storeAlerts } from "../support/stored-alerts.ts";

let source: FakeSource;

beforeEach(async () => {
  source = await FakeSource.make();
  source.found.set("wg0", {
    device: device(),
    peers: [peer({ publicKey: ALICE }), peer({ publicKey: BOB })],
  });
  source.names.set(ALICE, "alice");
  source.names.set(BOB, "bob");
});

afterEach(() => source.store[Symbol.dispose]());

function fill(): void {
  const silence = { type: "silence", id: "silence-1", comment: "maintenance" } as const;
  const bob = { type: "peer", device: "wg0", publicKey: BOB } as const;
  source.alerts.firing = [
    alertView(),
    alertView({
      id: "alert-6",
      rule: "sites",
      severity: "warning",
      heldBack: silence,
      subject: bob,
    }),
    alertView({ id: "", state: "pending", firedAtMs: null, subject: bob, isSent: false }),
  ];
  storeAlerts(source, [alertRecord()]);
}

async function run(
  fields: Partial<AlertListRequest> = {},
  api: ApiReader = asked(source),
): Promise<Printed> {
  const output = printed();
  const request: AlertListRequest = {
    action: "list",
    requestedDevices: [],
    peer: null,
    since: null,
    until: null,
    limit: 50,
    isPast: false,
    rule: null,
    json: false,
    ...fields,
  };
  const nowMs = source.clock.now().wallMs;
  await printAlerts(api, { ...output, request, nowMs });
  return output;
}

describe("wgmon alerts", () => {
  test("wgmon alerts prints what fires, what is held back and why, and what is pending", async () => {
    fill();
    expect((await run()).lines()).toEqual([
      "1 alert fires, 1 is held back, 1 is pending",
      "STATE      SEVERITY  RULE         SINCE   ALERT                            HELD BACK              ID",
      "firing     critical  office-down  1h ago  alice (wg0) is down for an hour                         alert-7",
      "held back  warning   sites        1h ago  alice (wg0) is down for an hour  silenced: maintenance  alert-6",
      "pending    critical  office-down  1h ago  alice (wg0) is down for an hour",
    ]);
  });

  test("wgmon alerts with a period also prints the alerts that are over", async () => {
    fill();
    const lines = (await run({ isPast: true, since: { agoMs: 86_400_000 }, limit: null })).lines();
    expect(lines[0]).toBe("1 alert fires, 1 is held back, 1 is pending, 1 is resolved");
    expect(lines.at(-1)).toMatch(/^resolved .* 3h ago +2h ago +alice \(wg0\) is connected again/);
  });

  test("an alert of a rule with dry_run is marked, because no message is sent", async () => {
    fill();
    source.alerts.all = [ruleOf("down", "office-down", { dryRun: true })];
    const lines = (await run()).lines();
    expect(lines[2]).toMatch(/^firing .* recorded only \(dry_run\) +alert-7$/);
  });

  test("an alert whose message no target accepts is marked", async () => {
    fill();
    const firing = (targets: readonly string[]) => newNotice({ eventSeq: 1, targets });
    storeAlerts(source, [], [firing([])]);
    expect((await run()).lines()[2]).toMatch(/^firing .* no target accepts it +alert-7$/);
    storeAlerts(source, [], [firing(["ops (json)"])]);
    expect((await run()).lines()[2]).toMatch(/^firing .* an hour +alert-7$/);
  });

  test("many alerts take one request", async () => {
    source.alerts.firing = Array.from({ length: 50 }, (_, index) =>
      alertView({ id: `alert-${index}` }),
    );
    const api = asked(source);
    await run({}, api);
    expect(api.paths.filter((path) => path.includes("alerts"))).toHaveLength(1);
  });

  test("wgmon alerts says so if there is no alert", async () => {
    expect((await run()).text()).toBe("no alert fires, and none is pending\n");
    expect((await run({ isPast: true })).text()).toBe("no alerts\n");
    expect((await run({ json: true })).text()).toBe("");
  });

  test.each<[Partial<AlertListRequest>, number]>([
    [{ peer: "bob" }, 2],
    [{ peer: "alice" }, 1],
    [{ rule: "sites" }, 1],
    [{ requestedDevices: ["wg0"] }, 3],
    [{ isPast: true, limit: 2 }, 2],
    [{ isPast: true }, 4],
  ])("wgmon alerts selects the expected alerts with %j", async (fields, count) => {
    fill();
    const lines = (await run({ json: true, ...fields })).lines();
    expect(lines).toHaveLength(count);
    for (const line of lines) expect(JSON.parse(line)).toHaveProperty("sentence");
  });

  test("a peer that does not exist is an error with a suggestion", async () => {
    expect(await run({ peer: "alcie" }).catch((error: Error) => error.message)).toBe(
      '--peer: there is no peer "alcie"; did you mean alice?',
    );
  });

  test("any sentence and name is on one line", async () => {
    await fc.assert(
      fc.asyncProperty(hostileText, async (text) => {
        source.alerts.firing = [alertView({ sentence: text, rule: text })];
        expect((await run()).lines()).toHaveLength(3);
      }),
      { numRuns: 50 },
    );
  });
});

describe("wgmon alerts explain", () => {
  async function explain(id: string, json = false): Promise<Printed> {
    const output = printed();
    const request = { action: "explain", id, json, requestedDevices: [] } as const;
    await explainAlert(asked(source), { ...output, request, nowMs: source.clock.now().wallMs });
    return output;
  }

  test("it prints the rule, the times, the messages and what held some back", async () => {
    fill();
    source.alerts.all = [ruleOf("down", "office-down", { targets: ["ops"] })];
    const state = { waiting: 0, isStopped: false, failures: 0, reason: "" };
    source.targetStates = [{ key: "ops", label: "ops (json)", ...state }];
    const [seq] = source.record([anEvent("peer.connected")]);
    storeAlerts(
      source,
      [],
      [
        newNotice({ heldBack: { type: "times" } }),
        newNotice({ eventSeq: seq!, targets: ["ops (json)"], alertIds: ["alert-6", "alert-7"] }),
        newNotice({ type: "reminder", eventSeq: seq! }),
        newNotice({ type: "reminder", dryRun: true, sentence: "alice (wg0) is down for an hour" }),
      ],
    );
    expect((await explain("alert-7")).lines()).toEqual([
      "alert-7: alice (wg0) is down for an hour",
      "rule        office-down (down, critical)",
      "            fires when a peer is absent for 2m",
      "            severity critical",
      "            alerts within 30s are one message",
      "            goes to ops",
      "peer        alice",
      `key         ${ALICE}`,
      "device      wg0",
      "state       firing",
      "since       2025-12-31 23:00:00 (1h ago)",
      "fired       2025-12-31 23:02:00 (58m ago)",
      "",
      "messages:",
      "  2025-12-31 23:02:30  firing    held back: outside the times of the rule",
      "    alice (wg0) is down for 2 minutes",
      "  2025-12-31 23:02:30  firing    sent: ops (json) delivered (2 alerts in one message)",
      "    alice (wg0) is down for 2 minutes",
      "  2025-12-31 23:02:30  reminder  only in the log and the store: no target accepts it",
      "    alice (wg0) is down for 2 minutes",
      "  2025-12-31 23:02:30  reminder  not sent, because the rule has dry_run",
    ]);
    expect(JSON.parse((await explain("alert-7", true)).text())).toMatchObject({ id: "alert-7" });
  });

  test("an alert without messages, and a rule that no longer exists, are named", async () => {
    fill();
    const text = (await explain("alert-3")).text();
    expect(text).toContain("this rule is no longer in the settings");
    expect(text).toContain("no message yet");
  });

  test.each(["alert-8", "../status", ""])("the id %j is not found", async (id) => {
    fill();
    const error = await explain(id).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(NotFound);
    expect((error as NotFound).message).toStartWith("there is no alert ");
    expect((error as NotFound).nextStep).toContain("wgmon alerts lists the ids");
  });
});
