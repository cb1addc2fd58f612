/**
 * A simulated userspace WireGuard device without peers: `bun test/support/idle-device.ts NAME PORT`, in a separate
 * network namespace with a private /var/run. Prints `ready`, then answers queries until it is killed.
 */

import { $ } from "bun";

const [name = "", port = ""] = process.argv.slice(2);
await $`mkdir -p /var/run/wireguard && ip tuntap add dev ${name} mode tun`.quiet();
Bun.listen({
  unix: `/var/run/wireguard/${name}.sock`,
  socket: { data: (socket) => void socket.end(`listen_port=${port}\nerrno=0\n\n`) },
});
console.log("ready");
