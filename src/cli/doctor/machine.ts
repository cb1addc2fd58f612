/** `wgmon doctor`: checks the machine: capabilities, libraries, WireGuard, clock, limits. */

import { type Finding, ok, problem, skipped, warning } from "../../base/check.ts";
import type { Monitor } from "../../capture/capture.ts";
import { duration } from "../../events/event.ts";
import { capabilitiesOf, type Capability, includes } from "../../platform/capabilities.ts";
import { isClockSynchronised } from "../../platform/clocks.ts";
import { listFolder, readTextFile } from "../../platform/files.ts";
import { openFilesLimit } from "../../platform/process.ts";
import { libraryVersions } from "../../platform/versions.ts";

/** File descriptors that a busy wgmon needs: for 64 requests, 100 targets, the store and the devices. */
const OPEN_FILES_MIN = 256;
/** Memory of wgmon with 10,000 peers; docs/figures.md. */
const MEMORY_MIN_BYTES = 64 * 1024 * 1024;

/**
 * wgmon did not exist before this date, so an earlier time is wrong. A machine without a clock battery starts in 1970
 * or at the date of its image.
 */
const EARLIEST_MS = Date.UTC(2026, 10, 1);
/** Tolerance: the handshake times and the current time are read one after the other. */
const CLOCK_SLACK_MS = 2000;

/** The monitors that need each library. */
const LIBRARIES = {
  libmnl: ["nflog", "bpf", "poll"],
  libnetfilter_log: ["nflog"],
  libpcap: ["bpf"],
} satisfies Record<string, readonly Monitor[]>;

// ---- Capabilities ----

/** @param pid process id of the running wgmon; null: check this process instead. */
export function checkCapabilities(monitor: Monitor, pid: number | null): Finding[] {
  const found = capabilitiesOf(pid ?? "self");
  const proc = `/proc/${pid ?? "self"}`;
  if (found === null) return [skipped(`they cannot be read from ${proc}/status`)];
  // user_namespaces(7): the initial user namespace maps all ids.
  const uidMap = readTextFile(`${proc}/uid_map`)?.trim().split(/\s+/).join(" ");
  const isConfined = uidMap !== undefined && uidMap !== "0 0 4294967295";
  return [judgeCapabilities({ effective: found.effective, isConfined, monitor, pid })];
}

export function judgeCapabilities({
  effective,
  isConfined,
  monitor,
  pid,
}: {
  readonly effective: bigint;
  /** Whether the process is in a user namespace other than the initial one, as in a rootless container. */
  readonly isConfined: boolean;
  readonly monitor: Monitor;
  readonly pid: number | null;
}): Finding {
  const has = (capability: Capability) => includes(effective, capability);
  const missing = [
    ...(has("CAP_NET_ADMIN") ? [] : ["CAP_NET_ADMIN"]),
    ...(has("CAP_NET_RAW") || monitor !== "bpf" ? [] : ["CAP_NET_RAW"]),
  ];
  if (missing.length > 0) {
    const names = missing.join(" and ");
    return problem(
      `${names} ${missing.length === 1 ? "is" : "are"} missing ${placeOf(pid)}, and monitor ${monitor} needs ${missing.length === 1 ? "it" : "them"}`,
      pid === null
        ? `sudo wgmon ...; for the daemon, in its unit: AmbientCapabilities=${missing.join(" ")}`
        : `in its unit: AmbientCapabilities=${missing.join(" ")}`,
    );
  }
  const owner = pid === null ? "" : ` (${nameOf(pid)})`;
  const present = `CAP_NET_ADMIN${has("CAP_NET_RAW") ? ", CAP_NET_RAW" : ""}${owner}`;
  return isConfined
    ? warning(
        `${present}, but in a user namespace: they apply only to network namespaces that were created in it`,
        "start wgmon outside of it, where the WireGuard devices were created",
      )
    : ok(present);
}

// ---- Libraries ----

export function checkLibraries(monitor: Monitor): Finding[] {
  return libraryVersions().map((library) => judgeLibrary(library, monitor));
}

export function judgeLibrary(
  { name, version, failure }: ReturnType<typeof libraryVersions>[number],
  monitor: Monitor,
): Finding {
  if (failure === null) return ok(`${name} ${version}`);
  const monitors: readonly Monitor[] = LIBRARIES[name];
  if (!monitors.includes(monitor)) {
    return ok(`${name} cannot be used; only ${monitors.join()} needs it`);
  }
  const [found = failure, fix] = failure.split("; install ");
  return problem(found, fix === undefined ? `reinstall ${name}` : `install ${fix}`);
}

// ---- WireGuard in the kernel ----

export function checkKernel(userspaceDevices: readonly string[]): Finding[] {
  const release = readTextFile("/proc/sys/kernel/osrelease")?.trim() ?? "";
  const folder = `/lib/modules/${release}`;
  const lists = ["modules.builtin", "modules.dep"].map((name) => readTextFile(`${folder}/${name}`));
  return [
    judgeKernel({
      release,
      // wireguard has this folder even if it is built in, because the module has a version.
      isLoaded: listFolder("/sys/module").includes("wireguard"),
      isInstalled: lists.every((text) => text === null)
        ? null
        : lists.some((text) => text !== null && /\/wireguard\.ko/.test(text)),
      userspaceDevices,
    }),
  ];
}

export function judgeKernel({
  release,
  isLoaded,
  isInstalled,
  userspaceDevices,
}: {
  readonly release: string;
  readonly isLoaded: boolean;
  /** null if the modules of this kernel are not visible, as in a container. */
  readonly isInstalled: boolean | null;
  readonly userspaceDevices: readonly string[];
}): Finding {
  if (isLoaded) return ok(`WireGuard is in kernel ${release}`);
  if (isInstalled === true) {
    return ok(`kernel ${release} has WireGuard as a module, which is loaded with the first device`);
  }
  if (userspaceDevices.length > 0) {
    return ok(
      `not in kernel ${release}; userspace programs provide ${userspaceDevices.join(", ")}`,
    );
  }
  if (isInstalled === null) {
    return warning(
      `WireGuard is not loaded, and the modules of kernel ${release} are not visible here`,
      "modprobe wireguard; in a container, on its host",
    );
  }
  return problem(
    `kernel ${release} has no WireGuard`,
    "install kernel 5.6 or later with the module wireguard, or a userspace program such as wireguard-go",
  );
}

// ---- Clock ----

export function checkClock(newestHandshakeMs: number | null): Finding[] {
  const isSynchronised = isClockSynchronised();
  return [judgeClock({ nowMs: Date.now(), isSynchronised, newestHandshakeMs })];
}

export function judgeClock({
  nowMs,
  isSynchronised,
  newestHandshakeMs,
}: {
  readonly nowMs: number;
  /** null if the kernel does not report it. */
  readonly isSynchronised: boolean | null;
  /** null if there was none yet, or it could not be read. */
  readonly newestHandshakeMs: number | null;
}): Finding {
  const synchronise = "timedatectl set-ntp true, or install chrony";
  const now = new Date(nowMs).toISOString();
  if (nowMs < EARLIEST_MS)
    return problem(`it is wrong: ${now} is before this version of wgmon existed`, synchronise);
  const aheadMs = (newestHandshakeMs ?? 0) - nowMs;
  if (aheadMs > CLOCK_SLACK_MS) {
    return problem(
      `it was set back: the last handshake is ${duration(aheadMs)} in the future`,
      `${synchronise}; ages are right again after the next handshakes`,
    );
  }
  if (isSynchronised === false) {
    return warning(`${now}, not synchronised (NTP)`, synchronise);
  }
  return ok(isSynchronised === null ? now : `${now}, synchronised`);
}

// ---- Limits ----

/** @param pid process id of the running wgmon; null: check this process instead. */
export function checkLimits(pid: number | null): Finding[] {
  const memory = /^MemAvailable:\s+(\d+) kB$/m.exec(readTextFile("/proc/meminfo") ?? "")?.[1];
  return [
    judgeLimits({
      pid,
      openFiles: openFilesLimit(pid ?? "self"),
      availableBytes: memory === undefined ? null : Number(memory) * 1024,
      // The limit of this process does not apply to a daemon that is started later.
      allowedBytes: pid === null ? null : memoryLimit(pid),
    }),
  ];
}

/** The lowest limit of the process's memory control groups (cgroups(7), version 2); null if there is no limit. */
function memoryLimit(pid: number): number | null {
  const path = /^0::(\/.*)$/m.exec(readTextFile(`/proc/${pid}/cgroup`) ?? "")?.[1] ?? "/";
  const parts = path.split("/").filter((part) => part !== "");
  const limits = parts.flatMap((_, index) => {
    const folder = parts.slice(0, index + 1).join("/");
    const limit = readTextFile(`/sys/fs/cgroup/${folder}/memory.max`)?.trim() ?? "max";
    return limit === "max" ? [] : [Number(limit)];
  });
  return limits.length === 0 ? null : Math.min(...limits);
}

export function judgeLimits({
  pid,
  openFiles,
  availableBytes,
  allowedBytes,
}: {
  readonly pid: number | null;
  /** null if unlimited or unknown; the same for memory. */
  readonly openFiles: number | null;
  /** Available memory of the machine. */
  readonly availableBytes: number | null;
  /** Memory limit of the process, by its control group. */
  readonly allowedBytes: number | null;
}): Finding {
  if (openFiles !== null && openFiles < OPEN_FILES_MIN) {
    return warning(
      `only ${openFiles} open files are allowed ${placeOf(pid)}; ${OPEN_FILES_MIN} may be needed`,
      pid === null
        ? "ulimit -n 1024; in the unit LimitNOFILE=1024"
        : "in its unit LimitNOFILE=1024",
    );
  }
  if (allowedBytes !== null && allowedBytes < MEMORY_MIN_BYTES) {
    return warning(
      `only ${megabytes(allowedBytes)} of memory is allowed ${placeOf(pid)}; ${megabytes(MEMORY_MIN_BYTES)} may be needed`,
      "in its unit MemoryMax=256M; in a container, raise its memory limit",
    );
  }
  if (availableBytes !== null && availableBytes < MEMORY_MIN_BYTES) {
    return warning(
      `only ${megabytes(availableBytes)} of memory is free; ${megabytes(MEMORY_MIN_BYTES)} may be needed`,
      "free some memory",
    );
  }
  const parts = [
    ...(openFiles === null ? [] : [`${openFiles} open files`]),
    ...(allowedBytes === null ? [] : [`${megabytes(allowedBytes)} of memory allowed`]),
    ...(availableBytes === null ? [] : [`${megabytes(availableBytes)} of memory free`]),
  ];
  if (parts.length === 0) return skipped("they cannot be read from /proc");
  return ok(`${parts.join(", ")}${pid === null ? "" : ` (${nameOf(pid)})`}`);
}

function placeOf(pid: number | null): string {
  return pid === null ? "here" : `for ${nameOf(pid)}`;
}

function nameOf(pid: number): string {
  return `the running wgmon, process ${pid}`;
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
