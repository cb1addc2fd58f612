/**
 * The seam to NFLOG: the packets that a firewall rule logs to a group. libnetfilter_log builds the messages that
 * configure the group; the packets are parsed here. linux/netfilter/nfnetlink_log.h.
 */

import { libnetfilterLog } from "../../ffi/libnetfilter_log.ts";
import type { Clock } from "../base/clock.ts";
import { ParseError, SystemError } from "../base/errors.ts";
import { NetlinkSocket, setReceiveBuffer } from "../kernel/netlink-socket.ts";
import {
  align,
  attributeEnd,
  attributeType,
  bytesOf,
  encodeMessage,
  messageEnd,
  messageType,
  NFGENMSG_BYTES,
} from "../kernel/netlink.ts";
import {
  AF_UNSPEC,
  NETLINK_NETFILTER,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NFNL_SUBSYS_ULOG,
  NFULA_CFG_QTHRESH,
  NFULA_PACKET_HDR,
  NFULA_PAYLOAD,
  NFULNL_CFG_CMD_BIND,
  NFULNL_COPY_PACKET,
  NFULNL_MSG_CONFIG,
  NFULNL_MSG_PACKET,
  NLA_HDRLEN,
  NLMSG_HDRLEN,
} from "../platform/constants.ts";
import { readTextFile } from "../platform/files.ts";
import { programOf } from "../platform/process.ts";
import { handshakeFilter, indexFilter } from "./bpf-program.ts";
import type { Capture, PacketHandler } from "./capture.ts";
import { attachFilter } from "./packet-socket.ts";
import { readSocket } from "./socket-reader.ts";

/**
 * The headers of IPv6 and UDP, an initiation up to the end of its mac1 (together 180 bytes), and a few IP options. If a
 * rule has a smaller snaplen, mac1 cannot be checked.
 */
const COPY_RANGE_BYTES = 192;
/** Holds a few thousand packets; the kernel's default size holds 250. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;
/** The netfilter hooks of packets that leave this machine. */
const SENT_HOOKS: ReadonlySet<number> = new Set([NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING]);
/** The kernel's list of bound groups, one per line: group, port id of the owner, ... */
const GROUPS_FILE = "/proc/self/net/netfilter/nfnetlink_log";

/**
 * Binds the group to this process; the kernel releases it when the process ends.
 *
 * @throws SystemError: EPERM without CAP_NET_ADMIN, EBUSY if another program has bound the group.
 */
export async function openGroup(
  group: number,
  clock: Clock,
  handler: PacketHandler,
): Promise<Capture> {
  const socket = new NetlinkSocket(NETLINK_NETFILTER);
  const select = (indexes: readonly number[] | null): void => {
    attachFilter(
      socket.descriptor,
      indexes === null ? handshakeFilter() : indexFilter(indexes, "nflog"),
    );
  };
  try {
    // Before `bind`: packets arrive as soon as the group is bound.
    setReceiveBuffer(socket.descriptor, RECEIVE_BUFFER_BYTES);
    bind(socket, group);
    select(null);
    const stop = await readSocket(socket.descriptor, clock, {
      onData(bytes) {
        try {
          for (const { packet, isSent } of parseLogged(bytes)) {
            if (isSent) handler.onSent(packet);
            else handler.onReceived(packet);
          }
        } catch (error) {
          if (!(error instanceof ParseError)) throw error;
          handler.onPacketsLost(`NFLOG group ${group}: ${error.message}`);
        }
      },
      onLost(code) {
        handler.onPacketsLost(`NFLOG group ${group} reports ${code}`);
      },
    });
    return {
      setPorts() {},
      select,
      linkChanged() {},
      linksLost() {},
      close() {
        stop();
        socket[Symbol.dispose]();
      },
    };
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
}

function bind(socket: NetlinkSocket, group: number): void {
  const operation = `bind NFLOG group ${group}`;
  const library = libnetfilterLog();
  try {
    configure(socket, operation, group, (message) =>
      library.nflog_attr_put_cfg_cmd(message, NFULNL_CFG_CMD_BIND),
    );
  } catch (error) {
    throw error instanceof SystemError ? explainBindError(socket, operation, group, error) : error;
  }
  configure(socket, operation, group, (message) =>
    library.nflog_attr_put_cfg_mode(message, NFULNL_COPY_PACKET, COPY_RANGE_BYTES),
  );
  // With threshold 1 the kernel sends each packet at once; by default it collects packets for up to a second.
  socket.acknowledge(operation, thresholdMessage(group, 1));
}

/** Sends a configuration message built by libnetfilter_log. */
function configure(
  socket: NetlinkSocket,
  operation: string,
  group: number,
  put: (message: Uint8Array) => number,
): void {
  const buffer = new Uint8Array(new ArrayBuffer(256));
  libnetfilterLog().nflog_nlmsg_put_header(buffer, NFULNL_MSG_CONFIG, AF_UNSPEC, group);
  put(buffer);
  const length = bytesOf(buffer).view.getUint32(0, true);
  socket.acknowledge(operation, buffer.subarray(0, length));
}

/** Sets the queue threshold of a group. Built here, because libnetfilter_log has no function for this attribute. */
function thresholdMessage(group: number, packets: number): Uint8Array {
  const threshold = new Uint8Array(4);
  new DataView(threshold.buffer).setUint32(0, packets, false);
  return encodeMessage({
    type: (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_CONFIG,
    flags: 0,
    sequence: 0,
    header: Uint8Array.of(AF_UNSPEC, 0, group >> 8, group & 0xff),
    attributes: [[NFULA_CFG_QTHRESH, threshold]],
  });
}

/**
 * Explains why a group cannot be bound. The kernel returns EPERM both without the capability and for a group that
 * another socket has bound.
 */
function explainBindError(
  socket: NetlinkSocket,
  operation: string,
  group: number,
  error: SystemError,
): SystemError {
  if (error.code === "EINVAL") {
    return new SystemError(
      operation,
      error.code,
      "this kernel has no NFLOG; modprobe nfnetlink_log",
    );
  }
  if (error.code !== "EPERM" || !mayConfigure(socket)) return error;
  const owner = describeOwner(group);
  return new SystemError(
    operation,
    "EBUSY",
    `another program uses it${owner === null ? "" : ` (${owner})`}; stop that program, or choose another ` +
      "number with --group and in the firewall rule",
  );
}

/**
 * Whether this process may configure NFLOG groups. Tests it with a message that names no group, because every group may
 * have an owner: the kernel checks the capability before it finds that programs do not send such messages.
 */
function mayConfigure(socket: NetlinkSocket): boolean {
  const probe = encodeMessage({
    type: (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_PACKET,
    flags: 0,
    sequence: 0,
    header: new Uint8Array(NFGENMSG_BYTES),
    attributes: [],
  });
  try {
    socket.acknowledge("probe NFLOG", probe);
    return true;
  } catch (error) {
    return error instanceof SystemError && error.code !== "EPERM";
  }
}

/** The owner of the group for the error message; null if it cannot be determined. */
function describeOwner(group: number): string | null {
  try {
    const owner = groupOwner(group);
    if (owner === null || owner.program === null) return null;
    // The port id is a process id in the owner's PID namespace. If it equals our process id, the owner is in another
    // namespace.
    if (Number(owner.portId) === process.pid) return null;
    return `process ${owner.portId}, ${owner.program}`;
  } catch (error) {
    if (error instanceof SystemError) return null;
    throw error;
  }
}

export interface GroupOwner {
  /** The owner's process id, unless the owner has several netlink sockets. */
  readonly portId: string;
  /** The name of the process whose id is the port id; null if there is no such process in this PID namespace. */
  readonly program: string | null;
}

/**
 * The owner of the group; null if it is free.
 *
 * @throws SystemError if the list cannot be read; ENOENT: nfnetlink_log is not loaded.
 */
export function groupOwner(group: number): GroupOwner | null {
  const list = readTextFile(GROUPS_FILE);
  if (list === null) throw new SystemError(`read ${GROUPS_FILE}`, "ENOENT");
  for (const line of list.split("\n")) {
    const [number, portId = ""] = line.trim().split(/\s+/);
    if (number !== String(group)) continue;
    return { portId, program: programOf(portId) };
  }
  return null;
}

export interface LoggedPacket {
  /** Starts with its IP header and may be truncated. */
  readonly packet: Uint8Array;
  /** Whether this machine sends the packet, according to the netfilter hook of the rule. */
  readonly isSent: boolean;
}

/**
 * The packets in one datagram of the group.
 *
 * @throws ParseError
 */
export function parseLogged(datagram: Uint8Array): LoggedPacket[] {
  const { view } = bytesOf(datagram);
  const packets: LoggedPacket[] = [];
  for (let offset = 0; offset < datagram.length;) {
    const end = messageEnd(view, offset, datagram.length);
    if (messageType(view, offset) === ((NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_PACKET)) {
      if (end - offset < NLMSG_HDRLEN + NFGENMSG_BYTES) {
        throw new ParseError(`NFULNL_MSG_PACKET: ${end - offset} bytes`);
      }
      let isSent = false;
      for (let at = offset + NLMSG_HDRLEN + NFGENMSG_BYTES; at < end;) {
        const stop = attributeEnd(view, at, end);
        // The kernel puts NFULA_PACKET_HDR first. struct nfulnl_msg_packet_hdr: protocol, hook.
        if (attributeType(view, at) === NFULA_PACKET_HDR && stop - at >= NLA_HDRLEN + 3) {
          isSent = SENT_HOOKS.has(view.getUint8(at + NLA_HDRLEN + 2));
        }
        if (attributeType(view, at) === NFULA_PAYLOAD) {
          packets.push({ packet: datagram.subarray(at + NLA_HDRLEN, stop), isSent });
        }
        at = align(stop);
      }
    }
    offset = align(end);
  }
  return packets;
}
