/**
 * The place of the lease in NATS: a stream that keeps one message. Replacing it names the message that is replaced
 * (Nats-Expected-Last-Subject-Sequence), so that of two hubs one succeeds. Gateways have no access to it.
 */

import type { JetStreamManager } from "@nats-io/jetstream";

import { NatsLink } from "../fleet/nats-connection.ts";
import { LEASE_STREAM, LEASE_SUBJECT } from "../fleet/nats-names.ts";
import type { NatsLogin } from "../fleet/nats-url.ts";
import type { Lease, LeasePlace } from "./hub-lease.ts";

const TIMEOUT_MS = 3000;
/** server/errors.json of nats-server */
const WRONG_LAST_SEQUENCE = [10071, 10164];
const NO_MESSAGE = 10037;
const NO_STREAM = 10059;
const NOT_CLUSTERED = 10074;

export function leaseInNats(login: NatsLogin, hub: string): LeasePlace {
  const link = new NatsLink({ login, clientName: `wgmon hub ${hub} lease`, timeoutMs: TIMEOUT_MS });
  const manage = async (): Promise<JetStreamManager> => {
    const { jetstreamManager } = await import("@nats-io/jetstream");
    const connection = await link.connection();
    return await jetstreamManager(connection, { checkAPI: false, timeout: TIMEOUT_MS });
  };
  return {
    name: link.servers,
    async read() {
      const manager = await manage();
      try {
        const message = await manager.streams.getMessage(LEASE_STREAM, {
          last_by_subj: LEASE_SUBJECT,
        });
        if (message === null) return null;
        return { seq: message.seq, lease: leaseOf(message.string()) };
      } catch (error) {
        const code = codeOf(error);
        if (code === NO_STREAM) await createStream(manager);
        if (code === NO_STREAM || code === NO_MESSAGE) return null;
        throw error;
      }
    },
    async write(lease, seq) {
      const { headers } = await import("@nats-io/transport-node");
      const connection = await link.connection();
      const header = headers();
      header.set("Nats-Expected-Stream", LEASE_STREAM);
      header.set("Nats-Expected-Last-Subject-Sequence", String(seq));
      const answer = await connection.request(LEASE_SUBJECT, JSON.stringify(lease), {
        timeout: TIMEOUT_MS,
        headers: header,
      });
      const { error } = answer.json<{
        readonly error?: { readonly err_code?: number; readonly description?: string };
      }>();
      if (error === undefined) return true;
      if (WRONG_LAST_SEQUENCE.includes(error.err_code ?? 0)) return false;
      throw new Error(error.description ?? `NATS error ${error.err_code}`);
    },
    close: () => link.close(),
  };
}

/** A newer hub may say more, or less. */
function leaseOf(text: string): Lease {
  const nothing: Lease = {
    version: 1,
    id: "",
    hub: "another hub",
    isReleased: false,
    committed: null,
    gateways: {},
  };
  try {
    return { ...nothing, ...(JSON.parse(text) as Partial<Lease>) };
  } catch {
    return nothing;
  }
}

async function createStream(manager: JetStreamManager): Promise<void> {
  // In a cluster, the lease survives the loss of one server.
  for (const replicas of [3, 1]) {
    try {
      await manager.streams.add({
        name: LEASE_STREAM,
        subjects: [LEASE_SUBJECT],
        storage: "file",
        max_msgs_per_subject: 1,
        discard: "old",
        // The answer of a server that is behind could be an old lease.
        allow_direct: false,
        num_replicas: replicas,
      });
      return;
    } catch (error) {
      if (codeOf(error) !== NOT_CLUSTERED || replicas === 1) throw error;
    }
  }
}

function codeOf(error: unknown): number | null {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "number" ? code : null;
}
