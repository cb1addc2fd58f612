/**
 * Checks whether the sender of a handshake message knows the public key of the receiving device. A sender that knows it
 * need not be a peer. WireGuard paper section 5.4.4.
 */

import { blake2s } from "@noble/hashes/blake2.js";

import type { PublicKey } from "../base/wireguard.ts";
import { MAC_BYTES } from "../capture/packet.ts";

/** MAC1_KEY_LABEL in drivers/net/wireguard/cookie.c. */
const LABEL = "mac1----";

/**
 * @param handshake an initiation or a response up to the end of its mac1, which covers everything before it.
 * @param publicKey public key of the device that received it.
 */
export function hasValidMac1(handshake: Uint8Array, publicKey: PublicKey): boolean {
  const key = blake2s(Buffer.concat([Buffer.from(LABEL), Buffer.from(publicKey, "base64")]));
  const mac1 = blake2s(handshake.subarray(0, -MAC_BYTES), { dkLen: MAC_BYTES, key });
  return Buffer.compare(mac1, handshake.subarray(-MAC_BYTES)) === 0;
}
