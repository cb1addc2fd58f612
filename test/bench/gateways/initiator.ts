/**
 * A minimal WireGuard peer on a UDP socket: completes handshakes with a real device and sends data, so that
 * thousands of peers need neither devices nor processes. Received data is ignored. WireGuard paper,
 * section 5.4: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, without a preshared key.
 */

import {
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { blake2s } from "@noble/hashes/blake2.js";

const CONSTRUCTION = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER = "WireGuard v1 zx2c4 Jason@zx2c4.com";
const MAC1_LABEL = "mac1----";
/** TAI64 label of 1970-01-01, including the 10 leap seconds of that time. */
const TAI64_BASE = 0x4000_0000_0000_000an;

const INITIATION_BYTES = 148;
const RESPONSE_BYTES = 92;
const MAC_BYTES = 16;
/** The kernel ignores a peer's second initiation within 20 ms; a busy machine needs more time to respond. */
const RETRY_MS = 1000;
const ATTEMPTS = 10;

export interface Place {
  readonly address: string;
  readonly port: number;
}

export interface InitiatorOptions {
  readonly to: Place;
  /** The device's public key, base64. */
  readonly devicePublicKey: string;
  /** An address of this machine to send from, such as any that begins with 127. */
  readonly from: string;
}

interface Keypair {
  readonly sendingKey: Uint8Array;
  readonly receiverIndex: number;
  counter: number;
}

interface Handshake {
  readonly index: number;
  readonly ephemeral: KeyObject;
  readonly chain: Uint8Array;
  onResponse(response: Uint8Array): void;
}

export class Initiator implements Disposable {
  /** Base64. */
  readonly publicKey: string;
  readonly #options: InitiatorOptions;
  readonly #key: KeyObject;
  readonly #devicePublicKey: Uint8Array;
  #socket: Bun.udp.ConnectedSocket<"buffer">;
  #handshake: Handshake | null = null;
  #keypair: Keypair | null = null;

  static async create(options: InitiatorOptions): Promise<Initiator> {
    let initiator: Initiator | null = null;
    const socket = await open(options, options.from, (bytes) => initiator?.received(bytes));
    initiator = new Initiator(options, socket);
    return initiator;
  }

  private constructor(options: InitiatorOptions, socket: Bun.udp.ConnectedSocket<"buffer">) {
    this.#options = options;
    this.#socket = socket;
    this.#devicePublicKey = Buffer.from(options.devicePublicKey, "base64");
    this.#key = generateKeyPairSync("x25519").privateKey;
    this.publicKey = Buffer.from(publicBytes(this.#key)).toString("base64");
  }

  /** Source address and port. */
  get place(): string {
    return `${this.#socket.hostname}:${this.#socket.port}`;
  }

  /**
   * Completes a handshake and sends the first data message, which confirms the session to the device. Resolves with the
   * wall clock just before that message, in milliseconds with fractions.
   */
  async connect(): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { promise, resolve } = Promise.withResolvers<Uint8Array | null>();
      const timer = setTimeout(() => resolve(null), RETRY_MS);
      this.#socket.send(this.#initiate(resolve));
      const response = await promise;
      clearTimeout(timer);
      if (response === null) continue;
      this.#keypair = this.#keysFrom(response);
      this.#handshake = null;
      const atMs = performance.timeOrigin + performance.now();
      this.send();
      return atMs;
    }
    throw new Error(`no response to ${ATTEMPTS} initiations`);
  }

  /** Sends a data message: an IP packet, or a keepalive if the packet is empty. */
  send(packet: Uint8Array = new Uint8Array()): void {
    const keypair = this.#keypair;
    if (keypair === null) throw new Error("not connected");
    const padded = new Uint8Array(Math.ceil(packet.length / 16) * 16);
    padded.set(packet);
    const counter = keypair.counter++;
    const header = new DataView(new ArrayBuffer(16));
    header.setUint32(0, 4, true);
    header.setUint32(4, keypair.receiverIndex, true);
    header.setBigUint64(8, BigInt(counter), true);
    const content = cipher(keypair.sendingKey, counter).encrypt(padded);
    this.#socket.send(Buffer.concat([new Uint8Array(header.buffer), content]));
  }

  /** Changes the source address and port. The device learns the new endpoint with the next data message. */
  async move(from: string): Promise<void> {
    const old = this.#socket;
    this.#socket = await open(this.#options, from, (bytes) => this.received(bytes));
    old.close();
  }

  /** Called for each received datagram. */
  received(bytes: Uint8Array): void {
    const handshake = this.#handshake;
    if (handshake === null || bytes.length !== RESPONSE_BYTES || bytes[0] !== 2) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (view.getUint32(8, true) === handshake.index) handshake.onResponse(bytes.slice());
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  #initiate(onResponse: (response: Uint8Array) => void): Uint8Array {
    const ephemeral = generateKeyPairSync("x25519").privateKey;
    const device = this.#devicePublicKey;
    const index = crypto.getRandomValues(new Uint32Array(1))[0]!;
    const message = new Uint8Array(INITIATION_BYTES);
    const view = new DataView(message.buffer);
    view.setUint32(0, 1, true);
    view.setUint32(4, index, true);
    message.set(publicBytes(ephemeral), 8);

    let chain = hash(Buffer.from(CONSTRUCTION));
    let transcript = hash(chain, Buffer.from(IDENTIFIER));
    transcript = hash(transcript, device);
    transcript = hash(transcript, publicBytes(ephemeral));
    [chain] = derive(chain, publicBytes(ephemeral));
    let key;
    [chain, key] = derive(chain, shared(ephemeral, device));
    const sealedKey = cipher(key, 0, transcript).encrypt(publicBytes(this.#key));
    message.set(sealedKey, 40);
    transcript = hash(transcript, sealedKey);
    [chain, key] = derive(chain, shared(this.#key, device));
    message.set(cipher(key, 0, transcript).encrypt(timestamp()), 88);

    const macKey = hash(Buffer.from(MAC1_LABEL), device);
    const covered = message.subarray(0, INITIATION_BYTES - 2 * MAC_BYTES);
    message.set(blake2s(covered, { dkLen: MAC_BYTES, key: macKey }), covered.length);
    this.#handshake = { index, ephemeral, chain, onResponse };
    return message;
  }

  /** Derives the keys of the session. The response is not authenticated: only the device sends on this loopback. */
  #keysFrom(response: Uint8Array): Keypair {
    const { ephemeral, chain: initialChain } = this.#handshake!;
    const theirs = response.subarray(12, 44);
    let [chain] = derive(initialChain, theirs);
    [chain] = derive(chain, shared(ephemeral, theirs));
    [chain] = derive(chain, shared(this.#key, theirs));
    // Without a preshared key, the protocol uses zeros.
    [chain] = derive(chain, new Uint8Array(32));
    const [sendingKey] = derive(chain, new Uint8Array());
    const view = new DataView(response.buffer, response.byteOffset);
    return { sendingKey, receiverIndex: view.getUint32(4, true), counter: 0 };
  }
}

async function open(
  { to }: InitiatorOptions,
  from: string,
  received: (bytes: Uint8Array) => void,
): Promise<Bun.udp.ConnectedSocket<"buffer">> {
  return await Bun.udpSocket({
    hostname: from,
    connect: { hostname: to.address, port: to.port },
    socket: {
      data: (_socket, bytes) => received(bytes),
      // ICMP errors, if the device no longer exists.
      error() {},
    },
  });
}

/** KDF2 of the paper. Its first output equals that of KDF1. */
function derive(chain: Uint8Array, input: Uint8Array): [Uint8Array, Uint8Array] {
  const secret = hmac(chain, input);
  const first = hmac(secret, Uint8Array.of(1));
  return [first, hmac(secret, Buffer.concat([first, Uint8Array.of(2)]))];
}

/** RFC 2104; node:crypto has no HMAC with this hash. */
function hmac(key: Uint8Array, input: Uint8Array): Uint8Array {
  const block = new Uint8Array(64);
  block.set(key);
  const inner = hash(
    block.map((byte) => byte ^ 0x36),
    input,
  );
  return hash(
    block.map((byte) => byte ^ 0x5c),
    inner,
  );
}

/** AEAD of the paper: the last eight bytes of the nonce are the counter. `covered` is authenticated, not encrypted. */
function cipher(key: Uint8Array, counter: number, covered?: Uint8Array) {
  const nonce = new DataView(new ArrayBuffer(12));
  nonce.setBigUint64(4, BigInt(counter), true);
  return chacha20poly1305(key, new Uint8Array(nonce.buffer), covered);
}

function hash(...parts: readonly Uint8Array[]): Uint8Array {
  const digest = createHash("blake2s256");
  for (const part of parts) digest.update(part);
  return digest.digest();
}

function shared(own: KeyObject, theirs: Uint8Array): Uint8Array {
  return diffieHellman({ privateKey: own, publicKey: publicKeyOf(theirs) });
}

function publicKeyOf(bytes: Uint8Array): KeyObject {
  const x = Buffer.from(bytes).toString("base64url");
  return createPublicKey({ key: { kty: "OKP", crv: "X25519", x }, format: "jwk" });
}

function publicBytes(key: KeyObject): Uint8Array {
  return Buffer.from(key.export({ format: "jwk" }).x!, "base64url");
}

/** TAI64N at full resolution, because a device rejects a timestamp that is not later than the previous one. */
function timestamp(): Uint8Array {
  const nowMs = performance.timeOrigin + performance.now();
  const view = new DataView(new ArrayBuffer(12));
  view.setBigUint64(0, TAI64_BASE + BigInt(Math.floor(nowMs / 1000)));
  view.setUint32(8, Math.floor((nowMs % 1000) * 1e6));
  return new Uint8Array(view.buffer);
}
