/** Netlink messages and attributes: encoded ones parse back, and invalid lengths are refused. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { ParseError } from "../../src/base/errors.ts";
import {
  align,
  type Attribute,
  attributeEnd,
  attributeType,
  bytesOf,
  encodeMessage,
  expectLength,
  messageEnd,
  messageFlags,
  messageSequence,
  messageType,
  readText,
  text,
  u16,
} from "../../src/kernel/netlink.ts";

const payload = fc.uint8Array({ maxLength: 9 });
const type = fc.integer({ min: 0, max: 0x3fff });
const { attributes } = fc.letrec<{ attribute: Attribute; attributes: Attribute[] }>((tie) => ({
  attributes: fc.array(tie("attribute"), { maxLength: 4, depthIdentifier: "nesting" }),
  attribute: fc.tuple(
    type,
    fc.oneof({ depthIdentifier: "nesting", maxDepth: 3 }, payload, tie("attributes")),
  ),
}));

/** Walks over attributes as the parsers do. The encoded tree length which attributes are nested. */
function walk(
  bytes: Uint8Array,
  start: number,
  end: number,
  tree: readonly Attribute[],
): Attribute[] {
  const { view } = bytesOf(bytes);
  const found: Attribute[] = [];
  let offset = start;
  for (const [, content] of tree) {
    const stop = attributeEnd(view, offset, end);
    const inside = offset + 4;
    found.push([
      attributeType(view, offset),
      content instanceof Uint8Array
        ? bytes.slice(inside, stop)
        : walk(bytes, inside, stop, content),
    ]);
    offset = align(stop);
  }
  expect(offset).toBe(align(end));
  return found;
}

test("an encoded message parses back to its parts", () => {
  const message = fc.record({
    type: fc.nat(0xffff),
    flags: fc.nat(0xffff),
    sequence: fc.nat(0xffff_ffff),
    header: fc.constantFrom(0, 4, 16).map((length) => new Uint8Array(length).fill(0xab)),
    attributes,
  });
  fc.assert(
    fc.property(message, (sent) => {
      const bytes = encodeMessage(sent);
      const { view } = bytesOf(bytes);
      expect(messageEnd(view, 0, bytes.length)).toBe(bytes.length);
      expect(messageType(view, 0)).toBe(sent.type);
      expect(messageFlags(view, 0)).toBe(sent.flags);
      expect(messageSequence(view, 0)).toBe(sent.sequence);
      const start = 16 + sent.header.length;
      expect(bytes.slice(16, start)).toEqual(sent.header);
      expect(walk(bytes, start, bytes.length, sent.attributes)).toEqual(sent.attributes);
    }),
    { numRuns: 500 },
  );
});

test("a request is encoded in the expected bytes", () => {
  const bytes = encodeMessage({
    type: 16,
    flags: 5,
    sequence: 1,
    header: Uint8Array.of(3, 1, 0, 0),
    attributes: [
      [2, text("wireguard")],
      [18, [[1, u16(0x1234)]]],
    ],
  });
  // The padding is included in the length of the surrounding attribute, and in no other length.
  expect(bytes.toHex().replace(/.{8}(?=.)/g, "$& ")).toMatchInlineSnapshot(
    `"30000000 10000500 01000000 00000000 03010000 0e000200 77697265 67756172 64000000 0c001200 06000100 34120000"`,
  );
});

describe("ParseError for a message or an attribute", () => {
  const { view } = bytesOf(new Uint8Array(64));
  test.each([
    ["a message of 15 bytes", 15, 15, "netlink message: 15 bytes, but the header alone has 16"],
    [
      "a message with a length of 15",
      15,
      64,
      "netlink message: length is 15 bytes, but 64 are left",
    ],
    [
      "a message that is longer than the buffer",
      65,
      64,
      "netlink message: length is 65 bytes, but 64 are left",
    ],
    [
      "a message with a length of 4 GiB",
      0xffff_ffff,
      64,
      "netlink message: length is 4294967295 bytes, but 64 are left",
    ],
  ])("a ParseError is thrown for %s", (_what, length, end, message) => {
    view.setUint32(0, length, true);
    expect(() => messageEnd(view, 0, end)).toThrow(new ParseError(message));
  });

  test.each([
    ["an attribute of 3 bytes", 3, 3, "netlink attribute: 3 bytes, but the header alone has 4"],
    [
      "an attribute with a length of 3",
      3,
      64,
      "netlink attribute: length is 3 bytes, but 64 are left",
    ],
    [
      "an attribute that is longer than the buffer",
      65,
      64,
      "netlink attribute: length is 65 bytes, but 64 are left",
    ],
  ])("a ParseError is thrown for %s", (_what, length, end, message) => {
    view.setUint16(0, length, true);
    expect(() => attributeEnd(view, 0, end)).toThrow(new ParseError(message));
  });

  test("a ParseError is thrown for a payload with an unexpected length", () => {
    expect(() => expectLength("WGPEER_A_RX_BYTES", 4, 8, 8)).toThrow(
      new ParseError("WGPEER_A_RX_BYTES: 4 bytes instead of 8"),
    );
  });
});

test("the two upper bits of an attribute's type are ignored, because they are flags", () => {
  const { view } = bytesOf(Uint8Array.of(4, 0, 0x08, 0x80));
  expect(attributeType(view, 0)).toBe(8);
});

test("a text ends at its NUL, or at the end of the attribute", () => {
  const bytes = new TextEncoder().encode("wg0\0rest");
  expect(readText(bytes, 0, bytes.length)).toBe("wg0");
  expect(readText(bytes, 0, 3)).toBe("wg0");
  expect(readText(bytes, 3, 3)).toBe("");
});
