/**
 * Feeds damaged recordings to all parsers of data from other programs. Each input must parse to valid values or throw
 * a ParseError. A long run:
 *
 *   WGMON_TEST_FUZZ_RUNS=1000000 bun test test/fuzz.test.ts
 *
 * The number of runs is for each parser. A failure prints its seed, for WGMON_TEST_FUZZ_SEED.
 */

import { expect, test } from "bun:test";
import { isIP } from "node:net";

import { ParseError } from "../src/base/errors.ts";
import type { Device, DeviceScan, Endpoint, Peer } from "../src/base/wireguard.ts";
import { parseLogged } from "../src/capture/nflog.ts";
import { parsePacket } from "../src/capture/packet.ts";
import { parseFamily } from "../src/kernel/genl-family.ts";
import { parseLinkEvents } from "../src/kernel/links.ts";
import { align, bytesOf, messageEnd, messageType } from "../src/kernel/netlink.ts";
import { PeerTable } from "../src/kernel/peer-table.ts";
import { parseUapi } from "../src/kernel/userspace-device.ts";
import { NLMSG_DONE, NLMSG_ERROR } from "../src/platform/constants.ts";
import { readGolden } from "./support/golden.ts";
import { cookie, data, initiation, ipv4, ipv6, response } from "./support/packets.ts";

const RUNS = Number(process.env["WGMON_TEST_FUZZ_RUNS"] ?? 50_000);
const SEED = Number(process.env["WGMON_TEST_FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
/** Far more than needed: detects parsers that never return. */
const TIMEOUT_MS = 60_000 + RUNS;

/** Edge cases of lengths and counters. */
const EDGES = [
  0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 20, 28, 32, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff,
];

/** A pseudorandom generator of integers below a limit: mulberry32. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

type Random = ReturnType<typeof randomFrom>;

/** One of the inputs with up to eight random changes, or only random bytes. */
function damaged(inputs: readonly Uint8Array[], random: Random): Uint8Array {
  const one = () => inputs[random(inputs.length)]!;
  if (random(20) === 0) return Uint8Array.from({ length: random(300) }, () => random(256));
  let bytes: Uint8Array = one().slice();
  for (let left = 1 + random(8); left > 0; left--) bytes = damage(bytes, one(), random);
  return bytes;
}

function damage(bytes: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  const at = random(bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (random(8)) {
    case 0:
      if (at < bytes.length) bytes[at]! ^= 1 << random(8);
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = random(256);
      return bytes;
    case 2: {
      // Overwrites a length or a type of netlink.
      const word = at & ~3;
      const value = random(2) === 0 ? EDGES[random(EDGES.length)]! : random(bytes.length + 8);
      if (word + 4 > bytes.length) return bytes;
      if (random(4) === 0) view.setUint32(word, value, true);
      else view.setUint16(word + 2 * random(2), value, true);
      return bytes;
    }
    case 3:
      return bytes.slice(0, at);
    case 4:
      return bytes.slice(at);
    case 5:
      return joined(bytes.subarray(0, at), bytes.subarray(at + random(bytes.length - at + 1)));
    case 6:
      return joined(bytes, bytes.subarray(at, at + random(200)));
    default:
      return joined(bytes.subarray(0, at), other.subarray(random(other.length)));
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Defines a fuzz test. @param parse parses one input and checks the result. */
function fuzz(
  name: string,
  inputs: readonly Uint8Array[],
  parse: (bytes: Uint8Array, random: Random) => void,
): void {
  test(
    `${name}: damaged bytes parse or cause a ParseError`,
    () => {
      for (const input of inputs) parse(input, randomFrom(0));
      let parsed = 0;
      for (let run = 0; run < RUNS; run++) {
        const random = randomFrom(SEED + run);
        const bytes = damaged(inputs, random);
        try {
          parse(bytes.slice(), random);
          parsed++;
        } catch (error) {
          if (error instanceof ParseError && error.message.isWellFormed()) continue;
          const again = `WGMON_TEST_FUZZ_SEED=${SEED + run} WGMON_TEST_FUZZ_RUNS=1`;
          throw new Error(`${again}: ${String(error)}: ${bytes.toHex()}`, { cause: error });
        }
      }
      // If all inputs parsed, or none did, the fuzz test would be useless.
      if (RUNS >= 1000) {
        expect(parsed).toBeGreaterThan(RUNS / 100);
        expect(parsed).toBeLessThan(RUNS);
      }
    },
    TIMEOUT_MS,
  );
}

/** A fast replacement for expect(), which is too slow for this number of checks. */
function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`invalid: ${what}`);
}

const KEY = /^[A-Za-z0-9+/]{43}=$/;

function checkDevice({ name, index, listenPort, publicKey }: Device): void {
  check(name.isWellFormed(), "device name");
  check(Number.isInteger(index) && index >= 0, `device index ${index}`);
  check(isPort(listenPort), `listen port ${listenPort}`);
  check(publicKey === null || KEY.test(publicKey), "public key of the device");
}

function checkPeer(peer: Peer): void {
  check(KEY.test(peer.publicKey), "public key");
  if (peer.endpoint !== null) checkEndpoint(peer.endpoint);
  for (const prefix of peer.allowedIps) {
    const [address, mask] = prefix.split("/");
    const version = isIP(address!);
    check(version !== 0 && Number(mask) <= (version === 4 ? 32 : 128), `allowed IP ${prefix}`);
  }
  const { lastHandshakeMs, rxBytes, txBytes, persistentKeepaliveSeconds } = peer;
  if (lastHandshakeMs !== null) {
    check(Number.isInteger(lastHandshakeMs) && lastHandshakeMs > 0, `handshake ${lastHandshakeMs}`);
    check(new Date(lastHandshakeMs).toISOString() !== "", "time of the handshake");
  }
  check(Number.isInteger(rxBytes) && rxBytes >= 0, `rx ${rxBytes}`);
  check(Number.isInteger(txBytes) && txBytes >= 0, `tx ${txBytes}`);
  check(isPort(persistentKeepaliveSeconds), `keepalive ${persistentKeepaliveSeconds}`);
}

function checkEndpoint({ address, port, scopeId }: Endpoint): void {
  check(isIP(address) !== 0, `address ${address}`);
  check(isPort(port), `port ${port}`);
  check(Number.isInteger(scopeId) && scopeId >= 0, `scope ${scopeId}`);
}

function isPort(number: number): boolean {
  return Number.isInteger(number) && number >= 0 && number <= 65_535;
}

/** Passes the messages of a datagram to the table, as the socket does. */
function readDump(table: PeerTable, datagram: Uint8Array): void {
  const answer = bytesOf(datagram);
  for (let offset = 0; offset < datagram.length;) {
    const end = messageEnd(answer.view, offset, datagram.length);
    const type = messageType(answer.view, offset);
    if (type !== NLMSG_DONE && type !== NLMSG_ERROR) table.read(answer, offset, end);
    offset = align(end);
  }
}

/** Public key -> the fields of the peer that scans compare, as JSON. */
type Known = Map<string, string>;

function apply(known: Known, { changed, removed }: DeviceScan): void {
  for (const key of removed) check(known.delete(key), "an unknown peer was removed");
  for (const { peer, before } of changed) {
    check(
      (before === null) === !known.has(peer.publicKey),
      "a known peer was reported as new, or a new peer as known",
    );
    known.set(peer.publicKey, comparable(peer));
  }
}

function comparable({ endpoint, lastHandshakeMs, rxBytes, txBytes }: Peer): string {
  return JSON.stringify([endpoint, lastHandshakeMs, rxBytes, txBytes]);
}

function asMap(known: Known): string {
  return JSON.stringify([...known].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

const dump = readGolden("device-wg0.bin")[0]!;
const dumps = [
  ...["device-wg0.bin", "device-wg1.bin", "device-wg2.bin"].flatMap((name) => readGolden(name)),
  // Of the large dumps, only the first datagram, about 4 KiB.
  ...readGolden("device-interrupted.bin").slice(0, 1),
];

/** Makes one scan, checks its result, and updates `known`. */
function scan(
  table: PeerTable,
  known: Known,
  datagrams: readonly Uint8Array[],
  interrupted = false,
): void {
  table.begin();
  for (const datagram of datagrams) readDump(table, datagram);
  const result = table.finish({ interrupted });
  checkDevice(result.device);
  for (const { peer } of result.changed) checkPeer(peer);
  apply(known, result);
}

/** The result of a new table; null if it rejects the answer. */
function scanWithNewTable(datagrams: readonly Uint8Array[]): Known | null {
  const known: Known = new Map();
  try {
    scan(new PeerTable(), known, datagrams);
    return known;
  } catch (error) {
    if (error instanceof ParseError) return null;
    throw error;
  }
}

const expected = scanWithNewTable([dump])!;

fuzz("a device", dumps, (bytes, random) => {
  const table = new PeerTable();
  const known: Known = new Map();
  if (random(2) === 0) scan(table, known, [dump]);
  const interrupted = random(4) === 0;
  const anew = scanWithNewTable([bytes]);
  let rejection: unknown = null;
  try {
    scan(table, known, [bytes], interrupted);
    // The comparison leaves out allowed IPs, which may be outdated for unchanged peers.
    if (anew !== null && !interrupted)
      check(asMap(known) === asMap(anew), "the previous state affects the result");
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    check(anew === null, "rejected only because of the previous state");
    rejection = error;
  }
  // The next undamaged answer must restore the correct state.
  scan(table, known, [dump]);
  check(asMap(known) === asMap(expected), "the table after a damaged answer");
  if (rejection !== null) throw rejection;
});

const large = readGolden("wg-dump-100-32k.bin");
test(
  "damaged bytes of large answers, for a device of 100 peers, parse or cause a ParseError",
  () => {
    for (let run = 0; run < Math.ceil(RUNS / 500); run++) {
      const random = randomFrom(SEED + run);
      const table = new PeerTable();
      const known: Known = new Map();
      const datagrams = large.map((each) => (random(2) === 0 ? damaged(large, random) : each));
      try {
        if (random(2) === 0) scan(table, known, large);
        const anew = scanWithNewTable(datagrams);
        scan(table, known, datagrams);
        if (anew !== null)
          check(asMap(known) === asMap(anew), "the previous state affects the result");
      } catch (error) {
        if (error instanceof ParseError) continue;
        const again = `WGMON_TEST_FUZZ_SEED=${SEED + run} WGMON_TEST_FUZZ_RUNS=1`;
        throw new Error(`${again}: ${String(error)}`, { cause: error });
      }
    }
  },
  TIMEOUT_MS,
);

const linkDatagrams = ["link-events.bin", "links.bin"].flatMap((name) => readGolden(name));
fuzz("link events", linkDatagrams, (bytes) => {
  for (const { link } of parseLinkEvents(bytesOf(bytes))) {
    check(link.name.isWellFormed() && (link.kind ?? "").isWellFormed(), "name or kind");
    check(Number.isInteger(link.index), "index");
  }
});

fuzz("the family", [...readGolden("family.bin"), ...readGolden("family-missing.bin")], (bytes) => {
  const family = parseFamily(bytesOf(bytes), 0, bytes.length);
  check(family === null || isPort(family), `family ${family}`);
});

fuzz("a logged packet", readGolden("nflog.bin"), (bytes) => {
  for (const { packet, isSent } of parseLogged(bytes)) {
    check(packet.buffer === bytes.buffer && packet.length < bytes.length, "payload");
    check(typeof isSent === "boolean", "isSent");
    checkPacket(packet);
  }
});

const packets = [
  ...readGolden("nflog.bin").flatMap((datagram) =>
    parseLogged(datagram).map(({ packet }) => packet),
  ),
  ...[initiation(), response(), cookie(), data(0)].flatMap((each) => [ipv4(each), ipv6(each)]),
  ipv4(initiation(), { options: new Uint8Array(8) }),
  ipv6(initiation(), {
    extensions: [0, 43, 60, 44].map((type) => [type, new Uint8Array(8)] as const),
  }),
];
fuzz("a packet", packets, (bytes) => checkPacket(bytes));

function checkPacket(bytes: Uint8Array): void {
  const received = parsePacket(bytes, "received");
  const sent = parsePacket(bytes, "sent");
  checkDatagram(received);
  checkDatagram(sent);
  check(
    (received === null) === (sent === null),
    "a WireGuard message in both directions or in neither",
  );
  check(
    received?.sourcePort === sent?.destinationPort,
    "the ports are swapped between the directions",
  );
  check(received === null || received.type === sent!.type, "the same type in both directions");
}

function checkDatagram(datagram: ReturnType<typeof parsePacket>): void {
  if (datagram === null) return;
  const { sourceAddress: address, sourcePort, destinationPort, type, isFirstData } = datagram;
  const { index, isOwnIndex } = datagram;
  checkEndpoint({ address, port: sourcePort, scopeId: 0 });
  check(Number.isInteger(index) && index >= 0 && index < 2 ** 32, `index ${index}`);
  check(typeof isOwnIndex === "boolean", "isOwnIndex");
  check(isPort(destinationPort), "destination port");
  check(type >= 1 && type <= 4, `type ${type}`);
  check(!isFirstData || type === 4, "first data");
}

const answers = [
  `private_key=${"0a".repeat(32)}
listen_port=51820
public_key=${"0b".repeat(32)}
preshared_key=${"00".repeat(32)}
protocol_version=1
endpoint=192.0.2.1:51820
last_handshake_time_sec=1700000000
last_handshake_time_nsec=123456789
tx_bytes=10
rx_bytes=20
persistent_keepalive_interval=25
allowed_ip=10.0.0.1/32
allowed_ip=fd00::1/128
public_key=${"0c".repeat(32)}
endpoint=[fe80::1%eth0]:51820
last_handshake_time_sec=0
last_handshake_time_nsec=0
allowed_ip=0.0.0.0/0
errno=0

`,
  "listen_port=0\nfwmark=0\nerrno=0\n\n",
].map((text) => new TextEncoder().encode(text));
fuzz("a userspace answer", answers, (bytes) => {
  const { device, peers } = parseUapi("wg0", bytes, Date.UTC(2026, 0, 1));
  checkDevice(device);
  for (const peer of peers) checkPeer(peer);
});
