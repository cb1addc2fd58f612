/**
 * The seam to NFLOG: the packets that a firewall rule logs to a group. libnetfilter_log builds the
 * messages that set the group up; what arrives is parsed here. linux/netfilter/nfnetlink_log.h.
 */

import { libnetfilterLog } from "../../ffi/libnetfilter_log.ts";
import type { Clock } from "../clock.ts";
import { ParseError, SystemError } from "../errors.ts";
import {
  align,
  attributeEnd,
  attributeType,
  bytesOf,
  encodeMessage,
  messageEnd,
  messageType,
} from "../kernel/netlink.ts";
import { NetlinkSocket, setReceiveBuffer } from "../kernel/socket.ts";
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
} from "../kernel/uapi.ts";
import { programOf, readTextFile } from "../system.ts";
import { handshakeFilter, indexFilter } from "./bpf-program.ts";
import type { Capture, PacketHandler } from "./capture.ts";
import { attachFilter } from "./packet-socket.ts";
import { readSocket } from "./socket-reader.ts";

/** sizeof(struct nfgenmsg): family, version, the group in network order. */
const NFGENMSG_BYTES = 4;
/**
 * An initiation up to its mac1 behind the headers of IPv6 and UDP, 180 bytes, and a few IP options. A
 * rule with a smaller snaplen gets less: then mac1 is not checked.
 */
const COPY_RANGE_BYTES = 192;
/** Some thousand packets; the kernel's own queue holds 250. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;
/** Of a packet that leaves. */
const SENT_HOOKS: ReadonlySet<number> = new Set([NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING]);
/** Where the kernel lists the groups, their owners first: group, port id of the owner, ... */
const GROUPS_FILE = "/proc/self/net/netfilter/nfnetlink_log";

/**
 * Takes the group for this process; the kernel gives it back when the process ends.
 *
 * @throws SystemError; of the two causes of EPERM it names the right one.
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
    // First: packets come as soon as the group is ours.
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
      linksMissed() {},
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
  const operation = `take NFLOG group ${group}`;
  const library = libnetfilterLog();
  try {
    configure(socket, operation, group, (message) =>
      library.nflog_attr_put_cfg_cmd(message, NFULNL_CFG_CMD_BIND),
    );
  } catch (error) {
    throw error instanceof SystemError ? explain(socket, operation, group, error) : error;
  }
  configure(socket, operation, group, (message) =>
    library.nflog_attr_put_cfg_mode(message, NFULNL_COPY_PACKET, COPY_RANGE_BYTES),
  );
  // One packet, one datagram, at once; the kernel would collect them for up to a second.
  socket.acknowledge(operation, thresholdMessage(group, 1));
}

/** Sends a configuration message that libnetfilter_log has built. */
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

/** libnetfilter_log has no builder for this one attribute. */
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

/** The kernel answers EPERM both to a process without the capability and for a group that is taken. */
function explain(
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
  if (error.code !== "EPERM" || !mayConfigure(socket, group)) return error;
  const owner = describeOwner(group);
  return new SystemError(
    operation,
    "EBUSY",
    `another program has it${owner === null ? "" : ` (${owner})`}; stop that, or choose another ` +
      "number with --group and in the firewall rule",
  );
}

/** Whether the kernel lets us configure groups at all: a change to a group that nobody has. */
function mayConfigure(socket: NetlinkSocket, taken: number): boolean {
  const unused = taken === 0xffff ? 0xfffe : 0xffff;
  try {
    socket.acknowledge("probe NFLOG", thresholdMessage(unused, 1));
    return true;
  } catch (error) {
    return error instanceof SystemError && error.code !== "EPERM";
  }
}

/** For the message: it does without what cannot be read. */
function describeOwner(group: number): string | null {
  try {
    const owner = groupOwner(group);
    if (owner === null || owner.program === null) return null;
    // The port id is a process id in the PID namespace of the owner, which is another one then.
    if (Number(owner.portId) === process.pid) return null;
    return `process ${owner.portId}, ${owner.program}`;
  } catch (error) {
    if (error instanceof SystemError) return null;
    throw error;
  }
}

export interface GroupOwner {
  /** Its process id, unless it has several netlink sockets. */
  readonly portId: string;
  /** null: the port id is no process that can be seen. */
  readonly program: string | null;
}

/**
 * Who has the group; null: nobody.
 *
 * @throws SystemError when that cannot be read; ENOENT: nfnetlink_log is not loaded.
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
  /** From its IP header on, perhaps cut off. */
  readonly packet: Uint8Array;
  /** Whether this machine sends it: the hook of the rule says so. */
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
        // The kernel puts the header first. struct nfulnl_msg_packet_hdr: the protocol, the hook.
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
