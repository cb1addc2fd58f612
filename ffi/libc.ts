/** glibc: sockets that no other library provides, files, descriptors, errno. Raw symbols only. */

import { FFIType, type Pointer, read } from "bun:ffi";

import { lazyLibrary } from "./load.ts";

export const libc = lazyLibrary({
  sonames: ["libc.so.6"],
  packages: "glibc (wgmon does not run on musl)",
  symbols: {
    // int socket(int domain, int type, int protocol);
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    // int bind(int sockfd, const struct sockaddr *addr, socklen_t addrlen);
    bind: { args: ["i32", "buffer", "u32"], returns: "i32" },
    // int connect(int sockfd, const struct sockaddr *addr, socklen_t addrlen);
    connect: { args: ["i32", "buffer", "u32"], returns: "i32" },
    // int setsockopt(int sockfd, int level, int optname, const void *optval, socklen_t optlen);
    setsockopt: { args: ["i32", "i32", "i32", "buffer", "u32"], returns: "i32" },
    // int getsockopt(int sockfd, int level, int optname, void *optval, socklen_t *optlen);
    getsockopt: { args: ["i32", "i32", "i32", "buffer", "buffer"], returns: "i32" },
    // ssize_t recv(int sockfd, void *buf, size_t len, int flags);
    recv: { args: ["i32", "buffer", "u64", "i32"], returns: FFIType.i64_fast },
    // int dup(int oldfd);
    dup: { args: ["i32"], returns: "i32" },
    // int close(int fd);
    close: { args: ["i32"], returns: "i32" },
    // int open(const char *pathname, int flags, mode_t mode);
    open: { args: ["cstring", "i32", "u32"], returns: "i32" },
    // int flock(int fd, int operation);
    flock: { args: ["i32", "i32"], returns: "i32" },
    // long syscall(long number, ...); called as getdents64(int fd, void *dirp, size_t count): glibc has getdents64() only
    // since version 2.30. readdir() distinguishes an error from the end only by errno, which must be cleared before.
    syscall: { args: ["i64", "i32", "buffer", "u64"], returns: FFIType.i64_fast },
    // ssize_t read(int fd, void *buf, size_t count);
    read: { args: ["i32", "buffer", "u64"], returns: FFIType.i64_fast },
    // int poll(struct pollfd *fds, nfds_t nfds, int timeout);
    poll: { args: ["buffer", "u64", "i32"], returns: "i32" },
    // ssize_t write(int fd, const void *buf, size_t count);
    write: { args: ["i32", "buffer", "u64"], returns: FFIType.i64_fast },
    // int gethostname(char *name, size_t len);
    gethostname: { args: ["buffer", "u64"], returns: "i32" },
    // int isatty(int fd);
    isatty: { args: ["i32"], returns: "i32" },
    // unsigned int if_nametoindex(const char *ifname);
    if_nametoindex: { args: ["cstring"], returns: "u32" },
    // int adjtimex(struct timex *buf);
    adjtimex: { args: ["buffer"], returns: "i32" },
    // int *__errno_location(void);
    __errno_location: { args: [], returns: "ptr" },
  },
});

/** In a separate table, because looking up each symbol takes time at start and few commands need this one. */
export const clock = lazyLibrary({
  sonames: ["libc.so.6"],
  packages: "glibc",
  symbols: {
    // int clock_gettime(clockid_t clockid, struct timespec *tp);
    clock_gettime: { args: ["i32", "buffer"], returns: "i32" },
  },
});

/** In a separate table, because it is not needed before wgmon is ready. */
export const control = lazyLibrary({
  sonames: ["libc.so.6"],
  packages: "glibc",
  symbols: {
    // int prctl(int op, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5);
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  },
});

/** In a separate table, because it is needed only with a settings file or secrets. */
export const status = lazyLibrary({
  sonames: ["libc.so.6"],
  packages: "glibc",
  symbols: {
    // long syscall(long number, ...); called as statx(int dirfd, const char *pathname, int flags, unsigned int mask,
    // struct statx *statxbuf): glibc has statx() only since version 2.28.
    syscall: {
      args: ["i64", "i32", "cstring", "i32", "u32", "buffer"],
      returns: FFIType.i64_fast,
    },
  },
});

/** In a separate table, because it is needed only for a large number of connections. */
export const sockets = lazyLibrary({
  sonames: ["libc.so.6"],
  packages: "glibc",
  symbols: {
    // int getsockname(int sockfd, struct sockaddr *addr, socklen_t *addrlen);
    getsockname: { args: ["i32", "buffer", "buffer"], returns: "i32" },
    // int shutdown(int sockfd, int how);
    shutdown: { args: ["i32", "i32"], returns: "i32" },
  },
});

/** The errno of the last failed call. Read it in the very next statement: an await loses it. */
export function errno(): number {
  return read.i32(libc().__errno_location() as Pointer, 0);
}
