/**
 * A gateway and a hub in one program, which a test compiles as wgmon is compiled. Arguments: the server's HOST:PORT, and a
 * file with certificates. Prints the events that the hub has.
 */

import { readFileSync } from "node:fs";

import { HUB_USER } from "../../src/fleet/nats-names.ts";
import { eventsOf, gatewayAt, hubAt, loginOf, MemoryHub, untilTaken } from "./fleet-nats.ts";
import { until } from "./until.ts";

const [, , address = "", caFile = ""] = process.argv;
const tls = { isTls: true, ca: readFileSync(caFile, "utf8") };
const store = new MemoryHub();
{
  await using hub = hubAt({ ...loginOf(HUB_USER, address), ...tls }, store);
  await until("the hub receives", () => hub.receiver.problem === null);
  using berlin = gatewayAt("berlin", { ...loginOf("berlin", address), ...tls });
  await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 1, 20)));
  await until("the hub has all events", () => store.count("berlin") === 20);
}
console.log([...store.stored.keys()].join(), store.count("berlin"));
