/**
 * The names that gateways and hub use in NATS. Subjects of a gateway end with its name, so that the permissions of its
 * user can be restricted to them. The characters are those of ADR-6 (restricted-term).
 */

/** The stream of all gateways' events. The hub creates it. */
export const STREAM = "WGMON_EVENTS";
export const EVENT_SUBJECTS = "wgmon.v1.event.*";
export const STATE_SUBJECTS = "wgmon.v1.state.*";
export const REPLAY_SUBJECTS = "wgmon.v1.replay.*";
/** The stream with one message, which says which of two hubs works. Only hubs may write it. */
export const LEASE_STREAM = "WGMON_HUB";
export const LEASE_SUBJECT = "wgmon.v1.hub";
/** The user of the hub. The underscore cannot be in a gateway's name, so no gateway can be enrolled under this name. */
export const HUB_USER = "wgmon_hub";

/** New events, which the stream stores. */
export function eventSubject(gateway: string): string {
  return EVENT_SUBJECTS.replace("*", gateway);
}

/** Requests with a StateMessage. */
export function stateSubject(gateway: string): string {
  return STATE_SUBJECTS.replace("*", gateway);
}

/** Requests with an EventsMessage that the hub asked for. */
export function replaySubject(gateway: string): string {
  return REPLAY_SUBJECTS.replace("*", gateway);
}

/**
 * The gateway receives answers on subjects that begin with this and a dot. The default prefix, `_INBOX`, would let every
 * gateway read the answers to all others. The name is a whole token: nats-server 2.10 replaces {{name()}} only there.
 */
export function inboxPrefix(gateway: string): string {
  return `_INBOX_GW.${gateway}`;
}

/** The gateway in the last token of a subject. */
export function gatewayOf(subject: string): string {
  return subject.slice(subject.lastIndexOf(".") + 1);
}

/** Instead of an answer, the reason why the hub did not accept a request. */
export const ERROR_HEADER = "Wgmon-Error";
