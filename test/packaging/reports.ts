/** A webhook's receiver in a virtual machine, and what peers are reported to it. */

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

  /** Resolves when the peer's connect has come, even if it was refused. */
  async connected(peer: Peer): Promise<void> {
    const { requests } = this.#receiver;
    const isIt = (request: Received): boolean => keyOf(request) === peer.keys.publicKey;
    await this.#receiver
      .waitFor((all) => all.some(isIt))
      .catch(() => {
        throw new Error(`no report of ${peer.name}; ${requests.length} requests came`);
      });
  }

  forget(): void {
    this.#receiver.requests.length = 0;
  }

  /** How many events have come, each once however often it was tried. */
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
