/** Parses the answer of a userspace WireGuard to get=1, and finds the differences between two answers. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { ParseError } from "../../src/base/errors.ts";
import type { Peer } from "../../src/base/wireguard.ts";
import { differenceOf, parseUapi, UapiParser } from "../../src/kernel/userspace-device.ts";
import { ALICE, BOB, peer as peerWith } from "../support/peers.ts";

const PRIVATE = "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a";
const PRESHARED = "188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52";

/** The example of https://www.wireguard.com/xplatform/, with addresses for documentation. */
const EXAMPLE = `private_key=${PRIVATE}
listen_port=12912
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33
preshared_key=${PRESHARED}
allowed_ip=192.168.4.4/32
endpoint=[2001:db8:1:2::3]:51820
public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376
tx_bytes=38333
rx_bytes=2224
allowed_ip=192.168.4.6/32
persistent_keepalive_interval=111
endpoint=198.51.100.183:3233
last_handshake_time_sec=1700000000
last_handshake_time_nsec=51999999
public_key=662e14fd594556f522604703340351258903b64f35553763f19426ab2a515c58
endpoint=192.0.2.65:51820
allowed_ip=192.168.4.10/32
allowed_ip=192.168.4.11/32
tx_bytes=1212111
rx_bytes=1929999999
protocol_version=1
errno=0

`;

/** The time of the answers. */
const NOW = Date.UTC(2026, 0, 1);

function parse(text: string, nowMs = NOW) {
  return parseUapi("wg0", new TextEncoder().encode(text), nowMs);
}

function peer(...lines: readonly string[]) {
  return parse(`public_key=${"ab".repeat(32)}\n${lines.join("\n")}\nerrno=0\n\n`).peers[0]!;
}

test("the example of the specification is parsed completely", () => {
  const { device, peers } = parse(EXAMPLE);
  expect(device).toEqual({ name: "wg0", index: 0, listenPort: 12_912, publicKey: null });
  expect<unknown>(peers).toMatchInlineSnapshot(`
    [
      {
        "allowedIps": [
          "192.168.4.4/32",
        ],
        "endpoint": {
          "address": "2001:db8:1:2::3",
          "port": 51820,
          "scopeId": 0,
        },
        "lastHandshakeMs": null,
        "persistentKeepaliveSeconds": 0,
        "publicKey": "uFmW/sycfx/G0lcqdu2hHVm80gvo5UOxXOS9hajnWjM=",
        "rxBytes": 0,
        "txBytes": 0,
      },
      {
        "allowedIps": [
          "192.168.4.6/32",
        ],
        "endpoint": {
          "address": "198.51.100.183",
          "port": 3233,
          "scopeId": 0,
        },
        "lastHandshakeMs": 1700000000051,
        "persistentKeepaliveSeconds": 111,
        "publicKey": "WEAuaVuhdyscyTCXVfBDJR6nf9zxD75jmJzrfhkyE3Y=",
        "rxBytes": 2224,
        "txBytes": 38333,
      },
      {
        "allowedIps": [
          "192.168.4.10/32",
          "192.168.4.11/32",
        ],
        "endpoint": {
          "address": "192.0.2.65",
          "port": 51820,
          "scopeId": 0,
        },
        "lastHandshakeMs": null,
        "persistentKeepaliveSeconds": 0,
        "publicKey": "Zi4U/VlFVvUiYEcDNANRJYkDtk81VTdj8ZQmqypRXFg=",
        "rxBytes": 1929999999,
        "txBytes": 1212111,
      },
    ]
  `);
});

test("neither the private nor the preshared keys become values", () => {
  const all = JSON.stringify(parse(EXAMPLE));
  for (const hex of [PRIVATE, PRESHARED]) {
    expect(all.toLowerCase()).not.toContain(hex);
    expect(all).not.toContain(Uint8Array.fromHex(hex).toBase64());
  }
});

test("too many allowed IPs are a ParseError", () => {
  const answer = (count: number) =>
    parse(`public_key=${"1".repeat(64)}\n${"allowed_ip=10.0.0.1/32\n".repeat(count)}errno=0\n\n`);
  expect(answer(200_000).peers[0]!.allowedIps).toHaveLength(200_000);
  expect(() => answer(200_001)).toThrow("more than 200000 allowed IPs");
});

describe("the time of the last handshake", () => {
  const handshake = (seconds: number, nanoseconds: number) => [
    `last_handshake_time_sec=${seconds}`,
    `last_handshake_time_nsec=${nanoseconds}`,
  ];

  test("the time of the last handshake is null if it is zero", () => {
    expect(peer(...handshake(0, 0)).lastHandshakeMs).toBeNull();
  });

  // boringtun: https://github.com/cloudflare/boringtun/issues/447
  test.each([
    [26, 500_000_000, NOW - 26_500],
    [0, 200_000_000, NOW - 200],
    [540, 0, NOW - 540_000],
    [99_999_999, 0, NOW - 99_999_999_000],
    [100_000_000, 0, 100_000_000_000],
    [1_767_225_590, 500_000_000, NOW - 9500],
  ])(
    "the time of the last handshake of %i s %i ns is an age if it is far below Unix time",
    (seconds, nanoseconds, wanted) => {
      const lines = handshake(seconds, nanoseconds);
      expect(peer(...lines).lastHandshakeMs).toBe(wanted);
      expect(peer(...lines.toReversed()).lastHandshakeMs).toBe(wanted);
    },
  );

  test("the time of the last handshake is an age only for the peer that has it", () => {
    const key = (byte: string) => `public_key=${byte.repeat(32)}`;
    const lines = [key("01"), ...handshake(26, 1e6), key("02"), "rx_bytes=1", "errno=0", "\n"];
    const { peers } = parse(lines.join("\n"));
    expect(peers.map(({ lastHandshakeMs }) => lastHandshakeMs)).toEqual([NOW - 26_001, null]);
  });

  test("the time of the last handshake is Unix time, however small, if the answer has a private key, as the specification requires", () => {
    // A handshake of wireguard-go from before the clock was set must not move with the clock.
    const text = `private_key=${PRIVATE}\npublic_key=${"ab".repeat(32)}\n${handshake(26, 5e8).join("\n")}\nerrno=0\n\n`;
    expect(parse(text).peers[0]!.lastHandshakeMs).toBe(26_500);
    expect(parse(text, NOW + 10_000).peers[0]!.lastHandshakeMs).toBe(26_500);
  });
});

test("an answer in pieces has the same result, and bytes after its end are not read", () => {
  const bytes = new TextEncoder().encode(`${EXAMPLE}listen_port=1\n`);
  const length = EXAMPLE.length;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }), (sizes) => {
      const parser = new UapiParser("wg0");
      let read = 0;
      for (let end = 0, piece = 0; !parser.isComplete; piece++) {
        end = Math.min(end + sizes[piece % sizes.length]!, bytes.length);
        read += parser.read(bytes.subarray(read, end), NOW);
      }
      expect(read).toBe(length);
      expect(parser.finish()).toEqual(parse(EXAMPLE));
    }),
  );
});

test.each([
  ["192.0.2.1:1", "192.0.2.1", 1],
  ["[2001:db8::1]:51820", "2001:db8::1", 51_820],
  ["[2001:DB8::A]:51820", "2001:db8::a", 51_820],
  ["[fe80::1%eth0]:65535", "fe80::1", 65_535],
  ["[::ffff:192.0.2.1]:51820", "192.0.2.1", 51_820],
])("the endpoint %s is parsed", (value, address, port) => {
  expect(peer(`endpoint=${value}`).endpoint).toEqual({ address, port, scopeId: 0 });
});

test("allowed IPs have the same format as those of the kernel", () => {
  const prefixes = ["10.0.0.0/8", "2001:DB8:0:0::/32", "::/0", "::ffff:10.0.0.0/104"];
  const lines = prefixes.map((prefix) => `allowed_ip=${prefix}`);
  expect(peer(...lines).allowedIps).toEqual([
    "10.0.0.0/8",
    "2001:db8::/32",
    "::/0",
    "::ffff:10.0.0.0/104",
  ]);
});

test("unknown keys are ignored, and an answer can have no peers", () => {
  expect(parse("fwmark=7\nsomething_new=x=y\nerrno=0\n\n").peers).toEqual([]);
});

describe("an invalid answer", () => {
  const key = `public_key=${"ab".repeat(32)}`;
  test.each([
    ["UAPI answer of wg0: no errno line", "listen_port=1\n\n"],
    ["UAPI answer of wg0: errno is not 0", "errno=1\n\n"],
    ['UAPI answer of wg0: a line without "="', `${PRIVATE}\nerrno=0\n\n`],
    ["UAPI answer: listen_port is not a valid number", "listen_port=65536\nerrno=0\n\n"],
    ["UAPI answer: listen_port is not a valid number", "listen_port=-1\nerrno=0\n\n"],
    ["UAPI answer: listen_port is not a valid number", "listen_port=\nerrno=0\n\n"],
    ["UAPI answer: public_key is not a key", "public_key=abc\nerrno=0\n\n"],
    ["UAPI answer: rx_bytes before any public_key", "rx_bytes=1\nerrno=0\n\n"],
    ["UAPI answer: rx_bytes is not a valid number", `${key}\nrx_bytes=1e3\nerrno=0\n\n`],
    ["UAPI answer: endpoint is not an address", `${key}\nendpoint=host:1\nerrno=0\n\n`],
    ["UAPI answer: endpoint is not an address", `${key}\nendpoint=192.0.2.1:65536\nerrno=0\n\n`],
    ["UAPI answer: endpoint is not an address", `${key}\nendpoint=192.0.2.256:1\nerrno=0\n\n`],
    ["UAPI answer: endpoint is not an address", `${key}\nendpoint=[2001:db8::1::2]:1\nerrno=0\n\n`],
    ["UAPI answer: allowed_ip is not a prefix", `${key}\nallowed_ip=anything else\nerrno=0\n\n`],
    ["UAPI answer: allowed_ip is not a prefix", `${key}\nallowed_ip=10.0.0.f/32\nerrno=0\n\n`],
    ["UAPI answer: allowed_ip is not a prefix", `${key}\nallowed_ip=10.0.0../32\nerrno=0\n\n`],
    ["UAPI answer: allowed_ip is not a prefix", `${key}\nallowed_ip=010.0.0.1/32\nerrno=0\n\n`],
    ["UAPI answer: allowed_ip is not a prefix", `${key}\nallowed_ip=10.0/8\nerrno=0\n\n`],
    ["UAPI answer: allowed_ip is not a prefix", `${key}\nallowed_ip=10.0.0.256/32\nerrno=0\n\n`],
    ["UAPI answer: allowed_ip is not a prefix", `${key}\nallowed_ip=10.0.0.0.0/32\nerrno=0\n\n`],
    ["UAPI answer: allowed_ip is not a prefix", `${key}\nallowed_ip=10.0.0.1/33\nerrno=0\n\n`],
    [
      "UAPI answer: last_handshake_time_sec is not a valid number",
      `${key}\nlast_handshake_time_sec=8640000000000\nerrno=0\n\n`,
    ],
    [
      "UAPI answer: last_handshake_time_nsec is not a valid number",
      `${key}\nlast_handshake_time_nsec=1000000000\nerrno=0\n\n`,
    ],
    [
      "UAPI answer: persistent_keepalive_interval is not a valid number",
      `${key}\npersistent_keepalive_interval=off\nerrno=0\n\n`,
    ],
  ])("an invalid answer is a ParseError that has the key and no value: %s", (message, text) => {
    expect(() => parse(text)).toThrow(new ParseError(message));
  });
});

describe("differenceOf", () => {
  const difference = (before: readonly Peer[], now: readonly Peer[]) =>
    differenceOf(byKey(before), byKey(now));
  const byKey = (peers: readonly Peer[]) => new Map(peers.map((each) => [each.publicKey, each]));

  test.each([
    ["handshake", { lastHandshakeMs: 1 }],
    ["endpoint", { endpoint: "192.0.2.1:1" }],
    ["rx", { rxBytes: 1 }],
    ["tx", { txBytes: 1 }],
  ])("a peer that differs in %s is reported with its previous values", (_what, fields) => {
    const before = peerWith({ lastHandshakeMs: 5, rxBytes: 148, txBytes: 92 });
    const now = peerWith({ lastHandshakeMs: 5, rxBytes: 148, txBytes: 92, ...fields });
    const bob = peerWith({ publicKey: BOB });
    expect(difference([before, bob], [now, bob])).toEqual({
      changed: [{ peer: now, before }],
      removed: [],
    });
  });

  test("a new peer has no previous values, and a removed one is reported", () => {
    const [alice, bob] = [peerWith(), peerWith({ publicKey: BOB })];
    expect(difference([alice], [bob])).toEqual({
      changed: [{ peer: bob, before: null }],
      removed: [ALICE],
    });
    expect(difference([alice], [alice])).toEqual({ changed: [], removed: [] });
  });
});
