/** Response bodies that are sent in chunks, as fast as the client reads them. */

import type { Slots } from "./slots.ts";

/**
 * Sends the chunks as a body and lets other work run before each of them; an empty chunk is only such a
 * pause. Aborts the body if a chunk cannot be made, or if its slot is needed while it waits for its client.
 *
 * @returns null if no slot is free.
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
          if (!isOver) controller.error(new Error("connection closed"));
          isOver = true;
        });
      },
      async pull(controller) {
        slot.works();
        try {
          let next;
          do {
            await new Promise<void>((resolve) => void setImmediate(resolve));
            // The body may have ended meanwhile.
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
          controller.error(new Error("connection closed"));
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
 * Passes the body on until `mayGoOn`, called for each chunk, returns false.
 *
 * @param ended called once, however the body ends.
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
          // The body may have ended meanwhile.
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
