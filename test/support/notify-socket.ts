/** The supervisor's end of $NOTIFY_SOCKET, as in systemd: an AF_UNIX datagram socket, opened through libc. */

import { errno, libc } from "../../ffi/libc.ts";
import {
  AF_UNIX,
  EAGAIN,
  MSG_DONTWAIT,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
} from "../../src/platform/constants.ts";

export class NotifySocket implements Disposable {
  readonly address: string;
  readonly #descriptor = libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

  /** @param address a path, or @ and a name in the abstract namespace. */
  constructor(address: string) {
    this.address = address;
    const name = new TextEncoder().encode(address.replace(/^@/, "\0"));
    // A path ends with a NUL; an abstract name does not.
    const bytes = new Uint8Array(new ArrayBuffer(2 + name.length + (name[0] === 0 ? 0 : 1)));
    bytes[0] = AF_UNIX;
    bytes.set(name, 2);
    if (libc().bind(this.#descriptor, bytes, bytes.length) < 0) {
      throw new Error(`bind ${address}: errno ${errno()}`);
    }
  }

  /** Returns the datagrams received since the last call, as texts. */
  take(): string[] {
    const texts: string[] = [];
    const bytes = new Uint8Array(new ArrayBuffer(65_536));
    for (;;) {
      const length = Number(libc().recv(this.#descriptor, bytes, bytes.length, MSG_DONTWAIT));
      const code = length < 0 ? errno() : 0;
      if (code === EAGAIN) return texts;
      if (code !== 0) throw new Error(`recv: errno ${code}`);
      texts.push(new TextDecoder().decode(bytes.subarray(0, length)));
    }
  }

  [Symbol.dispose](): void {
    libc().close(this.#descriptor);
  }
}
