/**
 * `wgmon test-webhook`: sends a sample of each type of event to the targets, one attempt each, and reports
 * the results.
 */

import type { Clock } from "../base/clock.ts";
import type { Endpoint, Peer, PublicKey } from "../base/wireguard.ts";
import type { DeliveryResult, Target } from "../delivery/target.ts";
import type { Event } from "../events/event-schema.ts";
import { eventOf } from "../events/event.ts";
import { type Change } from "../sessions/change.ts";

/** A failed attempt that took this long is the last one, so that the user does not wait for five timeouts. */
const SLOW_MS = 1000;

const TYPE_COLUMNS = "peer.disconnected".length;
const MS_COLUMNS = 6;

export interface TestOptions {
  readonly clock: Clock;
  /** This gateway's host name in the events. */
  readonly host: string;
  /** Receives each line, without its newline. */
  readonly print: (line: string) => void;
}

/** Whether every target accepted all samples; false if there is no target. */
export async function testTargets(
  targets: readonly Target[],
  options: TestOptions,
): Promise<boolean> {
  const { clock, host, print } = options;
  if (targets.length === 0) {
    print("there is no target to test: give a --webhook URL, or set webhook or [[target]]");
    return false;
  }
  const samples = makeSamples(clock.now().wallMs, host);
  let allDelivered = true;
  for (const target of targets) {
    if (!(await testTarget(target, samples, options))) allDelivered = false;
  }
  return allDelivered;
}

async function testTarget(
  target: Target,
  samples: readonly Event[],
  { clock, print }: TestOptions,
): Promise<boolean> {
  print(target.channel.name);
  const signal = new AbortController().signal;
  let delivered = 0;
  for (const [index, sample] of samples.entries()) {
    const startMs = clock.now().monotonicMs;
    const verdict = await target.channel.attempt({ id: sample.id, events: [sample] }, signal);
    const ms = Math.round(clock.now().monotonicMs - startMs);
    const time = `${ms} ms`.padStart(MS_COLUMNS + " ms".length);
    print(`  ${sample.type.padEnd(TYPE_COLUMNS)} ${time}  ${describe(verdict)}`);
    if (verdict.type === "delivered") delivered++;
    if (isLast(verdict, ms)) {
      if (index < samples.length - 1) print("  the other samples are not sent to it");
      break;
    }
  }
  const leftOut = samples.filter((sample) => !target.accepts(sample)).map(({ type }) => type);
  if (leftOut.length === samples.length) {
    // The settings refuse an empty selection of types, so only the peers or devices exclude everything.
    print("  note: its filter selects other peers or devices; this test ignores the filter");
  } else if (leftOut.length > 0) {
    print(`  note: its filter excludes ${leftOut.join(", ")}; this test ignores the filter`);
  }
  return delivered === samples.length;
}

function describe(verdict: DeliveryResult): string {
  switch (verdict.type) {
    case "delivered":
      return "delivered";
    case "retry": {
      const { reason, afterMs } = verdict;
      const when = afterMs === null ? "" : ` after ${Math.ceil(afterMs / 1000)} s`;
      return `would be retried${when}: ${reason}`;
    }
    case "drop":
      return `refused: ${verdict.reason}`;
    case "stop":
      return `refused permanently: ${verdict.reason}`;
  }
}

/** Whether to stop here: the target is gone, asks for a pause, or would make the user wait. */
function isLast(verdict: DeliveryResult, ms: number): boolean {
  switch (verdict.type) {
    case "delivered":
    case "drop":
      return false;
    case "retry":
      return verdict.afterMs !== null || ms >= SLOW_MS;
    case "stop":
      return true;
  }
}

/** One event of each type, in the order of a peer's visit. All names and addresses show that it is a test. */
function makeSamples(nowMs: number, host: string): readonly Event[] {
  const happened = { atMs: nowMs, device: "wg-test" };
  const session = { startedAtMs: nowMs, rxBytes: 212, txBytes: 92, roams: 0 };
  const roamed = { ...session, startedAtMs: nowMs - 245_000, roams: 1 };
  const [home, away] = [at("198.51.100.7", 40001), at("203.0.113.9", 40002)];
  const changes: readonly Change[] = [
    { type: "peer.connected", ...happened, peer: testPeer(home), session, initial: false },
    {
      type: "peer.roamed",
      ...happened,
      peer: testPeer(away),
      session: roamed,
      previousEndpoint: home,
    },
    {
      type: "peer.disconnected",
      ...happened,
      peer: testPeer(away),
      session: roamed,
      endedAtMs: nowMs - 180_000,
      durationMs: 65_000,
      reason: "idle",
    },
    { type: "device.added", ...happened, listenPort: 51820 },
    { type: "device.removed", ...happened, listenPort: 51820 },
  ];
  return changes.map((change) => {
    const id = `evt_${Bun.randomUUIDv7().replaceAll("-", "")}`;
    return eventOf(change, { id, host, name: "wgmon-test" });
  });
}

function at(address: string, port: number): Endpoint {
  return { address, port, scopeId: 0 };
}

function testPeer(endpoint: Endpoint): Peer {
  return {
    // 32 bytes, as in any key; the private key is unknown.
    publicKey: "wgmonTESTwgmonTESTwgmonTESTwgmonTESTwgmonTE=" as PublicKey,
    endpoint,
    allowedIps: ["192.0.2.2/32"],
    lastHandshakeMs: null,
    rxBytes: 0,
    txBytes: 0,
    persistentKeepaliveSeconds: 0,
  };
}
