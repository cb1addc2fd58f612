/**
 * Reads a device's own attributes, those beside its peers, in the kernel's answer to WG_CMD_GET_DEVICE. They become a new
 * object only if they differ from those of the previous dump. The attribute of the private key is skipped: it never
 * becomes a value. Pure.
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
  /** The device in the last dump, and its public key as words. */
  #known: Device | null = null;
  readonly #knownKey = new Int32Array(KEY_WORDS);
  /** The values in the current message; of texts and keys the offsets. */
  #index = 0;
  #listenPort = 0;
  #name = 0;
  #nameEnd = 0;
  #key = -1;

  /** The device that was read last; null before the first. */
  get known(): Device | null {
    return this.#known;
  }

  /** Starts a message. */
  begin(): void {
    this.#index = 0;
    this.#listenPort = 0;
    this.#name = 0;
    this.#nameEnd = 0;
    this.#key = -1;
  }

  /**
   * Reads one attribute, whose payload is at `start`; ignores all others than the device's own.
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
        this.#name = start;
        this.#nameEnd = end;
        break;
      case WGDEVICE_A_PUBLIC_KEY:
        expectLength("WGDEVICE_A_PUBLIC_KEY", start, end, WG_KEY_LEN);
        this.#key = start;
        break;
      case WGDEVICE_A_LISTEN_PORT:
        expectLength("WGDEVICE_A_LISTEN_PORT", start, end, 2);
        this.#listenPort = view.getUint16(start, true);
        break;
    }
  }

  /**
   * Ends a message that begins a device. Returns the device; the same object as before if nothing changed.
   *
   * @param words the words of the answer.
   */
  finish({ bytes }: Bytes, words: Int32Array): Device {
    const known = this.#known;
    const key = this.#key;
    if (
      known !== null &&
      known.index === this.#index &&
      known.listenPort === this.#listenPort &&
      isText(bytes, this.#name, this.#nameEnd, known.name) &&
      (key === -1
        ? known.publicKey === null
        : known.publicKey !== null && sameWords(this.#knownKey, 0, words, key >> 2, KEY_WORDS))
    ) {
      return known;
    }
    if (key !== -1) copyWords(this.#knownKey, 0, words, key >> 2, KEY_WORDS);
    this.#known = {
      name: readText(bytes, this.#name, this.#nameEnd),
      index: this.#index,
      listenPort: this.#listenPort,
      publicKey: key === -1 ? null : keyText(words, key >> 2),
    };
    return this.#known;
  }
}

/** Whether the attribute is this text followed by a NUL. */
function isText(bytes: Uint8Array, start: number, end: number, text: string): boolean {
  if (end - start !== text.length + 1 || bytes[end - 1] !== 0) return false;
  for (let i = 0; i < text.length; i++) {
    if (bytes[start + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}
