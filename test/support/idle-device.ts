/**
 * A device of a userspace program, without peers: `bun test/support/idle-device.ts NAME PORT`, in a network
 * namespace of its own with its own /var/run. Prints `ready`, and answers until it is ended.
 */

import { $ } from "bun";

const [name = "", port = ""] = process.argv.slice(2);
await $`mkdir -p /var/run/wireguard && ip tuntap add dev ${name} mode tun`.quiet();
Bun.listen({
  unix: `/var/run/wireguard/${name}.sock`,
  socket: { data: (socket) => void socket.end(`listen_port=${port}\nerrno=0\n\n`) },
});
console.log("ready");
