/** Events of a hub's gateways: stored as the gateway sent them, shown with the hub's names of the devices. Pure. */

import { shortName } from "../base/text.ts";
import { describeShort } from "../channels/formats/message-text.ts";
import type { Event } from "../events/event-schema.ts";
import { deviceOnHub } from "./fleet-model.ts";

/** The event with the hub's name of its device. @param gateway the event's; undefined: this is not a hub. */
export function eventOnHub(event: Event, gateway: string | undefined): Event {
  if (!("device" in event.data) || event.data.device === null) return event;
  const device = deviceOnHub(event.data.device, gateway);
  if (device === event.data.device) return event;
  return { ...event, data: { ...event.data, device } } as Event;
}

/** The event in words. On a hub, with the gateway before the device: `alice (berlin/wg0) connected`. */
export function describeOnHub(event: Event, gateway: string | undefined): string {
  const text = describeShort(event);
  if (!("device" in event.data) || event.data.device === null) return text;
  const { device } = event.data;
  const full = deviceOnHub(device, gateway);
  if (full === device) return text;
  const [short, long] = [shortName(device), shortName(full)];
  if (text.startsWith(`${short} `) || text.startsWith(`${short}: `))
    return long + text.slice(short.length);
  return text.replaceAll(`(${short})`, () => `(${long})`);
}
