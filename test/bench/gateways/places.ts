/** Source addresses for peers: every address in 127.0.0.0/8 is local, so a socket can send from it. */

let last = 0;

/** A different address with each call, up to eight million in a process. */
export function newAddress(): string {
  last++;
  return `127.${1 + (last >> 16)}.${(last >> 8) & 255}.${last & 255}`;
}
