/**
 * The seam to the packet tap: an AF_PACKET socket with a BPF program that libpcap compiled. Packets start with their IP
 * header, regardless of the link type. packet(7), pcap_compile(3PCAP).
 */

import { type Pointer, toArrayBuffer } from "bun:ffi";

import { libpcap } from "../../ffi/libpcap.ts";
import type { Clock } from "../base/clock.ts";
import { ConfigError, SystemError } from "../base/errors.ts";
import type { LinkEvent } from "../kernel/links.ts";
import { interfaceIndex } from "../platform/machine-names.ts";
import { DROP_ALL, handshakeExpression, indexFilter } from "./bpf-program.ts";
import type { Capture, PacketHandler } from "./capture.ts";
import {
  attachFilter,
  bindPacketSocket,
  closePacketSocket,
  INSTRUCTION_BYTES,
  openPacketSocket,
} from "./packet-socket.ts";
import { readSocket } from "./socket-reader.ts";

/** pcap/dlt.h: packets start with their IP header. */
const DLT_RAW = 12;
/** pcap/pcap.h. */
const PCAP_NETMASK_UNKNOWN = 0xffffffff;
/** Enough for all headers; the compiled program reads nothing else. */
const SNAPLEN = 256;
/** Holds a burst of about 2,500 packets. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;

/** The name that means all interfaces. */
const ANY = "any";

/**
 * Opens the tap on `interfaceName`, or on all interfaces for `any`.
 *
 * @param filter a tcpdump expression: handshake messages that match it are captured. null: handshake messages to the
 *   ports of `setPorts` are captured.
 * @throws ConfigError if the expression does not compile, SystemError if the socket cannot be opened or the interface
 *   does not exist.
 */
export async function openTap(
  interfaceName: string,
  filter: string | null,
  clock: Clock,
  handler: PacketHandler,
): Promise<Capture> {
  // Loaded now, because a missing library must be reported at start, not when the first device appears.
  libpcap();
  let ports: readonly number[] = [];
  let indexes: readonly number[] | null = null;
  const attach = () => tap.attachProgram(program());
  const program = (): Uint8Array => {
    if (indexes !== null) return indexFilter(indexes, "tap");
    const handshakes = handshakeExpression(filter === null ? ports : "any");
    if (handshakes === null) return DROP_ALL;
    return compileExpression(filter === null ? handshakes : `(${filter}) and (${handshakes})`);
  };
  // Compile the user's expression alone first, so that libpcap's error message refers to nothing else.
  if (filter !== null) compileExpression(filter);
  const tap = new Tap(interfaceName, handler);
  try {
    attach();
    tap.bind();
    await tap.read(clock);
  } catch (error) {
    tap.close();
    throw error;
  }
  return {
    setPorts(wanted) {
      const sorted = wanted.toSorted((a, b) => a - b);
      if (sorted.join() === ports.join()) return;
      const before = ports;
      ports = sorted;
      try {
        if (filter === null && indexes === null) attach();
      } catch (error) {
        // Makes the next call try again.
        ports = before;
        throw error;
      }
    },
    select(wanted) {
      indexes = wanted;
      attach();
    },
    linkChanged: (event) => tap.linkChanged(event),
    linksLost: () => tap.linksLost(),
    close: () => tap.close(),
  };
}

class Tap {
  readonly #interfaceName: string;
  readonly #handler: PacketHandler;
  readonly #descriptor: number;
  #index = 0;
  #stop = () => {};
  #closed = false;

  constructor(interfaceName: string, handler: PacketHandler) {
    this.#interfaceName = interfaceName;
    this.#handler = handler;
    this.#descriptor = openPacketSocket({
      receiveBufferBytes: RECEIVE_BUFFER_BYTES,
      includesOutgoing: false,
    });
  }

  attachProgram(instructions: Uint8Array): void {
    attachFilter(this.#descriptor, instructions);
  }

  /** Binds to the interface that has the name now. */
  bind(): void {
    const name = this.#interfaceName;
    const index = name === ANY ? 0 : interfaceIndex(name);
    if (index === 0 && name !== ANY) {
      throw new SystemError(
        `capture on interface ${name}`,
        "ENODEV",
        "there is no such interface; --interface takes a name from `ip link`, or any",
      );
    }
    bindPacketSocket(this.#descriptor, index, `capture on interface ${name}`);
    this.#index = index;
  }

  async read(clock: Clock): Promise<void> {
    this.#stop = await readSocket(this.#descriptor, clock, {
      onData: (bytes) => this.#handler.onReceived(bytes),
      // ENETDOWN: the interface went down; the socket receives again when it comes up.
      onLost: (code) => {
        const change = code === "ENETDOWN" ? "went down" : `reports ${code}`;
        this.#handler.onPacketsLost(`capture interface ${this.#interfaceName} ${change}`);
      },
    });
  }

  linkChanged({ type, link }: LinkEvent): void {
    if (type === "removed" && link.index === this.#index) this.#setInterfaceIndex(0);
    // The interface was created again, or another one was renamed to this name. Then the index is new.
    if (type === "new" && link.name === this.#interfaceName) this.#setInterfaceIndex(link.index);
  }

  linksLost(): void {
    this.#setInterfaceIndex(interfaceIndex(this.#interfaceName));
  }

  /** @param index the current index of the interface; 0 if it does not exist. */
  #setInterfaceIndex(index: number): void {
    const name = this.#interfaceName;
    if (name === ANY || this.#closed || index === this.#index) return;
    if (index === 0) {
      this.#index = 0;
      this.#handler.onPacketsLost(`capture interface ${name} was removed, waiting for it`);
    } else {
      this.bind();
      this.#handler.onPacketsLost(`capture interface ${name} is back`);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop();
    closePacketSocket(this.#descriptor);
  }
}

/**
 * Compiles a tcpdump expression to BPF instructions.
 *
 * @throws ConfigError with libpcap's error message.
 */
export function compileExpression(expression: string): Uint8Array {
  return withProgram(expression, (program) => {
    const bytes = Number(program[0]! & 0xffffffffn) * INSTRUCTION_BYTES;
    const instructions = new Uint8Array(toArrayBuffer(Number(program[1]) as Pointer, 0, bytes));
    return instructions.slice();
  });
}

/**
 * Whether a tcpdump expression passes a packet that starts with its IP header.
 *
 * @throws ConfigError with libpcap's error message.
 */
export function passes(expression: string, packet: Uint8Array): boolean {
  // struct pcap_pkthdr, pcap/pcap.h: a time of 16 bytes, two lengths.
  const header = new DataView(new ArrayBuffer(24));
  header.setUint32(16, packet.length, true);
  header.setUint32(20, packet.length, true);
  const bytes = new Uint8Array(header.buffer);
  return withProgram(
    expression,
    (program) => libpcap().pcap_offline_filter(program, bytes, packet) !== 0,
  );
}

/** @param use receives a struct bpf_program, pcap/bpf.h: a 32-bit count, padding, a pointer. */
function withProgram<Result>(expression: string, use: (program: BigUint64Array) => Result): Result {
  const pcap = libpcap();
  const handle = pcap.pcap_open_dead(DLT_RAW, SNAPLEN) as Pointer;
  const program = new BigUint64Array(new ArrayBuffer(16));
  try {
    if (pcap.pcap_compile(handle, program, expression, 1, PCAP_NETMASK_UNKNOWN) !== 0) {
      const reason = String(pcap.pcap_geterr(handle));
      throw new ConfigError([
        `--filter: ${JSON.stringify(expression)} is not a tcpdump expression for IP packets: ${reason}`,
      ]);
    }
    return use(program);
  } finally {
    pcap.pcap_freecode(program);
    pcap.pcap_close(handle);
  }
}
