/**
 * wgmon's inputs: packets, link changes and the devices. Opened before the rest of the program is loaded, so that
 * "ready" comes early and nothing after it is missed.
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
  /** A received packet. The witness may keep the bytes. */
  packetReceived(bytes: Uint8Array): void;
  /** A packet that this machine's own WireGuard may have sent. The witness may keep the bytes. */
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
  readonly firstScanMs: number;
  /** Passes everything captured so far to the witness, and later captures at once. */
  start(witness: InputHandler): void;
  /**
   * Opens a sample of the received handshake messages, read at fixed intervals.
   *
   * @throws SystemError or LibraryError
   */
  openSample(onPacket: (packet: Uint8Array) => void): Promise<HandshakeSample>;
  /**
   * Starts capture of the packets that this machine's own WireGuard sends, and passes them to the witness. Returns null
   * if that is not permitted.
   */
  openSentTap(): SentTap | null;
  /** Stops capture. Scans are still possible. */
  close(): void;
}

/**
 * Opens the inputs. Everything that happens after it resolves reaches the witness, even if the witness attends later.
 *
 * @throws ConfigError, SystemError or LibraryError when an input cannot be opened.
 */
export async function openInputs(settings: WakeUpSettings, clock: Clock): Promise<Inputs> {
  let witness: InputHandler | null = null;
  const early: ((witness: InputHandler) => void)[] = [];
  const tell = (what: (witness: InputHandler) => void): void => {
    if (witness === null) early.push(what);
    else what(witness);
  };

  const links = new NetlinkSocket(NETLINK_ROUTE, RTMGRP_LINK);
  const stopLinks = await readSocket(links.descriptor, clock, {
    onData: (bytes) => tell((there) => there.linksChanged(bytes)),
    onLost: (code) => tell((there) => there.linksLost(`link changes were missed (${code})`)),
  });
  // Opened before the first scan, so that no event between the two is missed.
  const { wakeUp, capture } = await openWakeUp(settings, clock, {
    onReceived(bytes) {
      if (witness === null) early.push((there) => there.packetReceived(bytes));
      else witness.packetReceived(bytes);
    },
    onSent: (bytes) => tell((there) => there.packetSent(bytes)),
    onPacketsLost: (reason) => tell((there) => there.packetsLost(reason)),
  });
  const devices = new Devices(settings.devices);
  const startMs = clock.now().monotonicMs;
  const firstScan = await devices.scan(null);
  const firstScanMs = clock.now().monotonicMs - startMs;
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
    firstScanMs,
    start(there) {
      witness = there;
      for (const what of early.splice(0)) what(there);
    },
    async openSample(onPacket) {
      // Loaded on demand, because few users enable it.
      const { openHandshakeSample } = await import("../capture/handshake-sample.ts");
      return openHandshakeSample(clock, onPacket);
    },
    openSentTap() {
      return openSentTap(clock, {
        onData: (bytes) => tell((there) => there.packetSent(bytes)),
        onLost: (code) => tell((there) => there.packetsLost(`sent packets: ${code}`)),
      });
    },
    close() {
      capture.close();
      stopLinks();
      links[Symbol.dispose]();
    },
  };
}
