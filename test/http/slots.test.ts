/** Slots, and bodies that hold them: which give way, and which do not. */

import { expect, test } from "bun:test";

import { chunkedBody } from "../../src/http/body-stream.ts";
import { Slots } from "../../src/http/slots.ts";

test("the one that has waited longest for its client gives way, once", () => {
  const slots = new Slots(2);
  const givenUp: string[] = [];
  const take = (name: string) => slots.take(() => givenUp.push(name));
  const [first, second] = [take("first")!, take("second")!];
  expect(take("third")).toBeNull();
  second.setWaiting();
  first.setWaiting();
  // Its client has come back, and is gone again.
  second.setActive();
  second.setWaiting();
  const third = take("third")!;
  expect(givenUp).toEqual(["first"]);
  first.setWaiting();
  first.free();
  third.setWaiting();
  expect(take("fourth")).not.toBeNull();
  expect(givenUp).toEqual(["first", "second"]);
  expect(take("fifth")).not.toBeNull();
  expect(givenUp).toEqual(["first", "second", "third"]);
  expect(take("sixth")).toBeNull();
});

test("a slot that is given back is free, and gives way no more", () => {
  const slots = new Slots(1);
  let givenUp = 0;
  for (let n = 0; n < 3; n++) {
    const slot = slots.take(() => givenUp++)!;
    slot.setWaiting();
    slot.free();
    slot.free();
  }
  expect(slots.take(() => givenUp++)).not.toBeNull();
  expect(slots.take(() => givenUp++)).toBeNull();
  expect(givenUp).toBe(0);
});

test("a body that is not read gives way to one that is", async () => {
  const slots = new Slots(2);
  const failures: unknown[] = [];
  const open = () => {
    const body = chunkedBody(["a", "", "b", "c"].values(), slots, (error) => failures.push(error));
    return body?.getReader() ?? null;
  };
  const rest = async (reader: NonNullable<ReturnType<typeof open>>) => {
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return text;
      text += new TextDecoder().decode(value);
    }
  };
  const [slow, slower] = [open()!, open()!];
  // None waits for its reader, who has not asked for anything yet.
  expect(open()).toBeNull();
  await slower.read();
  await slow.read();
  const third = open()!;
  expect(slower.read()).rejects.toThrow("connection closed");
  expect(await rest(slow)).toBe("bc");
  const fourth = open()!;
  expect([await rest(third), await rest(fourth)]).toEqual(["abc", "abc"]);
  // All slots are free again.
  const last = [open()!, open()!];
  for (const reader of last) await reader.cancel();
  expect([await rest(open()!), await rest(open()!)]).toEqual(["abc", "abc"]);
  expect(failures).toEqual([]);
});
