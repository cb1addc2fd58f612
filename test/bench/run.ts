/**
 * Runs all benchmarks: `npm run bench`, or `bun test/bench/run.ts`. Builds ./wgmon, measures, prints a table. Needs
 * root and the packages of the tests; run it on an idle machine.
 *
 *   --only NAME,...   runs only these parts
 *   --where PLACE,... here: parts that need no WireGuard in the kernel; vm: parts that need it, in a virtual machine,
 *                     or on this machine if its kernel has WireGuard; counted: in a virtual machine whose clock counts
 *                     instructions
 *   --soak DURATION   duration of the soak test; default 60s
 *   --json FILE       also writes the figures to this file
 *
 * WGMON_TEST_BINARY: the binary to measure instead. Each part runs in a separate process and network namespace.
 */

import { appendFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { parseDuration } from "../../src/base/duration.ts";
import { whyNoWireguard } from "../support/kernel.ts";
import { runInVm, whyNoVm } from "../support/vm.ts";
import { alerts } from "./alerts.ts";
import { data } from "./data.ts";
import {
  type Figure,
  figure,
  figureText,
  isReached,
  judged,
  type Note,
  wantedText,
} from "./figures.ts";
import { floodCost } from "./flood-cost.ts";
import { flood } from "./flood.ts";
import { connects, roams, starts, triggers } from "./gateway.ts";
import { history } from "./history.ts";
import { idle } from "./idle.ts";
import { liveAlerts } from "./live-alerts.ts";
import { metrics } from "./metrics.ts";
import { outbox } from "./outbox.ts";
import { page } from "./page.ts";
import { peers } from "./peers.ts";
import { scrape } from "./scrape.ts";
import { soak } from "./soak.ts";
import { start } from "./start.ts";
import { tap } from "./tap.ts";
import { userspace } from "./userspace.ts";

/** Passes its figures to `note`. @param soakMs duration of the soak test. */
type Measure = (note: Note, soakMs: number) => Promise<void>;

/**
 * here: without WireGuard in the kernel; vm: with it; counted: with it, and in instructions instead of time, see
 * `countsInstructions` in vm.ts.
 */
const WHERE = ["here", "vm", "counted"] as const;
type Where = (typeof WHERE)[number];

/** In the order in which they run. */
const PARTS: Readonly<Record<string, { readonly [Place in Where]?: Measure }>> = {
  decode: { here: decode },
  alerts: { here: alerts },
  "live-alerts": { here: liveAlerts },
  start: { here: start, vm: starts },
  outbox: { here: outbox },
  metrics: { here: metrics },
  scrape: { here: (note) => scrape(note, "played"), vm: (note) => scrape(note, "kernel") },
  page: { here: page },
  history: { here: history },
  idle: { here: (note) => idle(note, "played"), vm: (note) => idle(note, "kernel") },
  connect: { here: userspace, vm: connects },
  roam: { vm: roams },
  memory: { vm: triggers },
  data: { here: (note) => data(note, "played"), vm: (note) => data(note, "kernel") },
  tap: { here: tap, vm: tap },
  flood: { here: (note) => flood(note, "played"), vm: (note) => flood(note, "kernel") },
  "flood-cost": { counted: (note) => floodCost(note, "kernel") },
  peers: { vm: peers },
  soak: {
    here: (note, soakMs) => soak(note, "played", soakMs),
    vm: (note, soakMs) => soak(note, "kernel", soakMs),
  },
};

/** Timeout of all parts in the virtual machine, without the soak. */
const VM_LIMIT_MS = 25 * 60_000;

const ROOT = join(import.meta.dir, "../..");
const THIS = import.meta.path;

/** A result of a part's process; each is a line of JSON in the results file. */
type Found = { readonly where: Where; readonly part: string } & (
  | { readonly type: "figure"; readonly figure: Figure }
  | { readonly type: "failed" }
  /** The load average of the minute before the part. */
  | { readonly type: "load"; readonly load: number; readonly machine: string }
);

function readOptions() {
  const { values } = parseArgs({
    options: {
      only: { type: "string", default: Object.keys(PARTS).join() },
      where: { type: "string", default: WHERE.join() },
      soak: { type: "string", default: "60s" },
      json: { type: "string" },
      /** Internal: with --at, this program runs the parts of one place; with --part, one part in its namespace. */
      at: { type: "string" },
      part: { type: "string" },
      found: { type: "string", default: "" },
    },
  });
  const only = values.only.split(",");
  const unknown = only.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined) {
    throw new Error(`--only ${unknown}: must be one of ${Object.keys(PARTS).join(", ")}`);
  }
  const places = values.where.split(",");
  const where = WHERE.filter((place) => places.includes(place));
  if (where.length !== places.length)
    throw new Error(`--where takes ${WHERE.join(", ")}, with commas between them`);
  const soakMs = parseDuration(values.soak);
  if (soakMs === null || soakMs === 0) throw new Error("--soak takes a duration such as 60s or 1h");
  const at = WHERE.find((place) => place === values.at) ?? null;
  return {
    ...values,
    part: values.part ?? null,
    json: values.json ?? null,
    only,
    where,
    soakMs,
    at,
  };
}

type Options = ReturnType<typeof readOptions>;

/** Arguments with which this program starts itself. */
const argumentsFor = ({ only, soak }: Options, where: Where, found: string): string[] =>
  ["--only", only.join(), "--soak", soak].concat("--at", where, "--found", found);

/** Runs parts one after the other, each in new network and mount namespaces. */
async function runParts(options: Options, where: Where, found: string): Promise<void> {
  const machine = `${cpus()[0]?.model.trim()}, ${cpus().length} cores, Linux ${release()}`;
  for (const part of options.only) {
    if (PARTS[part]![where] === undefined) continue;
    const note = (what: Readonly<Record<string, unknown>>) =>
      appendFileSync(found, `${JSON.stringify({ where, part, ...what })}\n`);
    note({ type: "load", load: loadavg()[0], machine });
    console.error(`${part}:`);
    // A private folder for the sockets of userspace devices, which network namespaces share.
    const folder = "/var/run/wireguard";
    const script = `ip link set lo up && mkdir -p ${folder} && mount -t tmpfs tmpfs ${folder} && exec "$0" "$@"`;
    const again = [THIS, "--part", part, ...argumentsFor(options, where, found)];
    const command = ["unshare", "--net", "--mount", "sh", "-c", script, process.execPath, ...again];
    const child = Bun.spawn(command, { stdin: "ignore", stdout: "inherit", stderr: "inherit" });
    if ((await child.exited) !== 0) note({ type: "failed" });
  }
}

async function runPart(part: string, { at, found, soakMs }: Options): Promise<void> {
  const note = (figure: Figure) => {
    console.error(`  ${figure.what}: ${figureText(figure)}`);
    appendFileSync(found, `${JSON.stringify({ where: at, part, type: "figure", figure })}\n`);
  };
  await PARTS[part]![at!]!(note, soakMs);
}

/** Runs the `vm` parts on this machine if its kernel has WireGuard, else in the virtual machine. */
async function runWithWireguard(options: Options, folder: string, found: string): Promise<void> {
  if (whyNoWireguard() === null) await runParts(options, "vm", found);
  else await runPartsInVm(options, "vm", folder, found);
}

async function runPartsInVm(
  options: Options,
  where: Where,
  folder: string,
  found: string,
): Promise<void> {
  if (!options.only.some((part) => PARTS[part]![where] !== undefined)) return;
  const reason = whyNoVm();
  if (reason !== null) {
    console.error(`parts that need a virtual machine are skipped: ${reason}`);
    return;
  }
  const { exitCode } = await runInVm(
    [process.execPath, THIS, ...argumentsFor(options, where, found)],
    {
      timeoutMs: VM_LIMIT_MS + options.soakMs,
      resultsFolder: folder,
      cwd: ROOT,
      countsInstructions: where === "counted",
    },
  );
  if (exitCode === 0) return;
  console.error(`the virtual machine exited with ${exitCode}`);
  const failure: Found = { where, part: "the virtual machine", type: "failed" };
  appendFileSync(found, `${JSON.stringify(failure)}\n`);
}

async function runAll(options: Options): Promise<number> {
  if (process.env["WGMON_TEST_BINARY"] === undefined) {
    const build = Bun.spawnSync([process.execPath, "build.ts"], { cwd: ROOT });
    if (build.exitCode !== 0) throw new Error(`build.ts: ${build.stderr.toString()}`);
  }
  const folder = await mkdtemp(join(tmpdir(), "wgmon-bench-"));
  const file = join(folder, "found");
  const startedAt = new Date().toISOString();
  const load = loadavg()[0]!;
  try {
    if (options.where.includes("here")) await runParts(options, "here", file);
    if (options.where.includes("vm")) await runWithWireguard(options, folder, file);
    if (options.where.includes("counted")) await runPartsInVm(options, "counted", folder, file);
    const lines = (await readFile(file, "utf8")).trim().split("\n");
    const found = lines.map((line) => JSON.parse(line, reviveNaN) as Found);
    printTable(found, load);
    if (options.json !== null) {
      const command = ["bun", "test/bench/run.ts", ...process.argv.slice(2)].join(" ");
      const report = { startedAt, command, ...reportOf(found) };
      await Bun.write(options.json, `${JSON.stringify(report, null, 2)}\n`);
    }
    return found.some(({ type }) => type === "failed") ? 1 : 0;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A reviver that restores NaN (no result), which JSON writes as null. */
function reviveNaN(key: string, value: unknown): unknown {
  return value === null && /^\d+$/.test(key) ? NaN : value;
}

/** For --json. */
function reportOf(found: readonly Found[]) {
  const parts = found.flatMap((each) => {
    if (each.type !== "load") return [];
    const { where, part, load, machine } = each;
    const isOfPart = (other: Found) => other.where === where && other.part === part;
    const failed = found.some((other) => isOfPart(other) && other.type === "failed");
    return [{ where, part, machine, load, failed }];
  });
  const figures = found.flatMap((each) => {
    if (each.type !== "figure") return [];
    const { where, part } = each;
    const { what, unit, values, wanted } = each.figure;
    const [value, isGood] = [judged(each.figure), isReached(each.figure)];
    return [{ where, part, what, unit, value, values, wanted, isReached: isGood }];
  });
  return { parts, figures };
}

function printTable(found: readonly Found[], load: number): void {
  const figures = found.filter((each) => each.type === "figure").map(({ figure }) => figure);
  const width = Math.max(...figures.map(({ what }) => what.length));
  const figureWidth = Math.max(...figures.map((each) => figureText(each).length));
  for (const where of WHERE) {
    const results = found.filter((each) => each.where === where);
    const machine = results.find((each) => each.type === "load")?.machine;
    if (machine === undefined) continue;
    console.log(`\n${where}: ${machine}; load before all: ${load.toFixed(2)}`);
    for (const each of results) {
      switch (each.type) {
        case "load":
          console.log(`\n${each.part} (${where}, load ${each.load.toFixed(2)})`);
          break;
        case "failed":
          console.log(`  ${each.part} FAILED`);
          break;
        case "figure": {
          const { what } = each.figure;
          const text = figureText(each.figure);
          const row = `  ${what.padEnd(width)}  ${text.padEnd(figureWidth)}  ${wantedText(each.figure)}`;
          console.log(row.trimEnd());
        }
      }
    }
  }
  const missed = figures.filter((each) => !isReached(each)).length;
  console.log(`\n${figures.length} figures, ${missed} of them out of bounds`);
}

/** Runs decode.ts, which prints JSON, and notes its figures. */
async function decode(note: Note): Promise<void> {
  const program = join(import.meta.dir, "decode.ts");
  const child = Bun.spawn([process.execPath, program, "--json"], { stdout: "pipe" });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("decode.ts failed");
  const { sizes } = JSON.parse(text) as { sizes: Readonly<Record<string, number>>[] };
  for (const { peers: count, ...rest } of sizes) {
    for (const [name, value] of Object.entries(rest)) {
      const wanted = name === "unchangedPerSecond" && count === 10_000 ? { atLeast: 10e6 } : null;
      const unit = name.endsWith("Ms") ? "ms" : name.endsWith("Mb") ? "MB" : "";
      note(figure(`${count} peers: ${name}`, unit, value, wanted));
    }
  }
}

try {
  const options = readOptions();
  if (options.part !== null) await runPart(options.part, options);
  else if (options.at !== null) await runParts(options, options.at, options.found);
  else process.exitCode = await runAll(options);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
// Sockets and timers that a part left open must not keep the process running.
process.exit();
