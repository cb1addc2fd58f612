/**
 * Sends forged packets to a port, each from another address and port:
 * `bun test/bench/sender.ts PORT COUNT PER_SECOND [KIND [PUBLIC_KEY [PEER]]]`. For network namespaces of their own.
 * WGMON_TEST_TO: to this IPv4 address; left out: to 127.0.0.1. What goes over the loopback has also left this
 * machine: wgmon sees it as such in guarded mode, and a flood from outside is cheaper.
 *
 *   garbage      random bytes
 *   initiations  with the mac1 that the device of the public key takes; without a key: with a wrong one
 *   data         the first of a session, counter 0
 *   mixed        all of these; with a PEER, `127.1.2.3:40000`, as many initiations and data come from there; the
 *                default
 *
 * Prints a line when it begins, and in the end how many it sent in how many seconds, as JSON.
 */

import { errno, libc } from "../../ffi/libc.ts";
import { INITIATION_BYTES } from "../../src/base/wireguard.ts";
import { AF_INET } from "../../src/platform/constants.ts";
import { blake2s } from "../../src/sessions/blake2s.ts";
import { addressBytes } from "../support/answers.ts";
import { data, initiation, ipv4 } from "../support/packets.ts";
import { paced } from "./pace.ts";

export const KINDS = ["garbage", "initiations", "data", "mixed"] as const;
export type Kind = (typeof KINDS)[number];

const TO = process.env["WGMON_TEST_TO"] ?? "127.0.0.1";
/** bits/socket.h, netinet/in.h */
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;

/** Within an IPv4 packet without options. */
const SOURCE_AT = 12;
const SOURCE_PORT_AT = 20;
const MESSAGE_AT = 28;
const MAC_BYTES = 16;
const GARBAGE_BYTES = 100;
/** A mac1 takes long: so many initiations are made beforehand. More than wgmon waits for. */
const INITIATIONS = 4096;

/** Makes the next packet; the same memory again and again. */
type Make = (index: number) => Uint8Array;

function makers(port: number, publicKey: string): Readonly<Record<Exclude<Kind, "mixed">, Make>> {
  const way = { source: "10.0.0.0", destination: TO, destinationPort: port };
  const fromAnywhere = (packet: Uint8Array) => {
    crypto.getRandomValues(packet.subarray(SOURCE_AT + 1, SOURCE_AT + 4));
    crypto.getRandomValues(packet.subarray(SOURCE_PORT_AT, SOURCE_PORT_AT + 2));
    return packet;
  };
  const garbage = ipv4(new Uint8Array(GARBAGE_BYTES), way);
  const first = ipv4(data(0), way);
  const initiations = validInitiations(publicKey).map((message) => ipv4(message, way));
  return {
    garbage() {
      crypto.getRandomValues(garbage.subarray(MESSAGE_AT));
      return fromAnywhere(garbage);
    },
    initiations: (index) => fromAnywhere(initiations[index % initiations.length]!),
    data() {
      vary(first);
      return fromAnywhere(first);
    },
  };
}

/** Another index, of the sender or of the receiver. */
function vary(packet: Uint8Array): void {
  crypto.getRandomValues(packet.subarray(MESSAGE_AT + 4, MESSAGE_AT + 8));
}

/** WireGuard paper, section 5.4.4. The encrypted fields are random bytes. */
function validInitiations(publicKey: string): Uint8Array[] {
  const label = Buffer.concat([Buffer.from("mac1----"), Buffer.from(publicKey, "base64")]);
  const key = blake2s(label, { digestBytes: 32, key: new Uint8Array() });
  const covered = INITIATION_BYTES - 2 * MAC_BYTES;
  return Array.from({ length: INITIATIONS }, () => {
    const message = initiation();
    crypto.getRandomValues(message.subarray(4, covered));
    message.set(blake2s(message.subarray(0, covered), { digestBytes: MAC_BYTES, key }), covered);
    message.fill(0, covered + MAC_BYTES);
    return message;
  });
}

function mixed(port: number, publicKey: string, peer: string | undefined): Make {
  const made = makers(port, publicKey);
  const all = [made.initiations, made.data, made.garbage];
  if (peer !== undefined) {
    const [source, sourcePort] = peer.split(":");
    const way = { source: source!, sourcePort: Number(sourcePort), destinationPort: port };
    for (const message of [initiation(), data(0)]) {
      const packet = ipv4(message, { ...way, destination: TO });
      all.push(() => {
        vary(packet);
        return packet;
      });
    }
  }
  return (index) => all[index % all.length]!(Math.floor(index / all.length));
}

/** raw(7); the kernel writes the checksum of the IP header. */
function rawSocket(): (packet: Uint8Array) => void {
  const descriptor = libc().socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  // struct sockaddr_in
  const address = new Uint8Array(new ArrayBuffer(16));
  address[0] = AF_INET;
  address.set(addressBytes(TO), 4);
  if (libc().connect(descriptor, address, address.length) < 0) {
    throw new Error(`raw socket: errno ${errno()}`);
  }
  return (packet) => {
    if (Number(libc().write(descriptor, packet, packet.length)) < 0) {
      throw new Error(`raw socket: errno ${errno()}`);
    }
  };
}

if (import.meta.main) {
  const [kindText = "mixed", publicKey = "", peer] = process.argv.slice(5);
  const [port, count, perSecond] = process.argv.slice(2, 5).map(Number);
  const kind = KINDS.find((each) => each === kindText);
  if (kind === undefined || port === undefined || count === undefined || perSecond === undefined) {
    console.error(`sender.ts PORT COUNT PER_SECOND [${KINDS.join("|")} [PUBLIC_KEY [PEER]]]`);
    process.exit(2);
  }
  const make = kind === "mixed" ? mixed(port, publicKey, peer) : makers(port, publicKey)[kind];
  const send = rawSocket();
  console.log("sending");
  const { done, seconds } = await paced({ count, perSecond }, (index) => send(make(index)));
  console.log(JSON.stringify({ sent: done, seconds }));
  process.exit(0);
}
