/** The processor time of a thread. */

import { expect, test } from "bun:test";

import { threadCpuMs } from "../../src/platform/clocks.ts";

test("the processor time of this thread has a resolution of less than 0.1 ms", () => {
  const steps: number[] = [];
  for (let lastMs = threadCpuMs(); steps.length < 100;) {
    const nowMs = threadCpuMs();
    if (nowMs > lastMs) steps.push(nowMs - lastMs);
    lastMs = nowMs;
  }
  expect(steps.toSorted((a, b) => a - b)[50]).toBeLessThan(0.1);
});

test("the processor time of this thread does not advance while it sleeps", async () => {
  const startMs = threadCpuMs();
  const startedAtMs = performance.now();
  await Bun.sleep(200);
  expect(threadCpuMs() - startMs).toBeLessThan((performance.now() - startedAtMs) / 2);
});
