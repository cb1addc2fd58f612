/**
 * Constants of the Linux kernel's interface, grouped by header, under the header's own names;
 * test/real-kernel/uapi.test.ts compares each with the installed headers. This file contains nothing else.
 */

// linux/netlink.h
export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
export const NETLINK_GENERIC = 16;
export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_HDRLEN = 16;
export const NLM_F_REQUEST = 0x01;
export const NLM_F_ACK = 0x04;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLA_HDRLEN = 4;
/** The two upper bits of an attribute's type are flags. */
export const NLA_TYPE_MASK = 0x3fff;

// linux/genetlink.h
export const GENL_HDRLEN = 4;
export const GENL_ID_CTRL = 0x10;
export const CTRL_CMD_GETFAMILY = 3;
export const CTRL_ATTR_FAMILY_ID = 1;
export const CTRL_ATTR_FAMILY_NAME = 2;

// linux/wireguard.h
export const WG_GENL_NAME = "wireguard";
export const WG_GENL_VERSION = 1;
export const WG_KEY_LEN = 32;
export const WG_CMD_GET_DEVICE = 0;
export const WGDEVICE_A_IFINDEX = 1;
export const WGDEVICE_A_IFNAME = 2;
export const WGDEVICE_A_PUBLIC_KEY = 4;
export const WGDEVICE_A_LISTEN_PORT = 6;
export const WGDEVICE_A_PEERS = 8;
export const WGPEER_A_PUBLIC_KEY = 1;
export const WGPEER_A_ENDPOINT = 4;
export const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL = 5;
export const WGPEER_A_LAST_HANDSHAKE_TIME = 6;
export const WGPEER_A_RX_BYTES = 7;
export const WGPEER_A_TX_BYTES = 8;
export const WGPEER_A_ALLOWEDIPS = 9;
export const WGALLOWEDIP_A_FAMILY = 1;
export const WGALLOWEDIP_A_IPADDR = 2;
export const WGALLOWEDIP_A_CIDR_MASK = 3;

// linux/rtnetlink.h, linux/if_link.h
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTMGRP_LINK = 1;
export const IFLA_IFNAME = 3;
export const IFLA_LINKINFO = 18;
export const IFLA_EXT_MASK = 29;
export const IFLA_INFO_KIND = 1;
/** Leaves the counters out of the answer. */
export const RTEXT_FILTER_SKIP_STATS = 8;

// linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_log.h
export const NFNL_SUBSYS_ULOG = 4;
export const NFULNL_MSG_PACKET = 0;
export const NFULNL_MSG_CONFIG = 1;
export const NFULNL_CFG_CMD_BIND = 1;
export const NFULNL_COPY_PACKET = 2;
export const NFULA_PACKET_HDR = 1;
export const NFULA_PAYLOAD = 9;
export const NFULA_CFG_QTHRESH = 5;

// linux/netfilter.h
export const NF_INET_LOCAL_OUT = 3;
export const NF_INET_POST_ROUTING = 4;

// linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h, linux/netfilter/nf_tables_compat.h
export const NFNL_SUBSYS_NFTABLES = 10;
export const NFT_MSG_NEWRULE = 6;
export const NFT_MSG_GETRULE = 7;
export const NFTA_RULE_EXPRESSIONS = 4;
export const NFTA_EXPR_NAME = 1;
export const NFTA_EXPR_DATA = 2;
export const NFTA_LOG_GROUP = 1;
export const NFTA_TARGET_NAME = 1;
export const NFTA_TARGET_INFO = 3;

// linux/socket.h, linux/in.h, asm-generic/socket.h, bits/socket_type.h
export const AF_UNSPEC = 0;
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_PACKET = 17;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_CLOEXEC = 0x80000;
export const SOCK_NONBLOCK = 0x800;
export const MSG_DONTWAIT = 0x40;
export const SHUT_RDWR = 2;
export const IPPROTO_TCP = 6;
export const SOL_SOCKET = 1;
export const SO_RCVBUF = 8;
export const SO_RCVTIMEO = 20;
export const SO_ATTACH_FILTER = 26;
export const SO_DETACH_FILTER = 27;
export const SO_ACCEPTCONN = 30;
export const SO_RCVBUFFORCE = 33;
export const SO_PROTOCOL = 38;

// asm-generic/fcntl.h
export const O_RDWR = 2;
export const O_CREAT = 0x40;
export const O_CLOEXEC = 0x80000;
// Different on arm64: arch/arm64/include/uapi/asm/fcntl.h
export const O_DIRECTORY = process.arch === "arm64" ? 0x4000 : 0x10000;
export const O_NOFOLLOW = process.arch === "arm64" ? 0x8000 : 0x20000;
export const AT_EMPTY_PATH = 0x1000;
export const LOCK_EX = 2;
export const LOCK_NB = 4;

// linux/stat.h, and the number of the system call: asm/unistd_64.h, asm-generic/unistd.h
export const STATX_BASIC_STATS = 0x7ff;
export const S_IFMT = 0o170000;
export const S_IFREG = 0o100000;
export const SYS_getdents64 = process.arch === "arm64" ? 61 : 217;
export const SYS_statx = process.arch === "arm64" ? 291 : 332;

// linux/prctl.h, linux/capability.h
export const PR_SET_DUMPABLE = 4;
export const PR_CAP_AMBIENT = 47;
export const PR_CAP_AMBIENT_IS_SET = 1;
export const PR_CAP_AMBIENT_RAISE = 2;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;
export const CAP_NET_ADMIN = 12;
export const CAP_NET_RAW = 13;
export const CAP_LAST_CAP = 40;

// linux/if.h, sys/timex.h
export const IFF_UP = 1;
export const STA_UNSYNC = 0x40;

// linux/if_packet.h, linux/if_ether.h
export const SOL_PACKET = 263;
export const PACKET_STATISTICS = 6;
export const PACKET_IGNORE_OUTGOING = 23;
export const ETH_P_ALL = 3;

// asm-generic/errno-base.h, asm-generic/errno.h
export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const ENXIO = 6;
export const EBADF = 9;
export const EAGAIN = 11;
export const EIO = 5;
export const ENOMEM = 12;
export const EACCES = 13;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const ENOSPC = 28;
export const EROFS = 30;
export const ERANGE = 34;
export const EMSGSIZE = 90;
export const EPROTONOSUPPORT = 93;
export const EOPNOTSUPP = 95;
export const EAFNOSUPPORT = 97;
export const ENETDOWN = 100;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const EPIPE = 32;
export const ELOOP = 40;
export const ETIMEDOUT = 110;
export const ECONNREFUSED = 111;
