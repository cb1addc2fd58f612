/** Reads datagrams of real sockets: UDP on the loopback interface, where a test can cause errors. */

import { dlopen, FFIType } from "bun:ffi";
import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { libc } from "../../ffi/libc.ts";
import { systemClock } from "../../src/base/clock.ts";
import { SystemError } from "../../src/base/errors.ts";
import { readQueued, readSocket } from "../../src/capture/socket-reader.ts";
import { AF_INET, SOCK_DGRAM } from "../../src/platform/constants.ts";
import { HandClock } from "../support/clock.ts";
import { REPORT_MS } from "../support/until.ts";

const { symbols: more } = dlopen("libc.so.6", {
  // int connect(int sockfd, const struct sockaddr *addr, socklen_t addrlen);
  connect: { args: ["i32", "buffer", "u32"], returns: "i32" },
  // int getsockname(int sockfd, struct sockaddr *addr, socklen_t *addrlen);
  getsockname: { args: ["i32", "buffer", "buffer"], returns: "i32" },
  // ssize_t send(int sockfd, const void *buf, size_t len, int flags);
  send: { args: ["i32", "buffer", "u64", "i32"], returns: FFIType.i64_fast },
});

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** struct sockaddr_in of 127.0.0.1. */
function loopback(port: number): Uint8Array {
  const address = new Uint8Array(new ArrayBuffer(16));
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port, false);
  address.set([127, 0, 0, 1], 4);
  return address;
}

/** A UDP socket of libc, bound to a free port. */
function bindSocket() {
  const descriptor = libc().socket(AF_INET, SOCK_DGRAM, 0);
  expect(libc().bind(descriptor, loopback(0), 16)).toBe(0);
  const address = loopback(0);
  expect(more.getsockname(descriptor, address, new Uint32Array([16]))).toBe(0);
  const port = new DataView(address.buffer).getUint16(2, false);
  return { descriptor, port };
}

/** A handler that records its calls in order. The test can wait for the next call. */
function recorder() {
  const happened: string[] = [];
  let wake = () => {};
  const note = (what: string) => {
    happened.push(what);
    wake();
  };
  const kept: Uint8Array[] = [];
  return {
    kept,
    happened,
    handler: {
      onData(bytes: Uint8Array) {
        kept.push(bytes);
        note(`data ${new TextDecoder().decode(bytes)}`);
      },
      onLost: (code: string) => note(`lost ${code}`),
    },
    /** Waits until the handler was called `count` times. */
    async upTo(count: number): Promise<string[]> {
      while (happened.length < count) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return happened;
    },
  };
}

/** Connects the socket to a peer. While the peer is closed, datagrams to it are refused. */
async function peerOf({ descriptor, port }: { descriptor: number; port: number }) {
  let udp = await Bun.udpSocket({
    hostname: "127.0.0.1",
    connect: { hostname: "127.0.0.1", port },
  });
  const { port: own } = udp;
  expect(more.connect(descriptor, loopback(own), 16)).toBe(0);
  closers.push(() => udp.close());
  return {
    send: (text: string) => udp.send(text),
    close: () => udp.close(),
    async reopen() {
      const connect = { hostname: "127.0.0.1", port };
      udp = await Bun.udpSocket({ hostname: "127.0.0.1", port: own, connect });
    },
  };
}

/** Sends a datagram to a closed port, after which the socket has the error ECONNREFUSED. */
function provokeError(descriptor: number): void {
  expect(more.send(descriptor, new Uint8Array(1), 1, 0)).toBe(1);
}

async function setup(clock: HandClock | typeof systemClock = new HandClock()) {
  const socket = bindSocket();
  const peer = await peerOf(socket);
  const record = recorder();
  const stop = await readSocket(socket.descriptor, clock, record.handler);
  closers.push(stop, () => libc().close(socket.descriptor));
  return { ...socket, peer, record, stop };
}

const descriptors = () => readdirSync("/proc/self/fd").length;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test("datagrams are delivered whole and in order, for the handler to keep", async () => {
  const { peer, record } = await setup();
  for (const text of ["one", "two", "three"]) peer.send(text);
  expect(await record.upTo(3)).toEqual(["data one", "data two", "data three"]);
  // A later datagram does not overwrite the bytes of an earlier one.
  expect(record.kept.map((bytes) => new TextDecoder().decode(bytes))).toEqual([
    "one",
    "two",
    "three",
  ]);
});

test("after an error the handler is called, and reading continues", async () => {
  const clock = new HandClock();
  const { descriptor, peer, record } = await setup(clock);
  clock.advance(1000);
  peer.close();
  provokeError(descriptor);
  expect(await record.upTo(1)).toEqual(["lost ECONNREFUSED"]);
  clock.advance(0);
  await peer.reopen();
  peer.send("again");
  expect(await record.upTo(2)).toEqual(["lost ECONNREFUSED", "data again"]);
});

test("a datagram that arrives while reading is paused is delivered afterwards", async () => {
  const clock = new HandClock();
  const { descriptor, peer, record } = await setup(clock);
  peer.close();
  provokeError(descriptor);
  await record.upTo(1);
  await peer.reopen();
  peer.send("meanwhile");
  // Reading is paused after an error, so that an error that repeats cannot become a busy loop.
  clock.advance(249);
  await turn();
  expect(record.happened).toEqual(["lost ECONNREFUSED"]);
  clock.advance(1);
  expect(await record.upTo(2)).toEqual(["lost ECONNREFUSED", "data meanwhile"]);
});

test("datagrams that were received before an error are delivered before the error is reported", async () => {
  const { descriptor, peer, record } = await setup();
  for (const text of ["one", "two"]) peer.send(text);
  peer.close();
  provokeError(descriptor);
  expect(await record.upTo(3)).toEqual(["data one", "data two", "lost ECONNREFUSED"]);
});

test("an error that repeats at once causes four attempts per second, not a busy loop", async () => {
  const clock = new HandClock();
  const { descriptor, peer, record } = await setup(clock);
  peer.close();
  // With its descriptor closed, each further attempt fails.
  const copy = libc().dup(descriptor);
  libc().close(descriptor);
  clock.advance(5000);
  provokeError(copy);
  libc().close(copy);
  await record.upTo(1);
  const turns = async (count: number, ms: number) => {
    for (let i = 0; i < count; i++) {
      clock.advance(ms);
      await turn();
    }
  };
  // The first attempt is due at once, the next ones are not.
  await turns(50, 0);
  expect(record.happened).toEqual(["lost ECONNREFUSED", "lost EBADF"]);
  await turns(4, 250);
  expect(record.happened.slice(2)).toEqual(Array.from({ length: 4 }, () => "lost EBADF"));
});

test("a hundred errors leak no descriptor", async () => {
  const clock = new HandClock();
  const { descriptor, peer, record } = await setup(clock);
  peer.close();
  const before = descriptors();
  for (let error = 1; error <= 100; error++) {
    provokeError(descriptor);
    await record.upTo(error);
    clock.advance(1000);
    await turn();
  }
  expect(record.happened).toHaveLength(100);
  expect(descriptors()).toBe(before);
});

describe("stop()", () => {
  test("stop() ends the delivery, and leaves the descriptor open for the caller", async () => {
    const { descriptor, peer, record, stop } = await setup();
    peer.send("before");
    await record.upTo(1);
    const open = descriptors();
    stop();
    peer.send("after");
    for (let i = 0; i < 10; i++) await turn();
    expect(record.happened).toEqual(["data before"]);
    expect(descriptors()).toBe(open - 1);
    const buffer = new Uint8Array(new ArrayBuffer(16));
    expect(Number(libc().recv(descriptor, buffer, 16, 0))).toBe(5);
  });

  test("stop() takes effect in the pause after an error", async () => {
    const clock = new HandClock();
    const { descriptor, peer, record, stop } = await setup(clock);
    peer.close();
    provokeError(descriptor);
    await record.upTo(1);
    stop();
    const open = descriptors();
    clock.advance(10_000);
    await turn();
    expect(record.happened).toHaveLength(1);
    expect(descriptors()).toBe(open);
    expect(clock.waiting).toBe(0);
  });

  test("stop() takes effect while reading starts again", async () => {
    const clock = new HandClock();
    const { peer, descriptor, record, stop } = await setup(clock);
    peer.close();
    provokeError(descriptor);
    await record.upTo(1);
    const open = descriptors();
    clock.advance(250);
    stop();
    await peer.reopen();
    peer.send("after");
    for (let i = 0; i < 10; i++) await turn();
    expect(record.happened).toEqual(["lost ECONNREFUSED"]);
    // The one more is the peer, which is open again.
    expect(descriptors()).toBe(open + 1);
    expect(clock.waiting).toBe(0);
  });
});

test("an invalid descriptor is an error at once", async () => {
  const { handler } = recorder();
  const error = await readSocket(-1, systemClock, handler).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(SystemError);
  expect((error as SystemError).code).toBe("EBADF");
});

describe("readQueued()", () => {
  /** The descriptor of a socket that is not read, to which a peer has sent `texts`. */
  async function unread(...texts: readonly string[]): Promise<number> {
    const socket = bindSocket();
    closers.push(() => libc().close(socket.descriptor));
    const peer = await peerOf(socket);
    for (const text of texts) peer.send(text);
    return socket.descriptor;
  }
  const decode = (all: Iterable<Uint8Array>) =>
    [...all].map((bytes) => new TextDecoder().decode(bytes));

  test("all queued datagrams are read, each with its own bytes", async () => {
    const descriptor = await unread("one", "two", "three");
    expect(decode([...readQueued(descriptor)])).toEqual(["one", "two", "three"]);
    expect(decode(readQueued(descriptor))).toEqual([]);
  });

  test("queued datagrams are read up to the limit, and the rest stays queued", async () => {
    const descriptor = await unread("one", "two", "three");
    expect(decode(readQueued(descriptor, 2))).toEqual(["one", "two"]);
    expect(decode(readQueued(descriptor, 2))).toEqual(["three"]);
  });

  test("the queued datagrams of an invalid descriptor are an empty list", () => {
    expect(decode(readQueued(-1))).toEqual([]);
  });
});

/** Runs a command as root in a new user and network namespace; works without root. */
const unshare = ["unshare", "--user", "--map-root-user", "--net"];
const mayUnshare =
  ["unshare", "ip"].every((program) => Bun.which(program) !== null) &&
  Bun.spawnSync([...unshare, "ip", "link", "set", "lo", "up"], { stderr: "ignore" }).exitCode === 0;

describe.skipIf(!mayUnshare)(
  `sockets in a network namespace${mayUnshare ? "" : " [skipped: no unprivileged network namespace here]"}`,
  () => {
    /** Runs a script and returns what it recorded with `record`. The script waits for records with `upTo`. */
    function run(script: string): string[] {
      const path = (file: string) => JSON.stringify(join(import.meta.dir, "../..", file));
      const imports = {
        "{ libc }": "ffi/libc.ts",
        "{ systemClock }": "src/base/clock.ts",
        "{ bindPacketSocket, openPacketSocket }": "src/capture/packet-socket.ts",
        "{ readSocket }": "src/capture/socket-reader.ts",
        "{ parseLinkEvents }": "src/kernel/links.ts",
        "{ bytesOf }": "src/kernel/netlink.ts",
        "{ NetlinkSocket }": "src/kernel/netlink-socket.ts",
      };
      const whole = `
        ${Object.entries(imports)
          .map(([names, file]) => `import ${names} from ${path(file)};`)
          .join("\n")}
        const ip = (lines) => Bun.spawnSync(["ip", "-batch", "-"], { stdin: Buffer.from(lines) });
        const toggle = "link set lo up\\nlink set lo down\\n";
        const happened = [];
        let wake = () => {};
        const record = (what) => { happened.push(what); wake(); };
        const upTo = async (isReached) => {
          while (!isReached()) await new Promise((resolve) => { wake = resolve; });
        };
        ${script}
        console.log(JSON.stringify(happened));
        process.exit(0);
      `;
      const { stdout, stderr } = Bun.spawnSync([...unshare, process.execPath, "-e", whole], {
        timeout: REPORT_MS,
      });
      expect(stderr.toString()).toBe("");
      return JSON.parse(stdout.toString()) as string[];
    }

    /** Reads link events from a netlink socket with a receive buffer of 16 KiB. */
    const LINKS = `
      using socket = new NetlinkSocket(0, 1);
      // SO_RCVBUF
      libc().setsockopt(socket.descriptor, 1, 8, new Int32Array([8192]), 4);
      const stop = await readSocket(socket.descriptor, systemClock, {
        onData(bytes) {
          for (const { link } of parseLinkEvents(bytesOf(bytes))) record(link.name);
        },
        onLost: record,
      });
    `;

    test("a netlink socket whose receive buffer overflows delivers the buffered events, reports ENOBUFS, and is read on", () => {
      // The event loop is blocked while ip(8) causes more events than the receive buffer holds.
      const happened = run(`${LINKS}
        ip(toggle.repeat(100));
        await upTo(() => happened.includes("ENOBUFS"));
        const before = happened.length;
        ip("link set lo up\\n");
        await upTo(() => happened.slice(before).includes("lo"));
        stop();
      `);
      const errors = happened.filter((each) => each !== "lo");
      expect(new Set(errors)).toEqual(new Set(["ENOBUFS"]));
      expect(errors.length).toBeLessThan(5);
      expect(happened.length).toBeLessThan(100);
      // All buffered events are delivered before the error, so a handler of the error can scan for the missing ones.
      expect(happened.indexOf("ENOBUFS")).toBeGreaterThan(1);
    });

    test("each overflow of a netlink receive buffer is reported, and the buffer never stays full", () => {
      const happened = run(`${LINKS}
        for (let count = 1; count <= 3; count++) {
          ip(toggle.repeat(100));
          await upTo(() => happened.filter((each) => each === "ENOBUFS").length >= count);
        }
        const before = happened.length;
        ip("link set lo up\\n");
        await upTo(() => happened.slice(before).includes("lo"));
        stop();
      `);
      expect(new Set(happened)).toEqual(new Set(["lo", "ENOBUFS"]));
    });

    test("a packet socket whose interface goes down reports ENETDOWN, and delivers again when the interface is up", () => {
      const happened = run(`
        ip("link set lo up\\n");
        const descriptor = openPacketSocket({ receiveBufferBytes: 65_536, includesOutgoing: false });
        bindPacketSocket(descriptor, 1, "bind");
        const stop = await readSocket(descriptor, systemClock, {
          onData: () => record("data"),
          onLost: record,
        });
        const udp = await Bun.udpSocket({ hostname: "0.0.0.0" });
        const send = () => udp.send("x", udp.port, "127.0.0.1");
        send();
        await upTo(() => happened.includes("data"));
        ip("link set lo down\\n");
        await upTo(() => happened.includes("ENETDOWN"));
        ip("link set lo up\\n");
        const before = happened.length;
        send();
        await upTo(() => happened.slice(before).includes("data"));
        stop();
      `);
      expect(happened.filter((each) => each !== "data")).toEqual(["ENETDOWN"]);
    });
  },
);
