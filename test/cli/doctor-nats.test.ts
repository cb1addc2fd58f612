import { expect, test } from "bun:test";

import { checkNatsServers } from "../../src/cli/doctor/nats.ts";
import { fleetServer } from "../support/fleet-nats.ts";
import { freePort, natsNeeds, natsServers } from "../support/nats.ts";

const withoutTime = (text: string) => text.replace(/, \d+ ms$/, "");

test.skipIf(natsNeeds.missing)(
  natsNeeds.title("doctor says which NATS servers of the hub can be reached"),
  async () => {
    await using server = await fleetServer(natsServers[0]!.program, []);
    const down = `127.0.0.1:${freePort()}`;
    const check = async (...servers: string[]) => {
      const findings = await checkNatsServers("hub", `nats://${servers.join(",")}`);
      return findings.map(({ verdict, found }) => withoutTime(`${verdict}: ${found}`));
    };
    expect(await check(server.address)).toEqual([`ok: hub: ${server.address} can be reached`]);
    expect(await check(down)).toEqual([`problem: hub: ${down}: ECONNREFUSED`]);
    expect(await check(server.address, down)).toEqual([
      `ok: hub: ${server.address} can be reached`,
      `warning: hub: ${down}: ECONNREFUSED`,
    ]);
  },
);
