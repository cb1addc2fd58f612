/** Parses network links: recorded answers of a kernel, and invalid ones. */

import { describe, expect, test } from "bun:test";

import { ParseError } from "../../src/base/errors.ts";
import { listWireguardLinks, parseLinkEvents } from "../../src/kernel/links.ts";
import { bytesOf } from "../../src/kernel/netlink.ts";
import { RTM_DELLINK } from "../../src/platform/constants.ts";
import { done, linkMessage } from "../support/answers.ts";
import { readGolden } from "../support/golden.ts";
import { Replay } from "../support/replay.ts";

describe("the list of WireGuard devices", () => {
  const devices = [
    ["wg0", "wireguard"],
    ["wg1", "wireguard"],
    ["wg2", "wireguard"],
  ];

  test.each(["links.bin", "links-unfiltered.bin"])(
    "the list of WireGuard devices is read from the kernel's answer, %s",
    (name) => {
      const { links, interrupted } = listWireguardLinks(new Replay([readGolden(name)]));
      expect(links.map((link) => [link.name, link.kind])).toEqual(devices);
      expect(new Set(links.map(({ index }) => index)).size).toBe(3);
      expect(interrupted).toBe(false);
    },
  );

  test("the list of WireGuard devices is requested by kind and without counters", () => {
    const socket = new Replay([[done()]]);
    listWireguardLinks(socket);
    expect(socket.sent).toMatchInlineSnapshot(`
      [
        "3c000000 12000103 01000000 00000000 00000000 00000000 00000000 00000000 14001200 0e000100 77697265 67756172 64000000 08001d00 08000000",
      ]
    `);
  });

  test("the list of WireGuard devices has a flag that it was interrupted by changes", () => {
    const answer = [linkMessage({ name: "wg0", index: 7 }), done({ interrupted: true })];
    expect(listWireguardLinks(new Replay([answer])).interrupted).toBe(true);
  });

  test("the list of WireGuard devices excludes other links if the kernel does not filter, because it does not know the kind yet", () => {
    const answer = [linkMessage({ name: "eth0", index: 2, kind: "veth" }), done()];
    expect(listWireguardLinks(new Replay([answer])).links).toEqual([]);
  });
});

describe("link events", () => {
  const story = (names: readonly string[]) =>
    readGolden("link-events.bin")
      .flatMap((datagram) => parseLinkEvents(bytesOf(datagram)))
      .filter(({ link }) => names.includes(link.name))
      .map(({ type, link }) => `${type} ${link.name} ${link.index} ${link.kind}`);

  test("link events report a device that is added, renamed, up and removed", () => {
    expect(story(["wg8", "wg9"])).toEqual([
      "new wg8 2 wireguard",
      "new wg9 2 wireguard",
      "new wg9 2 wireguard",
      "new wg9 2 wireguard",
      "removed wg9 2 wireguard",
    ]);
  });

  test("link events do not report a port that leaves its bridge as a removed link", () => {
    const removed = story(["outer", "far", "bridge"]).filter((line) => line.startsWith("removed"));
    expect(removed).toEqual([
      "removed outer 4 veth",
      "removed far 3 veth",
      "removed bridge 5 bridge",
    ]);
  });

  test("link events are all read if a datagram has several", () => {
    const datagram = Buffer.concat([
      linkMessage({ name: "wg0", index: 7 }),
      linkMessage({ name: "wg0", index: 7, type: RTM_DELLINK }),
    ]);
    expect(parseLinkEvents(bytesOf(datagram)).map(({ type }) => type)).toEqual(["new", "removed"]);
  });

  test("link events that are too short for their header are a ParseError", () => {
    const short = linkMessage({ name: "wg0", index: 7 }).slice(0, 28);
    new DataView(short.buffer).setUint32(0, short.length, true);
    expect(() => parseLinkEvents(bytesOf(short))).toThrow(
      new ParseError("ifinfomsg: 12 bytes instead of 16"),
    );
  });
});
