/**
 * wgmon's inputs: packets, link changes and the devices. Opened before the rest of the program is loaded, so that
 * "ready" is logged early and nothing that happens after it is missed.
 */

import type { Finding } from "../base/check.ts";
import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import type { Capture } from "../capture/capture.ts";
import type { HandshakeSample } from "../capture/handshake-sample.ts";
import { openSentTap, type SentTap } from "../capture/sent-handshakes.ts";
import { readSocket } from "../capture/socket-reader.ts";
import { Devices, type ScanResult } from "../kernel/devices.ts";
import { NetlinkSocket } from "../kernel/netlink-socket.ts";
import { NETLINK_ROUTE, RTMGRP_LINK } from "../platform/constants.ts";
import { openWakeUp, type WakeUp, type WakeUpSettings } from "../wakeup/wakeup.ts";

/** Receives captured packets and link changes. */
export interface InputHandler {
  /** A received packet. The handler may keep the bytes. */
  packetReceived(bytes: Uint8Array): void;
  /** A packet that this machine's own WireGuard may have sent. The handler may keep the bytes. */
  packetSent(bytes: Uint8Array): void;
  packetsLost(reason: string): void;
  linksChanged(bytes: Uint8Array): void;
  linksLost(reason: string): void;
}

export interface Inputs {
  readonly devices: Devices;
  readonly capture: Capture;
  readonly wakeUp: WakeUp;
  /** Checks, as far as possible, whether packets to the devices' ports wake the program. */
  checkWakeUp(): Promise<readonly Finding[]>;
  /** The scan of all devices that was taken when the inputs were opened. */
  readonly firstScan: ScanResult;
  /** Passes the packets and link changes that have arrived to the handler, and from now on each new one at once. */
  start(handler: InputHandler): void;
  /**
   * Opens a sample of the received handshake messages, read at fixed intervals.
   *
   * @throws SystemError or LibraryError
   */
  openSample(onPacket: (packet: Uint8Array) => void): Promise<HandshakeSample>;
  /**
   * Starts capture of the packets that this machine's own WireGuard sends, and passes them to the handler. Returns null
   * if that is not permitted.
   */
  openSentTap(): SentTap | null;
  /** Stops capture. Scans are still possible. */
  close(): void;
}

/**
 * Opens the inputs. Packets and link changes that arrive before `start` is called are kept for the handler.
 *
 * @throws ConfigError, SystemError or LibraryError when an input cannot be opened.
 */
export async function openInputs(settings: WakeUpSettings, clock: Clock): Promise<Inputs> {
  let handler: InputHandler | null = null;
  /** The calls of the handler that wait for `start`. */
  const pending: ((to: InputHandler) => void)[] = [];
  const deliver = (call: (to: InputHandler) => void): void => {
    if (handler === null) pending.push(call);
    else call(handler);
  };

  const links = new NetlinkSocket(NETLINK_ROUTE, RTMGRP_LINK);
  const stopLinks = await readSocket(links.descriptor, clock, {
    onData: (bytes) => deliver((to) => to.linksChanged(bytes)),
    onLost: (code) => deliver((to) => to.linksLost(`link changes were lost (${code})`)),
  });
  // Opened before the first scan, so that packets that arrive during the scan are captured.
  const { wakeUp, capture } = await openWakeUp(settings, clock, {
    onReceived: (bytes) => deliver((to) => to.packetReceived(bytes)),
    onSent: (bytes) => deliver((to) => to.packetSent(bytes)),
    onPacketsLost: (reason) => deliver((to) => to.packetsLost(reason)),
  });
  const devices = new Devices(settings.devices);
  const firstScan = await devices.scan("list");
  // Without the capability no scan can ever succeed; other failures may be temporary.
  const refused = firstScan.problems.find(
    (problem) => problem instanceof SystemError && problem.code === "EPERM",
  );
  if (refused !== undefined) throw refused;

  return {
    devices,
    capture,
    wakeUp,
    async checkWakeUp() {
      const { checkOwnWakeUp } = await import("../wakeup/checks.ts");
      return await checkOwnWakeUp({ ...wakeUp, settings, devices: devices.lastScanned });
    },
    firstScan,
    start(to) {
      handler = to;
      for (const call of pending.splice(0)) call(to);
    },
    async openSample(onPacket) {
      // Loaded on demand, because few users enable it.
      const { openHandshakeSample } = await import("../capture/handshake-sample.ts");
      return openHandshakeSample(clock, onPacket);
    },
    openSentTap() {
      return openSentTap(clock, {
        onData: (bytes) => deliver((to) => to.packetSent(bytes)),
        onLost: (code) => deliver((to) => to.packetsLost(`sent packets: ${code}`)),
      });
    },
    close() {
      capture.close();
      stopLinks();
      links[Symbol.dispose]();
    },
  };
}
