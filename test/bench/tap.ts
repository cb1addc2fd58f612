/**
 * Measures the cost of capturing outgoing packets on a busy gateway: processor time of the sender, including the
 * kernel, for 10,000 UDP packets of 1,400 bytes. They are data messages of a running session, which no tap and no rule
 * passes to wgmon. They are sent over a veth pair to another network namespace, where an nftables rule drops them
 * before routing; that also counts as the sender's time, in all variants. The variants alternate, so that disturbances
 * of the machine affect all alike.
 */

import { dlopen, ptr } from "bun:ffi";

import { $ } from "bun";

import { errno, libc } from "../../ffi/libc.ts";
import { sentFilter } from "../../src/capture/bpf-program.ts";
import {
  attachFilter,
  bindPacketSocket,
  closePacketSocket,
  openPacketSocket,
} from "../../src/capture/packet-socket.ts";
import { nftRemoval, nftRules, tableName } from "../../src/firewall/nft-rules.ts";
import { AF_INET, SOCK_DGRAM } from "../../src/platform/constants.ts";
import { data } from "../support/packets.ts";
import { untilRuns } from "../support/until.ts";
import { cpuSeconds } from "../support/usage.ts";
import { figure, type Note } from "./figures.ts";

const BYTES = 1400;
/** Number of packets that the figures refer to. */
const PACKETS = 10_000;
/** Packets per system call. Each call is timed; one call for many packets keeps the sender's own cost low. */
const BATCH = 50;
/** Batches in each round of a variant. The lower quartile counts, because disturbances only add time. */
const BATCHES = 400;
const ROUNDS = 25;
/** The first rounds are not counted: code is not compiled and caches are cold. */
const WARM_UP_ROUNDS = 2;

const PORT = 51_820;
const GROUP = 1;
const NEAR = "10.77.0.1";
const FAR = "10.77.0.9";
const FAR_MAC = "02:00:00:00:00:09";

/** `ret #0`: drops every packet. */
const DROP_ALL = Uint8Array.of(0x06, 0, 0, 0, 0, 0, 0, 0);

/** Installs a tap or a rule before packets are sent; resolves with a function that removes it. */
type Setup = () => Promise<() => Promise<void>>;

const NONE = "no tap";
const VARIANTS: Readonly<Record<string, Setup>> = {
  [NONE]: async () => async () => {},
  "incoming tap, drops all": async () => openTap(DROP_ALL, { includesOutgoing: false }),
  "outgoing tap, responses": async () => openTap(sentFilter(), { includesOutgoing: true }),
  "output rule, logs responses": async () =>
    await loadRules(`table ${tableName(GROUP)} {
      chain output {
        type filter hook output priority 10; policy accept;
        udp sport ${PORT} @th,64,32 0x02000000 log group ${GROUP} snaplen 192 queue-threshold 1
      }
    }`),
  // The printed rules for incoming packets do not apply to outgoing ones.
  "output rule as printed: keeps indexes, logs responses": async () =>
    await loadRules(nftRules({ ports: [PORT], group: GROUP })),
};

export async function tap(note: Note): Promise<void> {
  await using sink = await openSink();
  using sender = new Sender();
  const names = Object.keys(VARIANTS);
  const costs = new Map(names.map((name) => [name, [] as number[]]));
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    // Each round starts with a different variant.
    const first = (round + WARM_UP_ROUNDS) % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      const remove = await VARIANTS[name]!();
      const times = Array.from({ length: BATCHES }, () => sender.send());
      await remove();
      const quartile = times.toSorted((a, b) => a - b)[BATCHES / 4]!;
      if (round >= 0) costs.get(name)!.push((quartile / BATCH) * PACKETS);
    }
  }
  const [arrived, sent] = [await sink.arrived(), sender.sent];
  if (arrived !== sent) throw new Error(`${arrived} of ${sent} packets arrived`);

  const without = costs.get(NONE)!;
  for (const [name, all] of costs) {
    note(figure(`${name}: CPU per ${PACKETS.toLocaleString("en")} packets out`, "ms", all));
    if (name === NONE) continue;
    const beyond = all.map((ms, round) => ms - without[round]!);
    note(figure(`${name}: beyond none in the same round`, "ms", beyond));
  }
}

/** Opens a packet socket with a BPF program on all interfaces. */
function openTap(
  program: Uint8Array,
  { includesOutgoing }: { readonly includesOutgoing: boolean },
) {
  const descriptor = openPacketSocket({ receiveBufferBytes: 65_536, includesOutgoing });
  attachFilter(descriptor, program);
  bindPacketSocket(descriptor, 0, "bind a packet socket");
  return async () => closePacketSocket(descriptor);
}

async function loadRules(text: string): Promise<() => Promise<void>> {
  await $`nft -f - < ${Buffer.from(text)}`.quiet();
  return async () => {
    await $`nft -f - < ${Buffer.from(nftRemoval(GROUP))}`.quiet();
  };
}

/** The network namespace that receives the packets, counts and drops them. */
async function openSink() {
  const holder = Bun.spawn(["unshare", "--net", "sleep", "infinity"]);
  await untilRuns(holder.pid, "sleep");
  const inside = ["nsenter", "--target", String(holder.pid), "--net"];
  const rules = `table ip sink {
    counter arrived {}
    chain prerouting {
      type filter hook prerouting priority -300; policy accept;
      udp dport ${PORT} counter name arrived drop
    }
  }`;
  await $`ip link add near type veth peer name far address ${FAR_MAC} netns ${holder.pid}`;
  await $`ip addr add ${NEAR}/24 dev near`;
  await $`ip link set near up`;
  await $`ip neigh add ${FAR} lladdr ${FAR_MAC} dev near`;
  await $`${inside} ip link set far up`;
  await $`${inside} nft -f - < ${Buffer.from(rules)}`.quiet();
  return {
    async arrived(): Promise<number> {
      const text = await $`${inside} nft list counter ip sink arrived`.text();
      return Number(/packets (\d+)/.exec(text)?.[1]);
    },
    async [Symbol.asyncDispose]() {
      holder.kill("SIGKILL");
      await holder.exited;
    },
  };
}

/** struct mmsghdr, linux/socket.h */
const MMSGHDR_BYTES = 64;

class Sender implements Disposable {
  readonly #libc = dlopen("libc.so.6", {
    // int sendmmsg(int sockfd, struct mmsghdr *msgvec, unsigned int vlen, int flags);
    sendmmsg: { args: ["i32", "buffer", "u32", "i32"], returns: "i32" },
  });
  readonly #descriptor: number;
  /** Later data: its counter is not 0. */
  readonly #packet = data(1_000_000, BYTES);
  /** struct iovec. Its ArrayBuffer is explicit, like that of the others, so that its address does not change. */
  readonly #vector = new BigUint64Array(new ArrayBuffer(16));
  readonly #messages = new Uint8Array(new ArrayBuffer(BATCH * MMSGHDR_BYTES));
  sent = 0;

  constructor() {
    this.#vector.set([BigInt(ptr(this.#packet)), BigInt(BYTES)]);
    // struct mmsghdr begins with a struct msghdr, of which only msg_iov and msg_iovlen are set.
    const view = new DataView(this.#messages.buffer);
    for (let start = 0; start < this.#messages.length; start += MMSGHDR_BYTES) {
      view.setBigUint64(start + 16, BigInt(ptr(this.#vector)), true);
      view.setBigUint64(start + 24, 1n, true);
    }
    this.#descriptor = libc().socket(AF_INET, SOCK_DGRAM, 0);
    const [near, far] = [socketAddress(NEAR), socketAddress(FAR)];
    const isReady =
      libc().bind(this.#descriptor, near, near.length) === 0 &&
      libc().connect(this.#descriptor, far, far.length) === 0;
    if (!isReady) throw new Error(`UDP socket: errno ${errno()}`);
  }

  /** Sends a batch. Returns the processor time in milliseconds. */
  send(): number {
    const before = cpuSeconds(process.pid);
    const count = this.#libc.symbols.sendmmsg(this.#descriptor, this.#messages, BATCH, 0);
    const after = cpuSeconds(process.pid);
    if (count !== BATCH) throw new Error(`sendmmsg: ${count}, errno ${errno()}`);
    this.sent += count;
    return (after - before) * 1000;
  }

  [Symbol.dispose](): void {
    libc().close(this.#descriptor);
    this.#libc.close();
  }
}

/** struct sockaddr_in */
function socketAddress(address: string): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(16));
  bytes[0] = AF_INET;
  new DataView(bytes.buffer).setUint16(2, PORT, false);
  bytes.set(address.split(".").map(Number), 4);
  return bytes;
}
