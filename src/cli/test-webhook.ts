/**
 * `wgmon test-webhook`: sends a sample of each type of event to the targets, one attempt each, and prints the
 * results.
 */

import type { Clock } from "../base/clock.ts";
import type { DeliveryResult, Target } from "../delivery/target.ts";
import type { Event } from "../events/event-schema.ts";
import { makeSamples } from "../events/samples.ts";

/** After a failed attempt of this duration, the other samples are not sent, so that the user waits for one timeout. */
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

/** Returns whether all targets accepted all samples; false if there is no target. */
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
    const result = await target.channel.attempt({ id: sample.id, events: [sample] }, signal);
    const ms = Math.round(clock.now().monotonicMs - startMs);
    const time = `${ms} ms`.padStart(MS_COLUMNS + " ms".length);
    print(`  ${sample.type.padEnd(TYPE_COLUMNS)} ${time}  ${describe(result)}`);
    if (result.type === "delivered") delivered++;
    if (isLastAttempt(result, ms)) {
      if (index < samples.length - 1) print("  the other samples are not sent to it");
      break;
    }
  }
  const excluded = samples.filter((sample) => !target.accepts(sample)).map(({ type }) => type);
  if (excluded.length === samples.length) {
    // A filter cannot exclude all types, so its devices or peers exclude the samples.
    print("  note: its filter selects other peers or devices; this test ignores the filter");
  } else if (excluded.length > 0) {
    print(`  note: its filter excludes ${excluded.join(", ")}; this test ignores the filter`);
  }
  return delivered === samples.length;
}

function describe(result: DeliveryResult): string {
  switch (result.type) {
    case "delivered":
      return "delivered";
    case "retry": {
      const { reason, afterMs } = result;
      const when = afterMs === null ? "" : ` after ${Math.ceil(afterMs / 1000)} s`;
      return `would be retried${when}: ${reason}`;
    }
    case "drop":
      return `refused: ${result.reason}`;
    case "stop":
      return `refused permanently: ${result.reason}`;
  }
}

/** Whether to send no more samples: the target no longer exists, asks for a pause, or is slow. */
function isLastAttempt(result: DeliveryResult, ms: number): boolean {
  switch (result.type) {
    case "delivered":
    case "drop":
      return false;
    case "retry":
      return result.afterMs !== null || ms >= SLOW_MS;
    case "stop":
      return true;
  }
}
