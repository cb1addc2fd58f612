/** Calls a function at a fixed rate. After a delay, the missed calls follow immediately. */

export interface Paced {
  readonly done: number;
  readonly seconds: number;
}

/**
 * Calls `act` `count` times, `perSecond` times a second, in portions that are at least 1 ms apart. With Infinity, as
 * fast as possible.
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
    // A shorter pause would cost the emulated machine more than the packets do.
    await Bun.sleep(Math.max(1, 1000 / perSecond));
  }
}
