/** Parses the stream of events, in pieces of any length. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { type Message, MessageReader } from "../../src/cli/sse.ts";

const STREAM = `retry: 2000
: from now on

id: 7
data: {"a":1}

: quiet

id: 9
event: gap
data: {"oldest":10}

data: two
data: lines

`;

test("a message has a type, data and an id, which is kept from the message before; comments are skipped", () => {
  expect(new MessageReader().read(STREAM)).toEqual([
    { type: "message", id: "7", data: '{"a":1}' },
    { type: "gap", id: "9", data: '{"oldest":10}' },
    { type: "message", id: "9", data: "two\nlines" },
  ]);
});

test("the messages are the same wherever the stream is split, and an incomplete one is not returned", () => {
  const whole = new MessageReader().read(STREAM);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 30 })), (lengths) => {
      const reader = new MessageReader();
      const found: Message[] = [];
      let from = 0;
      for (const length of [...lengths, STREAM.length]) {
        found.push(...reader.read(STREAM.slice(from, from + length)));
        from += length;
      }
      expect(found).toEqual(whole);
    }),
  );
  expect(new MessageReader().read(STREAM.slice(0, -1))).toHaveLength(2);
});
