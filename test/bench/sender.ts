/**
 * Sends forged packets to a port, from random addresses and ports:
 * `bun test/bench/sender.ts PORT COUNT PER_SECOND [KIND [PUBLIC_KEY [PEER]]]`. For separate network namespaces.
 * WGMON_TEST_TO is the destination IPv4 address, default 127.0.0.1. Packets on the loopback are also outgoing packets,
 * which wgmon captures in guarded mode: a flood from another machine costs less.
 *
 *   garbage      random bytes
 *   initiations  with a valid mac1 for the device with PUBLIC_KEY; without a key, with an invalid mac1
 *   data         the first message of a session: counter 0
 *   mixed        all of these, and with a PEER (`127.1.2.3:40000`) as many initiations and data messages from that
 *                address and port; the default
 *
 * Prints a line before the first packet, and at the end the number of packets and the seconds as JSON.
 */

import { blake2s } from "@noble/hashes/blake2.js";

import { INITIATION_BYTES } from "../../src/base/wireguard.ts";
import { data, initiation, ipv4 } from "../support/packets.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { paced } from "./pace.ts";

export const KINDS = ["garbage", "initiations", "data", "mixed"] as const;
export type Kind = (typeof KINDS)[number];

const TO = process.env["WGMON_TEST_TO"] ?? "127.0.0.1";

/** Offsets in an IPv4 packet without options. */
const SOURCE_AT = 12;
const SOURCE_PORT_AT = 20;
const MESSAGE_AT = 28;
const MAC_BYTES = 16;
const GARBAGE_BYTES = 100;
/** Number of initiations that are prepared, because a mac1 is slow to compute. More than wgmon remembers. */
const INITIATIONS = 4096;

/** Returns the next packet. The buffer is reused. */
type Make = (index: number) => Uint8Array;

function makers(port: number, publicKey: string): Readonly<Record<Exclude<Kind, "mixed">, Make>> {
  const fields = { source: "10.0.0.0", destination: TO, destinationPort: port };
  const fromAnywhere = (packet: Uint8Array) => {
    crypto.getRandomValues(packet.subarray(SOURCE_AT + 1, SOURCE_AT + 4));
    crypto.getRandomValues(packet.subarray(SOURCE_PORT_AT, SOURCE_PORT_AT + 2));
    return packet;
  };
  const garbage = ipv4(new Uint8Array(GARBAGE_BYTES), fields);
  const first = ipv4(data(0), fields);
  const initiations = validInitiations(publicKey).map((message) => ipv4(message, fields));
  return {
    garbage() {
      crypto.getRandomValues(garbage.subarray(MESSAGE_AT));
      return fromAnywhere(garbage);
    },
    initiations: (index) => fromAnywhere(initiations[index % initiations.length]!),
    data() {
      randomiseIndex(first);
      return fromAnywhere(first);
    },
  };
}

/** Writes a random sender or receiver index into the packet. */
function randomiseIndex(packet: Uint8Array): void {
  crypto.getRandomValues(packet.subarray(MESSAGE_AT + 4, MESSAGE_AT + 8));
}

/** WireGuard paper, section 5.4.4. The encrypted fields are random bytes. */
function validInitiations(publicKey: string): Uint8Array[] {
  const label = Buffer.concat([Buffer.from("mac1----"), Buffer.from(publicKey, "base64")]);
  const key = blake2s(label);
  const covered = INITIATION_BYTES - 2 * MAC_BYTES;
  return Array.from({ length: INITIATIONS }, () => {
    const message = initiation();
    crypto.getRandomValues(message.subarray(4, covered));
    message.set(blake2s(message.subarray(0, covered), { dkLen: MAC_BYTES, key }), covered);
    message.fill(0, covered + MAC_BYTES);
    return message;
  });
}

function mixed(port: number, publicKey: string, peer: string | undefined): Make {
  const made = makers(port, publicKey);
  const all = [made.initiations, made.data, made.garbage];
  if (peer !== undefined) {
    const [source, sourcePort] = peer.split(":");
    const fields = { source: source!, sourcePort: Number(sourcePort), destinationPort: port };
    for (const message of [initiation(), data(0)]) {
      const packet = ipv4(message, { ...fields, destination: TO });
      all.push(() => {
        randomiseIndex(packet);
        return packet;
      });
    }
  }
  return (index) => all[index % all.length]!(Math.floor(index / all.length));
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
  const socket = new RawSocket(TO);
  console.log("sending");
  const { done, seconds } = await paced({ count, perSecond }, (index) => socket.send(make(index)));
  console.log(JSON.stringify({ sent: done, seconds }));
  process.exit(0);
}
