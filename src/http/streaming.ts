/** Bodies that are sent piece by piece, as fast as their readers take them. */

import type { Slots } from "./slots.ts";

/**
 * The chunks as a body; between two of them, whatever else there is to do. An empty chunk is only such a
 * pause. It is broken off when it fails, and when its slot is wanted while it waits for its reader.
 *
 * @returns null: no slot is free.
 */
export function chunked(
  chunks: Iterator<string>,
  slots: Slots,
  failed: (error: unknown) => void,
): ReadableStream<Uint8Array> | null {
  const encoder = new TextEncoder();
  const { promise: givenUp, resolve: giveUp } = Promise.withResolvers<void>();
  const slot = slots.take(giveUp);
  if (slot === null) return null;
  let isOver = false;
  return new ReadableStream(
    {
      start(controller) {
        void givenUp.then(() => {
          if (!isOver) controller.error(new Error("broken off"));
          isOver = true;
        });
      },
      async pull(controller) {
        slot.works();
        try {
          let next;
          do {
            await new Promise<void>((resolve) => void setImmediate(resolve));
            // The reader may have gone meanwhile.
            if (isOver) return;
            next = chunks.next();
          } while (next.done !== true && next.value === "");
          if (next.done !== true) {
            controller.enqueue(encoder.encode(next.value));
            slot.waits();
            return;
          }
          controller.close();
        } catch (error) {
          failed(error);
          controller.error(new Error("broken off"));
        }
        isOver = true;
        slot.free();
      },
      cancel() {
        isOver = true;
        slot.free();
      },
    },
    { highWaterMark: 0 },
  );
}

/**
 * The same body as long as `mayGoOn` says so at each of its pieces.
 *
 * @param ended is called once, however it ends.
 */
export function guarded(
  body: ReadableStream<Uint8Array>,
  { mayGoOn, ended }: { readonly mayGoOn: () => boolean; readonly ended: () => void },
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let isOver = false;
  const end = () => {
    if (!isOver) ended();
    isOver = true;
  };
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          // The reader may have gone meanwhile.
          if (isOver) return;
          if (!done && mayGoOn()) {
            controller.enqueue(value);
            return;
          }
          end();
          controller.close();
          await reader.cancel();
        } catch (error) {
          end();
          controller.error(error);
        }
      },
      async cancel(reason) {
        end();
        await reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
