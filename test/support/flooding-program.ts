/**
 * Delivers one message to an exec target that writes to standard error until it is killed. Runs as a separate process,
 * because its memory is measured. Prints JSON: growth of the peak memory in bytes, and the verdict.
 */

import { createExec } from "../../src/channels/exec.ts";
import { eventOf } from "../../src/events/event.ts";
import { REPORT_MS, withLimit } from "./until.ts";

const change = { type: "device.added", atMs: 0, device: "wg0", listenPort: 51820 } as const;
const event = eventOf(change, { id: `evt_${"a".repeat(32)}`, host: "gw1", name: null });
const message = { id: event.id, events: [event] } as const;

async function attempt(script: string, timeoutMs: number) {
  const exec = createExec({ command: ["/bin/sh", "-c", script], label: "exec", timeoutMs });
  return await exec.attempt(message, new AbortController().signal);
}

// getrusage(2) reports KiB.
const peakBytes = (): number => process.resourceUsage().maxRSS * 1024;

await attempt("echo warm >&2", REPORT_MS);
const before = peakBytes();
const verdict = await withLimit(
  500,
  (limitMs) => attempt("exec yes error >&2", limitMs),
  (each) => each.type === "retry" && each.reason !== "timeout",
);
console.log(JSON.stringify({ grownBytes: peakBytes() - before, verdict }));
process.exit();
