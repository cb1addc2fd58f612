/** Fake scans for tests that need only the devices' ports. */

import type { Device } from "../../src/base/wireguard.ts";
import type { ScanResult } from "../../src/kernel/devices.ts";

/** A scan of wg0, wg1, ... with these listen ports; 0: none yet. */
export function fakeScan(...ports: readonly number[]): ScanResult {
  const devices = ports.map((listenPort, index) => {
    const device: Device = { name: `wg${index}`, index: index + 1, listenPort, publicKey: null };
    return { device, changed: [], removed: [] };
  });
  return { devices, removed: [], present: null, problems: [] };
}
