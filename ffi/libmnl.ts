/** libmnl: netlink sockets. Raw symbols only; libmnl/libmnl.h. */

import { FFIType } from "bun:ffi";

import { lazyLibrary } from "./load.ts";

export const libmnl = lazyLibrary({
  sonames: ["libmnl.so.0"],
  packages: "libmnl (Debian, Ubuntu: libmnl0; Fedora, Alpine, Arch: libmnl)",
  symbols: {
    // struct mnl_socket *mnl_socket_open2(int bus, int flags);
    mnl_socket_open2: { args: ["i32", "i32"], returns: "ptr" },
    // int mnl_socket_bind(struct mnl_socket *nl, unsigned int groups, pid_t pid);
    mnl_socket_bind: { args: ["ptr", "u32", "i32"], returns: "i32" },
    // int mnl_socket_get_fd(const struct mnl_socket *nl);
    mnl_socket_get_fd: { args: ["ptr"], returns: "i32" },
    // unsigned int mnl_socket_get_portid(const struct mnl_socket *nl);
    mnl_socket_get_portid: { args: ["ptr"], returns: "u32" },
    // ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *req, size_t siz);
    mnl_socket_sendto: { args: ["ptr", "buffer", "u64"], returns: FFIType.i64_fast },
    // ssize_t mnl_socket_recvfrom(const struct mnl_socket *nl, void *buf, size_t siz);
    mnl_socket_recvfrom: { args: ["ptr", "buffer", "u64"], returns: FFIType.i64_fast },
    // int mnl_socket_close(struct mnl_socket *nl);
    mnl_socket_close: { args: ["ptr"], returns: "i32" },
  },
});
