/**
 * The stream of events in NATS, and the hub's consumer of it. Only the hub creates and changes them; gateways cannot.
 * https://docs.nats.io/nats-concepts/jetstream/streams
 */

import type { ConsumerInfo, JetStreamManager, StreamConfig, StreamInfo } from "@nats-io/jetstream";

import { EVENT_SUBJECTS, STREAM } from "../fleet/nats-names.ts";

const NANOSECONDS_PER_MS = 1_000_000;
/** Longer than any hub should be away. What the stream has deleted comes from the gateways' stores. */
const MAX_AGE_MS = 30 * 24 * 3_600_000;
/** The largest stream. It is halved until the server has room for it. */
const MAX_BYTES = 16 * 1024 ** 3;
const MIN_BYTES = 64 * 1024 ** 2;
/** An event with 50 alerts has about 20 KiB. */
const MAX_MESSAGE_BYTES = 64 * 1024;
/** The server remembers ids of messages this long, so that a gateway that was stopped can send its last event again. */
const DUPLICATE_WINDOW_MS = 120_000;
/** A message that the hub does not acknowledge is delivered again after this time. */
const ACK_WAIT_MS = 30_000;
/** A hub that stands by commits what the other has committed some seconds ago: a few thousand events. */
const MAX_ACK_PENDING = 5000;

/** server/errors.json of nats-server */
const NO_ROOM = [10047, 10028, 10027];
const NOT_CLUSTERED = 10074;

type Wanted = Omit<Partial<StreamConfig>, "name" | "subjects"> & {
  readonly name: string;
  readonly subjects: string[];
};

/** What the stream must be like. Fields that an administrator may change are not in it: limits of age and size, replicas. */
const fixed = {
  name: STREAM,
  subjects: [EVENT_SUBJECTS],
  retention: "limits",
  storage: "file",
  // Old events are deleted before new ones are refused.
  discard: "old",
  allow_direct: true,
  deny_delete: true,
  deny_purge: true,
} as const;

/** Creates the stream if it does not exist, and undoes changes that would lose events. */
export async function ensureStream(manager: JetStreamManager): Promise<StreamInfo> {
  const existing = await findStream(manager);
  if (existing === null) return await createStream(manager);
  const altered = alteredFields(existing.config);
  if (altered.length === 0) return existing;
  return await manager.streams.update(STREAM, { ...existing.config, ...wanted() });
}

export async function findStream(manager: JetStreamManager): Promise<StreamInfo | null> {
  try {
    return await manager.streams.info(STREAM);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** The fields of the stream that differ from what the hub needs: `deny_purge is false`. */
export function alteredFields(config: StreamConfig): string[] {
  return Object.entries(wanted())
    .filter(([name, value]) => {
      const found = config[name as keyof StreamConfig];
      return JSON.stringify(found) !== JSON.stringify(value);
    })
    .map(([name]) => `${name} is ${JSON.stringify(config[name as keyof StreamConfig] ?? null)}`);
}

function wanted(): Wanted {
  return { ...fixed, subjects: [...fixed.subjects] };
}

async function createStream(manager: JetStreamManager): Promise<StreamInfo> {
  // In a cluster, a message on three servers survives the loss of one.
  let replicas = 3;
  for (let bytes = MAX_BYTES; ;) {
    try {
      return await manager.streams.add({
        ...wanted(),
        compression: "s2",
        max_age: MAX_AGE_MS * NANOSECONDS_PER_MS,
        max_bytes: bytes,
        max_msg_size: MAX_MESSAGE_BYTES,
        duplicate_window: DUPLICATE_WINDOW_MS * NANOSECONDS_PER_MS,
        num_replicas: replicas,
      });
    } catch (error) {
      const code = codeOf(error);
      if (code === NOT_CLUSTERED && replicas > 1) replicas = 1;
      else if (NO_ROOM.includes(code ?? 0) && bytes > MIN_BYTES) bytes /= 2;
      else throw error;
    }
  }
}

/**
 * Creates the consumer, or continues it. It begins after the messages that the hub has acknowledged: those that were
 * delivered and not acknowledged come first, in their order, and without waiting for their time limit.
 *
 * @param isFromStart All messages of the stream are delivered again.
 */
export async function ensureConsumer(
  manager: JetStreamManager,
  name: string,
  { state }: Pick<StreamInfo, "state">,
  isFromStart: boolean,
): Promise<ConsumerInfo> {
  const existing = await findConsumer(manager, name);
  let next = 1;
  if (existing !== null) {
    const { ack_floor: acked, delivered, num_ack_pending: pending } = existing;
    // A server that has lost messages uses their sequences again.
    const isBehind = acked.stream_seq > state.last_seq || delivered.stream_seq > state.last_seq;
    if (!isFromStart && pending === 0 && !isBehind) return existing;
    if (!isFromStart) next = Math.min(acked.stream_seq, state.last_seq) + 1;
    await manager.consumers.delete(STREAM, name);
  }
  return await manager.consumers.add(STREAM, {
    durable_name: name,
    filter_subject: EVENT_SUBJECTS,
    ack_policy: "explicit",
    ack_wait: ACK_WAIT_MS * NANOSECONDS_PER_MS,
    max_ack_pending: MAX_ACK_PENDING,
    max_deliver: -1,
    ...(next === 1
      ? { deliver_policy: "all" as const }
      : { deliver_policy: "by_start_sequence" as const, opt_start_seq: next }),
  });
}

async function findConsumer(manager: JetStreamManager, name: string): Promise<ConsumerInfo | null> {
  try {
    return await manager.consumers.info(STREAM, name);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  // Stream not found, consumer not found.
  return [10059, 10014].includes(codeOf(error) ?? 0);
}

/** The code of an error of the JetStream API; null: it is another error. */
function codeOf(error: unknown): number | null {
  const { name, code } = error as { readonly name?: unknown; readonly code?: unknown };
  const isApiError =
    name === "JetStreamApiError" ||
    name === "StreamNotFoundError" ||
    name === "ConsumerNotFoundError";
  return isApiError && typeof code === "number" ? code : null;
}
