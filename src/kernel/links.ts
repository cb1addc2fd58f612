/** Network links from rtnetlink: lists WireGuard's links and parses link changes. linux/rtnetlink.h. */

import { ParseError, SystemError } from "../base/errors.ts";
import {
  AF_UNSPEC,
  IFF_UP,
  IFLA_EXT_MASK,
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  NLA_HDRLEN,
  NLMSG_HDRLEN,
  RTEXT_FILTER_SKIP_STATS,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  WG_GENL_NAME,
} from "../platform/constants.ts";
import type { MessageVisitor, Requester } from "./netlink-socket.ts";
import {
  align,
  attributeEnd,
  attributeType,
  type Bytes,
  expectLength,
  messageEnd,
  messageType,
  readText,
  text,
  u32,
} from "./netlink.ts";

/** sizeof(struct ifinfomsg): family, type, index at byte 4, flags, change. */
const IFINFOMSG_BYTES = 16;

export interface Link {
  readonly name: string;
  readonly index: number;
  /** rtnl_link_ops.kind: `wireguard`, `veth`, `tun`, ...; null for a link without a kind, such as a physical device. */
  readonly kind: string | null;
}

/**
 * Whether the link may be a WireGuard device: one of the kernel, or one of a userspace program, which has the kind tun.
 */
export function mayBeWireguard({ kind }: Link): boolean {
  return kind === WG_GENL_NAME || kind === "tun";
}

export interface LinkEvent {
  readonly type: "new" | "removed";
  readonly link: Link;
}

/**
 * The WireGuard devices of this network namespace, in the kernel's order. `interrupted`: links were added or removed
 * during the dump, so some may be missing.
 */
export function listWireguardLinks(socket: Requester): { links: Link[]; interrupted: boolean } {
  const links: Link[] = [];
  const request = {
    type: RTM_GETLINK,
    dump: true,
    header: new Uint8Array(IFINFOMSG_BYTES),
    attributes: [
      // The kernel filters by kind, which saves most of the work on a router with 1,000 links.
      [IFLA_LINKINFO, [[IFLA_INFO_KIND, text(WG_GENL_NAME)]]],
      [IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS)],
    ],
  } as const;
  const collect: MessageVisitor = (answer, start, end, type) => {
    if (type !== RTM_NEWLINK) return;
    const link = parseLink(answer, start, end);
    // If the module is not loaded, the kernel does not know the kind and returns all links.
    if (link.kind === WG_GENL_NAME) links.push(link);
  };
  const { interrupted } = socket.request("list network links", request, collect);
  return { links, interrupted };
}

/** Whether the link with this name is up; null if there is no such link. */
export function isLinkUp(socket: Requester, name: string): boolean | null {
  let isUp: boolean | null = null;
  const request = {
    type: RTM_GETLINK,
    dump: false,
    header: new Uint8Array(IFINFOMSG_BYTES),
    attributes: [[IFLA_IFNAME, text(name)]],
  } as const;
  try {
    socket.request(`find link ${name}`, request, ({ view }, start, end) => {
      expectLength(
        "ifinfomsg",
        start + NLMSG_HDRLEN,
        Math.min(end, start + NLMSG_HDRLEN + IFINFOMSG_BYTES),
        IFINFOMSG_BYTES,
      );
      isUp = (view.getUint32(start + NLMSG_HDRLEN + 8, true) & IFF_UP) !== 0;
    });
  } catch (error) {
    if (error instanceof SystemError && error.code === "ENODEV") return null;
    throw error;
  }
  return isUp;
}

/** The link changes in one datagram of the multicast group RTMGRP_LINK. */
export function parseLinkEvents(datagram: Bytes): LinkEvent[] {
  const { bytes, view } = datagram;
  const events: LinkEvent[] = [];
  for (let offset = 0; offset < view.byteLength;) {
    const end = messageEnd(view, offset, view.byteLength);
    const type = messageType(view, offset);
    if (type === RTM_NEWLINK || type === RTM_DELLINK) {
      const link = parseLink(datagram, offset, end);
      // With another family the message is about a bridge port: a link that leaves a bridge still exists.
      const isLink = bytes[offset + NLMSG_HDRLEN] === AF_UNSPEC;
      if (isLink) events.push({ type: type === RTM_NEWLINK ? "new" : "removed", link });
    }
    offset = align(end);
  }
  return events;
}

function parseLink({ bytes, view }: Bytes, start: number, end: number): Link {
  const header = start + NLMSG_HDRLEN;
  if (end - header < IFINFOMSG_BYTES) {
    throw new ParseError(`ifinfomsg: ${end - header} bytes instead of ${IFINFOMSG_BYTES}`);
  }
  const index = view.getInt32(header + 4, true);
  let name = "";
  let kind: string | null = null;
  for (let offset = header + IFINFOMSG_BYTES; offset < end;) {
    const stop = attributeEnd(view, offset, end);
    const type = attributeType(view, offset);
    if (type === IFLA_IFNAME) name = readText(bytes, offset + NLA_HDRLEN, stop);
    if (type === IFLA_LINKINFO) {
      for (let inner = offset + NLA_HDRLEN; inner < stop;) {
        const innerStop = attributeEnd(view, inner, stop);
        if (attributeType(view, inner) === IFLA_INFO_KIND) {
          kind = readText(bytes, inner + NLA_HDRLEN, innerStop);
        }
        inner = align(innerStop);
      }
    }
    offset = align(stop);
  }
  return { name, index, kind };
}
