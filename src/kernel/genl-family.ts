/** Finds the number of a generic netlink family, which the kernel assigns when the module is loaded. */

import { SystemError } from "../base/errors.ts";
import {
  CTRL_ATTR_FAMILY_ID,
  CTRL_ATTR_FAMILY_NAME,
  CTRL_CMD_GETFAMILY,
  GENL_HDRLEN,
  GENL_ID_CTRL,
  NLA_HDRLEN,
  NLMSG_HDRLEN,
} from "../platform/constants.ts";
import type { Requester } from "./netlink-socket.ts";
import {
  align,
  attributeEnd,
  attributeType,
  type Bytes,
  bytesOf,
  expectLength,
  text,
} from "./netlink.ts";

/** Returns the family's number; null if its module is not loaded. */
export function findFamily(socket: Requester, name: string): number | null {
  let family: number | null = null;
  const request = {
    type: GENL_ID_CTRL,
    dump: false,
    header: genericHeader(CTRL_CMD_GETFAMILY, 1),
    attributes: [[CTRL_ATTR_FAMILY_NAME, text(name)]],
  } as const;
  try {
    socket.request(`find netlink family ${name}`, request, (answer, start, end) => {
      family = parseFamily(answer, start, end);
    });
  } catch (error) {
    if (error instanceof SystemError && error.code === "ENOENT") return null;
    throw error;
  }
  return family;
}

/** The family number in one answer to CTRL_CMD_GETFAMILY; null if the answer has none. */
export function parseFamily({ view }: Bytes, start: number, end: number): number | null {
  let offset = start + NLMSG_HDRLEN + GENL_HDRLEN;
  while (offset < end) {
    const stop = attributeEnd(view, offset, end);
    if (attributeType(view, offset) === CTRL_ATTR_FAMILY_ID) {
      expectLength("CTRL_ATTR_FAMILY_ID", offset + NLA_HDRLEN, stop, 2);
      return view.getUint16(offset + NLA_HDRLEN, true);
    }
    offset = align(stop);
  }
  return null;
}

/** struct genlmsghdr: command, version, two reserved bytes. */
export function genericHeader(command: number, version: number): Uint8Array {
  const { bytes, view } = bytesOf(new Uint8Array(GENL_HDRLEN));
  view.setUint8(0, command);
  view.setUint8(1, version);
  return bytes;
}
