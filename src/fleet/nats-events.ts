/**
 * One event as a message of the NATS stream, and messages of the stream as an EventsMessage. The body is the event's JSON,
 * unchanged, for other programs that read the stream; the headers have its place in the gateway's store. Pure.
 */

import { type EventsMessage, FLEET_VERSION } from "./messages.ts";

export interface StreamEvent {
  /** Unique in the stream. */
  readonly id: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

type After = EventsMessage["after"];

const EPOCH_HEADER = "Wgmon-Epoch";
const SEQ_HEADER = "Wgmon-Seq";
const FIRST_HEADER = "Wgmon-First";
const AFTER_HEADER = "Wgmon-After";

/** The `index`th event of the message. */
export function encodeStreamEvent(message: EventsMessage, index: number): StreamEvent {
  const { seq, event } = message.events[index]!;
  const before = index === 0 ? message.after : afterOf(message.events[index - 1]!);
  // All events are sent again in a new epoch. Ids of events are random, so that no other gateway can use one before.
  const id = `${textOf(event, "id")}.${message.epoch}`;
  const headers: Record<string, string> = {
    // The server ignores a second message with the same id for some time.
    "Nats-Msg-Id": id,
    "Wgmon-Version": String(FLEET_VERSION),
    [EPOCH_HEADER]: message.epoch,
    [SEQ_HEADER]: String(seq),
    [FIRST_HEADER]: String(message.first),
  };
  if (before !== null) headers[AFTER_HEADER] = `${before.seq} ${before.id}`;
  // For programs that filter by header.
  const data = objectOf(event, "data");
  const optional = {
    "Wgmon-Type": textOf(event, "type"),
    "Wgmon-Device": textOf(data, "device"),
    "Wgmon-Peer": textOf(objectOf(data, "peer"), "publicKey"),
  };
  for (const [name, value] of Object.entries(optional)) {
    if (/^[\x21-\x7e]+$/.test(value)) headers[name] = value;
  }
  return { id, headers, body: JSON.stringify(event) };
}

/** An event of the stream, decoded; null: the message is not an event of a gateway. */
export interface PlacedEvent {
  readonly epoch: string;
  readonly first: number;
  readonly after: After;
  readonly seq: number;
  readonly event: Record<string, unknown>;
}

/** @param header Returns the value of a header, or an empty text. */
export function decodeStreamEvent(
  header: (name: string) => string,
  body: string,
): PlacedEvent | null {
  const seq = wholeNumber(header(SEQ_HEADER));
  const first = wholeNumber(header(FIRST_HEADER));
  const epoch = header(EPOCH_HEADER);
  if (seq === null || first === null || header("Wgmon-Version") !== String(FLEET_VERSION)) {
    return null;
  }
  const [, afterSeq = "", id = ""] = /^(\d+) (\S+)$/.exec(header(AFTER_HEADER)) ?? [];
  const beforeSeq = wholeNumber(afterSeq);
  try {
    const event: unknown = JSON.parse(body);
    if (!isObject(event)) return null;
    const after = beforeSeq === null ? null : { seq: beforeSeq, id };
    return { epoch, first, after, seq, event };
  } catch {
    return null;
  }
}

/**
 * Joins events of one gateway, in the order of the stream, to as few messages as possible.
 *
 * @param max Most events in one message.
 */
export function joinEvents(events: readonly PlacedEvent[], max: number): EventsMessage[] {
  const messages: { -readonly [Key in keyof EventsMessage]: EventsMessage[Key] }[] = [];
  for (const { epoch, first, after, seq, event } of events) {
    const current = messages.at(-1);
    const last = current?.events.at(-1);
    const continues =
      current?.epoch === epoch &&
      current.first === first &&
      current.events.length < max &&
      last !== undefined &&
      // The sender names the event before, so a number that its store does not have is no loss of the stream.
      after !== null &&
      after.seq === last.seq &&
      after.id === textOf(last.event, "id");
    if (continues) current.events.push({ seq, event });
    else {
      messages.push({ version: FLEET_VERSION, epoch, first, after, events: [{ seq, event }] });
    }
  }
  return messages;
}

function afterOf({ seq, event }: EventsMessage["events"][number]): After {
  return { seq, id: textOf(event, "id") };
}

function wholeNumber(text: string): number | null {
  const value = Number(text);
  return /^\d+$/.test(text) && value >= 1 && Number.isSafeInteger(value) ? value : null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function objectOf(value: Record<string, unknown>, key: string): Record<string, unknown> {
  const inner = value[key];
  return isObject(inner) ? inner : {};
}

function textOf(value: Record<string, unknown>, key: string): string {
  const text = value[key];
  return typeof text === "string" ? text : "";
}
