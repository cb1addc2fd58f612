/**
 * What tells of peers in a flood, when packets are too many to be read or looked for: the responses that
 * this machine itself sends, and the first data of its sessions. WireGuard answers only initiations that
 * it has accepted, which nobody outside can forge without a peer's key, and so each says that a handshake
 * is about to end; where it has begun the handshake, it sends data as soon as that has ended. To hear of
 * them always would cost a wake-up more for each handshake.
 */

import type { Clock } from "../clock.ts";
import { readDatagrams } from "../datagrams.ts";
import { SystemError } from "../errors.ts";
import { answerFilter } from "./filter.ts";
import {
  bindPacketSocket,
  closePacketSocket,
  openPacketSocket,
  takeDrops,
} from "./packetsocket.ts";
import { attachFilter } from "./socketfilter.ts";

/** A flood that pauses for less is the same one. */
const LINGER_MS = 10_000;
/**
 * Whoever was answered before we listened, or among more than is read, such as what others send by way of
 * this machine, is not heard of. For so long there are others to be looked for.
 */
const DEAF_MS = 1000;

export class Answers {
  readonly #clock: Clock;
  readonly #seen: (packet: Uint8Array) => void;
  #state: "closed" | "opening" | "open" | "refused" = "closed";
  #close = () => {};
  #cancelLinger = () => {};
  #isOver = false;
  #deafAtMs = -Infinity;
  #ports = "";

  /** @param seen is told of each, from its IP header on; the bytes are its to keep. */
  constructor(clock: Clock, seen: (packet: Uint8Array) => void) {
    this.#clock = clock;
    this.#seen = seen;
  }

  /**
   * Listens for a while from now on. Whether it does so already and has missed nothing; where it may not
   * (CAP_NET_RAW) it never will.
   *
   * @param ports that our own WireGuard listens to.
   */
  listen(ports: readonly number[]): boolean {
    if (this.#isOver) return false;
    if (ports.join() !== this.#ports) this.#stop();
    if (this.#state === "closed") void this.#open(ports);
    this.#cancelLinger();
    this.#cancelLinger = this.#clock.after(LINGER_MS, () => this.#stop());
    const isDeaf = this.#clock.now().monotonicMs - this.#deafAtMs < DEAF_MS;
    return this.#state === "open" && !isDeaf;
  }

  close(): void {
    this.#isOver = true;
    this.#cancelLinger();
    this.#stop();
  }

  async #open(ports: readonly number[]): Promise<void> {
    this.#state = "opening";
    this.#ports = ports.join();
    let descriptor = -1;
    const miss = () => {
      this.#deafAtMs = this.#clock.now().monotonicMs;
    };
    try {
      descriptor = openPacketSocket();
      attachFilter(descriptor, answerFilter(ports));
      bindPacketSocket(descriptor, 0, "bind a packet socket");
      const end = await readDatagrams(descriptor, this.#clock, {
        data: this.#seen,
        lost: miss,
        overrun: miss,
        dropped: () => takeDrops(descriptor) > 0,
      });
      this.#close = () => {
        end();
        closePacketSocket(descriptor);
      };
      miss();
      this.#state = "open";
      if (this.#isOver) this.#stop();
    } catch (error) {
      if (descriptor >= 0) closePacketSocket(descriptor);
      // It only helps; without it there are more looks.
      const code = error instanceof SystemError ? error.code : "";
      this.#state = code === "EPERM" || code === "EACCES" ? "refused" : "closed";
    }
  }

  #stop(): void {
    if (this.#state !== "open") return;
    this.#state = "closed";
    this.#close();
  }
}
