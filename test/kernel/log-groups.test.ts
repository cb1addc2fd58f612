/** The NFLOG groups in the kernel's list of firewall rules, with messages in the kernel's format. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { ParseError } from "../../src/base/errors.ts";
import { listLogGroups } from "../../src/kernel/log-groups.ts";
import type { Requester } from "../../src/kernel/netlink-socket.ts";
import { type Attribute, bytesOf, encodeMessage, text } from "../../src/kernel/netlink.ts";

/** NFNL_SUBSYS_NFTABLES and NFT_MSG_NEWRULE. */
const NEWRULE = (10 << 8) | 6;
const NFGENMSG = new Uint8Array(4);

function log(group: number): Attribute[] {
  return [
    [1, text("log")],
    [2, [[1, Uint8Array.of(group >> 8, group & 0xff)]]],
  ];
}

/** A target of iptables-nft, with struct xt_nflog_info. */
function target(name: string, group: number): Attribute[] {
  const info = new Uint8Array(80);
  new DataView(info.buffer).setUint16(4, group, true);
  return [
    [1, text("target")],
    [
      2,
      [
        [1, text(name)],
        [2, new Uint8Array(4)],
        [3, info],
      ],
    ],
  ];
}

function rule(...expressions: Attribute[][]): Uint8Array {
  return encodeMessage({
    type: NEWRULE,
    flags: 2,
    sequence: 1,
    header: NFGENMSG,
    attributes: [
      [1, text("t")],
      [2, text("input")],
      [4, expressions.map((each): Attribute => [1, each])],
    ],
  });
}

/** A kernel that answers with these messages. */
function kernel(...messages: Uint8Array[]): Requester {
  return {
    request(_operation, _request, visit) {
      for (const message of messages) {
        const bytes = bytesOf(message);
        visit(bytes, 0, message.length, bytes.view.getUint16(4, true));
      }
      return { interrupted: false };
    },
  };
}

const groups = (...messages: Uint8Array[]) => [...listLogGroups(kernel(...messages))];

test("groups of log statements and of NFLOG targets are found among other expressions", () => {
  const counter: Attribute[] = [[1, text("counter")]];
  const toSyslog: Attribute[] = [
    [1, text("log")],
    [2, [[5, new Uint8Array(4)]]],
  ];
  expect(groups()).toEqual([]);
  expect(groups(rule(), rule(counter, toSyslog))).toEqual([]);
  expect(groups(rule(counter, log(1), counter), rule(log(258)))).toEqual([1, 258]);
  expect(groups(rule(target("NFLOG", 7)), rule(target("LOG", 8)))).toEqual([7]);
});

test("messages of other types are skipped", () => {
  const message = rule(log(1));
  new DataView(message.buffer).setUint16(4, (10 << 8) | 0, true);
  expect(groups(message)).toEqual([]);
});

test("a truncated or changed message either parses or is a ParseError", () => {
  const whole = rule(log(1), target("NFLOG", 2));
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, byte, length) => {
      const bytes = whole.slice(0, Math.max(20, length));
      if (at < bytes.length && at >= 20) bytes[at] = byte;
      try {
        groups(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(ParseError);
      }
    }),
    { numRuns: 2000 },
  );
});
