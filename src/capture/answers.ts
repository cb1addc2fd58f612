/**
 * What tells of peers while a flood is thrown away unread: the responses that this machine itself sends.
 * WireGuard answers only initiations that it has accepted, which nobody can forge without a peer's key,
 * and so each says that a handshake is about to end. To hear of them always would cost a wake-up more
 * for each handshake.
 */

import type { Clock } from "../clock.ts";
import { readDatagrams } from "../datagrams.ts";
import { SystemError } from "../errors.ts";
import { answerFilter } from "./filter.ts";
import { bindPacketSocket, closePacketSocket, openPacketSocket } from "./packetsocket.ts";
import { attachFilter } from "./socketfilter.ts";

/** A flood that pauses for less is the same one. */
const LINGER_MS = 10_000;

export class Answers {
  readonly #clock: Clock;
  readonly #seen: (packet: Uint8Array) => void;
  #state: "closed" | "opening" | "open" | "refused" = "closed";
  #close = () => {};
  #cancelLinger = () => {};
  #isOver = false;

  /** @param seen is told of each response, from its IP header on; the bytes are its to keep. */
  constructor(clock: Clock, seen: (packet: Uint8Array) => void) {
    this.#clock = clock;
    this.#seen = seen;
  }

  /**
   * A flood came, or goes on: listens for a while from now on. Whether it does so already; where it may
   * not (CAP_NET_RAW) it never will.
   */
  flooded(): boolean {
    if (this.#isOver) return false;
    if (this.#state === "closed") void this.#open();
    this.#cancelLinger();
    this.#cancelLinger = this.#clock.after(LINGER_MS, () => this.#stop());
    return this.#state === "open";
  }

  close(): void {
    this.#isOver = true;
    this.#cancelLinger();
    this.#stop();
  }

  async #open(): Promise<void> {
    this.#state = "opening";
    let descriptor = -1;
    try {
      descriptor = openPacketSocket();
      attachFilter(descriptor, answerFilter());
      bindPacketSocket(descriptor, 0, "bind a packet socket");
      const end = await readDatagrams(descriptor, this.#clock, {
        data: this.#seen,
        lost() {},
      });
      this.#close = () => {
        end();
        closePacketSocket(descriptor);
      };
      this.#state = "open";
      if (this.#isOver) this.#stop();
    } catch (error) {
      if (descriptor >= 0) closePacketSocket(descriptor);
      if (!(error instanceof SystemError)) throw error;
      this.#state = error.code === "EPERM" || error.code === "EACCES" ? "refused" : "closed";
    }
  }

  #stop(): void {
    if (this.#state !== "open") return;
    this.#state = "closed";
    this.#close();
  }
}
