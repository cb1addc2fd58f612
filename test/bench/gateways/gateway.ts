/**
 * The interface of a WireGuard device for benchmarks, with hundreds of peers that connect, send data and roam on
 * request. Two implementations: kernel.ts and played.ts (simulated).
 */

export interface Gateway extends AsyncDisposable {
  /** Its peers send to this port of 127.0.0.1. */
  readonly port: number;
  /** Base64. Needed for initiations with a valid mac1, which the device decrypts. */
  readonly publicKey: string;
  /** Configures peers, which send nothing until they are used. Each has a different source address. */
  addPeers(count: number): Promise<readonly RemotePeer[]>;
  /** Configures peers that never connect. */
  addSilentPeers(count: number): Promise<void>;
}

export interface RemotePeer {
  readonly publicKey: string;
  /** The current source address and port: `127.1.2.3:40000`. */
  readonly place: string;
  /**
   * Completes a handshake and sends the first data message. Resolves with the wall clock just before that message, in
   * milliseconds with fractions.
   */
  connect(): Promise<number>;
  /** Sends one data message. */
  send(): void;
  /** Changes to another address and port, and sends one data message from there. */
  roam(): Promise<void>;
  /** Removes the peer from the device. */
  remove(): Promise<void>;
  /** Adds the peer to the device again, without a session. */
  restore(): Promise<void>;
}
