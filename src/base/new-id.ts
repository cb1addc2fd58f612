/** New ids of events and messages. */

/** Returns the prefix, `_` and 32 hexadecimal digits; later ids are greater (UUID version 7, RFC 9562). */
export function newId(prefix: "evt" | "msg"): string {
  return `${prefix}_${Bun.randomUUIDv7().replaceAll("-", "")}`;
}
