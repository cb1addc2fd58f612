/** Slots, and response bodies that occupy them: which are preempted by new requests, and which are not. */

import { expect, test } from "bun:test";

import { chunkedBody } from "../../src/http/body-stream.ts";
import { Slots } from "../../src/http/slots.ts";

test("the slot that has waited longest for its client is preempted, only once", () => {
  const slots = new Slots(2);
  const preempted: string[] = [];
  const take = (name: string) => slots.take(() => preempted.push(name));
  const [first, second] = [take("first")!, take("second")!];
  expect(take("third")).toBeNull();
  second.setWaiting();
  first.setWaiting();
  // The second slot's client has answered, and the slot waits again.
  second.setActive();
  second.setWaiting();
  const third = take("third")!;
  expect(preempted).toEqual(["first"]);
  first.setWaiting();
  first.free();
  third.setWaiting();
  expect(take("fourth")).not.toBeNull();
  expect(preempted).toEqual(["first", "second"]);
  expect(take("fifth")).not.toBeNull();
  expect(preempted).toEqual(["first", "second", "third"]);
  expect(take("sixth")).toBeNull();
});

test("a freed slot is available, and is not preempted", () => {
  const slots = new Slots(1);
  let preempted = 0;
  for (let n = 0; n < 3; n++) {
    const slot = slots.take(() => preempted++)!;
    slot.setWaiting();
    slot.free();
    slot.free();
  }
  expect(slots.take(() => preempted++)).not.toBeNull();
  expect(slots.take(() => preempted++)).toBeNull();
  expect(preempted).toBe(0);
});

test("without preemption, a new response gets no slot while all are taken", () => {
  const slots = new Slots(1, { isPreemptible: false });
  const slot = slots.take(() => {})!;
  slot.setWaiting();
  expect(slots.take(() => {})).toBeNull();
  slot.free();
  expect(slots.take(() => {})).not.toBeNull();
});

test("a body that is not read is preempted by a new one", async () => {
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
  // Neither body waits for its reader, because nothing was read yet.
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
