/**
 * Reads names as wgmon does, prints one, and waits to be looked into: `bun test/support/name-reader.ts
 * PATH KEY`. For test/names/peer-names.test.ts.
 */

import { systemClock } from "../../src/base/clock.ts";
import type { PublicKey } from "../../src/base/wireguard.ts";
import { PeerNames } from "../../src/names/peer-names.ts";
import { createLog } from "../../src/platform/log.ts";

const [path, publicKey] = process.argv.slice(2) as [string, PublicKey];
const log = createLog({ format: "text", level: "warn" });
const book = new PeerNames({ clock: systemClock, log });
book.setSources({ names: [path], peers: new Map() });
book.setDevices(["wg0"]);
console.log(book.nameOf(publicKey, "wg0"));
