/** Response bodies that are sent in chunks, as fast as the client reads them. */

import type { Slots } from "./slots.ts";

/**
 * A body of these chunks. Other work runs before each chunk is produced; an empty chunk is only such a pause. The
 * body is aborted if a chunk cannot be produced, or if `slots` gives its slot to another body (see slots.ts).
 *
 * @param onError called with the error if a chunk cannot be produced.
 * @returns null if no slot is free.
 */
export function chunkedBody(
  chunks: Iterator<string>,
  slots: Slots,
  onError: (error: unknown) => void,
): ReadableStream<Uint8Array> | null {
  const encoder = new TextEncoder();
  const { promise: revoked, resolve: revoke } = Promise.withResolvers<void>();
  const slot = slots.take(revoke);
  if (slot === null) return null;
  let isEnded = false;
  return new ReadableStream(
    {
      start(controller) {
        void revoked.then(() => {
          if (!isEnded) controller.error(new Error("connection closed"));
          isEnded = true;
        });
      },
      async pull(controller) {
        slot.setActive();
        try {
          let next;
          do {
            await new Promise<void>((resolve) => void setImmediate(resolve));
            // The body may have ended meanwhile.
            if (isEnded) return;
            next = chunks.next();
          } while (next.done !== true && next.value === "");
          if (next.done !== true) {
            controller.enqueue(encoder.encode(next.value));
            slot.setWaiting();
            return;
          }
          controller.close();
        } catch (error) {
          onError(error);
          controller.error(new Error("connection closed"));
        }
        isEnded = true;
        slot.free();
      },
      cancel() {
        isEnded = true;
        slot.free();
      },
    },
    { highWaterMark: 0 },
  );
}

/**
 * The same body, which ends early if `hasAccess` returns false. `hasAccess` is called before each chunk is sent.
 *
 * @param onEnd called once, when the body ends for any reason.
 */
export function revocableBody(
  body: ReadableStream<Uint8Array>,
  { hasAccess, onEnd }: { readonly hasAccess: () => boolean; readonly onEnd: () => void },
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let isEnded = false;
  const end = () => {
    if (!isEnded) onEnd();
    isEnded = true;
  };
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          // The body may have ended meanwhile.
          if (isEnded) return;
          if (!done && hasAccess()) {
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
