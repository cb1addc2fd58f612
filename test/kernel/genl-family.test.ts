/** findFamily: the number of the generic netlink family wireguard. */

import { expect, test } from "bun:test";

import { ParseError, SystemError } from "../../src/base/errors.ts";
import { findFamily } from "../../src/kernel/genl-family.ts";
import { encodeMessage, u32 } from "../../src/kernel/netlink.ts";
import { EPERM } from "../../src/platform/constants.ts";
import { error, FAMILY } from "../support/answers.ts";
import { readGolden } from "../support/golden.ts";
import { Replay } from "../support/replay.ts";

test("the number of the family is read from the kernel's answer", () => {
  const socket = new Replay([readGolden("family.bin")]);
  expect(findFamily(socket, "wireguard")).toBe(FAMILY);
  expect(socket.sent).toMatchInlineSnapshot(`
    [
      "24000000 10000500 01000000 00000000 03010000 0e000200 77697265 67756172 64000000",
    ]
  `);
});

test("the number of the family is null if the module is not loaded", () => {
  expect(findFamily(new Replay([readGolden("family-missing.bin")]), "nosuch")).toBeNull();
});

test("any other error of the request for the family is thrown", () => {
  expect(() => findFamily(new Replay([[error(EPERM)]]), "wireguard")).toThrow(SystemError);
});

test("the number of the family is null if the answer does not contain it", () => {
  expect(findFamily(new Replay([[error(0)]]), "wireguard")).toBeNull();
});

test("a number of the family with another size is a ParseError", () => {
  const header = new Uint8Array(4);
  const answer = { type: 16, flags: 0, sequence: 1, header, attributes: [[1, u32(32)]] } as const;
  expect(() => findFamily(new Replay([[encodeMessage(answer)]]), "wireguard")).toThrow(
    new ParseError("CTRL_ATTR_FAMILY_ID: 4 bytes instead of 2"),
  );
});
