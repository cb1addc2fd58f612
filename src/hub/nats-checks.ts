/** `wgmon doctor` on a hub: checks of the NATS server and the stream. Reads only. */

import type { ConsumerInfo, StreamInfo } from "@nats-io/jetstream";

import { type Finding, ok, problem, warning } from "../base/check.ts";
import { NatsLink, requestReason } from "../fleet/nats-connection.ts";
import { STREAM } from "../fleet/nats-names.ts";
import type { NatsLogin } from "../fleet/nats-url.ts";
import { NATS_VERSION_MIN } from "./nats-setup.ts";
import { alteredFields, findStream } from "./nats-stream.ts";

const TIMEOUT_MS = 5000;

/** What was read from the server. */
export interface NatsState {
  readonly version: string;
  readonly isCluster: boolean;
  /** Null: it does not exist. */
  readonly stream: Pick<StreamInfo, "config" | "state" | "cluster"> | null;
  /** Of this hub; null: it does not exist. */
  readonly consumer: Pick<ConsumerInfo, "num_pending" | "num_ack_pending"> | null;
}

/** @param consumer The name of the hub's consumer. */
export async function checkNats(login: NatsLogin, consumer: string): Promise<Finding[]> {
  const link = new NatsLink({ login, clientName: "wgmon doctor", timeoutMs: TIMEOUT_MS });
  try {
    return judgeNats(await readState(link, consumer));
  } catch (error) {
    return [
      problem(
        `${link.servers}: ${requestReason(error)}`,
        "check the servers in the setting nats, and whether nats-server runs",
      ),
    ];
  } finally {
    await link.close();
  }
}

async function readState(link: NatsLink, consumerName: string): Promise<NatsState> {
  const { jetstreamManager } = await import("@nats-io/jetstream");
  const connection = await link.connection();
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: TIMEOUT_MS });
  const stream = await findStream(manager);
  const consumers = stream === null ? [] : await Array.fromAsync(manager.consumers.list(STREAM));
  return {
    version: connection.info?.version ?? "",
    isCluster: connection.info?.cluster !== undefined,
    stream,
    consumer: consumers.find(({ name }) => name === consumerName) ?? null,
  };
}

export function judgeNats({ version, isCluster, stream, consumer }: NatsState): Finding[] {
  const findings = [judgeVersion(version)];
  if (stream === null) {
    findings.push(
      problem(`there is no stream ${STREAM}`, "start the hub, which creates it; see its log"),
    );
    return findings;
  }
  const { config, state } = stream;
  const altered = alteredFields(config);
  findings.push(
    altered.length === 0
      ? ok(`stream ${STREAM}: ${state.messages} events`)
      : problem(
          `stream ${STREAM} was changed: ${altered.join(", ")}`,
          "restart the hub, which repairs it",
        ),
  );
  findings.push(judgeReplicas(config.num_replicas, isCluster));
  if (config.num_replicas === 1) {
    findings.push(
      warning(
        "whether the server writes each event to the disk at once cannot be read from here",
        "nats-server.conf: sync_interval: always, in jetstream; with http_port set, /jsz shows it as sync_always",
      ),
    );
  }
  if (consumer === null) {
    findings.push(problem("the hub has no consumer", "start the hub; see its log"));
  } else {
    findings.push(judgeLag(consumer.num_pending + consumer.num_ack_pending));
  }
  return findings;
}

function judgeVersion(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [minMajor = 0, minMinor = 0] = NATS_VERSION_MIN.split(".").map(Number);
  const isOld = major < minMajor || (major === minMajor && minor < minMinor);
  return isOld
    ? problem(
        `nats-server ${version}: older than ${NATS_VERSION_MIN}, it may store an event twice`,
        `install nats-server ${NATS_VERSION_MIN} or newer`,
      )
    : ok(`nats-server ${version}`);
}

function judgeReplicas(replicas: number, isCluster: boolean): Finding {
  if (!isCluster) return ok("one server: events wait on the gateways while it is away");
  return replicas >= 3
    ? ok(`the stream is on ${replicas} servers`)
    : warning(
        `the stream is on ${replicas === 1 ? "one server" : `${replicas} servers`} of a cluster`,
        `nats stream edit ${STREAM} --replicas 3`,
      );
}

function judgeLag(events: number): Finding {
  return events <= 1000
    ? ok("the hub has read the stream")
    : warning(`the hub has ${events} events of the stream still to read`, "see its log");
}
