/**
 * START HERE. Builds the stages and joins them in the order of the flow:
 *
 *   packet -> trigger -> look -> tracker -> event -> log, outbox -> webhook
 *
 * Besides packets, three slower things cause looks: a link that changed, the tick that runs while
 * somebody is connected, and the safety look that runs always.
 */

import { type Capture, openCapture } from "./capture/capture.ts";
import { parsePacket } from "./capture/packet.ts";
import type { Channel } from "./channel/channel.ts";
import type { Clock } from "./clock.ts";
import type { Settings } from "./config.ts";
import type { Event } from "./contract.ts";
import { readDatagrams } from "./datagrams.ts";
import { ParseError, SystemError } from "./errors.ts";
import { type Change, eventOf, logFields, sentence } from "./event.ts";
import { Devices } from "./kernel/devices.ts";
import { type LinkEvent, parseLinkEvents } from "./kernel/link.ts";
import { bytesOf } from "./kernel/netlink.ts";
import { NetlinkSocket } from "./kernel/socket.ts";
import { NETLINK_ROUTE, RTMGRP_LINK, WG_GENL_NAME } from "./kernel/uapi.ts";
import type { Log } from "./log.ts";
import { Outbox } from "./outbox.ts";
import { type Rules, Tracker } from "./tracker.ts";
import { Trigger } from "./trigger.ts";

/** How long the last attempts at delivery may take at the end. */
const DRAIN_MS = 800;

/**
 * A device is made, then configured, then brought up, and only the first and the last are told to
 * us: looks at these times after a link change find its port and its peers.
 */
const LINK_LOOKS_MS = [5, 300, 2000];

/**
 * Code that has not run yet is interpreted, and takes ten times as long. So that the first peer is
 * reported as fast as the others, this many looks are taken after the start, as far apart as this,
 * unless they take long.
 */
const WARM_UP_LOOKS = 20;
const WARM_UP_PAUSE_MS = 25;
const WARM_UP_MAX_MS = 200;

/** What cannot change while running, and what its users call it. */
const FIXED = [
  ["monitor", "monitor"],
  ["group", "group"],
  ["captureInterface", "interface"],
  ["filter", "filter"],
  ["devices", "device"],
  ["logFormat", "log-format"],
] as const;

/** Why a look is taken. */
type Reason = "start" | "warm-up" | "packet" | "tick" | "link" | "lost" | "reconcile";

interface AppOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly makeChannels: (settings: Settings) => Channel[];
}

export class App {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #makeChannels: AppOptions["makeChannels"];
  readonly #devices: Devices;
  readonly #tracker: Tracker;
  readonly #trigger: Trigger;
  readonly #outbox: Outbox;
  readonly #links = new NetlinkSocket(NETLINK_ROUTE, RTMGRP_LINK);
  #settings: Settings;
  #capture: Capture | null = null;
  #stopLinks = () => {};
  #cancelTick = () => {};
  #cancelReconcile = () => {};
  #cancelWarmUp = () => {};
  #cancelLinkLooks: (() => void)[] = [];
  #lastTickMs = -Infinity;
  /** Looks are taken one after the other; this is the last of them. */
  #lastLook: Promise<unknown> = Promise.resolve();
  #packets = 0;
  #hasHinted = false;
  #stopped = false;

  constructor(settings: Settings, { clock, log, makeChannels }: AppOptions) {
    this.#settings = settings;
    this.#clock = clock;
    this.#log = log;
    this.#makeChannels = makeChannels;
    this.#devices = new Devices(settings.devices);
    this.#tracker = new Tracker(rulesOf(settings));
    this.#trigger = new Trigger({
      clock,
      look: (ports) => this.#look("packet", this.#devicesAt(ports)),
      handshakeAtMs: (address, port) => this.#tracker.handshakeAtMs(address, port),
    });
    this.#outbox = new Outbox({ clock, log });
    this.#outbox.setTargets(makeChannels(settings));
  }

  /**
   * Resolves when all that happens from now on will be seen.
   *
   * @throws ConfigError, SystemError or LibraryError when it cannot be.
   */
  async start(): Promise<void> {
    this.#stopLinks = await readDatagrams(this.#links.descriptor, this.#clock, {
      data: (bytes) => this.#linksChanged(bytes),
      lost: (code) => this.#linksMissed(`link changes were missed (${code})`),
    });
    // Before the first look, so that nothing can happen between the two unseen.
    this.#capture = await openCapture(this.#settings, this.#clock, {
      packet: (bytes) => this.#packetSeen(bytes),
      lost: (reason) => {
        this.#log.warn(`${reason}; looking at all devices`);
        void this.#look("lost", null);
      },
    });
    await this.#look("start", null);
    if (this.#stopped) return;
    this.#scheduleReconcile();

    const { monitor, devices: wanted } = this.#settings;
    const devices = this.#devices.known.map(({ name }) => name);
    this.#log.info("ready", { monitor, devices, connected: this.#tracker.connected });
    if (devices.length === 0) {
      const what = wanted.length === 0 ? "a WireGuard device" : wanted.join(", ");
      this.#log.info(`there is no WireGuard device to watch yet; waiting for ${what}`);
    }
    this.#outbox.warmUp(
      this.#eventOf({ type: "device.added", atMs: 0, device: "", listenPort: 0 }),
    );
    this.#warmUp(WARM_UP_LOOKS, 0);
  }

  #warmUp(looksLeft: number, spentMs: number): void {
    if (looksLeft === 0 || spentMs > WARM_UP_MAX_MS) {
      this.#log.debug("warm");
      return;
    }
    this.#cancelWarmUp = this.#clock.after(WARM_UP_PAUSE_MS, () => {
      void this.#look("warm-up", null).then((costMs) =>
        this.#warmUp(looksLeft - 1, spentMs + costMs),
      );
    });
  }

  /** Takes over what can change while running, and answers what holds; the rest is a warning. */
  reload(settings: Settings): Settings {
    const changed = FIXED.filter(
      ([key]) => JSON.stringify(settings[key]) !== JSON.stringify(this.#settings[key]),
    );
    if (changed.length > 0) {
      const names = changed.map(([, name]) => name);
      this.#log.warn(`changed settings that need a restart: ${names.join(", ")}`);
    }
    const kept = Object.fromEntries(FIXED.map(([key]) => [key, this.#settings[key]]));
    this.#settings = { ...settings, ...kept };
    this.#tracker.setRules(rulesOf(settings));
    this.#outbox.setTargets(this.#makeChannels(settings));
    this.#scheduleTick();
    this.#scheduleReconcile();
    return this.#settings;
  }

  /** Ends cleanly within a second: pending events are tried once more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTick();
    this.#cancelReconcile();
    this.#cancelWarmUp();
    for (const cancel of this.#cancelLinkLooks) cancel();
    this.#trigger.stop();
    this.#capture?.close();
    this.#stopLinks();
    this.#links[Symbol.dispose]();
    await this.#outbox.drain(DRAIN_MS);
    this.#devices[Symbol.dispose]();
  }

  #packetSeen(bytes: Uint8Array): void {
    this.#packets++;
    let datagram;
    try {
      datagram = parsePacket(bytes);
    } catch (error) {
      // Anybody can send a broken packet; it is not worth a line in the log.
      if (error instanceof ParseError) return;
      throw error;
    }
    if (datagram !== null) this.#trigger.seen(datagram);
  }

  #linksChanged(bytes: Uint8Array): void {
    let events: LinkEvent[];
    try {
      events = parseLinkEvents(bytesOf(bytes));
    } catch (error) {
      this.#linksMissed(`link change not understood: ${(error as Error).message}`);
      return;
    }
    for (const event of events) this.#tellCapture((capture) => capture.linkChanged(event));
    // Userspace WireGuard's devices are of kind tun.
    if (!events.some(({ link }) => link.kind === WG_GENL_NAME || link.kind === "tun")) return;
    for (const cancel of this.#cancelLinkLooks) cancel();
    this.#cancelLinkLooks = LINK_LOOKS_MS.map((delayMs) =>
      this.#clock.after(delayMs, () => void this.#look("link", null)),
    );
  }

  #linksMissed(reason: string): void {
    this.#log.warn(`${reason}; looking at all devices`);
    this.#tellCapture((capture) => capture.linksMissed());
    void this.#look("lost", null);
  }

  #tellCapture(tell: (capture: Capture) => void): void {
    try {
      if (this.#capture !== null) tell(this.#capture);
    } catch (error) {
      this.#log.warn((error as Error).message);
    }
  }

  /** The names of the devices that listen on these ports; null, which is all, if one is unknown. */
  #devicesAt(ports: ReadonlySet<number>): ReadonlySet<string> | null {
    const names = new Set<string>();
    for (const port of ports) {
      const found = this.#devices.known.filter(({ listenPort }) => listenPort === port);
      if (found.length === 0) return null;
      for (const { name } of found) names.add(name);
    }
    return names;
  }

  /** Looks, once the looks before are over; resolves with the milliseconds that it took. */
  #look(reason: Reason, names: ReadonlySet<string> | null): Promise<number> {
    const look = this.#lastLook.then(() => this.#lookNow(reason, names));
    // A failure of one look must not be that of the next.
    this.#lastLook = look.catch(() => {});
    return look;
  }

  async #lookNow(reason: Reason, names: ReadonlySet<string> | null): Promise<number> {
    if (this.#stopped) return 0;
    const startMs = this.#clock.now().monotonicMs;
    const look = await this.#devices.look(names);
    const now = this.#clock.now();
    const changes = this.#tracker.observe(look, now);
    for (const problem of look.problems) {
      if (!(problem instanceof SystemError || problem instanceof ParseError)) throw problem;
      // Without the capability nothing will ever be seen; what else fails may pass.
      if (reason === "start" && problem instanceof SystemError && problem.code === "EPERM") {
        throw problem;
      }
      this.#log.error(problem.message);
    }
    for (const change of changes) this.#report(change, reason);
    this.#log.debug("look", { reason, changes: changes.length });

    const ports = this.#devices.known.map(({ listenPort }) => listenPort);
    this.#capture?.setPorts([...new Set(ports)].filter((port) => port !== 0));
    this.#scheduleTick();
    return now.monotonicMs - startMs;
  }

  #eventOf(change: Change): Event {
    const { host, peers } = this.#settings;
    const name = "peer" in change ? (peers.get(change.peer.publicKey)?.name ?? null) : null;
    const id = `evt_${Bun.randomUUIDv7().replaceAll("-", "")}`;
    return eventOf(change, { id, host, name });
  }

  #report(change: Change, reason: Reason): void {
    const event = this.#eventOf(change);
    this.#outbox.add(event);
    this.#log.info(sentence(event), logFields(event));
    const isUnannounced =
      change.type === "peer.connected" && (reason === "tick" || reason === "reconcile");
    if (isUnannounced && this.#packets === 0) this.#hint();
  }

  /** A peer connected and no packet was ever captured: something is not set up. */
  #hint(): void {
    const { monitor, group, captureInterface } = this.#settings;
    if (this.#hasHinted || monitor === "poll") return;
    this.#hasHinted = true;
    const cause =
      monitor === "nflog"
        ? `no firewall rule logs the WireGuard port to NFLOG group ${group}`
        : `interface ${captureInterface} is not the one that WireGuard's packets come in by, or the filter does not match them`;
    this.#log.warn(`a peer connected and no packet announced it; likely ${cause}`);
  }

  #scheduleTick(): void {
    this.#cancelTick();
    const { monitor, tickMs } = this.#settings;
    if (this.#stopped || (monitor !== "poll" && this.#tracker.connected === 0)) {
      this.#lastTickMs = -Infinity;
      return;
    }
    const { monotonicMs } = this.#clock.now();
    if (this.#lastTickMs === -Infinity) this.#lastTickMs = monotonicMs;
    const deadlineMs = this.#tracker.nextDeadlineMs() ?? Infinity;
    const atMs = Math.min(this.#lastTickMs + tickMs, deadlineMs);
    this.#cancelTick = this.#clock.after(Math.max(1, atMs - monotonicMs), () => {
      this.#lastTickMs = this.#clock.now().monotonicMs;
      this.#trigger.forgetStrangers();
      void this.#look("tick", monitor === "poll" ? null : this.#devicesWithSessions());
    });
  }

  #devicesWithSessions(): ReadonlySet<string> {
    return new Set([...this.#tracker.sessions].map(({ device }) => device));
  }

  #scheduleReconcile(): void {
    this.#cancelReconcile();
    const { reconcileMs } = this.#settings;
    if (reconcileMs === 0 || this.#stopped) return;
    this.#cancelReconcile = this.#clock.after(reconcileMs, () => {
      void this.#look("reconcile", null);
      this.#scheduleReconcile();
    });
  }
}

function rulesOf({ idleTimeoutMs, holdMs, announceExisting, peers }: Settings): Rules {
  return {
    idleTimeoutMs: (publicKey) => peers.get(publicKey)?.idleTimeoutMs ?? idleTimeoutMs,
    holdMs,
    announceExisting,
  };
}
