/**
 * Holds the sessions of the connected peers, and finds them by peer and by endpoint. Also holds the peers that can
 * return without a handshake. No I/O.
 */

import type { ClockStep } from "../base/wall-clock.ts";
import { type Endpoint, type PublicKey, sameEndpoint } from "../base/wireguard.ts";
import { movedSession, type Session } from "./session.ts";

/** A device and a peer. */
export type SessionKey = string;

export class SessionTable {
  readonly #sessions = new Map<SessionKey, Session>();
  /** The latest session by device, outer address and port. */
  readonly #byEndpoint = new Map<string, SessionKey>();
  /**
   * Peers that were disconnected as idle while the keys of their handshake are still valid: they can return without a
   * new handshake.
   */
  readonly silent = new Map<SessionKey, Pick<Session, "device" | "handshakeAt">>();

  get size(): number {
    return this.#sessions.size;
  }

  /** Names of the devices of all these peers. */
  get devices(): ReadonlySet<string> {
    const names = new Set<string>();
    for (const { device } of this.#sessions.values()) names.add(device);
    for (const { device } of this.silent.values()) names.add(device);
    return names;
  }

  values(): Iterable<Session> {
    return this.#sessions.values();
  }

  /** Sessions may be put and deleted during the iteration. */
  entries(): Iterable<readonly [SessionKey, Session]> {
    return this.#sessions;
  }

  has(key: SessionKey): boolean {
    return this.#sessions.has(key);
  }

  get(key: SessionKey): Session | undefined {
    return this.#sessions.get(key);
  }

  /** The latest session of the device with this endpoint. */
  at(device: string, endpoint: Pick<Endpoint, "address" | "port">): Session | undefined {
    const key = this.#byEndpoint.get(endpointKey(device, endpoint));
    return key === undefined ? undefined : this.#sessions.get(key);
  }

  put(session: Session): void {
    const key = sessionKey(session.device, session.peer.publicKey);
    const before = this.#sessions.get(key)?.endpoint ?? null;
    this.#sessions.set(key, session);
    this.silent.delete(key);
    const { endpoint } = session;
    if (before !== null && !sameEndpoint(before, endpoint)) {
      this.#removeEndpoint(session.device, before, key);
    }
    if (endpoint !== null) this.#byEndpoint.set(endpointKey(session.device, endpoint), key);
  }

  delete(key: SessionKey): void {
    const session = this.#sessions.get(key);
    if (session === undefined) return;
    this.#sessions.delete(key);
    if (session.endpoint !== null) this.#removeEndpoint(session.device, session.endpoint, key);
  }

  /** Moves the remembered wall-clock times of all sessions. */
  clockSet(step: ClockStep): void {
    for (const [key, session] of this.#sessions) {
      this.#sessions.set(key, movedSession(session, step));
    }
  }

  /** Keeps the entry if another session has the endpoint now. */
  #removeEndpoint(device: string, endpoint: Endpoint, key: SessionKey): void {
    const indexKey = endpointKey(device, endpoint);
    if (this.#byEndpoint.get(indexKey) === key) this.#byEndpoint.delete(indexKey);
  }
}

export function sessionKey(device: string, publicKey: PublicKey): SessionKey {
  return `${device} ${publicKey}`;
}

function endpointKey(
  device: string,
  { address, port }: Pick<Endpoint, "address" | "port">,
): string {
  return `${device} ${address} ${port}`;
}
