/**
 * Keeps the sample of handshake messages open while `handshake.unknown` is enabled. If the sample cannot be opened,
 * only packets that wake wgmon are counted.
 */

import { LibraryError } from "../../ffi/errors.ts";
import { isUnreadable } from "../base/errors.ts";
import type { Log } from "../platform/log.ts";
import type { HandshakeSample } from "./handshake-sample.ts";

interface Options {
  readonly log: Log;
  readonly isEnabled: () => boolean;
  readonly open: (onPacket: (bytes: Uint8Array) => void) => Promise<HandshakeSample>;
  readonly onPacket: (bytes: Uint8Array) => void;
}

export class UnknownSampler {
  readonly #options: Options;
  /** null: not enabled, not permitted or not open yet. */
  #sample: HandshakeSample | null = null;
  /** Whether `open` has tried to open the sample. */
  #wasTried = false;
  #isClosed = false;
  #ports: readonly number[] = [];

  constructor(options: Options) {
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#sample !== null;
  }

  /** Opens the sample if it is enabled; at most one attempt is made. */
  async open(): Promise<void> {
    const { log, isEnabled, open, onPacket } = this.#options;
    if (!isEnabled() || this.#wasTried) return;
    this.#wasTried = true;
    try {
      const sample = await open((bytes) => {
        if (isEnabled()) onPacket(bytes);
      });
      try {
        sample.setPorts(this.#ports);
      } catch (error) {
        sample.close();
        throw error;
      }
      if (this.#isClosed) sample.close();
      else this.#sample = sample;
    } catch (error) {
      if (!isUnreadable(error) && !(error instanceof LibraryError)) throw error;
      const { message } = error as Error;
      log.warn(`handshake.unknown counts only packets that wake wgmon: ${message}`);
    }
  }

  /** @throws SystemError */
  setPorts(ports: readonly number[]): void {
    this.#ports = ports;
    this.#sample?.setPorts(ports);
  }

  close(): void {
    this.#isClosed = true;
    this.#sample?.close();
    this.#sample = null;
  }
}
