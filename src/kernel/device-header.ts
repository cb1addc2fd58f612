/**
 * Reads the attributes of a device itself, not of its peers, in the kernel's answer to WG_CMD_GET_DEVICE. Creates a new
 * object only if they differ from those of the previous dump. Skips the private key, which never becomes a value. Pure.
 */

import type { Device } from "../base/wireguard.ts";
import {
  WG_KEY_LEN,
  WGDEVICE_A_IFINDEX,
  WGDEVICE_A_IFNAME,
  WGDEVICE_A_LISTEN_PORT,
  WGDEVICE_A_PUBLIC_KEY,
} from "../platform/constants.ts";
import { type Bytes, expectLength, readText } from "./netlink.ts";
import { copyWords, KEY_WORDS, keyText, sameWords } from "./peer-rows.ts";

export class DeviceHeader {
  /** The device of the last dump, and its public key as words. */
  #known: Device | null = null;
  readonly #knownKey = new Int32Array(KEY_WORDS);
  /** The values in the current message; for name and key, their offsets. Key -1: none. */
  #index = 0;
  #listenPort = 0;
  #nameStart = 0;
  #nameEnd = 0;
  #keyStart = -1;

  /** The device that was read last; null before the first. */
  get known(): Device | null {
    return this.#known;
  }

  /** Forgets the values of the previous message. */
  begin(): void {
    this.#index = 0;
    this.#listenPort = 0;
    this.#nameStart = 0;
    this.#nameEnd = 0;
    this.#keyStart = -1;
  }

  /**
   * Reads one attribute, whose payload is from `start` to `end`; ignores attributes that Device does not have.
   *
   * @throws ParseError
   */
  readAttribute(type: number, { view }: Bytes, start: number, end: number): void {
    switch (type) {
      case WGDEVICE_A_IFINDEX:
        expectLength("WGDEVICE_A_IFINDEX", start, end, 4);
        this.#index = view.getUint32(start, true);
        break;
      case WGDEVICE_A_IFNAME:
        this.#nameStart = start;
        this.#nameEnd = end;
        break;
      case WGDEVICE_A_PUBLIC_KEY:
        expectLength("WGDEVICE_A_PUBLIC_KEY", start, end, WG_KEY_LEN);
        this.#keyStart = start;
        break;
      case WGDEVICE_A_LISTEN_PORT:
        expectLength("WGDEVICE_A_LISTEN_PORT", start, end, 2);
        this.#listenPort = view.getUint16(start, true);
        break;
    }
  }

  /**
   * Returns the device after its attributes have been read; the same object as in the previous dump if nothing changed.
   *
   * @param words the words of the answer.
   */
  finish({ bytes }: Bytes, words: Int32Array): Device {
    const known = this.#known;
    const key = this.#keyStart;
    if (
      known !== null &&
      known.index === this.#index &&
      known.listenPort === this.#listenPort &&
      equalsText(bytes, this.#nameStart, this.#nameEnd, known.name) &&
      (key === -1
        ? known.publicKey === null
        : known.publicKey !== null && sameWords(this.#knownKey, 0, words, key >> 2, KEY_WORDS))
    ) {
      return known;
    }
    if (key !== -1) copyWords(this.#knownKey, 0, words, key >> 2, KEY_WORDS);
    this.#known = {
      name: readText(bytes, this.#nameStart, this.#nameEnd),
      index: this.#index,
      listenPort: this.#listenPort,
      publicKey: key === -1 ? null : keyText(words, key >> 2),
    };
    return this.#known;
  }
}

/** Whether the bytes are this text, in ASCII, followed by a NUL. */
function equalsText(bytes: Uint8Array, start: number, end: number, text: string): boolean {
  if (end - start !== text.length + 1 || bytes[end - 1] !== 0) return false;
  for (let i = 0; i < text.length; i++) {
    if (bytes[start + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}
