/** Addresses for peers: all that begin with 127 are this machine's own, and can be sent from. */

let last = 0;

/** One that nobody in this process was given before; there are eight million. */
export function newAddress(): string {
  last++;
  return `127.${1 + (last >> 16)}.${(last >> 8) & 255}.${last & 255}`;
}
