/**
 * Measures the time for decoding scans: builds answers to WG_CMD_GET_DEVICE in the kernel's format, and decodes them.
 * The kernel's own time is not included. `bun test/bench/decode.ts` prints a table, with `--json` JSON; run it on an
 * idle machine. Each figure is the median of WGMON_TEST_ROUNDS processes. Each figure has separate processes, because
 * the JIT state of earlier measurements would affect later ones.
 */

import { fullGC, heapStats } from "bun:jsc";

import { Devices } from "../../src/kernel/devices.ts";
import type { MessageVisitor, Request, Requester } from "../../src/kernel/netlink-socket.ts";
import {
  type Attribute,
  bytesOf,
  encodeMessage,
  text,
  u16,
  u32,
} from "../../src/kernel/netlink.ts";
import { PeerTable } from "../../src/kernel/peer-table.ts";
import { RTM_GETLINK, RTM_NEWLINK } from "../../src/platform/constants.ts";
import { Tracker } from "../../src/sessions/tracker.ts";
import { FAMILY, linkMessage, socketAddress, u64, whole } from "../support/answers.ts";
import { readGolden } from "../support/golden.ts";
import { privateMb } from "../support/usage.ts";

const ROUNDS = Number(process.env["WGMON_TEST_ROUNDS"] ?? 5);
const SIZES = [100, 1_000, 10_000, 100_000];
/** Number of peers of each device for the measurement of memory. */
const DEVICE_PEERS = 10_000;
/** Number of peers that are decoded for one figure in a warm process. */
const WARM_PEERS = 2_000_000;
/** Maximum number of scans for counting allocated bytes; fewer for large devices, which are slow. */
const COUNTED_SCANS = 10_000;

/** Maximum size of the kernel's datagrams, and size of the socket's read buffer. */
const DATAGRAM_BYTES = 32_436;
const BUFFER_BYTES = 65_536;
/** Offset of the peers in a message, and offsets of the changing fields in a peer, including its header. */
const PEERS_AT = 20;
const KEY_AT = 8;
const HANDSHAKE_AT = 80;
const TX_AT = 108;
const RX_AT = 120;

const SECRET = new Uint8Array(32).fill(0xa5);

/** A device whose peers have two allowed IPs, a preshared key and an endpoint, half of them IPv6. */
class Dump {
  readonly answer = bytesOf(new Uint8Array(new ArrayBuffer(BUFFER_BYTES)));
  readonly #index: number;
  readonly #peers: number;
  readonly #head: Uint8Array;
  readonly #continued: Uint8Array;
  readonly #templates: readonly Uint8Array[];
  /** 0 = never. */
  handshakeSeconds = 0;
  rxBytes = 0;

  constructor(peers: number, index = 1) {
    this.#peers = peers;
    this.#index = index;
    const named: Attribute[] = [
      [1, u32(index)],
      [2, text(`wg${index}`)],
    ];
    this.#head = message([[6, u16(51_820)], [7, u32(0)], ...named, [3, SECRET], [4, SECRET]]);
    this.#continued = message(named);
    this.#templates = ["198.51.100.7:51820", "[2001:db8::7]:51820"].map((endpoint) =>
      message([[0, peerAttributes(endpoint)]]).slice(PEERS_AT),
    );
  }

  /** Writes the answer's datagrams into the buffer one after the other, and calls `use` with the length of each. */
  each(use: (length: number) => void): void {
    const { bytes, view } = this.answer;
    let peer = 0;
    do {
      const head = peer === 0 ? this.#head : this.#continued;
      bytes.set(head);
      const list = head.length;
      let offset = list + 4;
      for (; peer < this.#peers; peer++) {
        const template = this.#templates[peer % 2]!;
        if (offset + template.length > DATAGRAM_BYTES) break;
        bytes.set(template, offset);
        for (let word = 0; word < 8; word++) {
          const keyWord = mixed((this.#index * 1_000_000 + peer) * 8 + word);
          view.setInt32(offset + KEY_AT + word * 4, keyWord, true);
        }
        view.setUint32(offset + HANDSHAKE_AT, this.handshakeSeconds, true);
        view.setUint32(offset + TX_AT, this.rxBytes, true);
        view.setUint32(offset + RX_AT, this.rxBytes, true);
        offset += template.length;
      }
      view.setUint16(list, offset - list, true);
      view.setUint16(list + 2, 8, true);
      view.setUint32(0, offset, true);
      use(offset);
    } while (peer < this.#peers);
  }
}

function message(attributes: readonly Attribute[]): Uint8Array {
  const header = Uint8Array.of(0, 1, 0, 0);
  return encodeMessage({ type: FAMILY, flags: 2, sequence: 1, header, attributes });
}

/** In the order of get_peer() and get_allowedips() in drivers/net/wireguard/netlink.c. */
function peerAttributes(endpoint: string): readonly Attribute[] {
  const allowedIps = [Uint8Array.of(10, 0, 0, 1), new Uint8Array(16).fill(0xfd, 0, 1)];
  return [
    [1, SECRET],
    [2, SECRET],
    [6, new Uint8Array(16)],
    [5, u16(25)],
    [8, u64(0)],
    [7, u64(0)],
    [10, u32(1)],
    [4, socketAddress(endpoint)],
    [
      9,
      allowedIps.map((address) => [
        0,
        [
          [3, Uint8Array.of(address.length * 8)],
          [1, u16(address.length === 4 ? 2 : 10)],
          [2, address],
        ],
      ]),
    ],
  ];
}

/** A pseudorandom 32-bit integer from `number`: the finalizer of MurmurHash3. */
function mixed(number: number): number {
  let bits = Math.imul(number + 1, 0x9e3779b1);
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}

/** A table and the device that it scans. */
class Bench {
  readonly dump: Dump;
  readonly table = new PeerTable({ reportsIdlePeers: false });
  readonly #read = (length: number) => this.#readOne(length);
  readonly #whole = { interrupted: false };
  #spentNs = 0;

  constructor(peers: number) {
    this.dump = new Dump(peers);
    // Excludes the cost of the first calls from the measurement.
    this.dump.each(() => {});
    Bun.nanoseconds();
  }

  /** Makes one scan; returns the time for decoding it, and how many peers it reported as changed. */
  scan(): { readonly ns: number; readonly changed: number } {
    const changed = this.countChanged();
    return { ns: this.#spentNs, changed };
  }

  /** The same without the result object, which would count as an allocation. Returns the number of changed peers. */
  countChanged(): number {
    const beginNs = Bun.nanoseconds();
    this.table.begin();
    this.#spentNs = Bun.nanoseconds() - beginNs;
    this.dump.each(this.#read);
    const finishNs = Bun.nanoseconds();
    const changed = this.table.finish(this.#whole).changed.length;
    // The socket also clears its buffer.
    this.dump.answer.bytes.fill(0, 0, DATAGRAM_BYTES);
    this.#spentNs += Bun.nanoseconds() - finishNs;
    return changed;
  }

  #readOne(length: number): void {
    const startNs = Bun.nanoseconds();
    this.table.read(this.dump.answer, 0, length);
    this.#spentNs += Bun.nanoseconds() - startNs;
  }

  /** Changes all peers, so that the next scan reports all of them. */
  change(): void {
    this.dump.handshakeSeconds = 1_700_000_000;
    this.dump.rxBytes++;
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** The measurements; each runs in a separate process. */
const parts = {
  /** No peer has ever connected. */
  firstQuietMs: (peers: number) => new Bench(peers).scan().ns / 1e6,

  firstConnectedMs(peers: number): number {
    const bench = new Bench(peers);
    bench.change();
    return bench.scan().ns / 1e6;
  },

  unchangedPerSecond(peers: number): number {
    const bench = new Bench(peers);
    bench.scan();
    return warmPerSecond(peers, () => {
      const { ns, changed } = bench.scan();
      if (changed > 0) throw new Error("unchanged peers were reported");
      return ns;
    });
  },

  changedPerSecond(peers: number): number {
    const bench = new Bench(peers);
    bench.scan();
    return warmPerSecond(peers, () => {
      bench.change();
      const { ns, changed } = bench.scan();
      if (changed !== peers) throw new Error(`${changed} of ${peers} peers were reported`);
      return ns;
    });
  },

  /** Bytes allocated by a scan without changes. */
  bytesPerScan(peers: number): number {
    const bench = new Bench(peers);
    for (let scans = WARM_PEERS / peers; scans > 0; scans--) bench.countChanged();
    return bytesOfEach(Math.min(COUNTED_SCANS, (5 * WARM_PEERS) / peers), () =>
      bench.countChanged(),
    );
  },

  /** Private memory of the whole process with devices of 10,000 peers and the tracker, after some scans. */
  async privateMb(peers: number): Promise<number> {
    const kernel = new Kernel(peers);
    const devices = new Devices([], kernel, kernel);
    const tracker = new Tracker({ idleTimeoutMs: () => 1, holdMs: 0, announceExisting: true });
    for (let scan = 0; scan < 20; scan++) {
      tracker.observe(await devices.scan("list"), { wallMs: scan, monotonicMs: scan });
    }
    return privateMb(process.pid);
  },

  /** One peer: the first scan, then in interpreted (cold) and compiled (warm) code. */
  oneFirstUs: () => new Bench(1).scan().ns / 1e3,
  oneColdUs: () => oneUs(5, 10, () => {}),
  oneWarmUs: () => oneUs(20_000, 1_000, () => {}),
  oneChangedColdUs: () => oneUs(5, 10, (bench) => bench.change()),
  oneChangedWarmUs: () => oneUs(20_000, 1_000, (bench) => bench.change()),
} as const;

type Part = keyof typeof parts;

function warmPerSecond(peers: number, scan: () => number): number {
  const scans = Math.max(8, WARM_PEERS / peers);
  const times = Array.from({ length: scans }, scan).slice(scans / 4);
  return (peers / median(times)) * 1e9;
}

function oneUs(before: number, counted: number, act: (bench: Bench) => void): number {
  const bench = new Bench(1);
  const times = Array.from({ length: before + counted }, () => {
    act(bench);
    return bench.scan().ns;
  });
  return median(times.slice(before)) / 1e3;
}

/** Keeps the compiler from removing allocations that are written to it. */
const garbage: unknown[] = [];

/**
 * The number of bytes that an action allocates, estimated: the garbage collector runs after a fixed number of allocated
 * bytes and updates the object count only then. The more the actions allocate, the earlier it runs afterwards.
 */
function bytesOfEach(times: number, action: () => void): number {
  fullGC();
  const room = bytesUntilCollection();
  fullGC();
  const { objectCount } = heapStats();
  const kept = keptObjects();
  for (let left = times; left > 0; left--) action();
  const isCollected = heapStats().objectCount !== objectCount;
  garbage[0] = kept;
  if (isCollected) return bytesOfEach(Math.ceil(times / 10), action);
  return Math.max(0, room - bytesUntilCollection()) / times;
}

function bytesUntilCollection(): number {
  const { objectCount } = heapStats();
  const kept = keptObjects();
  let bytes = 0;
  while (heapStats().objectCount === objectCount) {
    // Two words of header and six properties.
    for (let i = 0; i < 1000; i++) garbage[0] = { a: i, b: 0, c: 0, d: 0, e: 0, f: kept };
    bytes += 1000 * 64;
  }
  return bytes;
}

/** Live objects, which make a garbage collection visible in the object count. */
function keptObjects(): readonly unknown[] {
  return Array.from({ length: 64 }, (_, index) => ({ index }));
}

/** A fake kernel with devices of at most 10,000 peers. */
class Kernel implements Requester, Disposable {
  readonly #dumps: readonly Dump[];

  constructor(peers: number) {
    const devices = Math.ceil(peers / DEVICE_PEERS);
    this.#dumps = Array.from(
      { length: devices },
      (_, index) => new Dump(peers / devices, index + 1),
    );
  }

  request(_operation: string, request: Request, visit: MessageVisitor): { interrupted: boolean } {
    if (request.type === RTM_GETLINK) {
      for (const index of this.#dumps.keys()) {
        visit(...whole(linkMessage({ name: `wg${index + 1}`, index: index + 1 })), RTM_NEWLINK);
      }
    } else if (request.type === FAMILY) {
      const [, index] = request.attributes[0]!;
      const dump = this.#dumps[(index as Uint8Array)[0]! - 1]!;
      dump.each((length) => visit(dump.answer, 0, length, FAMILY));
    } else {
      visit(...whole(readGolden("family.bin")[0]!), request.type);
    }
    return { interrupted: false };
  }

  [Symbol.dispose](): void {}
}

async function measure(part: Part, peers: number): Promise<number> {
  const figures: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const command = [process.execPath, import.meta.path, part, String(peers)];
    const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
    figures.push(Number(await child.stdout.text()));
    if ((await child.exited) !== 0) throw new Error(`${part} failed`);
  }
  return median(figures);
}

/** The figures for each number of peers: name, column title, and formatting. */
const COLUMNS: readonly (readonly [Part, string, (figure: number) => string])[] = [
  ["unchangedPerSecond", "unchanged", (figure) => `${(figure / 1e6).toFixed(1)} M/s`],
  ["changedPerSecond", "all changed", (figure) => `${(figure / 1e6).toFixed(2)} M/s`],
  ["firstQuietMs", "first scan", (figure) => `${figure.toFixed(2)} ms`],
  ["firstConnectedMs", "all connected", (figure) => `${figure.toFixed(2)} ms`],
  ["bytesPerScan", "a scan takes", (figure) => `${figure.toFixed(0)} B`],
  ["privateMb", "private", (figure) => `${figure.toFixed(0)} MB`],
];
const ONE: readonly Part[] = [
  "oneFirstUs",
  "oneColdUs",
  "oneWarmUs",
  "oneChangedColdUs",
  "oneChangedWarmUs",
];

async function run(asJson: boolean): Promise<void> {
  const sizes: Record<string, number>[] = [];
  const row = (cells: readonly string[]) => {
    if (!asJson) console.log(cells.map((cell) => cell.padStart(14)).join(""));
  };
  row(["peers", ...COLUMNS.map(([, title]) => title)]);
  for (const peers of SIZES) {
    const figures: Record<string, number> = {};
    for (const [part] of COLUMNS) figures[part] = await measure(part, peers);
    row([String(peers), ...COLUMNS.map(([part, , print]) => print(figures[part]!))]);
    sizes.push({ peers, ...figures });
  }
  const one: Record<string, number> = {};
  for (const part of ONE) one[part] = await measure(part, 1);
  row([]);
  row(["one peer", "first", "unch. cold", "unch. warm", "changed cold", "changed warm"]);
  row(["", ...ONE.map((part) => `${one[part]!.toFixed(2)} us`)]);
  if (asJson) console.log(JSON.stringify({ sizes, one }, null, 2));
}

const [first, second] = process.argv.slice(2);
if (first !== undefined && Object.hasOwn(parts, first)) {
  console.log(await parts[first as Part](Number(second)));
  process.exit(0);
} else {
  await run(first === "--json");
}
