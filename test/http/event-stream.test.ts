/** The stream of events: a client that reconnects gets all missed events, or a message that some were deleted. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import fc from "fast-check";

import type { Event } from "../../src/events/event-schema.ts";
import { type Api, makeApi } from "../../src/http/api.ts";
import { anEvent } from "../support/events.ts";
import { FakeSource } from "../support/source.ts";

let source: FakeSource;
let api: Api;

beforeEach(async () => {
  source = await FakeSource.make();
  api = makeApi(source);
});

afterEach(() => {
  api[Symbol.dispose]();
  source.store[Symbol.dispose]();
});

let count = 0;

function someEvents(number: number): Event[] {
  return Array.from({ length: number }, () => ({
    ...anEvent("peer.connected"),
    id: `evt_${(count++).toString(16).padStart(32, "0")}`,
  }));
}

function readerOf(response: Response) {
  return response.body!.getReader();
}

/** Reads the stream as a browser does. */
class Reader {
  readonly ids: number[] = [];
  readonly missed: string[] = [];
  readonly comments: string[] = [];
  readonly #reader: ReturnType<typeof readerOf>;

  static async open(after: number | null, header: "query" | "header" = "header"): Promise<Reader> {
    const query = after !== null && header === "query" ? `?after=${after}` : "";
    const headers: Record<string, string> =
      after !== null && header === "header" ? { "last-event-id": String(after) } : {};
    const request = new Request(`http://localhost/v1/stream${query}`, { headers });
    const response = await api.handle(request);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const reader = new Reader(readerOf(response));
    await reader.read();
    return reader;
  }

  private constructor(reader: ReturnType<typeof readerOf>) {
    this.#reader = reader;
  }

  /** Reads one piece. Returns false at the end of the stream. */
  async read(): Promise<boolean> {
    const { value, done } = await this.#reader.read();
    if (done) return false;
    for (const block of new TextDecoder().decode(value).split("\n\n")) {
      const lines = block.split("\n");
      const field = (name: string) =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("event") === "gap") this.missed.push(field("data")!);
      else if (field("data") !== undefined) this.ids.push(Number(field("id")));
      else if (block.startsWith(":")) this.comments.push(block);
    }
    return true;
  }

  async readTo(id: number): Promise<void> {
    while ((this.ids.at(-1) ?? 0) < id) await this.read();
  }

  async close(): Promise<void> {
    await this.#reader.cancel();
  }
}

function upTo(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, n) => first + n);
}

test("new events are sent in order, as they happen", async () => {
  source.record(someEvents(3));
  const reader = await Reader.open(null);
  source.tell(...someEvents(2));
  source.tell(...someEvents(1));
  await reader.readTo(6);
  expect(reader.ids).toEqual([4, 5, 6]);
  expect(reader.missed).toEqual([]);
});

test.each(["query", "header"] as const)(
  "the stream continues after a place that is given by %s",
  async (way) => {
    source.record(someEvents(250));
    const reader = await Reader.open(20, way);
    source.tell(...someEvents(5));
    await reader.readTo(255);
    expect(reader.ids).toEqual(upTo(21, 255));
  },
);

test("a client that disconnects and reconnects gets each event exactly once", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ added: fc.nat(300), reads: fc.nat(4), leaves: fc.boolean() }), {
        minLength: 1,
        maxLength: 12,
      }),
      // With another client, the latest events are kept in memory.
      fc.boolean(),
      async (steps, hasOther) => {
        const start = source.store.events.sequenceRange().last;
        const other = hasOther ? await Reader.open(null) : null;
        const seen: number[] = [];
        let reader = await Reader.open(start);
        for (const { added, reads, leaves } of steps) {
          if (added > 0) source.tell(...someEvents(added));
          const last = source.store.events.sequenceRange().last;
          for (let n = 0; n < reads; n++) {
            if ((reader.ids.at(-1) ?? seen.at(-1) ?? start) < last) await reader.read();
          }
          if (!leaves) continue;
          await reader.close();
          seen.push(...reader.ids);
          reader = await Reader.open(seen.at(-1) ?? start);
        }
        const last = source.store.events.sequenceRange().last;
        if (last > (reader.ids.at(-1) ?? seen.at(-1) ?? start)) await reader.readTo(last);
        seen.push(...reader.ids);
        expect(seen).toEqual(upTo(start + 1, last));
        await reader.close();
        await other?.close();
        expect(source.listeners).toBe(0);
      },
    ),
    { numRuns: 60 },
  );
});

test("events that were deleted meanwhile are reported as missed", async () => {
  source.record(someEvents(500));
  for (let more = true; more;) {
    more = source.store.trim({ keepMs: 1, maxBytes: 1e9 }, Date.UTC(2027, 0, 1));
  }
  source.record(someEvents(2));
  const reader = await Reader.open(10);
  await reader.readTo(502);
  expect(reader.missed).toEqual(['{"oldest":501}']);
  expect(reader.ids).toEqual([501, 502]);
});

test("a place in the future is reported as missed, and the stream continues with new events", async () => {
  source.record(someEvents(3));
  const reader = await Reader.open(700);
  source.tell(...someEvents(1));
  await reader.readTo(4);
  expect(reader.missed).toEqual(['{"oldest":4}']);
  expect(reader.ids).toEqual([4]);
});

test("the stream sends a comment while nothing happens", async () => {
  const reader = await Reader.open(null);
  const read = reader.read();
  await Promise.resolve();
  source.clock.advance(10_000);
  await read;
  expect(reader.comments.at(-1)).toBe(": quiet");
});

test("a place in the stream that is not a number is refused", async () => {
  const headers = { "last-event-id": "evt_1" };
  const refused = await api.handle(new Request("http://localhost/v1/stream", { headers }));
  expect(refused.status).toBe(422);
});

test("disposing of the API ends the streams", async () => {
  const reader = await Reader.open(null);
  const read = reader.read();
  api[Symbol.dispose]();
  expect(await read).toBe(false);
});
