/** What `wgmon hub init nats` and `wgmon hub enroll` print for NATS. The other tests run servers with this text. */

import { describe, expect, test } from "bun:test";

import { parseNatsUrl } from "../../src/fleet/nats-url.ts";
import {
  gatewayUserLine,
  hubUserLine,
  natsEnrollment,
  natsInit,
  natsUrl,
  newNatsUser,
  nscCommands,
  serverConfig,
} from "../../src/hub/nats-setup.ts";
import {
  connectAs,
  createStream,
  fleetServer,
  gatewayAt,
  loginOf,
  passwordOf,
  seqsOf,
} from "../support/fleet-nats.ts";
import { natsNeeds, natsServers } from "../support/nats.ts";
import { until } from "../support/until.ts";

/** A bcrypt hash differs each time. */
function withoutHash(text: string): string {
  return text.replaceAll(/\$2a\$04\$[./A-Za-z0-9]{53}/g, "HASH");
}

describe("the configuration of NATS for a fleet", () => {
  test("the server asks for TLS, writes each event to the disk, and knows only the users of the fleet", async () => {
    const hub = await hubUserLine({ user: "wgmon_hub", password: "secret" });
    const berlin = await gatewayUserLine({ user: "berlin", password: "secret" });
    expect(withoutHash(serverConfig([hub, berlin]))).toMatchInlineSnapshot(`
      "# nats-server.conf for wgmon, for nats-server 2.10 or newer

      listen: "0.0.0.0:4222"
      tls {
        cert_file: "/etc/nats/server.crt"
        key_file: "/etc/nats/server.key"
      }

      jetstream {
        store_dir: "/var/lib/nats/jetstream"
        # Each event is on the disk before it is acknowledged. With the default, the server writes every two minutes, and loses
        # acknowledged events if the machine fails.
        sync_interval: always
      }

      accounts {
        WGMON {
          # The hub creates the stream WGMON_EVENTS when it starts.
          jetstream: enabled
          users: [
            # wgmon hub enroll NAME prints one line for each gateway. Then: nats-server --signal reload
            { user: "wgmon_hub", password: "HASH" }
            { user: "berlin", password: "HASH", permissions: { publish: ["wgmon.v1.event.berlin", "wgmon.v1.state.berlin", "wgmon.v1.replay.berlin"], subscribe: ["_INBOX_GW.berlin.>"] } }
          ]
        }
      }
      "
    `);
  });

  test("a password is random, is not in the configuration, and survives a URL", async () => {
    const one = newNatsUser("berlin");
    expect(one.password).toMatch(/^[\w-]{32}$/);
    expect(newNatsUser("berlin").password).not.toBe(one.password);
    expect(await gatewayUserLine(one)).not.toContain(one.password);
    const url = natsUrl(one, ["a.example.net", "b.example.net:4223"]);
    expect(parseNatsUrl(url)).toEqual({
      ...one,
      servers: ["a.example.net:4222", "b.example.net:4223"],
      isTls: true,
    });
  });

  test("init prints the whole configuration, and the value of the setting nats with the same password", async () => {
    const text = await natsInit(["nats.example.net"]);
    const [, url = ""] = /^ +(nats:\/\/\S+)$/m.exec(text) ?? [];
    const address = parseNatsUrl(url);
    if ("error" in address) throw new Error(address.error);
    const [, hash = ""] = /user: "wgmon_hub", password: "([^"]+)"/.exec(text) ?? [];
    expect(await Bun.password.verify(address.password!, hash)).toBe(true);
    expect(text).toContain("       sync_interval: always\n");
    expect(text).toContain("     nsc generate creds --account WGMON --name NAME > NAME.creds\n");
  });

  test("enroll prints the gateway's user, and its setting with the same password", async () => {
    const text = await natsEnrollment("berlin", ["nats.example.net"]);
    const [, url = ""] = /^ +hub = "(nats:\/\/\S+)"$/m.exec(text) ?? [];
    const address = parseNatsUrl(url);
    if ("error" in address) throw new Error(address.error);
    expect(address.user).toBe("berlin");
    const [, hash = ""] =
      /^ +{ user: "berlin", password: "([^"]+)", permissions: /m.exec(text) ?? [];
    expect(await Bun.password.verify(address.password!, hash)).toBe(true);
  });

  test("for operator mode, the permissions are those of the user's own name", () => {
    expect(nscCommands("berlin")).toMatchInlineSnapshot(`
      [
        "nsc add account --name WGMON",
        "nsc edit account --name WGMON --js-disk-storage -1 --js-streams 2 --js-consumer -1",
        "nsc add user --account WGMON --name wgmon_hub",
        "nsc edit signing-key --account WGMON --role gateway --sk generate --allow-pub "wgmon.v1.event.{{name()}},wgmon.v1.state.{{name()}},wgmon.v1.replay.{{name()}}" --allow-sub "_INBOX_GW.{{name()}}.>"",
        "nsc add user --account WGMON --name berlin -K gateway",
        "nsc generate creds --account WGMON --name berlin > berlin.creds",
      ]
    `);
  });
});

describe.skipIf(natsNeeds.missing).each(natsServers)(
  natsNeeds.title("nats-server $version"),
  ({ program }) => {
    test("a gateway can be enrolled while the server runs", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      const line = await gatewayUserLine({ user: "paris", password: passwordOf("paris") });
      await server.edit((config) => config.replace("users: [", `users: [\n      ${line}`));
      server.reload();
      await until("paris can connect", async () => {
        const connection = await connectAs("paris", server).catch(() => null);
        await connection?.close();
        return connection !== null;
      });
      using paris = gatewayAt("paris", loginOf("paris", server.address));
      await paris.send(1, 2);
      expect(await seqsOf(server, "paris")).toBe("1 2");
    });
  },
);
