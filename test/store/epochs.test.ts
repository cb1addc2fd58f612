/** The numbers of events, and the epochs in which they are unique: with failures of the file, retention, restarts. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { newId } from "../../src/base/new-id.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { eventOf } from "../../src/events/event.ts";
import { createLog } from "../../src/platform/log.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { failStore } from "../support/fail-store.ts";
import { useStoreFolders } from "../support/store-folders.ts";

const RETRY_MS = 60_000;
const HOUR_MS = 3_600_000;
const { folder, opened, close } = useStoreFolders();

async function open(directory: string | null, clock: HandClock): Promise<Store> {
  const log = createLog({ format: "text", level: "info", write: () => {} });
  return opened(await Store.open({ directory, clock, log }));
}

function record(store: Store, clock: HandClock): { readonly seq: number; readonly event: Event } {
  const change = {
    type: "device.added",
    atMs: clock.now().wallMs,
    device: "wg0",
    listenPort: 0,
  } as const;
  const event = eventOf(change, { id: newId("evt"), host: "gw1", name: null });
  const events = [{ event, targets: [] }];
  const [seq] = store.record({ events, sessions: [], ended: [], devices: null }, 0);
  return { seq: seq!, event };
}

describe("the numbers of events", () => {
  test("numbers continue after those of events that retention deleted, when the file fails", async () => {
    const clock = new HandClock();
    const directory = folder();
    const store = await open(directory, clock);
    for (let n = 0; n < 5; n++) record(store, clock);
    clock.advance(2 * HOUR_MS);
    while (store.trim({ keepMs: HOUR_MS, maxBytes: 1e9 }, clock.now().wallMs));
    expect(store.events.sequenceRange()).toEqual({ first: null, last: 5 });
    const end = failStore(directory, false);
    expect(record(store, clock).seq).toBe(6);
    expect(store.isInMemory).toBe(true);
    clock.advance(2 * HOUR_MS);
    while (store.trim({ keepMs: HOUR_MS, maxBytes: 1e9 }, clock.now().wallMs));
    end();
    clock.advance(RETRY_MS);
    expect(store.isInMemory).toBe(false);
    expect(record(store, clock).seq).toBe(7);
  });

  test("the first use begins an epoch with the oldest event, which survives a restart", async () => {
    const clock = new HandClock();
    const directory = folder();
    const store = await open(directory, clock);
    record(store, clock);
    const [epoch, ...others] = store.epochs.all();
    expect(others).toEqual([]);
    expect(epoch).toEqual({ epoch: expect.stringMatching(/^[0-9a-f]{8}$/), first: 1, end: null });
    close(store);
    expect((await open(directory, clock)).epochs.all()).toEqual([epoch!]);
  });

  test("a store in memory, and a new file, begin another epoch", async () => {
    const clock = new HandClock();
    const epochs = new Set<string>();
    for (const directory of [null, null, folder(), folder()]) {
      epochs.add((await open(directory, clock)).epochs.all()[0]!.epoch);
    }
    expect(epochs.size).toBe(4);
  });

  test("a failure of the file that a hub is up to date with does not begin an epoch", async () => {
    const clock = new HandClock();
    const directory = folder();
    const store = await open(directory, clock);
    record(store, clock);
    const before = store.epochs.all();
    const { epoch } = before[0]!;
    store.uplinks.save("hub", { epoch, sent: 1, confirmed: 1, streamSeq: null });
    const end = failStore(directory, false);
    record(store, clock);
    expect(store.uplinks.events(1, null, 9).map(({ seq }) => seq)).toEqual([2]);
    store.uplinks.save("hub", { epoch, sent: 2, confirmed: 2, streamSeq: 7 });
    end();
    clock.advance(RETRY_MS);
    expect(store.isInMemory).toBe(false);
    expect(store.epochs.all()).toEqual(before);
    expect(store.uplinks.position("hub")).toEqual({ epoch, sent: 2, confirmed: 2, streamSeq: 7 });
  });

  test("events that were in memory while the file could not be read are sent again in new epochs", async () => {
    const clock = new HandClock();
    const directory = folder();
    const store = await open(directory, clock);
    record(store, clock);
    const [before] = store.epochs.all();
    const end = failStore(directory, true);
    const { seq } = record(store, clock);
    const [inMemory, ...others] = store.epochs.all();
    expect([inMemory!.first, others]).toEqual([seq, []]);
    end();
    clock.advance(RETRY_MS);
    const after = store.epochs.all();
    expect(after).toMatchObject([
      { first: 1, end: seq },
      { first: seq, end: null },
    ]);
    const ids = [before!, inMemory!, ...after].map(({ epoch }) => epoch);
    expect(new Set(ids).size).toBe(4);
  });

  test("epochs without events are over, except the last", async () => {
    const clock = new HandClock();
    const directory = folder();
    const store = await open(directory, clock);
    record(store, clock);
    const end = failStore(directory, true);
    const { seq } = record(store, clock);
    end();
    clock.advance(RETRY_MS + 2 * HOUR_MS);
    while (store.trim({ keepMs: HOUR_MS, maxBytes: 1e9 }, clock.now().wallMs));
    const [last, ...others] = store.epochs.all();
    expect([last!.first, others]).toEqual([seq + 1, []]);
    store.epochs.renew();
    expect(store.epochs.all()).toMatchObject([{ first: seq + 1, end: null }]);
    expect(store.epochs.all()[0]!.epoch).not.toBe(last!.epoch);
  });
});

type Action =
  "record" | "fail" | "fail-read" | "mend" | "trim" | "restart" | "step" | "hub" | "lag";
const actions: fc.Arbitrary<readonly Action[]> = fc.array(
  fc.constantFrom<Action>(
    ...(["record", "record", "record", "fail", "fail-read", "mend"] as const),
    ...(["trim", "restart", "step", "hub", "lag"] as const),
  ),
  { maxLength: 30 },
);

test("whatever happens to the store, no number of an epoch is used twice, and only retention leaves holes", async () => {
  await fc.assert(
    fc.asyncProperty(actions, async (steps) => {
      const clock = new HandClock();
      const directory = folder();
      let store = await open(directory, clock);
      store.epochs.all();
      let mend: (() => void) | null = null;
      /** The id of the event with each number of each epoch, as a hub would see them. */
      const seen = new Map<string, string>();
      const recorded: string[] = [];
      let isTrimmed = false;
      const mended = () => {
        mend?.();
        mend = null;
        clock.advance(RETRY_MS);
      };
      const look = () => {
        for (const { epoch, first, end } of store.epochs.all()) {
          const events = store.uplinks.events(first - 1, end, 1000);
          for (const { seq, event } of events) {
            const known = seen.get(`${epoch} ${seq}`);
            if (known !== undefined) expect(known).toBe(event.id);
            seen.set(`${epoch} ${seq}`, event.id);
          }
          if (!isTrimmed && !store.isInMemory) {
            expect(events.map(({ seq }) => seq)).toEqual(events.map((_, n) => first + n));
          }
        }
      };
      for (const step of steps) {
        switch (step) {
          case "record":
            recorded.push(record(store, clock).event.id);
            break;
          case "fail":
          case "fail-read":
            if (mend === null && !store.isInMemory)
              mend = failStore(directory, step === "fail-read");
            break;
          case "mend":
            mended();
            break;
          case "trim":
            clock.advance(2 * HOUR_MS);
            while (store.trim({ keepMs: HOUR_MS, maxBytes: 1e9 }, clock.now().wallMs));
            isTrimmed = true;
            break;
          case "restart":
            mended();
            close(store);
            store = await open(directory, clock);
            break;
          case "step": {
            const { wallMs } = clock.now();
            const state = { bootId: "boot", bootedAtMs: 0, unsureSinceMs: null };
            const span = { fromMs: 0, toMs: wallMs, unsureFromMs: 0 };
            clock.jump(-5000);
            store.clockSet({ ms: -5000, ...span }, state);
            break;
          }
          case "hub":
          case "lag": {
            const { epoch, end } = store.epochs.all().at(-1)!;
            const last = store.uplinks.last(end) - (step === "lag" ? 1 : 0);
            store.uplinks.save("hub", { epoch, sent: last, confirmed: last, streamSeq: null });
          }
        }
        look();
      }
      mended();
      look();
      if (isTrimmed) return;
      const all = store.epochs
        .all()
        .flatMap(({ first, end }) => store.uplinks.events(first - 1, end, 1000));
      expect(all.map(({ event }) => event.id)).toEqual(recorded);
      close(store);
    }),
    { numRuns: Number(process.env["FLEET_RUNS"] ?? 60) },
  );
}, 120_000);
