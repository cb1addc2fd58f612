/**
 * Which WireGuard devices there are, and one look at them: the kernel's by generic netlink, those of
 * userspace programs by their sockets.
 */

import { type Clock, systemClock } from "../clock.ts";
import { SystemError } from "../errors.ts";
import type { Device, DeviceLook, Look, Peer } from "../wireguard.ts";
import { PeerTable } from "./device.ts";
import { findFamily, genericHeader } from "./family.ts";
import { listWireguardLinks } from "./link.ts";
import { u32 } from "./netlink.ts";
import { type MessageVisitor, NetlinkSocket, type Request, type Requester } from "./socket.ts";
import {
  NETLINK_GENERIC,
  NETLINK_ROUTE,
  WG_CMD_GET_DEVICE,
  WG_GENL_NAME,
  WG_GENL_VERSION,
  WGDEVICE_A_IFINDEX,
} from "./uapi.ts";
import { listUserspaceDevices, UserspaceDevice } from "./userspace.ts";

/**
 * How often a dump is asked for again that the kernel's list changed under. Somebody who changes
 * peers in a loop must not keep us here; the next look sees the rest.
 */
const DUMP_ATTEMPTS = 5;

/** A device of the kernel, known by its name and number together. */
class KernelDevice {
  readonly name: string;
  readonly index: number;
  readonly peers: PeerTable;
  /** As the last look found it; null before the first. */
  device: Device | null = null;
  #request: Request | null = null;

  constructor(name: string, index: number, peers: PeerTable) {
    this.name = name;
    this.index = index;
    this.peers = peers;
  }

  readonly read: MessageVisitor = (answer, start, end) => this.peers.read(answer, start, end);

  /** Asks for its state; always the same object, as long as the family has the same number. */
  request(family: number): Request {
    if (this.#request?.type === family) return this.#request;
    this.#request = {
      type: family,
      dump: true,
      header: genericHeader(WG_CMD_GET_DEVICE, WG_GENL_VERSION),
      // By number: a device that was deleted and made again under its name is another one.
      attributes: [[WGDEVICE_A_IFINDEX, u32(this.index)]],
    };
    return this.#request;
  }
}

export interface LookResult extends Look {
  /** Names of all devices that there are; null: it was not asked, or nobody could tell. */
  readonly present: ReadonlySet<string> | null;
  /** What could not be read, and why; everything else was. */
  readonly problems: readonly Error[];
}

/** What a new list of the devices said. */
interface Listed {
  /** Those that are gone. */
  readonly removed: Device[];
  /** Whether it names all that there are. */
  readonly isWhole: boolean;
}

export class Devices implements Disposable {
  readonly #only: ReadonlySet<string>;
  readonly #generic: Requester & Disposable;
  readonly #route: Requester & Disposable;
  readonly #clock: Clock;
  readonly #kernel = new Map<string, KernelDevice>();
  readonly #userspace = new Map<string, { source: UserspaceDevice; device: Device | null }>();
  #family: number | null = null;
  /** Whether a device was removed, whose peers may come back with another one. */
  #hasForgotten = false;

  /** @param only names of the devices to look at; empty: all. */
  constructor(
    only: readonly string[],
    generic: Requester & Disposable = new NetlinkSocket(NETLINK_GENERIC),
    route: Requester & Disposable = new NetlinkSocket(NETLINK_ROUTE),
    clock: Clock = systemClock,
  ) {
    this.#only = new Set(only);
    this.#generic = generic;
    this.#route = route;
    this.#clock = clock;
  }

  /** The devices as the last looks found them. */
  get known(): readonly Device[] {
    return [...this.#kernel.values(), ...this.#userspace.values()].flatMap(({ device }) =>
      device === null ? [] : [device],
    );
  }

  /**
   * Looks at the named devices, or (null) at all that there are now, after making a new list of them.
   * It throws nothing: see `problems`. Not to be called again before it has answered.
   */
  async look(names: ReadonlySet<string> | null): Promise<LookResult> {
    const devices: DeviceLook[] = [];
    const removed: Device[] = [];
    const problems: Error[] = [];
    const attempt = <Result>(action: () => Result): Result | null => {
      try {
        return action();
      } catch (error) {
        problems.push(error as Error);
        return null;
      }
    };

    let isListed = names === null;
    /** The devices that are gone. */
    const list = (action: () => Listed): Device[] => {
      const listed = attempt(action);
      if (listed?.isWhole !== true) isListed = false;
      return listed?.removed ?? [];
    };

    if (names === null) removed.push(...list(() => this.#listKernelDevices()));
    for (const entry of this.#kernel.values()) {
      if (names !== null && !names.has(entry.name)) continue;
      // Each device is looked at in one go; packets and deliveries need not wait for all of them.
      if (devices.length > 0) await new Promise((resolve) => setImmediate(resolve));
      const look = attempt(() => this.#lookAt(entry));
      if (look === "gone") removed.push(...this.#forget(entry));
      else if (look !== null) devices.push(look);
    }

    if (names === null) removed.push(...list(() => this.#listUserspaceDevices()));
    for (const [name, entry] of this.#userspace) {
      if (names !== null && !names.has(name)) continue;
      try {
        const look = await entry.source.look(this.#clock);
        if (look === null) {
          this.#userspace.delete(name);
          if (entry.device !== null) removed.push(entry.device);
        } else {
          entry.device = look.device;
          devices.push(look);
        }
      } catch (error) {
        problems.push(error as Error);
      }
    }
    const present = isListed ? new Set([...this.#kernel.keys(), ...this.#userspace.keys()]) : null;
    return { devices, removed, present, problems };
  }

  /** How many peers the device had at the last look. */
  count(name: string): number {
    const userspace = this.#userspace.get(name);
    return userspace?.source.peers.length ?? this.#kernel.get(name)?.peers.size ?? 0;
  }

  /**
   * All peers of a device, connected or not; none when it is gone. Looks keep of a peer only what they
   * compare, so the kernel is asked anew; the next look is not changed by it.
   *
   * @throws SystemError, ParseError
   */
  peers(name: string): readonly Peer[] {
    const userspace = this.#userspace.get(name);
    if (userspace !== undefined) return userspace.source.peers;
    const entry = this.#kernel.get(name);
    if (entry === undefined) return [];
    const all = new PeerTable({ tellsAll: true });
    const look = this.#lookAt(new KernelDevice(name, entry.index, all));
    return look === "gone" ? [] : look.changed.map(({ peer }) => peer);
  }

  /** Whether `peers` asks for them, instead of answering with what the last look found. */
  asksAnew(name: string): boolean {
    return this.#kernel.has(name);
  }

  [Symbol.dispose](): void {
    this.#generic[Symbol.dispose]();
    this.#route[Symbol.dispose]();
  }

  /** Brings the list up to date. */
  #listKernelDevices(): Listed {
    const { links, interrupted } = listWireguardLinks(this.#route);
    // Asking for the family makes the kernel look for its module, so only where there is a device.
    if (links.length > 0) this.#family ??= findFamily(this.#generic, WG_GENL_NAME);
    const removed: Device[] = [];
    for (const entry of this.#kernel.values()) {
      // Whether one that an interrupted list leaves out is gone, the look at it will tell.
      if (interrupted) break;
      const still = links.some((link) => link.name === entry.name && link.index === entry.index);
      if (!still) removed.push(...this.#forget(entry));
    }
    for (const { name, index } of links) {
      if (this.#kernel.has(name) || !this.#wants(name)) continue;
      const peers = new PeerTable({ tellsAll: this.#hasForgotten });
      this.#kernel.set(name, new KernelDevice(name, index, peers));
    }
    return { removed, isWhole: !interrupted };
  }

  #forget(entry: KernelDevice): Device[] {
    this.#kernel.delete(entry.name);
    if (entry.device === null) return [];
    this.#hasForgotten = true;
    return [entry.device];
  }

  #lookAt(entry: KernelDevice): DeviceLook | "gone" {
    if (this.#family === null) return "gone";
    const operation = `look at ${entry.name}`;
    const request = entry.request(this.#family);
    try {
      for (let attempt = 1; ; attempt++) {
        entry.peers.begin();
        const { interrupted } = this.#generic.request(operation, request, entry.read);
        if (interrupted && attempt < DUMP_ATTEMPTS) continue;
        const look = entry.peers.finish({ interrupted });
        // It has another name now, under which it is, or will be, another entry.
        if (look.device.name !== entry.name) return "gone";
        entry.device = look.device;
        return look;
      }
    } catch (error) {
      const code = error instanceof SystemError ? error.code : null;
      // ENOENT: the family is gone, because the module was unloaded and all its devices with it.
      if (code === "ENOENT") {
        const family = this.#family;
        this.#family = findFamily(this.#generic, WG_GENL_NAME);
        // Loaded again, it has another number, and this may be one of its new devices.
        if (this.#family !== null && this.#family !== family) return this.#lookAt(entry);
      }
      if (code === "ENODEV" || code === "ENOENT") return "gone";
      throw error;
    }
  }

  /** The same for those of userspace programs. */
  #listUserspaceDevices(): Listed {
    const found = listUserspaceDevices();
    const removed: Device[] = [];
    for (const [name, { source, device }] of this.#userspace) {
      if (found.some((each) => each.name === name && each.index === source.index)) continue;
      this.#userspace.delete(name);
      if (device !== null) removed.push(device);
    }
    for (const { name, index } of found) {
      if (this.#userspace.has(name) || !this.#wants(name)) continue;
      this.#userspace.set(name, { source: new UserspaceDevice(name, index), device: null });
    }
    return { removed, isWhole: true };
  }

  #wants(name: string): boolean {
    return this.#only.size === 0 || this.#only.has(name);
  }
}
