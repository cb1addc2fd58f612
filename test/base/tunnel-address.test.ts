/** Tunnel addresses as text, and the longest prefix that contains an address. */

import { expect, test } from "bun:test";

import {
  isAddress,
  longestPrefixLength,
  shortTunnelAddress,
} from "../../src/base/tunnel-address.ts";

test.each<[string[], string]>([
  [[], ""],
  [["10.0.0.5/32"], "10.0.0.5"],
  [["10.0.0.0/24"], "10.0.0.0/24"],
  [["fd00::5/128", "10.0.0.5/32", "192.168.7.0/24"], "fd00::5 +2"],
  [["fd00::/32"], "fd00::/32"],
])("%j is shown as %j", (allowedIps, text) => {
  expect(shortTunnelAddress(allowedIps)).toBe(text);
});

test.each<[string, string[], number | null]>([
  ["10.0.0.5", ["10.0.0.5/32"], 32],
  ["10.0.0.5", ["10.0.0.0/24", "10.0.0.0/8"], 24],
  ["10.0.1.5", ["10.0.0.0/24"], null],
  ["10.0.0.0/24", ["10.0.0.0/16"], 16],
  ["10.0.0.0/16", ["10.0.0.0/24"], null],
  ["0.0.0.0", ["0.0.0.0/0"], 0],
  ["fd00::5", ["FD00:0:0::5/128", "fd00::/64"], 128],
  ["fd00:0:0:0:1::", ["fd00::/64"], 64],
  ["::ffff:10.0.0.1", ["::/0"], 0],
  ["10.0.0.5", ["::/0"], null],
  ["alice", ["0.0.0.0/0"], null],
])("the longest prefix for %j in %j has the length %p", (address, allowedIps, length) => {
  expect(longestPrefixLength(allowedIps, address)).toBe(length);
});

test.each(["10.0.0.256", "10.0.0", "1.2.3.4/33", "fd00:::1", "fe80::1/129", "face", ""])(
  "%j is not an address",
  (text) => {
    expect(isAddress(text)).toBe(false);
  },
);
