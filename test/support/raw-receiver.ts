/** A webhook receiver whose responses a test writes byte by byte, for responses that no HTTP server sends. */

import { readFileSync } from "node:fs";

import type { Socket, TCPSocketListener } from "bun";

import { until } from "./until.ts";

/** One connection of a client. */
export interface Client {
  /** Number of the connection: 1, 2, ... */
  readonly connection: number;
  /** Number of the current request on this connection: 1, 2, ... */
  request: number;
  write(data: string | Uint8Array): void;
  /** Writes `data` repeatedly, as fast as the client reads. */
  flood(data: string): void;
  /** Writes `data` every 5 ms. */
  drip(data: string): void;
  /** Resolves once fetch, in this process, has received all bytes that were written. */
  taken(): Promise<void>;
  /** Closes the connection in order. */
  end(): void;
  /** Closes the connection with a reset. */
  reset(): void;
}

interface State {
  client: Client;
  received: string;
  endless: string;
  timer: NodeJS.Timeout | undefined;
}

export class RawReceiver implements Disposable {
  /** Each request from its first line to the end of its body. */
  readonly requests: string[] = [];
  connections = 0;
  readonly #closed = new Map<number, PromiseWithResolvers<void>>();
  readonly #server: TCPSocketListener<State>;

  /** @param answer is called for each complete request. */
  constructor(answer: (client: Client) => void) {
    this.#server = Bun.listen<State>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => {
          const client = clientOf(socket, ++this.connections);
          socket.data = { client, received: "", endless: "", timer: undefined };
        },
        data: ({ data: state }, bytes) => {
          state.received += bytes.toString("latin1");
          if (!isWhole(state.received)) return;
          this.requests.push(state.received);
          state.received = "";
          state.client.request++;
          answer(state.client);
        },
        drain: pump,
        error() {},
        close: ({ data: { client, timer } }) => {
          clearInterval(timer);
          this.#closing(client.connection).resolve();
        },
      },
    });
  }

  url(path = "/hook"): string {
    return `http://127.0.0.1:${this.#server.port}${path}`;
  }

  /** Resolves once that connection is closed. */
  async closed(connection: number): Promise<void> {
    await this.#closing(connection).promise;
  }

  [Symbol.dispose](): void {
    this.#server.stop(true);
  }

  #closing(connection: number): PromiseWithResolvers<void> {
    const closing = this.#closed.get(connection) ?? Promise.withResolvers<void>();
    this.#closed.set(connection, closing);
    return closing;
  }
}

function clientOf(socket: Socket<State>, connection: number): Client {
  return {
    connection,
    request: 0,
    write: (data) => void socket.write(data),
    flood(data) {
      socket.data.endless = data;
      pump(socket);
    },
    drip(data) {
      socket.data.timer = setInterval(() => socket.write(data), 5);
    },
    async taken() {
      await until("the client has received all written bytes", () => queuedBytes(socket) === 0);
      await roundTrip();
    },
    end: () => void socket.end(),
    reset: () => socket.terminate(),
  };
}

/** One thread receives for all fetches and delivers in order: after this fetch, all earlier data is delivered. */
async function roundTrip(): Promise<void> {
  using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("") });
  await (await fetch(server.url)).text();
}

/** Bytes in transit: not acknowledged by the other end, or not yet read there. proc_net_tcp(5) */
function queuedBytes({ localPort, remotePort }: Socket<State>): number {
  const port = (hex: string): number => Number.parseInt(hex.split(":")[1]!, 16);
  let bytes = 0;
  for (const line of readFileSync("/proc/self/net/tcp", "utf8").trim().split("\n").slice(1)) {
    const [, local, remote, , queues] = line.trim().split(/\s+/);
    const [unsent, unread] = queues!.split(":").map((hex) => Number.parseInt(hex, 16));
    const ports = [port(local!), port(remote!)].join();
    if (ports === [localPort, remotePort].join()) bytes += unsent!;
    if (ports === [remotePort, localPort].join()) bytes += unread!;
  }
  return bytes;
}

function pump(socket: Socket<State>): void {
  const { endless } = socket.data;
  // The rest of a partial write is skipped: the data repeats anyway.
  while (endless !== "" && socket.write(endless) === endless.length);
}

function isWhole(request: string): boolean {
  const end = request.indexOf("\r\n\r\n");
  const length = Number(/^content-length: *(\d+)/im.exec(request)?.[1] ?? 0);
  return end !== -1 && request.length >= end + 4 + length;
}
