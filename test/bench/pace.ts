/** Does something at a rate that the clock keeps: what was late is made up for at once. */

export interface Paced {
  readonly done: number;
  readonly seconds: number;
}

/**
 * Calls `act` `count` times, so many a second, in portions as close together as timers are. Without a
 * rate as fast as it goes.
 */
export async function paced(
  { count, perSecond }: { readonly count: number; readonly perSecond: number },
  act: (index: number) => void,
): Promise<Paced> {
  const startMs = performance.now();
  const elapsedSeconds = () => (performance.now() - startMs) / 1000;
  let done = 0;
  for (;;) {
    const due = Math.min(count, Math.floor(elapsedSeconds() * perSecond) + 1);
    while (done < due) act(done++);
    if (done === count) return { done, seconds: elapsedSeconds() };
    await Bun.sleep(1);
  }
}
