/**
 * Which messages of a device's dump are the same as in the dump before: with 10,000 idle peers nearly all are. One
 * call compares a message; reading it takes a loop over its peers, whose compiled code the runtime discards while the
 * program is idle.
 *
 * Of a message only a hash is kept, because it has private and preshared keys. A copy without them would need that
 * loop, and is megabytes. The hash has 64 bits and a random seed, so that two messages with the same one can be neither
 * made on purpose nor expected by chance.
 */

import { NLMSG_HDRLEN } from "./uapi.ts";

const SEED = crypto.getRandomValues(new BigUint64Array(1))[0]!;

/** Of no message: hashes are not negative. */
const NO_HASH = -1n;

interface Message {
  hash: bigint;
  /** The rows of the peers that it is about. */
  readonly rows: number[];
}

export class KnownMessages {
  /** In the order of the dump. */
  #messages: Message[] = [];
  #count = 0;
  #isValid = true;

  /**
   * Starts a dump. After an incomplete one nothing is known: the table may not match its messages.
   */
  begin(): void {
    if (!this.#isValid) this.#messages = [];
    this.#isValid = false;
    this.#count = 0;
  }

  /** The next message. Whether it is known; if not, the reader must fill in its rows. */
  next(bytes: Uint8Array, start: number, end: number): { isKnown: boolean; rows: number[] } {
    // Without its netlink header, which has the sequence number of the request.
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

  /** The message that is read now cannot be judged without the one before: it is to be read each time. */
  readAlways(): void {
    this.#messages[this.#count - 1]!.hash = NO_HASH;
  }

  /** Ends the dump. `isValid`: all its messages were read or known, and the rows are still those of these peers. */
  end(isValid: boolean): void {
    this.#messages.length = this.#count;
    this.#isValid = isValid;
  }
}
