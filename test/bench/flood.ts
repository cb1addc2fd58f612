/**
 * Sends forged packets that look like the end of a handshake, each from another port:
 * `bun test/bench/flood.ts ADDRESS PORT COUNT`. For benchmarks, to addresses of their own namespaces.
 */

const [address, port, count] = process.argv.slice(2);
if (address === undefined || port === undefined || count === undefined) {
  console.error("flood.ts ADDRESS PORT COUNT");
  process.exit(2);
}

/** Type 4, any receiver, counter 0, an empty content's tag. */
const packet = new Uint8Array(32);
packet[0] = 4;

const SOCKETS = 64;
const BATCH = 200;
let sent = 0;
while (sent < Number(count)) {
  const sockets = await Promise.all(Array.from({ length: SOCKETS }, () => Bun.udpSocket({})));
  for (let round = 0; round < BATCH && sent < Number(count); round++) {
    for (const socket of sockets) {
      crypto.getRandomValues(packet.subarray(4, 8));
      socket.send(packet, Number(port), address);
      sent++;
    }
    await Bun.sleep(5);
  }
  for (const socket of sockets) socket.close();
}
export {};
