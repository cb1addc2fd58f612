/** Checks the messages of gateways, which may be of another version, or forged. Pure. */

import { FormatRegistry } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";

import { isKnownType } from "../base/event-types.ts";
import {
  type Event,
  EVENT_VERSION,
  EventSchema,
  NewerEventSchema,
} from "../events/event-schema.ts";
import { EventsMessage, FLEET_VERSION, StateMessage } from "../fleet/messages.ts";

/** RFC 3339, section 5.6. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/i;
// TypeBox has no predefined string formats, and rejects strings of an unknown format. The API may use the same one.
if (!FormatRegistry.Has("date-time")) {
  FormatRegistry.Set("date-time", (text) => TIME.test(text) && !Number.isNaN(Date.parse(text)));
}

const eventsMessage = TypeCompiler.Compile(EventsMessage);
const stateMessage = TypeCompiler.Compile(StateMessage);
const event = TypeCompiler.Compile(EventSchema);
const newerEvent = TypeCompiler.Compile(NewerEventSchema);

/** A message, or why it is not one. The text quotes nothing from the message. */
type Checked<Message> = { readonly message: Message } | { readonly problem: string };

/** The events are in order. Each is one that this version knows, or has a type that it does not know: `isKnownType`. */
export interface CheckedEvents extends Omit<EventsMessage, "events"> {
  readonly events: readonly { readonly seq: number; readonly event: Event }[];
}

export function checkEvents(value: unknown): Checked<CheckedEvents> {
  if (!eventsMessage.Check(value)) return { problem: problemOf(value, eventsMessage) };
  const { first, after, events } = value;
  let last = Math.max(first - 1, after?.seq ?? 0);
  const ids = new Set<string>();
  for (const { seq, event: each } of events) {
    if (seq <= last) return { problem: "the numbers of the events do not increase" };
    last = seq;
    const isKnown = event.Check(each) || (newerEvent.Check(each) && !isKnownType(each.type));
    if (!isKnown) {
      return { problem: `event ${seq} ${whyNotKnown(each)}; update the hub before its gateways` };
    }
    const { id } = each as { readonly id: string };
    if (ids.has(id)) return { problem: "two events have the same id" };
    ids.add(id);
  }
  return { message: value as unknown as CheckedEvents };
}

export function checkState(value: unknown): Checked<StateMessage> {
  if (!stateMessage.Check(value)) return { problem: problemOf(value, stateMessage) };
  const { first, last, devices } = value;
  if (last < first - 1) return { problem: "last is less than first - 1" };
  const names = new Set(devices.map(({ name }) => name));
  if (names.size < devices.length) return { problem: "a device is listed twice" };
  return { message: value };
}

function whyNotKnown({ version }: { readonly version?: unknown }): string {
  return typeof version === "number" && version !== EVENT_VERSION
    ? `has version ${version}, and this wgmon knows version ${EVENT_VERSION}`
    : "is not one that this version of wgmon knows";
}

function problemOf(value: unknown, check: typeof eventsMessage | typeof stateMessage): string {
  const { version } = (value ?? {}) as { readonly version?: unknown };
  if (typeof version === "number" && version !== FLEET_VERSION) {
    return `version ${version} of the protocol is not supported; update the hub before its gateways`;
  }
  const error = check.Errors(value).First();
  return `${error?.path === "" ? "the message" : (error?.path ?? "the message")}: ${error?.message ?? "is invalid"}`;
}
