/** Datagrams of real sockets: UDP on the loopback, whose errors a test can provoke at will. */

import { dlopen, FFIType } from "bun:ffi";
import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { libc } from "../ffi/libc.ts";
import { systemClock } from "../src/clock.ts";
import { readDatagrams } from "../src/datagrams.ts";
import { SystemError } from "../src/errors.ts";
import { AF_INET, SOCK_DGRAM } from "../src/kernel/uapi.ts";
import { HandClock } from "./support/clock.ts";
import { REPORT_MS } from "./support/until.ts";

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

/** A UDP socket of libc's on a free port, connected to another port where nobody is at first. */
function lonelySocket() {
  const descriptor = libc().socket(AF_INET, SOCK_DGRAM, 0);
  expect(libc().bind(descriptor, loopback(0), 16)).toBe(0);
  const address = loopback(0);
  expect(more.getsockname(descriptor, address, new Uint32Array([16]))).toBe(0);
  const port = new DataView(address.buffer).getUint16(2, false);
  return { descriptor, port };
}

/** What the handler was told, one after the other; the test waits for the next thing. */
function recorder() {
  const happened: string[] = [];
  let wake = () => {};
  const tell = (what: string) => {
    happened.push(what);
    wake();
  };
  const kept: Uint8Array[] = [];
  return {
    kept,
    happened,
    handler: {
      data(bytes: Uint8Array) {
        kept.push(bytes);
        tell(`data ${new TextDecoder().decode(bytes)}`);
      },
      lost: (code: string) => tell(`lost ${code}`),
    },
    /** Waits until that many things have happened. */
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

/** A peer that the socket is connected to; while it is closed, all that is sent there is refused. */
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
    leave: () => udp.close(),
    async comeBack() {
      const connect = { hostname: "127.0.0.1", port };
      udp = await Bun.udpSocket({ hostname: "127.0.0.1", port: own, connect });
    },
  };
}

/** Sends into the void: the socket has the error ECONNREFUSED at once. */
function provokeError(descriptor: number): void {
  expect(more.send(descriptor, new Uint8Array(1), 1, 0)).toBe(1);
}

async function setup(clock: HandClock | typeof systemClock = new HandClock()) {
  const socket = lonelySocket();
  const peer = await peerOf(socket);
  const record = recorder();
  const stop = await readDatagrams(socket.descriptor, clock, record.handler);
  closers.push(stop, () => libc().close(socket.descriptor));
  return { ...socket, peer, record, stop };
}

const descriptors = () => readdirSync("/proc/self/fd").length;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test("datagrams are delivered whole and in order, for the handler to keep", async () => {
  const { peer, record } = await setup();
  for (const text of ["one", "two", "three"]) peer.send(text);
  expect(await record.upTo(3)).toEqual(["data one", "data two", "data three"]);
  // The second did not come in the first one's place.
  expect(record.kept.map((bytes) => new TextDecoder().decode(bytes))).toEqual([
    "one",
    "two",
    "three",
  ]);
});

test("after an error it is told, and reading goes on", async () => {
  const clock = new HandClock();
  const { descriptor, peer, record } = await setup(clock);
  clock.advance(1000);
  peer.leave();
  provokeError(descriptor);
  expect(await record.upTo(1)).toEqual(["lost ECONNREFUSED"]);
  clock.advance(0);
  await peer.comeBack();
  peer.send("again");
  expect(await record.upTo(2)).toEqual(["lost ECONNREFUSED", "data again"]);
});

test("what came while nobody read is delivered afterwards", async () => {
  const clock = new HandClock();
  const { descriptor, peer, record } = await setup(clock);
  peer.leave();
  provokeError(descriptor);
  await record.upTo(1);
  await peer.comeBack();
  peer.send("meanwhile");
  // It was attached just now: it waits, so that an error cannot come back without end.
  clock.advance(249);
  await turn();
  expect(record.happened).toEqual(["lost ECONNREFUSED"]);
  clock.advance(1);
  expect(await record.upTo(2)).toEqual(["lost ECONNREFUSED", "data meanwhile"]);
});

test("an error that comes back at once makes four attempts a second, not a busy loop", async () => {
  const clock = new HandClock();
  const { descriptor, peer, record } = await setup(clock);
  peer.leave();
  // Without its descriptor each further attempt fails by itself.
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
  peer.leave();
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

describe("a handler that is to be spared", () => {
  const WAKES = 10;
  const FETCH_MS = 20;
  const FLOOD_MS = 250;

  /** Reads with a handler that takes `costMs` for each datagram. */
  async function busy(costMs = 0, dropped = () => false) {
    const clock = new HandClock();
    const socket = lonelySocket();
    const peer = await peerOf(socket);
    const record = recorder();
    let overruns = 0;
    let busyTimes = 0;
    const stop = await readDatagrams(socket.descriptor, clock, {
      data(bytes) {
        record.handler.data(bytes);
        clock.advance(costMs);
      },
      lost: record.handler.lost,
      overrun: () => void overruns++,
      busy: () => void busyTimes++,
      dropped,
    });
    closers.push(stop, () => libc().close(socket.descriptor));
    const sendMany = (count: number) => {
      for (let n = 0; n < count; n++) peer.send(String(n));
    };
    /** As many as make a busy time; from then on it is not woken any more. */
    sendMany(WAKES);
    await record.upTo(WAKES);
    return {
      ...socket,
      clock,
      peer,
      record,
      stop,
      sendMany,
      overruns: () => overruns,
      busyTimes: () => busyTimes,
    };
  }

  test("is told at once as long as little comes", async () => {
    const clock = new HandClock();
    const { peer, record } = await setup(clock);
    for (let n = 1; n <= 200; n++) {
      peer.send("x");
      await record.upTo(n);
      clock.advance(10);
    }
    expect(clock.waiting).toBe(0);
  });

  test("is not woken in a busy time, but told of what came every 20 ms, in order", async () => {
    const { clock, record, sendMany, overruns } = await busy();
    sendMany(100);
    for (let n = 0; n < 20; n++) await turn();
    expect(record.happened).toHaveLength(WAKES);
    clock.advance(FETCH_MS - 1);
    expect(record.happened).toHaveLength(WAKES);
    clock.advance(1);
    expect(record.happened.slice(WAKES)).toEqual(
      Array.from({ length: 100 }, (_, n) => `data ${n}`),
    );
    expect(overruns()).toBe(0);
  });

  test("is woken again when the busy time is over", async () => {
    const { clock, peer, record, sendMany, busyTimes } = await busy();
    clock.advance(FETCH_MS * 11);
    expect(clock.waiting).toBe(0);
    peer.send("later");
    expect((await record.upTo(WAKES + 1)).at(-1)).toBe("data later");
    expect(busyTimes()).toBe(1);
    sendMany(WAKES - 1);
    await record.upTo(2 * WAKES);
    expect(busyTimes()).toBe(2);
  });

  test("does not get a flood, and is told of it again and again until it is over", async () => {
    const { clock, record, sendMany, overruns, busyTimes } = await busy(0.1);
    for (let count = 0; count < 11; count++) {
      expect(overruns()).toBe(0);
      sendMany(120);
      clock.advance(FETCH_MS);
    }
    // At once what many peers send, and then a few each time.
    const flooded = record.happened.length;
    expect(flooded).toBeLessThan(320);
    expect(overruns()).toBe(1);
    for (let round = 2; round < 5; round++) {
      sendMany(200);
      clock.advance(FLOOD_MS);
      expect(overruns()).toBe(round);
      // So that ordinary data is kept out as long as it lasts.
      expect(busyTimes()).toBe(1 + round);
    }
    expect(record.happened).toHaveLength(flooded);
    // The last few are thrown away, too.
    sendMany(1);
    clock.advance(FLOOD_MS);
    expect(overruns()).toBe(5);
    sendMany(3);
    await record.upTo(flooded + 3);
    expect(record.happened.slice(flooded)).toEqual(["data 0", "data 1", "data 2"]);
    expect(overruns()).toBe(5);
  });

  test("is told no more where nothing was thrown away when the flood ended", async () => {
    const { clock, peer, record, sendMany, overruns } = await busy(0.1);
    while (overruns() === 0) {
      sendMany(120);
      clock.advance(FETCH_MS);
    }
    clock.advance(FLOOD_MS);
    const told = overruns();
    clock.advance(FLOOD_MS);
    expect(overruns()).toBe(told);
    const { length } = record.happened;
    peer.send("later");
    expect((await record.upTo(length + 1)).at(-1)).toBe("data later");
  });

  test("gets all that many peers send at once, a little later", async () => {
    const { clock, record, sendMany, overruns } = await busy(0.1);
    sendMany(200);
    for (let count = 0; count < 9; count++) clock.advance(FETCH_MS);
    expect(record.happened).toHaveLength(200 + WAKES);
    expect(overruns()).toBe(0);
  });

  test("hears of errors in a busy time too", async () => {
    const { clock, descriptor, peer, record, sendMany } = await busy();
    peer.leave();
    provokeError(descriptor);
    clock.advance(FETCH_MS);
    expect(record.happened.slice(WAKES)).toEqual(["lost ECONNREFUSED"]);
    await peer.comeBack();
    sendMany(3);
    clock.advance(FETCH_MS);
    expect(record.happened.slice(WAKES + 1)).toEqual(["data 0", "data 1", "data 2"]);
  });

  test("is told of an overrun where the kernel had no room, without an error", async () => {
    let drops = 0;
    const { clock, sendMany, overruns } = await busy(0, () => drops > 0);
    sendMany(3);
    clock.advance(FETCH_MS);
    expect(overruns()).toBe(0);
    drops = 1;
    clock.advance(FETCH_MS);
    expect(overruns()).toBe(1);
  });

  test("is not told of what was dropped in a flood when it is over", async () => {
    let drops = 0;
    const { clock, peer, record, sendMany, overruns, busyTimes } = await busy(0.1, () => {
      const taken = drops;
      drops = 0;
      return taken > 0;
    });
    while (overruns() === 0) {
      sendMany(120);
      clock.advance(FETCH_MS);
    }
    drops = 1000;
    clock.advance(FLOOD_MS);
    clock.advance(FLOOD_MS);
    const told = overruns();
    const { length } = record.happened;
    const times = busyTimes();
    for (let n = 1; n <= WAKES; n++) peer.send("later");
    await record.upTo(length + WAKES);
    expect(busyTimes()).toBe(times + 1);
    clock.advance(FETCH_MS);
    expect(overruns()).toBe(told);
  });

  test("is left alone when it is stopped", async () => {
    const { clock, record, stop, sendMany } = await busy();
    stop();
    sendMany(3);
    clock.advance(1000);
    for (let n = 0; n < 10; n++) await turn();
    expect(record.happened).toHaveLength(WAKES);
    expect(clock.waiting).toBe(0);
  });
});

describe("when it is stopped", () => {
  test("nothing is delivered any more, and the descriptor is still the caller's", async () => {
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

  test("in the pause behind an error, it stays stopped", async () => {
    const clock = new HandClock();
    const { descriptor, peer, record, stop } = await setup(clock);
    peer.leave();
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
});

test("a descriptor that is none is an error at once", async () => {
  const { handler } = recorder();
  const error = await readDatagrams(-1, systemClock, handler).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(SystemError);
  expect((error as SystemError).code).toBe("EBADF");
});

/** Root in a network namespace of our own, without being root. */
const unshare = ["unshare", "--user", "--map-root-user", "--net"];
const mayUnshare =
  ["unshare", "ip"].every((program) => Bun.which(program) !== null) &&
  Bun.spawnSync([...unshare, "ip", "link", "set", "lo", "up"], { stderr: "ignore" }).exitCode === 0;

describe.skipIf(!mayUnshare)(
  `a netlink socket${mayUnshare ? "" : " [skipped: no unprivileged network namespace here]"}`,
  () => {
    /** What the script says of what it was told, on a netlink socket of a namespace of its own. */
    function run(queueBytes: number, scenario: string): string[] {
      const path = (file: string) => JSON.stringify(join(import.meta.dir, "..", file));
      const script = `
        import { libc } from ${path("ffi/libc.ts")};
        import { systemClock } from ${path("src/clock.ts")};
        import { readDatagrams } from ${path("src/datagrams.ts")};
        import { parseLinkEvents } from ${path("src/kernel/link.ts")};
        import { bytesOf } from ${path("src/kernel/netlink.ts")};
        import { NetlinkSocket } from ${path("src/kernel/socket.ts")};
        const ip = (lines) => Bun.spawnSync(["ip", "-batch", "-"], { stdin: Buffer.from(lines) });
        const toggle = "link set lo up\\nlink set lo down\\n";
        using socket = new NetlinkSocket(0, 1);
        const size = new Int32Array([${queueBytes}]);
        // SO_RCVBUF
        libc().setsockopt(socket.descriptor, 1, 8, size, 4);
        const happened = [];
        let wake = () => {};
        const upTo = async (isThere) => {
          while (!isThere()) await new Promise((resolve) => { wake = resolve; });
        };
        const handler = {
          data(bytes) {
            for (const { link } of parseLinkEvents(bytesOf(bytes))) happened.push(link.name);
            wake();
          },
          lost(code) { happened.push(code); wake(); },
        };
        ${scenario}
        stop();
        console.log(JSON.stringify(happened));
        process.exit(0);
      `;
      const { stdout, stderr } = Bun.spawnSync([...unshare, process.execPath, "-e", script], {
        timeout: REPORT_MS,
      });
      expect(stderr.toString()).toBe("");
      return JSON.parse(stdout.toString()) as string[];
    }

    test("whose queue overflows tells ENOBUFS, delivers what it had, and what comes then", () => {
      // The loop is blocked while ip(8) makes more events than a queue of 16 KiB holds.
      const happened = run(
        8192,
        `
        const stop = await readDatagrams(socket.descriptor, systemClock, handler);
        ip(toggle.repeat(100));
        await upTo(() => happened.includes("ENOBUFS") && happened.includes("lo"));
        const before = happened.length;
        ip("link set lo up\\n");
        await upTo(() => happened.slice(before).includes("lo"));
      `,
      );
      const errors = happened.filter((each) => each !== "lo");
      expect(new Set(errors)).toEqual(new Set(["ENOBUFS"]));
      expect(errors.length).toBeLessThan(5);
      expect(happened.length).toBeLessThan(100);
    });

    test("whose queue overflows before it is even busy is flooded, too", () => {
      const happened = run(
        8192,
        `
        const overrun = () => { happened.push("flood"); wake(); };
        const stop = await readDatagrams(socket.descriptor, systemClock, { ...handler, overrun });
        for (let count = 1; count <= 3; count++) {
          ip(toggle.repeat(100));
          await upTo(() => happened.filter((each) => each === "flood").length >= count);
        }
        const before = happened.length;
        const again = setInterval(() => ip(toggle), 100);
        await upTo(() => happened.slice(before).includes("lo"));
        clearInterval(again);
      `,
      );
      expect(happened).not.toContain("ENOBUFS");
    });

    test("whose queue overflows before the next fetch is flooded, too", () => {
      const happened = run(
        200_000,
        `
        const overrun = () => { happened.push("flood"); wake(); };
        const busy = () => { happened.push("busy"); wake(); };
        const clock = { ...systemClock, after: () => () => {} };
        const stop = await readDatagrams(socket.descriptor, clock, { ...handler, overrun, busy });
        ip(toggle.repeat(10));
        await upTo(() => happened.includes("busy"));
        ip(toggle.repeat(500));
        await upTo(() => happened.at(-1) !== "lo" && happened.at(-1) !== "busy");
      `,
      );
      expect(happened.at(-1)).toBe("flood");
    });

    test("whose queue overflows in a busy time is flooded: told so, and as long as that lasts nothing else", () => {
      // More than a hundred have room: so many are a flood.
      const happened = run(
        200_000,
        `
        const overrun = () => { happened.push("flood"); wake(); };
        const busy = () => { happened.push("busy"); wake(); };
        const stop = await readDatagrams(socket.descriptor, systemClock, { ...handler, overrun, busy });
        ip(toggle.repeat(10));
        await upTo(() => happened.includes("busy"));
        for (let count = 1; count <= 3; count++) {
          ip(toggle.repeat(500));
          await upTo(() => happened.filter((each) => each === "flood").length >= count);
        }
        const before = happened.length;
        const again = setInterval(() => ip("link set lo up\\nlink set lo down\\n"), 100);
        await upTo(() => happened.slice(before).includes("lo"));
        clearInterval(again);
      `,
      );
      const flooded = happened.slice(happened.indexOf("flood"), happened.lastIndexOf("flood") + 1);
      expect(flooded.filter((each) => each === "flood").length).toBeGreaterThanOrEqual(3);
      expect(flooded).not.toContain("lo");
      expect(happened).not.toContain("ENOBUFS");
    });
  },
);
