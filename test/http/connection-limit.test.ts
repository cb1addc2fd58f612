/** Too many connections are closed, and the port stays open meanwhile. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";

import { libc } from "../../ffi/libc.ts";
import { ConnectionLimit } from "../../src/http/connection-limit.ts";
import { AF_INET, MSG_DONTWAIT, SOCK_STREAM } from "../../src/platform/constants.ts";
import { HandClock } from "../support/clock.ts";
import { serve } from "../support/http-server.ts";
import { listenerOf } from "../support/listener.ts";
import { FakeSource } from "../support/source.ts";
import { TEST_MS, until } from "../support/until.ts";

let source: FakeSource;
const sockets: Bun.Socket[] = [];

beforeEach(async () => {
  source = await FakeSource.make();
});

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.terminate();
  source.store[Symbol.dispose]();
});

/** Opens `count` connections. `ended` of the result counts those that the server has closed. */
async function connect(port: number, count: number, hostname = "127.0.0.1") {
  const crowd = { ended: 0 };
  const socket = { data() {}, error() {}, close: () => void crowd.ended++ };
  for (let n = 0; n < count; n++) sockets.push(await Bun.connect({ hostname, port, socket }));
  return crowd;
}

test(
  "if there are too many connections, all are closed, new ones are accepted, and the listening socket stays open",
  async () => {
    await using served = await serve(source);
    const port = Number(new URL(served.origin).port);
    const listener = listenerOf(port);
    for (let round = 0; round < 2; round++) {
      const reader = (await fetch(`${served.origin}/v1/stream`)).body!.getReader();
      await reader.read();
      // Half of the descriptors belong to the clients.
      const crowd = await connect(port, 550);
      await until("all are closed", () => crowd.ended >= 550);
      expect((await reader.read().catch(() => ({ done: true }))).done).toBe(true);
      await until("all streams have ended", () => source.listeners === 0);
      expect(listenerOf(port)).toBe(listener);
      expect((await fetch(`${served.origin}/healthz`)).status).toBe(200);
    }
    expect(served.lines).toEqual([
      "<4>too many connections; closing all of them every second until the number falls",
    ]);
  },
  TEST_MS,
);

test(
  "connections of other servers, and outgoing connections, are not closed",
  async () => {
    const options = {
      hostname: "127.0.0.1",
      port: 0,
      idleTimeout: 0,
      fetch: () => new Response(""),
    };
    using crowded = Bun.serve(options);
    using other = Bun.serve(options);
    const port = crowded.port!;
    using own = new OwnConnection("127.0.0.2", port, other.port!);
    const crowd = await connect(port, 550);
    // Opened last: Bun closes a connection without a request after 10 s, whatever idleTimeout is.
    const spared = await connect(other.port!, 10);
    // Once all are accepted, both ends are open in this process.
    await until("all are connected", () => readdirSync("/proc/self/fd").length >= 2 * 560);
    const clock = new HandClock();
    using _ = new ConnectionLimit(port, { clock, log: { warn() {} } });
    clock.advance(1000);
    await until("all are closed", () => crowd.ended >= 550);
    expect(spared.ended).toBe(0);
    expect(own.isOpen).toBe(true);
    for (const { url } of [crowded, other]) expect((await fetch(url)).status).toBe(200);
  },
  TEST_MS,
);

/** A connection that this process makes to a server, from a port of another address of this machine. */
class OwnConnection implements Disposable {
  readonly #descriptor = libc().socket(AF_INET, SOCK_STREAM, 0);

  constructor(address: string, port: number, serverPort: number) {
    const from = addressOf(address, port);
    expect(libc().bind(this.#descriptor, from, from.length)).toBe(0);
    const to = addressOf("127.0.0.1", serverPort);
    expect(libc().connect(this.#descriptor, to, to.length)).toBe(0);
  }

  /** Whether neither side has closed it: after a shutdown, recv would return 0. */
  get isOpen(): boolean {
    return libc().recv(this.#descriptor, new Uint8Array(1), 1, MSG_DONTWAIT) === -1;
  }

  [Symbol.dispose](): void {
    libc().close(this.#descriptor);
  }
}

/** struct sockaddr_in, ip(7). */
function addressOf(address: string, port: number): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(16));
  bytes.setUint16(0, AF_INET, true);
  bytes.setUint16(2, port);
  for (const [at, byte] of address.split(".").entries()) bytes.setUint8(4 + at, Number(byte));
  return new Uint8Array(bytes.buffer);
}
