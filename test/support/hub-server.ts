/** A FakeHub behind HTTPS: it checks signatures and times as a hub does. */

import { type SigningSecret, verify } from "../../src/channels/signature.ts";
import type { EventsMessage, HubAnswer, StateMessage } from "../../src/fleet/messages.ts";
import { FakeHub } from "./fake-hub.ts";
import { certificates, key } from "./tls.ts";

interface Options {
  readonly gateway: string;
  readonly secret: SigningSecret;
  /** How far the hub's clock is ahead of this machine's. */
  readonly aheadMs?: number;
  readonly isTls?: boolean;
}

export class HubServer implements Disposable {
  readonly hub: FakeHub;
  /** The status and the refusal of each request. */
  readonly answers: string[] = [];
  /** When each event arrived first: milliseconds since 1970, by id. */
  readonly arrivedMs = new Map<string, number>();
  /** Called before each request is processed, and before each answer; it may return a response instead. */
  before: () => Response | null = () => null;
  after: () => Response | null = () => null;
  readonly #options: Options;
  readonly #server: Bun.Server<undefined>;
  readonly #ids = new Set<string>();
  #signedAt = 0;

  constructor(options: Options) {
    this.#options = options;
    this.hub = new FakeHub(() => this.#nowMs());
    this.#server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      ...(options.isTls === true ? { tls: { key, cert: certificates.valid } } : {}),
      fetch: (request) => this.#handle(request),
    });
  }

  /** With `login`: `http://berlin:whsec_...@127.0.0.1:1234`. */
  url(login = ""): string {
    const scheme = this.#options.isTls === true ? "https" : "http";
    const host = this.#options.isTls === true ? "localhost" : "127.0.0.1";
    return `${scheme}://${login}${login === "" ? "" : "@"}${host}:${this.#server.port}`;
  }

  [Symbol.dispose](): void {
    void this.#server.stop(true);
  }

  #nowMs(): number {
    return Date.now() + (this.#options.aheadMs ?? 0);
  }

  async #handle(request: Request): Promise<Response> {
    const body = new Uint8Array(await request.arrayBuffer());
    const response = this.before() ?? this.#answer(request, body);
    const { status } = response;
    const text = status === 200 ? "" : ` ${await response.clone().text()}`;
    this.answers.push(`${new URL(request.url).pathname} ${status}${text}`);
    return this.after() ?? response;
  }

  #answer(request: Request, body: Uint8Array): Response {
    const { headers, url } = request;
    const signed = {
      id: headers.get("webhook-id"),
      timestamp: headers.get("webhook-timestamp"),
      signature: headers.get("webhook-signature"),
    };
    const { gateway, secret } = this.#options;
    const result = verify([secret], signed, body, this.#nowMs());
    if (headers.get("wgmon-gateway") !== gateway) return this.#refuse("unknown gateway");
    if (result !== "ok") return this.#refuse(result);
    if (Number(signed.timestamp) < this.#signedAt) return this.#refuse("an earlier timestamp");
    if (this.#ids.has(signed.id!)) return this.#refuse("a known id");
    this.#signedAt = Number(signed.timestamp);
    this.#ids.add(signed.id!);
    const message: unknown = JSON.parse(new TextDecoder().decode(body));
    return Response.json(this.#take(new URL(url).pathname, message));
  }

  #take(path: string, message: unknown): HubAnswer {
    if (path.endsWith("/v1/fleet/state")) return this.hub.receiveState(message as StateMessage);
    const events = message as EventsMessage;
    for (const { event } of events.events) {
      const id = String(event["id" as keyof typeof event]);
      if (!this.arrivedMs.has(id)) this.arrivedMs.set(id, Date.now());
    }
    return this.hub.receiveEvents(events);
  }

  #refuse(detail: string): Response {
    return Response.json({ status: 401, detail, nowMs: this.#nowMs() }, { status: 401 });
  }
}
