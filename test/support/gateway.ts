/**
 * A WireGuard device for benchmarks, whose peers connect, send, move and go when they are told to, by
 * the hundred. There are two kinds: kernel-gateway.ts and played-gateway.ts.
 */

export interface Gateway extends AsyncDisposable {
  /** Its peers send to this port of 127.0.0.1. */
  readonly port: number;
  /** Base64. Who knows it can make initiations that the device spends work on. */
  readonly publicKey: string;
  /** Configures peers, which do nothing yet. Each sends from an address of its own. */
  addPeers(count: number): Promise<readonly RemotePeer[]>;
  /** Peers that nobody is behind. */
  addSilentPeers(count: number): Promise<void>;
}

export interface RemotePeer {
  readonly publicKey: string;
  /** Where it sends from now: `127.1.2.3:40000`. */
  readonly place: string;
  /**
   * Completes a handshake. Resolves with the wall clock at the moment when the first data was sent, in
   * milliseconds with fractions.
   */
  connect(): Promise<number>;
  /** One data message. */
  send(): void;
  /** One data message from another address and port, where it then stays. */
  roam(): Promise<void>;
  /** Takes it out of the device. */
  remove(): Promise<void>;
  /** Configures it again, without a session. */
  restore(): Promise<void>;
}
