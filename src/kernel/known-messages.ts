/**
 * Finds the messages of a device's dump that are the same as in the previous dump: with 10,000 idle peers almost all
 * are. Comparing a message is one native call; parsing it takes a loop over its peers, whose compiled code the
 * JavaScript runtime discards while the program is idle.
 *
 * Only a hash of each message is kept, because messages contain private and preshared keys. To make a copy without the
 * keys would take that loop, and megabytes of memory. The hash has 64 bits and a random seed, so collisions cannot be
 * provoked and are too unlikely to matter.
 */

import { NLMSG_HDRLEN } from "../platform/constants.ts";

const SEED = crypto.getRandomValues(new BigUint64Array(1))[0]!;

/** Matches no message: hashes are not negative. */
const NO_HASH = -1n;

interface Message {
  hash: bigint;
  /** The rows of the peers in this message. */
  readonly rows: number[];
}

export class KnownMessages {
  /** In the order of the dump. */
  #messages: Message[] = [];
  #count = 0;
  #isValid = true;

  /** Starts a dump. Forgets all messages unless the last dump ended as valid, because their rows may be wrong. */
  begin(): void {
    if (!this.#isValid) this.#messages = [];
    this.#isValid = false;
    this.#count = 0;
  }

  /**
   * Compares the next message with the one at the same place in the previous dump. If it is not known, the caller must
   * replace the contents of `rows`.
   */
  next(bytes: Uint8Array, start: number, end: number): { isKnown: boolean; rows: number[] } {
    // Without the netlink header, which contains the sequence number of the request.
    const hash = Bun.hash.xxHash64(bytes.subarray(start + NLMSG_HDRLEN, end), SEED);
    const message = this.#messages[this.#count];
    this.#count++;
    if (message === undefined) {
      const rows: number[] = [];
      this.#messages.push({ hash, rows });
      return { isKnown: false, rows };
    }
    const { rows } = message;
    const isKnown = message.hash === hash;
    message.hash = hash;
    return { isKnown, rows };
  }

  /**
   * Makes the current message unknown in the next dump too: it continues a peer of the previous message, so it must be
   * parsed in every dump.
   */
  forgetCurrent(): void {
    this.#messages[this.#count - 1]!.hash = NO_HASH;
  }

  /**
   * Ends the dump. `isValid`: every message was parsed or known, and the row numbers still belong to the same peers.
   */
  end(isValid: boolean): void {
    this.#messages.length = this.#count;
    this.#isValid = isValid;
  }
}
