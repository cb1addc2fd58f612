/** A webhook receiver in a virtual machine that records the reported peers. */

import { type Received, Receiver } from "../support/receiver.ts";
import type { Peer } from "./network.ts";

export class Reports implements Disposable {
  readonly #receiver = new Receiver();

  get url(): string {
    return this.#receiver.url();
  }

  set status(status: number) {
    this.#receiver.answer = { status };
  }

  /** Resolves when the peer.connected event of the peer has been received, even with an error response. */
  async connected(peer: Peer): Promise<void> {
    const { requests } = this.#receiver;
    const isOfPeer = (request: Received): boolean => keyOf(request) === peer.keys.publicKey;
    await this.#receiver
      .waitFor((all) => all.some(isOfPeer))
      .catch(() => {
        throw new Error(`no report of ${peer.name}; ${requests.length} requests received`);
      });
  }

  forget(): void {
    this.#receiver.requests.length = 0;
  }

  /** Number of different events received; retries do not count. */
  get count(): number {
    return new Set(this.#receiver.requests.map(({ event }) => event?.id)).size;
  }

  [Symbol.dispose](): void {
    this.#receiver[Symbol.dispose]();
  }
}

function keyOf({ event }: Received): string | null {
  return event?.type === "peer.connected" ? event.data.peer.publicKey : null;
}
