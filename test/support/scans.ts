/** Scans made-up devices, for what wants no more of them than their ports. */

import type { Device } from "../../src/base/wireguard.ts";
import type { ScanResult } from "../../src/kernel/devices.ts";

/** wg0, wg1, ... that listen on these ports; 0: not yet. */
export function fakeScan(...ports: readonly number[]): ScanResult {
  const devices = ports.map((listenPort, index) => {
    const device: Device = { name: `wg${index}`, index: index + 1, listenPort, publicKey: null };
    return { device, changed: [], removed: [] };
  });
  return { devices, removed: [], present: null, problems: [] };
}
