/** Requests that every kernel answers: its links, and generic netlink's own family. */

import { expect, test } from "bun:test";
import { existsSync, readlinkSync } from "node:fs";

import { ParseError } from "../../src/base/errors.ts";
import { findFamily } from "../../src/kernel/genl-family.ts";
import { type MessageVisitor, NetlinkSocket } from "../../src/kernel/netlink-socket.ts";
import type { Bytes } from "../../src/kernel/netlink.ts";
import {
  GENL_ID_CTRL,
  NETLINK_GENERIC,
  NETLINK_ROUTE,
  RTM_GETLINK,
  RTM_NEWLINK,
} from "../../src/platform/constants.ts";

const listLinks = (socket: NetlinkSocket, visit: MessageVisitor) => {
  const header = new Uint8Array(16);
  return socket.request(
    "list links",
    { type: RTM_GETLINK, dump: true, header, attributes: [] },
    visit,
  );
};

test("a dump is read to its end, and the socket can be used again", () => {
  using socket = new NetlinkSocket(NETLINK_ROUTE);
  for (let i = 0; i < 3; i++) {
    let links = 0;
    listLinks(socket, (_answer, _start, _end, type) => {
      if (type === RTM_NEWLINK) links++;
    });
    expect(links).toBeGreaterThan(0);
  }
});

test("the buffer is wiped after a request", () => {
  using socket = new NetlinkSocket(NETLINK_ROUTE);
  const seen = new Set<Bytes>();
  let bytes = 0;
  listLinks(socket, (answer, start, end) => {
    seen.add(answer);
    bytes += answer.bytes.subarray(start, end).filter((byte) => byte !== 0).length;
  });
  expect(bytes).toBeGreaterThan(20);
  // There is one buffer for all datagrams, so private keys are not copied elsewhere.
  expect(seen.size).toBe(1);
  for (const answer of seen) expect(answer.bytes.every((byte) => byte === 0)).toBe(true);
});

test("the buffer is wiped after an answer that cannot be parsed, and the next answer is complete", () => {
  using socket = new NetlinkSocket(NETLINK_ROUTE);
  const old = readlinkSync(`/proc/self/fd/${socket.descriptor}`);
  let kept: Bytes | null = null;
  const refuse: MessageVisitor = (answer) => {
    kept = answer;
    throw new ParseError("not this one");
  };
  expect(() => listLinks(socket, refuse)).toThrow(new ParseError("not this one"));
  expect(kept!.bytes.every((byte) => byte === 0)).toBe(true);
  // The rest of the old answer was discarded with the old socket.
  expect(readlinkSync(`/proc/self/fd/${socket.descriptor}`)).not.toBe(old);
  let links = 0;
  listLinks(socket, () => links++);
  expect(links).toBeGreaterThan(0);
});

test("generic netlink has its own family, and none with an unknown name", () => {
  using socket = new NetlinkSocket(NETLINK_GENERIC);
  expect(findFamily(socket, "nlctrl")).toBe(GENL_ID_CTRL);
  expect(findFamily(socket, "nosuch")).toBeNull();
});

test("disposing of a NetlinkSocket closes its descriptor, once", () => {
  const socket = new NetlinkSocket(NETLINK_ROUTE);
  const path = `/proc/self/fd/${socket.descriptor}`;
  expect(existsSync(path)).toBe(true);
  const before = readlinkSync(path);
  socket[Symbol.dispose]();
  socket[Symbol.dispose]();
  expect(existsSync(path) && readlinkSync(path) === before).toBe(false);
});
