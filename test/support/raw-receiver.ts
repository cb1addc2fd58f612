/** A webhook's receiver that answers byte for byte as a test says, for what no HTTP server would send. */

import { readFileSync } from "node:fs";

import type { Socket, TCPSocketListener } from "bun";

import { until } from "./until.ts";

/** One connection of a client. */
export interface Client {
  /** 1, 2, ...: since the receiver started. */
  readonly connection: number;
  /** Which request on this connection it is that is answered: 1, 2, ... */
  request: number;
  write(data: string | Uint8Array): void;
  /** Writes this again and again, as fast as it is taken. */
  flood(data: string): void;
  /** Writes this every few milliseconds. */
  drip(data: string): void;
  /** Resolves once the other end, a fetch of this process, has been given all that was written. */
  taken(): Promise<void>;
  /** Ends the connection in order, or with a reset. */
  end(): void;
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

  /** `answer` is called for each request when it has arrived as a whole. */
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
      await until("all that was written is taken", () => queuedBytes(socket) === 0);
      await roundTrip();
    },
    end: () => void socket.end(),
    reset: () => socket.terminate(),
  };
}

/** One thread receives for all fetches, and hands over in order: what came before this is there, too. */
async function roundTrip(): Promise<void> {
  using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("") });
  await (await fetch(server.url)).text();
}

/** What is between both ends: not yet received by the other's kernel, or not yet read there. proc_net_tcp(5) */
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
  // A part that was not taken is left out, which does no harm to what is the same all over.
  while (endless !== "" && socket.write(endless) === endless.length);
}

function isWhole(request: string): boolean {
  const end = request.indexOf("\r\n\r\n");
  const length = Number(/^content-length: *(\d+)/im.exec(request)?.[1] ?? 0);
  return end !== -1 && request.length >= end + 4 + length;
}
