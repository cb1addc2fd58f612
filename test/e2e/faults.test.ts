/**
 * Faults while the binary runs: no free file descriptors, no memory, no /proc, a receive buffer that
 * overflows, a process that was stopped for a while. Changes that wgmon cannot see are not reported, missed
 * changes are reported once, and wgmon recovers by itself; or it ends, and the next start continues.
 */

import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { $ } from "bun";

import type { FakeUapiDevice } from "../support/fake-uapi-device.ts";
import { needs } from "../support/kernel.ts";
import { type Sender, Stage, story } from "../support/netns-stage.ts";
import { data, initiation } from "../support/packets.ts";
import type { Receiver } from "../support/receiver.ts";
import { newStateFolder } from "../support/state.ts";
import { REPORT_MS, TEST_MS, until, untilStopped } from "../support/until.ts";
import { type LogLine, startWgmon, type Wgmon } from "../support/wgmon.ts";

const BINARY = join(import.meta.dir, "../../wgmon");

const tools = needs("namespaces", "nsenter", "prlimit");
const nft = needs("nft");

const IDLE_MS = 1500;
const SHORT = ["--idle-timeout", `${IDLE_MS}ms`, "--tick", "100ms"];
const POLL = ["--monitor", "poll", ...SHORT];
const TOO_MANY = "EMFILE (too many open files in this process; raise LimitNOFILE)";
/** NFLOG group of the rules that nftables loads. */
const GROUP = 1;
const FLOOD_PORT = 5000;
const FLOODED = "reading only packets that complete a handshake";

setDefaultTimeout(TEST_MS);

describe.skipIf(tools.missing)(tools.title("wgmon during faults"), () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.create();
  });

  afterAll(async () => {
    await stage[Symbol.asyncDispose]();
  });

  function start(args: readonly string[], ...webhooks: readonly string[]): Wgmon {
    const targets = webhooks.flatMap((url) => ["--webhook", url]);
    return stage.wgmon([...args, ...targets, "--log-level", "debug"]);
  }

  describe("the limit of open files", () => {
    /** Lowers the limit, so that no descriptor can be opened. Open ones stay open. */
    const exhaust = ({ pid }: Wgmon) => $`prlimit --pid ${pid} --nofile=3:`.quiet();
    const restore = ({ pid }: Wgmon) => $`prlimit --pid ${pid} --nofile=1000:`.quiet();

    test("without free descriptors, failed scans are logged once, and peers that were not scanned are not reported", async () => {
      await using fake0 = await stage.device("fake0");
      await using fake1 = await stage.device("fake1", 51821);
      using receiver = stage.receiver();
      await using wgmon = start(POLL, receiver.url());
      await wgmon.ready;
      fake0.connect(1, 2, 3, 4);
      fake0.talk(1, 2, 3);
      fake1.connect(7);
      fake1.talk(7);
      await receiver.waitFor(({ length }) => length === 5, REPORT_MS);

      await exhaust(wgmon);
      // A scan that has its descriptor already still succeeds: nothing changes before each has failed.
      await until("each scan has failed", () => errors(wgmon).length === 3);
      const from = wgmon.log.length;
      const takenMs = performance.now();
      fake0.fallSilent(2);
      fake0.roam(3);
      fake0.remove(4);
      fake0.connect(5);
      fake0.talk(5);
      // Longer than the idle timeout.
      const silentMs = () => performance.now() - takenMs;
      while (silentMs() < IDLE_MS) await scanned(wgmon, 5);
      // Failed scans are retried on the tick, and not more often because a peer's timeout is due.
      const scans = wgmon.log.slice(from).filter(isScan).length;
      expect(scans).toBeLessThan((silentMs() / 100) * 2 + 25);
      expect(story(receiver)).toHaveLength(5);
      // In any order, because the first failed scan may have scanned one device already.
      expect(errors(wgmon).map(String).toSorted()).toEqual([
        `list /var/run/wireguard: ${TOO_MANY}`,
        `query userspace device fake0: ${TOO_MANY}`,
        `query userspace device fake1: ${TOO_MANY}`,
      ]);

      await restore(wgmon);
      await logged(wgmon, "all devices can be scanned again");
      const missed = ["connected 5", "disconnected 2", "disconnected 4", "roamed 3"];
      await expectRest(receiver, 5, missed);
      fake0.fallSilent(1, 3, 5);
      fake1.fallSilent(7);
      const ends = [1, 3, 5, 7].map((peer) => `disconnected ${peer}`);
      await expectRest(receiver, 9, ends);
      expect(errors(wgmon)).toHaveLength(3);
    });

    test("without free descriptors, failed deliveries are logged once, and the events arrive afterwards", async () => {
      await using fake0 = await stage.device("fake0");
      using receiver = stage.receiver();
      const port = 8081; // No other program listens in this namespace.
      await using wgmon = start(POLL, `http://127.0.0.1:${port}/`, receiver.url());
      await wgmon.ready;
      fake0.connect(1);
      fake0.talk(1);
      await logged(wgmon, /webhook 1 .*ECONNREFUSED, attempt 1/);
      await exhaust(wgmon);
      await logged(wgmon, `webhook 1 http://127.0.0.1:${port}: ${TOO_MANY}, attempt`);
      const ids: unknown[] = [];
      using _server = stage.inside(() =>
        Bun.serve({
          port,
          hostname: "127.0.0.1",
          async fetch(request) {
            ids.push(((await request.json()) as { id: unknown }).id);
            return new Response();
          },
        }),
      );
      await restore(wgmon);
      await logged(wgmon, /webhook 1 .*: delivering again/);
      expect(ids).toEqual(receiver.requests.map(({ event }) => event!.id));
      const warnings = wgmon.log.filter(
        ({ level, msg }) => level === "warn" && matches(msg, TOO_MANY),
      );
      expect(warnings).toHaveLength(1);
    });

    test("with only one free descriptor, the first delivery fails, and arrives afterwards", async () => {
      await using fake0 = await stage.device("fake0");
      using receiver = stage.receiver();
      await using wgmon = start(POLL, receiver.url());
      await logged(wgmon, "warm");
      // Enough for a scan, but not for a delivery.
      await $`prlimit --pid ${wgmon.pid} --nofile=${limitThatLeaves(1, wgmon)}:`.quiet();
      fake0.connect(1);
      fake0.talk(1);
      await logged(wgmon, /connected from/);
      await restore(wgmon);
      await receiver.waitFor(({ length }) => length === 1, REPORT_MS);
      expect(story(receiver)).toEqual(["connected 1"]);
    });

    test.skipIf(nft.missing)(
      nft.title(
        "a socket whose receive buffer overflowed cannot be read again, and packets are seen afterwards",
      ),
      async () => {
        await using wgmon = start([...SHORT, "--monitor", "nflog", "--group", String(GROUP)]);
        await wgmon.ready;
        using flood = await Flood.create(stage);
        await freeze(wgmon);
        flood.overflow();
        await exhaust(wgmon);
        wgmon.signal("SIGCONT");
        await logged(wgmon, FLOODED);
        await logged(wgmon, `NFLOG group ${GROUP} reports EMFILE; scanning all devices`);
        await restore(wgmon);
        const from = wgmon.log.length;
        await flood.untilSeen(wgmon, from);
        const reports = wgmon.log.filter(({ msg }) => matches(msg, "reports EMFILE"));
        expect(reports).toHaveLength(1);
      },
    );
  });

  describe("a wgmon that was stopped for a while", () => {
    test.each([
      ["poll", POLL],
      ["bpf", [...SHORT, "--monitor", "bpf", "--interface", "lo"]],
    ])(
      "after wgmon was stopped for a while, it reports missed changes once (%s)",
      async (monitor, args) => {
        await using fake0 = await stage.device("fake0");
        await using fake1 = await stage.device("fake1", 51821);
        using receiver = stage.receiver();
        fake0.connect(1, 2, 3, 4);
        fake0.talk(1, 2, 3, 4);
        fake1.connect(7);
        fake1.talk(7);
        await using wgmon = start(args, receiver.url());
        await receiver.waitFor(({ length }) => length === 5, REPORT_MS);
        await scanned(wgmon, 2);

        // The last activity of these peers must be known before the stop: wgmon may be stopped after it has read an
        // answer and before it has taken the time of the scan.
        fake0.fallSilent(2, 4);
        await scanned(wgmon, 2);
        await freezeBetweenScans(wgmon, [fake0, fake1]);
        const stoppedMs = Date.now();
        fake0.roam(3);
        fake0.remove(4);
        fake0.connect(5);
        fake0.talk(5);
        // The first packet after the stop is for one device, and not for the other.
        using sender = await stage.sender(51820);
        sender.send(data(0));
        // Longer than the idle timeout; the test is about this time, so it must pass.
        await Bun.sleep(IDLE_MS + 500);
        wgmon.signal("SIGCONT");
        const resumedMs = Date.now();

        const missed = ["connected 5", "disconnected 2", "disconnected 4", "roamed 3"];
        await expectRest(receiver, 5, missed);
        const events = receiver.requests.slice(5).map(({ event }) => event!);
        const ends = events.filter((event) => event.type === "peer.disconnected");
        expect(ends.map(({ data }) => data.reason).toSorted()).toEqual(["idle", "peer-removed"]);
        for (const { data } of ends) {
          expect(Date.parse(data.session.endedAt)).toBeLessThanOrEqual(stoppedMs);
        }
        const began = events.find((event) => event.type === "peer.connected")!.data.session
          .startedAt;
        expect(Date.parse(began)).toBeGreaterThanOrEqual(stoppedMs - 1);
        expect(Date.parse(began)).toBeLessThan(resumedMs);

        // Peers that stayed connected were not reported as disconnected.
        fake0.fallSilent(1, 3, 5);
        fake1.fallSilent(7);
        await expectRest(
          receiver,
          9,
          [1, 3, 5, 7].map((peer) => `disconnected ${peer}`),
        );
        const byPacket = wgmon.log.some((line) => line["reason"] === "packet");
        expect(byPacket).toBe(monitor === "bpf");
        expect(errors(wgmon)).toEqual([]);
      },
    );
  });

  test("a peer that connects while the receive buffer of a tap overflows, without an error, is reported", async () => {
    using receiver = stage.receiver();
    await using device = await stage.device("overflow0");
    await using wgmon = start(
      ["--monitor", "bpf", "--interface", "lo", "--reconcile", "0"],
      receiver.url(),
    );
    await wgmon.waitForLog(({ msg }) => msg === "warm", REPORT_MS);
    using sender = await stage.sender(51820);
    // It begins like an initiation, so it passes the filter and fills the buffer, but it causes no scan.
    const junk = new Uint8Array(1400);
    junk[0] = 1;
    for (let count = 0; count < 3000; count++) sender.send(junk);
    device.connect(1);
    device.talk(1);
    sender.send(data(0));
    await wgmon.waitForLog(({ msg }) => msg === FLOODED, REPORT_MS);
    await receiver.waitFor(({ length }) => length > 0, REPORT_MS);
    expect(receiver.requests.map(({ event }) => event?.type)).toEqual(["peer.connected"]);
  });

  test("without memory wgmon ends or is killed, and the next start continues from the store", async () => {
    await using fake0 = await stage.device("fake0");
    using receiver = stage.receiver();
    receiver.answer = "hang";
    const stateFolder = newStateFolder();
    const args = ["--monitor", "poll", "--tick", "100ms", "--state-dir", stateFolder];
    await using first = start(args, receiver.url());
    await first.ready;
    fake0.connect(1);
    fake0.talk(1);
    await receiver.waitFor(({ length }) => length === 1, REPORT_MS);
    // A limit below its present size: it cannot allocate more. It may still manage with the memory that it has
    // reserved; then it is killed below, as a limit of systemd or of a container would do.
    await $`prlimit --pid ${first.pid} --as=1`.quiet();
    fake0.connect(...Array.from({ length: 3000 }, (_, index) => 2 + index));
    let connected = 0;
    const all = first.waitForLog(
      ({ event }) => event === "peer.connected" && ++connected === 3001,
      REPORT_MS,
    );
    await Promise.race([first.exited, all.catch(() => {})]);
    expect(await first.stop("SIGKILL")).toBeGreaterThan(0);

    receiver.answer = { status: 204 };
    await using second = start(args, receiver.url());
    await logged(second, "restored sessions of the previous run");
    using store = new Database(join(stateFolder, "wgmon.db"), { readonly: true });
    const stored = store.query<{ id: string }, []>("SELECT id FROM events");
    await until("the event of each peer is in the store", () => stored.all().length >= 3001);
    const ids = () => new Set(receiver.requests.map(({ event }) => event!.id));
    // Delivering all events takes minutes on a busy machine; the rest stays in the store.
    await receiver.waitFor(() => ids().size >= 50, REPORT_MS);
    // The event that waited is sent first, and is the same event.
    expect(story(receiver).slice(0, 2)).toEqual(["connected 1", "connected 1"]);
    expect(receiver.requests[1]!.event).toEqual(receiver.requests[0]!.event!);
    expect(await second.stop()).toBe(0);
    expect(errors(second)).toEqual([]);
    const peers = store.query<{ key: string }, []>(
      "SELECT DISTINCT body -> 'data' -> 'peer' ->> 'publicKey' AS key FROM events",
    );
    expect([stored.all().length, peers.all().length]).toEqual([3001, 3001]);
    const waiting = store.query<{ id: string }, []>(
      "SELECT id FROM outbox JOIN events USING (seq)",
    );
    const deliveredOrWaiting = new Set([...ids(), ...waiting.all().map(({ id }) => id)]);
    expect(deliveredOrWaiting.size).toBe(3001);
  });

  describe("a missing /proc", () => {
    test("wgmon continues if /proc is unmounted while it runs", async () => {
      await using fake0 = await stage.device("fake0");
      using receiver = stage.receiver();
      const args = ["--webhook", receiver.url(), "--log-level", "debug"];
      const command = ["unshare", "--mount", BINARY, ...POLL, ...args];
      const [nsenter, ...rest] = stage.command(...command);
      await using wgmon = startWgmon(rest, { binary: nsenter! });
      await wgmon.ready;
      await $`nsenter --target ${wgmon.pid} --mount umount --lazy /proc`;
      fake0.connect(1);
      await receiver.waitFor(({ length }) => length === 2, REPORT_MS);
      expect(story(receiver)).toEqual(["connected 1", "disconnected 1"]);
      expect(await wgmon.stop()).toBe(0);
      expect(errors(wgmon)).toEqual([]);
    });

    test("wgmon starts if /proc contains only processes, as with ProcSubset=pid", async () => {
      const mount = 'mount -t proc -o subset=pid proc /proc; exec "$0" "$@"';
      const command = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-euc",
        mount,
      ];
      for (const args of [
        ["--monitor", "nflog"],
        ["--monitor", "bpf", "--interface", "lo"],
        ["--monitor", "poll"],
      ]) {
        const [nsenter, ...rest] = stage.command(...command, BINARY, ...args);
        await using wgmon = startWgmon(rest, { binary: nsenter! });
        await wgmon.ready;
        if (args[1] !== "nflog") continue;
        // Only the owner of the group is unknown.
        await using second = startWgmon(rest, { binary: nsenter! });
        expect(await second.exited).toBe(1);
        expect(second.logText.trim().split("\n").at(-1)).toBe(
          "wgmon: bind NFLOG group 1: EBUSY (another program uses it; stop that program, or choose another " +
            "number with --group and in the firewall rule)",
        );
      }
    });

    // Bun needs /proc/self/statm at its start, and aborts before any code of wgmon runs.
    test("wgmon does not start without /proc", async () => {
      const stateFolder = newStateFolder();
      const script = 'umount --lazy /proc; exec "$0" "$@"';
      const bare = ["unshare", "--mount", "sh", "-euc", script, BINARY];
      for (const args of [["--version"], [...POLL, "--state-dir", stateFolder]]) {
        const [nsenter, ...rest] = stage.command(...bare, ...args);
        await using wgmon = startWgmon(rest, { binary: nsenter! });
        expect(await wgmon.exited).toBe(128 + 6);
        expect(wgmon.logText).toContain("Bun has crashed");
      }
    });
  });
});

/** As for root in a container who is not root of the machine. */
describe.skipIf(tools.missing || nft.missing)(
  tools.title(nft.title("a receive buffer that wgmon may not enlarge")),
  () => {
    test("a receive buffer that wgmon may not enlarge overflows, which is logged, and packets are seen afterwards", async () => {
      await using stage = await Stage.create({ isContainer: true });
      const args = ["--monitor", "nflog", "--group", String(GROUP), ...SHORT];
      await using wgmon = stage.wgmon([...args, "--log-level", "debug"]);
      await wgmon.ready;
      using flood = await Flood.create(stage);
      await freeze(wgmon);
      flood.overflow();
      wgmon.signal("SIGCONT");
      await logged(wgmon, FLOODED);
      await flood.untilSeen(wgmon, wgmon.log.length);
      expect(errors(wgmon)).toEqual([]);
    });
  },
);

/** A flood of packets that a rule logs to the group. */
class Flood implements Disposable {
  readonly #sender: Sender;

  static async create(stage: Stage): Promise<Flood> {
    const rule = `udp dport ${FLOOD_PORT} log group ${GROUP}`;
    // Each packet is logged 20 times.
    await stage.run(`nft 'table inet flood {
      chain input { type filter hook input priority 0; ${`${rule};`.repeat(20)} }
    }'`);
    return new Flood(await stage.sender(FLOOD_PORT));
  }

  private constructor(sender: Sender) {
    this.#sender = sender;
  }

  overflow(): void {
    for (let sent = 0; sent < 1500; sent++) this.#sender.send(initiation());
  }

  /** Sends packets until one of them causes a scan. */
  async untilSeen(wgmon: Wgmon, from: number): Promise<void> {
    const again = setInterval(() => this.#sender.send(initiation()), 50);
    const isNew = (line: LogLine) => wgmon.log.indexOf(line) >= from;
    try {
      await wgmon.waitForLog((line) => line["reason"] === "packet" && isNew(line), REPORT_MS);
    } finally {
      clearInterval(again);
    }
  }

  [Symbol.dispose](): void {
    this.#sender[Symbol.dispose]();
  }
}

/** The limit of open files that leaves `free` descriptors; new descriptors get the lowest free numbers. */
function limitThatLeaves(free: number, { pid }: Wgmon): number {
  const open = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let limit = 0;
  for (let left = free; left > 0; limit++) if (!open.has(limit)) left--;
  return limit;
}

/** Waits for the events after the first `from`, and expects exactly `rest` in any order. */
async function expectRest(receiver: Receiver, from: number, rest: readonly string[]) {
  await receiver.waitFor(({ length }) => length >= from + rest.length, REPORT_MS).catch(() => {});
  expect(story(receiver).slice(from).toSorted()).toEqual(rest.toSorted());
}

async function freeze(wgmon: Wgmon): Promise<void> {
  wgmon.signal("SIGSTOP");
  await untilStopped(wgmon.pid);
}

/** Not during a scan, because its answer would be from before the stop and be read after it. */
async function freezeBetweenScans(wgmon: Wgmon, devices: readonly FakeUapiDevice[]): Promise<void> {
  await until("wgmon is stopped between two scans", async () => {
    await freeze(wgmon);
    // The devices accept the connection and read the request that was sent before: a few turns of the event loop.
    for (let turns = 0; turns < 20; turns++) await Bun.sleep(1);
    if (!devices.some(({ isBeingScanned }) => isBeingScanned)) return true;
    wgmon.signal("SIGCONT");
    return false;
  });
}

async function logged(wgmon: Wgmon, message: string | RegExp): Promise<void> {
  await wgmon.waitForLog(({ msg }) => matches(msg, message), REPORT_MS);
}

function matches(msg: unknown, message: string | RegExp): boolean {
  const text = String(msg);
  return typeof message === "string" ? text.includes(message) : message.test(text);
}

/** Waits for `count` more scans. */
async function scanned(wgmon: Wgmon, count: number): Promise<void> {
  const wanted = wgmon.log.filter(isScan).length + count;
  let seen = 0;
  await wgmon.waitForLog((line) => isScan(line) && ++seen === wanted, REPORT_MS);
}

function isScan({ msg }: LogLine): boolean {
  return msg === "scan";
}

function errors({ log }: Wgmon): unknown[] {
  return log.filter(({ level }) => level === "error").map(({ msg }) => msg);
}
