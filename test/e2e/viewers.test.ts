/**
 * The binary's rates while there is a viewer: a program that repeats a request, an open page. The tick is an hour,
 * so every scan after the start is made for a viewer.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import type { PeerView } from "../../src/http/schemas.ts";
import type { FakeUapiDevice } from "../support/fake-uapi-device.ts";
import { needs } from "../support/kernel.ts";
import { Stage } from "../support/netns-stage.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS, until } from "../support/until.ts";
import { isComplaint, type Wgmon } from "../support/wgmon.ts";

setDefaultTimeout(TEST_MS);

const ARGS = "--monitor poll --tick 1h --reconcile 0 --idle-timeout 1h --log-level debug".split(
  " ",
);
const ALICE = 1;
const ASK_MS = 500;
/** After a viewer has left, its last scan follows within this time. */
const CALM_MS = 4000;
const tools = needs("namespaces", "nsenter");

describe.skipIf(tools.missing)(tools.title("while there is a viewer"), () => {
  let stage: Stage;
  let device: FakeUapiDevice;
  let wgmon: Wgmon;
  let unix: string;
  /** What Alice sends, in bytes per second. */
  let speed = 0;

  beforeAll(async () => {
    stage = await Stage.create();
    device = await stage.device("wg0");
    device.connect(ALICE);
    let lastMs = performance.now();
    device.onQuery = () => {
      const nowMs = performance.now();
      device.peers.get(ALICE)!.rxBytes += Math.round((speed * (nowMs - lastMs)) / 1000);
      lastMs = nowMs;
    };
    const folder = newStateFolder();
    unix = `${folder}/wgmon.sock`;
    wgmon = stage.wgmon(ARGS, { environment: { RUNTIME_DIRECTORY: folder } });
    await wgmon.waitForLog(({ msg }) => msg === "listening");
    await wgmon.waitForLog(({ msg }) => msg === "warm");
  });

  afterAll(async () => {
    expect(await wgmon.stop()).toBe(0);
    await device[Symbol.asyncDispose]();
    await stage[Symbol.asyncDispose]();
    expect(wgmon.log.filter(isComplaint)).toEqual([]);
  });

  const get = async (path: string, accept = "application/json") =>
    await fetch(`http://localhost${path}`, { unix, headers: { accept } });

  async function rate(): Promise<number | null> {
    const { items } = (await (await get("/v1/peers")).json()) as { items: PeerView[] };
    return items[0]!.session?.rxBytesPerSecond ?? null;
  }

  const isNear = (found: number | null) => found !== null && Math.abs(found - speed) < speed / 10;

  /** Waits until there is no scan for CALM_MS, then checks that there is none in the same time again. */
  async function expectCalm(): Promise<void> {
    let queries = -1;
    await until("the scans end", async () => {
      const before = device.queries;
      await Bun.sleep(CALM_MS);
      queries = device.queries;
      return queries === before;
    });
    await Bun.sleep(CALM_MS);
    expect(device.queries).toBe(queries);
  }

  test("without a viewer there is no scan", async () => {
    await expectCalm();
  });

  test("a program that repeats its request gets rates that follow within two scans, and none are made after it", async () => {
    for (const next of [100_000, 3_000_000]) {
      speed = next;
      const before = device.queries;
      await until("the rate is the new one", async () => {
        await Bun.sleep(ASK_MS);
        return isNear(await rate());
      });
      // Two scans for a rate, and one that began before the change.
      expect(device.queries - before).toBeLessThanOrEqual(3);
    }
    expect(wgmon.log.some(({ msg, reason }) => msg === "scan" && reason === "viewer")).toBe(true);
    const metrics = await (await get("/metrics")).text();
    expect(metrics).toMatch(/^wgmon_scans_total\{reason="viewer"\} [1-9]/m);
    await expectCalm();
  });

  test("a single request causes no scan", async () => {
    const before = device.queries;
    await rate();
    await Bun.sleep(CALM_MS);
    expect(device.queries).toBe(before);
  });

  test("an open page gets the rates, and a stream of events causes no scan", async () => {
    const events = (await get("/v1/stream")).body!.getReader();
    await expectCalm();
    await events.cancel();
    speed = 5_000_000;
    const page = (await get("/", "text/event-stream")).body!.getReader();
    const decoder = new TextDecoder();
    // The rate is known after two scans; more updates are allowed on a busy machine.
    let text = "";
    for (let updates = 0; updates < 30 && !/[45]\.\d MiB\/s/.test(text); updates++) {
      text = decoder.decode((await page.read()).value);
    }
    expect(text).toMatch(/[45]\.\d MiB\/s/);
    await page.cancel();
    await expectCalm();
  });
});
