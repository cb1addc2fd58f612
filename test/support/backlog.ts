/** A TCP port whose accept queue is full: the kernel drops SYNs to it, as a firewall would. */

import { dlopen } from "bun:ffi";

/** bits/socket.h */
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
/** struct sockaddr_in, netinet/in.h: family, port in network byte order, address, padding. */
const ADDRESS_BYTES = 16;

/** With a backlog of 0, the accept queue holds one connection; one unaccepted connection fills it. */
export async function fullPort(): Promise<{ readonly port: number } & AsyncDisposable> {
  const { symbols: libc } = dlopen("libc.so.6", {
    socket: { args: ["int", "int", "int"], returns: "int" },
    bind: { args: ["int", "buffer", "u32"], returns: "int" },
    listen: { args: ["int", "int"], returns: "int" },
    getsockname: { args: ["int", "buffer", "buffer"], returns: "int" },
    close: { args: ["int"], returns: "int" },
  });
  const address = new Uint8Array(new ArrayBuffer(ADDRESS_BYTES));
  const length = new Uint32Array(new ArrayBuffer(4));
  address[0] = AF_INET;
  address.set([127, 0, 0, 1], 4);
  length[0] = ADDRESS_BYTES;
  const listener = libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const failed =
    listener < 0 ||
    libc.bind(listener, address, ADDRESS_BYTES) !== 0 ||
    libc.listen(listener, 0) !== 0 ||
    libc.getsockname(listener, address, length) !== 0;
  if (failed) throw new Error("no listening socket");
  const port = new DataView(address.buffer).getUint16(2);
  const first = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } });
  return {
    port,
    async [Symbol.asyncDispose]() {
      first.terminate();
      libc.close(listener);
    },
  };
}
