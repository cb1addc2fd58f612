/**
 * What wgmon sees: packets, link changes and the devices themselves. It is open before the rest of the
 * program is even loaded, so that "ready" comes early and nothing after it is missed.
 */

import type { Capture } from "./capture/capture.ts";
import type { HandshakeSample } from "./capture/handshake-sample.ts";
import { openSentTap, type SentTap } from "./capture/sent-handshakes.ts";
import { readSocket } from "./capture/socket-reader.ts";
import type { Clock } from "./clock.ts";
import type { Settings } from "./config.ts";
import type { Finding } from "./doctor/check.ts";
import { SystemError } from "./errors.ts";
import { Devices, type LookResult } from "./kernel/devices.ts";
import { NetlinkSocket } from "./kernel/socket.ts";
import { NETLINK_ROUTE, RTMGRP_LINK } from "./kernel/uapi.ts";
import { openWakeUp, type WakeUp } from "./wakeup/wakeup.ts";

/** Who is told of what is seen. */
export interface Witness {
  /** A packet that came in; the bytes are the witness's to keep. */
  packetReceived(bytes: Uint8Array): void;
  /** One that this machine's own WireGuard may have sent; the same. */
  packetSent(bytes: Uint8Array): void;
  packetsLost(reason: string): void;
  linksChanged(bytes: Uint8Array): void;
  linksLost(reason: string): void;
}

export interface Senses {
  readonly devices: Devices;
  readonly capture: Capture;
  readonly wakeUp: WakeUp;
  /** Whether packets to the devices' ports wake the program, as far as that can be found out. */
  checkWakeUp(): Promise<readonly Finding[]>;
  /** All devices, as they were when the senses were opened. */
  readonly firstLook: LookResult;
  readonly firstLookMs: number;
  /** Tells the witness all that was seen so far, and from now on at once. */
  attend(witness: Witness): void;
  /**
   * A sample of the handshake messages that come in, read by the clock.
   *
   * @throws SystemError or LibraryError
   */
  openSample(onPacket: (packet: Uint8Array) => void): Promise<HandshakeSample>;
  /** From now on the witness is told what this machine's own WireGuard sends; null: that may not be seen. */
  openSentTap(): SentTap | null;
  /** Sees nothing any more; looks can still be taken. */
  close(): void;
}

/**
 * Resolves when all that happens from now on will be told to the witness, who may come later.
 *
 * @throws ConfigError, SystemError or LibraryError when it cannot be seen.
 */
export async function openSenses(settings: Settings, clock: Clock): Promise<Senses> {
  let witness: Witness | null = null;
  const early: ((witness: Witness) => void)[] = [];
  const tell = (what: (witness: Witness) => void): void => {
    if (witness === null) early.push(what);
    else what(witness);
  };

  const links = new NetlinkSocket(NETLINK_ROUTE, RTMGRP_LINK);
  const stopLinks = await readSocket(links.descriptor, clock, {
    onData: (bytes) => tell((there) => there.linksChanged(bytes)),
    onLost: (code) => tell((there) => there.linksLost(`link changes were missed (${code})`)),
  });
  // Before the first look, so that nothing can happen between the two unseen.
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
  const firstLook = await devices.look(null);
  const firstLookMs = clock.now().monotonicMs - startMs;
  // Without the capability nothing will ever be seen; what else fails may pass.
  const refused = firstLook.problems.find(
    (problem) => problem instanceof SystemError && problem.code === "EPERM",
  );
  if (refused !== undefined) throw refused;

  return {
    devices,
    capture,
    wakeUp,
    async checkWakeUp() {
      const { checkOwnWakeUp } = await import("./wakeup/checks.ts");
      return await checkOwnWakeUp({ ...wakeUp, settings, devices: devices.known });
    },
    firstLook,
    firstLookMs,
    attend(there) {
      witness = there;
      for (const what of early.splice(0)) what(there);
    },
    async openSample(onPacket) {
      // Few will ever want it.
      const { openHandshakeSample } = await import("./capture/handshake-sample.ts");
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
