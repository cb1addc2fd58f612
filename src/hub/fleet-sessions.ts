/**
 * The sessions of the peers of all gateways, by gateway: what concerns one gateway does not read the sessions of a
 * thousand others. No I/O.
 */

import type { ClockStep } from "../base/wall-clock.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import { type SessionKey, sessionKey } from "../sessions/session-table.ts";
import { movedSession, type Session } from "../sessions/session.ts";

export class FleetSessions {
  readonly #byGateway = new Map<string, Map<SessionKey, Session>>();

  get(key: SessionKey): Session | undefined {
    return this.#byGateway.get(gatewayOf(key))?.get(key);
  }

  put(session: Session): void {
    const key = sessionKey(session.device, session.peer.publicKey);
    const gateway = gatewayOf(key);
    const sessions = this.#byGateway.get(gateway);
    if (sessions === undefined) this.#byGateway.set(gateway, new Map([[key, session]]));
    else sessions.set(key, session);
  }

  delete(key: SessionKey): void {
    this.#byGateway.get(gatewayOf(key))?.delete(key);
  }

  /** The sessions of one gateway. Sessions may be put and deleted afterwards. */
  of(gateway: string): Session[] {
    return [...(this.#byGateway.get(gateway)?.values() ?? [])];
  }

  countOf(gateway: string): number {
    return this.#byGateway.get(gateway)?.size ?? 0;
  }

  /** All sessions, as often as they are iterated. They may be put and deleted during the iteration. */
  values(): Iterable<Session> {
    const byGateway = this.#byGateway;
    return {
      *[Symbol.iterator]() {
        for (const sessions of byGateway.values()) yield* sessions.values();
      },
    };
  }

  /** Moves the remembered wall-clock times of all sessions. */
  clockSet(step: ClockStep): void {
    for (const sessions of this.#byGateway.values()) {
      for (const [key, session] of sessions) sessions.set(key, movedSession(session, step));
    }
  }
}

/** The key of a session begins with the device, `berlin/wg0`. */
function gatewayOf(key: SessionKey): string {
  return splitDevice(key).gateway ?? "";
}
