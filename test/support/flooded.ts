/**
 * One attempt with a program that writes to standard error until it is killed. A program of its own,
 * because its memory is measured: on standard output, how many bytes it has grown by, and the verdict.
 */

import { createExec } from "../../src/channel/exec.ts";
import { eventOf } from "../../src/event.ts";

const change = { type: "device.added", atMs: 0, device: "wg0", listenPort: 51820 } as const;
const event = eventOf(change, { id: `evt_${"a".repeat(32)}`, host: "gw1", name: null });
const message = { id: event.id, events: [event] } as const;

async function attempt(script: string) {
  const exec = createExec({ command: ["/bin/sh", "-c", script], label: "exec", timeoutMs: 500 });
  return await exec.attempt(message, new AbortController().signal);
}

// getrusage(2): in KiB.
const peakBytes = (): number => process.resourceUsage().maxRSS * 1024;

await attempt("echo warm >&2");
const before = peakBytes();
const verdict = await attempt("exec yes error >&2");
console.log(JSON.stringify({ grownBytes: peakBytes() - before, verdict }));
process.exit();
