/** `wgmon silence`, with the API of a fake read model. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import { ConfigError, NotFound, SystemError } from "../../src/base/errors.ts";
import { type DaemonClient, DaemonNotRunning } from "../../src/cli/client.ts";
import { addSilence, expireSilence, listSilences } from "../../src/cli/silence.ts";
import type { SilenceRequest } from "../../src/config/command-requests.ts";
import { asked, type Printed, printed } from "../support/api-reader.ts";
import { ALICE, device, peer } from "../support/peers.ts";
import { errors, parse } from "../support/settings.ts";
import { FakeSource } from "../support/source.ts";
import { alertView } from "../support/stored-alerts.ts";

type AddRequest = Extract<SilenceRequest, { action: "add" }>;

let source: FakeSource;

beforeEach(async () => {
  source = await FakeSource.make();
  source.found.set("wg0", { device: device(), peers: [peer({ publicKey: ALICE })] });
  source.names.set(ALICE, "branch-berlin");
  source.tags.set(ALICE, ["site"]);
});

afterEach(() => source.store[Symbol.dispose]());

async function add(
  fields: Partial<AddRequest> = {},
  daemon: Pick<DaemonClient, "get" | "send"> = asked(source),
): Promise<Printed> {
  const output = printed();
  const request: AddRequest = {
    action: "add",
    matchers: ["peer=branch-*"],
    end: { forMs: 7_200_000 },
    comment: "new router",
    json: false,
    ...fields,
  };
  const nowMs = source.clock.now().wallMs;
  await addSilence(daemon, request, { ...output, nowMs, user: "alice" });
  return output;
}

describe("wgmon silence", () => {
  test("a silence is added, listed and ended", async () => {
    const heldBack = { type: "silence", id: "silence-1", comment: "new router" } as const;
    source.alerts.firing = [alertView({ heldBack })];
    expect((await add()).lines()).toEqual([
      "silence-1: peer=branch-* until 2026-01-01 02:00:00; it holds back 1 alert now",
      "wgmon silence expire silence-1 ends it earlier",
    ]);
    await add({
      matchers: ["device=wg0", "severity=warning"],
      end: { forMs: 60_000 },
      comment: "",
    });
    const list = printed();
    await listSilences(asked(source), { ...list, json: false });
    expect(list.lines()).toEqual([
      "ALERTS                           UNTIL                COMMENT     BY     ID",
      "device=wg0 and severity=warning  2026-01-01 00:01:00              alice  silence-2",
      "peer=branch-*                    2026-01-01 02:00:00  new router  alice  silence-1",
    ]);
    const output = printed();
    const options = { ...output, nowMs: source.clock.now().wallMs, user: "alice" };
    const request = { action: "expire", id: "silence-1", json: false } as const;
    await expireSilence(asked(source), request, options);
    expect(output.text()).toBe("peer=branch-* is not silenced any more\n");
    const error = await expireSilence(asked(source), request, options).catch(
      (thrown: Error) => thrown,
    );
    expect(error).toBeInstanceOf(NotFound);
    expect((error as Error).message).toBe(
      'there is no silence "silence-1"; did you mean silence-2?',
    );
  });

  test("--json prints the silences as the API returns them", async () => {
    const { id } = JSON.parse((await add({ json: true })).text()) as { id: string };
    const list = printed();
    await listSilences(asked(source), { ...list, json: true });
    expect(JSON.parse(list.text())).toMatchObject({ id, matchers: ["peer=branch-*"] });
  });

  test("the list says so if there is no silence", async () => {
    const list = printed();
    await listSilences(asked(source), { ...list, json: false });
    expect(list.text()).toBe("no silences\n");
  });

  test.each([
    [["peer=brnch-*"], ["no peer matches"]],
    [["tag=sites"], ["no tag matches"]],
    [["device=wg7", "rule=x"], ["no device matches"]],
    [["peer=branch-berlin", "tag=site", "device=wg?"], []],
    [[`peer=${ALICE}`], []],
  ])(
    "the matchers %j cause the expected warnings about a misspelt name",
    async (matchers, texts) => {
      const { complaints } = await add({ matchers });
      expect(complaints).toHaveLength(texts.length);
      for (const [index, text] of texts.entries()) expect(complaints[index]).toStartWith(text);
    },
  );

  test("an end that has passed is refused", async () => {
    const error = await add({ end: { until: { atMs: 0 } } }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).toContain("is in the past");
  });

  test("silences cannot be changed while wgmon does not run, and the error says what to do", async () => {
    const fail = () => Promise.reject(new DaemonNotRunning("ask wgmon", "ENOENT"));
    const error = await add({}, { get: fail, send: fail }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SystemError);
    expect((error as Error).message).toContain("systemctl start wgmon");
  });
});

describe("the arguments of wgmon silence", () => {
  test("matchers and flags are parsed", () => {
    const argv = ["silence", "add", "peer=a b", "rule=x", "--for", "2h", "--comment", "new router"];
    expect(parse(argv)).toMatchObject({
      type: "silence",
      action: "add",
      matchers: ["peer=a b", "rule=x"],
      end: { forMs: 7_200_000 },
      comment: "new router",
    });
    expect(parse(["silence"])).toMatchObject({ type: "silence", action: "list" });
    expect(parse(["silence", "expire", "silence-1"])).toMatchObject({ id: "silence-1" });
  });

  const usual = ["silence", "add", "peer=x", "--for", "2h"];
  test.each<[string[], string]>([
    [["silence", "add", "--for", "2h"], "needs which alerts it is for"],
    [["silence", "add", "peer=x"], "needs an end: --for 2h"],
    [[...usual, "--until", "18:00"], "--for and --until: give only one of them"],
    [["silence", "add", "peer=x", "--until", "2h"], "is not a time in the future; write --for 2h"],
    [["silence", "add", "peer=x", "--for", "2"], '--for: "2" has no unit'],
    [["silence", "add", "pear=x", "--for", "2h"], 'unknown field "pear": use peer, tag'],
    [["silence", "add", "branch", "--for", "2h"], "must be a field and a value"],
    [["silence", "add", "peer=", "--for", "2h"], "must be a field and a value"],
    [[...usual, "--comment", "x".repeat(501)], "--comment: is too long"],
    [["silence", "list", "--for", "2h"], "--for: is for wgmon silence add"],
    [["silence", "expire"], "needs the id of a silence"],
    [["silence", "expire", "a", "b"], '"b" is not expected here'],
    [["silence", "remove"], '"remove" is not list, add or expire'],
  ])("the command line %j is refused", (argv, text) => {
    expect(errors(argv).join("\n")).toContain(text);
  });
});
