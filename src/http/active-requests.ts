/** The requests in progress on one socket, and how many there may be. */

import { revocableBody } from "./body-stream.ts";
import { problem } from "./problem.ts";
import { Slots } from "./slots.ts";

/** Most open streams per socket, of events and of pages together. */
const STREAMS_MAX = 256;
/** Most pending requests per socket: as many as streams, because all clients of streams may reconnect at once. */
export const PENDING_MAX = STREAMS_MAX;
/** Most scrapes at once per socket: each holds the counters of all peers in memory. */
const SCRAPES_MAX = 4;
/** Most downloads at once per socket. */
const DOWNLOADS_MAX = 4;

/**
 * Requests in progress on one socket. TCP and the Unix socket have separate limits, so that TCP clients cannot block
 * wgmon's commands.
 */
export class ActiveRequests {
  pending = 0;
  streams = 0;
  readonly scrapes = new Slots(SCRAPES_MAX);
  readonly downloads = downloadSlots();
}

/** A download that has begun is not ended for another one: the file would be incomplete. */
export function downloadSlots(): Slots {
  return new Slots(DOWNLOADS_MAX, { isPreemptible: false });
}

/**
 * Counts a stream or a download until it ends, ends it when `hasAccess` returns false, and refuses it if there are
 * STREAMS_MAX already. Returns any other response unchanged.
 */
export async function limitStreams(
  response: Response,
  active: ActiveRequests,
  hasAccess: () => boolean,
): Promise<Response> {
  const { body, headers } = response;
  const isStream =
    headers.get("content-type")?.startsWith("text/event-stream") === true ||
    headers.has("content-disposition");
  if (!isStream || body === null) return response;
  if (active.streams >= STREAMS_MAX) {
    await body.cancel();
    return problem(503, { detail: "too many streams", headers: { "retry-after": "10" } });
  }
  active.streams++;
  return new Response(revocableBody(body, { hasAccess, onEnd: () => active.streams-- }), response);
}
