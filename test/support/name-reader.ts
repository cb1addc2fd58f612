/**
 * Reads peer names as wgmon does, prints one, and keeps running so that a test can inspect its memory:
 * `bun test/support/name-reader.ts PATH KEY`. For test/names/peer-names.test.ts.
 */

import { systemClock } from "../../src/base/clock.ts";
import type { PublicKey } from "../../src/base/wireguard.ts";
import { PeerNames } from "../../src/names/peer-names.ts";
import { createLog } from "../../src/platform/log.ts";

const [path, publicKey] = process.argv.slice(2) as [string, PublicKey];
const log = createLog({ format: "text", level: "warn" });
const peerNames = new PeerNames({ clock: systemClock, log });
peerNames.setSources({ names: [path], peers: new Map() });
peerNames.setDevices(["wg0"]);
console.log(peerNames.nameOf(publicKey, "wg0"));
