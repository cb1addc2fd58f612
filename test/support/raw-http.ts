/**
 * An HTTP/1.1 client that sends arbitrary bytes, which fetch would correct or reject, and that parses responses
 * strictly.
 */

import { REPORT_MS } from "./until.ts";

/**
 * Limit of the processor time of this process for one response. The server runs in this process, except in tests of
 * the binary. Wall-clock time would depend on the load of the machine.
 */
const ANSWER_CPU_MS = 2000;

export type Place =
  { readonly hostname: string; readonly port: number } | { readonly unix: string };

export interface RawAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  /** Status line and headers, unparsed. */
  readonly head: string;
  /** Of an event stream, only the first chunk. */
  readonly body: string;
}

/** The received bytes are not a complete, well-formed response. */
export class Broken extends Error {
  override readonly name = "Broken";
}

/** One connection. */
export class RawHttp implements Disposable {
  #socket: Bun.Socket | null = null;
  #bytes = Buffer.alloc(0);
  #isEnded = false;
  #isReusable = true;
  #wake = () => {};

  static async connect(place: Place): Promise<RawHttp> {
    const client = new RawHttp();
    const socket = {
      data: (_: Bun.Socket, bytes: Buffer) => {
        client.#bytes = Buffer.concat([client.#bytes, bytes]);
        client.#wake();
      },
      close: () => client.#end(),
      end: () => client.#end(),
      error: () => client.#end(),
    };
    const options = { allowHalfOpen: true, socket } as const;
    client.#socket =
      "unix" in place
        ? await Bun.connect({ ...options, ...place })
        : await Bun.connect({ ...options, ...place });
    return client;
  }

  private constructor() {}

  /** Whether another request may be sent on this connection. */
  get isReusable(): boolean {
    return this.#isReusable && !this.#isEnded;
  }

  /** Number of received bytes that are not part of a response. */
  get left(): number {
    return this.#bytes.length;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  send(bytes: Uint8Array): void {
    // A partial write is ignored: it happens only with requests that are far too long.
    this.#socket!.write(bytes);
  }

  /**
   * Sends a request and reads the response. @throws Broken if it is malformed; Error after REPORT_MS or too much
   * processor time.
   */
  async ask(bytes: Uint8Array, method: string): Promise<RawAnswer> {
    this.send(bytes);
    return await inTime(this.#answer(method === "HEAD"), "no answer");
  }

  /** Sends, closes the sending side, and resolves with all received bytes once the server has closed the connection. */
  async sendAll(bytes: Uint8Array): Promise<string> {
    this.send(bytes);
    this.#socket!.shutdown();
    const ended = async () => {
      while (!this.#isEnded) await this.#more();
    };
    await inTime(ended(), "the connection is kept open");
    return this.#bytes.toString("latin1");
  }

  [Symbol.dispose](): void {
    this.#socket?.terminate();
  }

  #end(): void {
    this.#isEnded = true;
    this.#wake();
  }

  async #answer(isHead: boolean): Promise<RawAnswer> {
    let head = "";
    do {
      head = (await this.#until("\r\n\r\n")).toString("latin1");
    } while (/^HTTP\/1\.1 1\d\d /.test(head));
    const [first, ...lines] = head.slice(0, -4).split("\r\n");
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first!)?.[1]);
    if (Number.isNaN(status)) throw new Broken(`no status line: ${JSON.stringify(first)}`);
    const headers = new Map<string, string>();
    for (const line of lines) {
      const [, name, value] = /^([\w-]+): ([\t -~]*)$/.exec(line) ?? [];
      if (name === undefined) throw new Broken(`invalid header: ${JSON.stringify(line)}`);
      headers.set(name.toLowerCase(), value!);
    }
    if (/close/i.test(headers.get("connection") ?? "")) this.#isReusable = false;
    const body = await this.#body(status, headers, isHead);
    return { status, headers, head, body: new TextDecoder().decode(body) };
  }

  async #body(
    status: number,
    headers: ReadonlyMap<string, string>,
    isHead: boolean,
  ): Promise<Buffer> {
    if (isHead || status === 204 || status === 304) return Buffer.alloc(0);
    const length = headers.get("content-length");
    const isChunked = headers.get("transfer-encoding") === "chunked";
    if (length !== undefined && isChunked) throw new Broken("both content-length and chunked");
    if (length !== undefined) return await this.#take(Number(length));
    if (isChunked) return await this.#chunks(headers.get("content-type") === "text/event-stream");
    // The body ends with the connection.
    this.#isReusable = false;
    while (!this.#isEnded) await this.#more();
    return this.#bytes;
  }

  async #chunks(isEndless: boolean): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for (;;) {
      const line = (await this.#until("\r\n")).toString("latin1");
      const length = /^[0-9a-f]+\r\n$/i.test(line) ? Number.parseInt(line, 16) : NaN;
      if (Number.isNaN(length)) throw new Broken(`invalid chunk size: ${JSON.stringify(line)}`);
      chunks.push((await this.#take(length + 2)).subarray(0, -2));
      if (isEndless) this.#isReusable = false;
      if (isEndless || length === 0) return Buffer.concat(chunks);
    }
  }

  async #until(end: string): Promise<Buffer> {
    let at = -1;
    while ((at = this.#bytes.indexOf(end)) === -1) await this.#more();
    return await this.#take(at + end.length);
  }

  async #take(count: number): Promise<Buffer> {
    while (this.#bytes.length < count) await this.#more();
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }

  async #more(): Promise<void> {
    if (this.#isEnded)
      throw new Broken(`connection closed with ${this.#bytes.length} unparsed bytes`);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    await promise;
  }
}

async function inTime<Result>(promise: Promise<Result>, what: string): Promise<Result> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`${what} within ${REPORT_MS / 1000} s`)),
    REPORT_MS,
  );
  const before = process.cpuUsage();
  const result = await Promise.race([promise, late.promise]).finally(() => clearTimeout(timer));
  const { user, system } = process.cpuUsage(before);
  const usedMs = (user + system) / 1000;
  if (usedMs > ANSWER_CPU_MS) throw new Error(`the response took ${usedMs} ms of processor time`);
  return result;
}
