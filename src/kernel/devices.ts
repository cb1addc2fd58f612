/**
 * Lists and scans WireGuard devices: those of the kernel by generic netlink, those of userspace programs by their UAPI
 * sockets.
 */

import { type Clock, systemClock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import type { Device, DeviceScan, Peer, Scan } from "../base/wireguard.ts";
import {
  NETLINK_GENERIC,
  NETLINK_ROUTE,
  WG_CMD_GET_DEVICE,
  WG_GENL_NAME,
  WG_GENL_VERSION,
  WGDEVICE_A_IFINDEX,
} from "../platform/constants.ts";
import { findFamily, genericHeader } from "./genl-family.ts";
import { listWireguardLinks } from "./links.ts";
import {
  type MessageVisitor,
  NetlinkSocket,
  type Request,
  type Requester,
} from "./netlink-socket.ts";
import { u32 } from "./netlink.ts";
import { PeerTable } from "./peer-table.ts";
import { listUserspaceDevices, UserspaceDevice } from "./userspace-device.ts";

/**
 * How many times an interrupted dump is requested in total. A program that changes peers in a loop must not block
 * wgmon; the next scan finds the remaining changes.
 */
const DUMP_ATTEMPTS = 5;

/** A device of the kernel, identified by both name and interface index. */
class KernelDevice {
  readonly name: string;
  readonly index: number;
  readonly peers: PeerTable;
  /** The device as of the last scan; null before the first. */
  device: Device | null = null;
  #request: Request | null = null;

  constructor(name: string, index: number, peers: PeerTable) {
    this.name = name;
    this.index = index;
    this.peers = peers;
  }

  readonly read: MessageVisitor = (answer, start, end) => this.peers.read(answer, start, end);

  /**
   * The request for the device's state. It is the same object until the family number changes, so that it is encoded
   * once.
   */
  request(family: number): Request {
    if (this.#request?.type === family) return this.#request;
    this.#request = {
      type: family,
      dump: true,
      header: genericHeader(WG_CMD_GET_DEVICE, WG_GENL_VERSION),
      // By index, because a device that was deleted and created again with the same name is a different device.
      attributes: [[WGDEVICE_A_IFINDEX, u32(this.index)]],
    };
    return this.#request;
  }
}

/** What to scan: "list" lists the devices and scans all of them; otherwise the known devices with these names. */
export type ScanScope = ReadonlySet<string> | "list";

export interface ScanResult extends Scan {
  /** One error for each part that could not be read; everything else was read. */
  readonly problems: readonly Error[];
  /** Names of the known devices that could not be read; omitted: none. */
  readonly failed?: readonly string[];
  /** Why each of them could not be scanned, by its name. */
  readonly reasons?: ReadonlyMap<string, string>;
}

/** The result of listing the devices. */
interface ListResult {
  /** Devices that no longer exist. */
  readonly removed: Device[];
  /** Whether the list is complete. */
  readonly isComplete: boolean;
}

export class Devices implements Disposable {
  readonly #selected: ReadonlySet<string>;
  readonly #generic: Requester & Disposable;
  readonly #route: Requester & Disposable;
  readonly #clock: Clock;
  readonly #kernel = new Map<string, KernelDevice>();
  readonly #userspace = new Map<string, { source: UserspaceDevice; device: Device | null }>();
  #family: number | null = null;
  /**
   * Whether a device was removed. Then its peers may return with a new device, so that idle peers must be reported too.
   */
  #wasDeviceRemoved = false;

  /** @param only names of the devices to scan; empty: all. */
  constructor(
    only: readonly string[],
    generic: Requester & Disposable = new NetlinkSocket(NETLINK_GENERIC),
    route: Requester & Disposable = new NetlinkSocket(NETLINK_ROUTE),
    clock: Clock = systemClock,
  ) {
    this.#selected = new Set(only);
    this.#generic = generic;
    this.#route = route;
    this.#clock = clock;
  }

  /** The devices as of the last scan of each. */
  get lastScanned(): readonly Device[] {
    return [...this.#kernel.values(), ...this.#userspace.values()].flatMap(({ device }) =>
      device === null ? [] : [device],
    );
  }

  /** Scans devices. Never rejects: see `problems`. Do not call it again before it has resolved. */
  async scan(scope: ScanScope): Promise<ScanResult> {
    const devices: DeviceScan[] = [];
    const removed: Device[] = [];
    const problems: Error[] = [];
    const failed: string[] = [];
    const reasons = new Map<string, string>();
    const addFailed = (name: string): void => {
      failed.push(name);
      reasons.set(name, problems.at(-1)!.message);
    };
    const attempt = <Result>(action: () => Result): Result | null => {
      try {
        return action();
      } catch (error) {
        problems.push(error as Error);
        return null;
      }
    };

    let isListed = scope === "list";
    /** Returns the devices that no longer exist, and notes whether the list is complete. */
    const list = (action: () => ListResult): Device[] => {
      const listed = attempt(action);
      if (listed?.isComplete !== true) isListed = false;
      return listed?.removed ?? [];
    };

    if (scope === "list") removed.push(...list(() => this.#listKernelDevices()));
    for (const entry of this.#kernel.values()) {
      if (scope !== "list" && !scope.has(entry.name)) continue;
      // The scan of one device blocks the event loop. Between two devices, packets and deliveries are processed.
      if (devices.length > 0) await new Promise((resolve) => setImmediate(resolve));
      const scan = attempt(() => this.#scanDevice(entry, { acceptsPartial: true }));
      if (scan === "gone") removed.push(...this.#forget(entry));
      else if (scan === null) addFailed(entry.name);
      else devices.push(scan);
    }

    if (scope === "list") removed.push(...list(() => this.#listUserspaceDevices()));
    for (const [name, entry] of this.#userspace) {
      if (scope !== "list" && !scope.has(name)) continue;
      try {
        const scan = await entry.source.scan(this.#clock);
        if (scan === null) {
          this.#userspace.delete(name);
          if (entry.device !== null) removed.push(entry.device);
        } else {
          entry.device = scan.device;
          devices.push(scan);
        }
      } catch (error) {
        problems.push(error as Error);
        addFailed(name);
      }
    }
    const present = isListed ? new Set([...this.#kernel.keys(), ...this.#userspace.keys()]) : null;
    return { devices, removed, present, problems, failed, reasons };
  }

  /** How many peers the device had in the last scan. */
  count(name: string): number {
    const userspace = this.#userspace.get(name);
    return userspace?.source.peers.length ?? this.#kernel.get(name)?.peers.size ?? 0;
  }

  /**
   * All peers of a device, connected or not; empty if the device no longer exists. A scan of a kernel device keeps only
   * the values that it compares, so this requests a new dump, which does not affect the next scan.
   *
   * @throws SystemError: EINTR if every dump was interrupted, because peers may be missing; ParseError.
   */
  peers(name: string): readonly Peer[] {
    const userspace = this.#userspace.get(name);
    if (userspace !== undefined) return userspace.source.peers;
    const entry = this.#kernel.get(name);
    if (entry === undefined) return [];
    const all = new PeerTable({ reportsIdlePeers: true });
    const scan = this.#scanDevice(new KernelDevice(name, entry.index, all), {
      acceptsPartial: false,
    });
    return scan === "gone" ? [] : scan.changed.map(({ peer }) => peer);
  }

  /** Whether `peers` requests a new dump instead of returning the result of the last scan. */
  needsNewDump(name: string): boolean {
    return this.#kernel.has(name);
  }

  [Symbol.dispose](): void {
    this.#generic[Symbol.dispose]();
    this.#route[Symbol.dispose]();
  }

  /** Updates the list of kernel devices. */
  #listKernelDevices(): ListResult {
    const { links, interrupted } = listWireguardLinks(this.#route);
    // Requesting the family makes the kernel load the module, so request it only if there is a device.
    if (links.length > 0) this.#family ??= findFamily(this.#generic, WG_GENL_NAME);
    const removed: Device[] = [];
    for (const entry of this.#kernel.values()) {
      // An interrupted list may omit existing devices; the scan of each device finds out whether it still exists.
      if (interrupted) break;
      const exists = links.some((link) => link.name === entry.name && link.index === entry.index);
      if (!exists) removed.push(...this.#forget(entry));
    }
    for (const { name, index } of links) {
      if (this.#kernel.has(name) || !this.#isSelected(name)) continue;
      const peers = new PeerTable({ reportsIdlePeers: this.#wasDeviceRemoved });
      this.#kernel.set(name, new KernelDevice(name, index, peers));
    }
    return { removed, isComplete: !interrupted };
  }

  #forget(entry: KernelDevice): Device[] {
    this.#kernel.delete(entry.name);
    if (entry.device === null) return [];
    this.#wasDeviceRemoved = true;
    return [entry.device];
  }

  /** @param options.acceptsPartial whether the result of an interrupted dump, from which peers may be missing, is used. */
  #scanDevice(
    entry: KernelDevice,
    options: { readonly acceptsPartial: boolean },
  ): DeviceScan | "gone" {
    if (this.#family === null) return "gone";
    const operation = `scan ${entry.name}`;
    const request = entry.request(this.#family);
    try {
      for (let attempt = 1; ; attempt++) {
        entry.peers.begin();
        const { interrupted } = this.#generic.request(operation, request, entry.read);
        if (interrupted && attempt < DUMP_ATTEMPTS) continue;
        if (interrupted && !options.acceptsPartial) {
          const hint = `its peers changed during each of ${DUMP_ATTEMPTS} attempts; try again`;
          throw new SystemError(operation, "EINTR", hint);
        }
        const scan = entry.peers.finish({ interrupted });
        // The device was renamed. It has, or will have, another entry with its new name.
        if (scan.device.name !== entry.name) return "gone";
        entry.device = scan.device;
        return scan;
      }
    } catch (error) {
      const code = error instanceof SystemError ? error.code : null;
      // ENOENT: the family no longer exists, because the module was unloaded, which removed all its devices.
      if (code === "ENOENT") {
        const family = this.#family;
        this.#family = findFamily(this.#generic, WG_GENL_NAME);
        // If the module was loaded again, the family has a new number, and this entry may be one of the new devices.
        if (this.#family !== null && this.#family !== family)
          return this.#scanDevice(entry, options);
      }
      if (code === "ENODEV" || code === "ENOENT") return "gone";
      throw error;
    }
  }

  /** Updates the list of userspace devices. */
  #listUserspaceDevices(): ListResult {
    const found = listUserspaceDevices();
    const removed: Device[] = [];
    for (const [name, { source, device }] of this.#userspace) {
      if (found.some((each) => each.name === name && each.index === source.index)) continue;
      this.#userspace.delete(name);
      if (device !== null) removed.push(device);
    }
    for (const { name, index } of found) {
      if (this.#userspace.has(name) || !this.#isSelected(name)) continue;
      this.#userspace.set(name, { source: new UserspaceDevice(name, index), device: null });
    }
    return { removed, isComplete: true };
  }

  #isSelected(name: string): boolean {
    return this.#selected.size === 0 || this.#selected.has(name);
  }
}
