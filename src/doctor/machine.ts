/** `wgmon doctor`: what this machine gives to wgmon: capabilities, libraries, WireGuard, time, files. */

import { type Capability, includes, ownCapabilities } from "../capabilities.ts";
import { libraryVersions } from "../cli/version.ts";
import { duration } from "../event.ts";
import { isClockSynchronised, listFolder, readTextFile } from "../system.ts";
import type { Monitor } from "../wakeup/wakeup.ts";
import { type Finding, ok, problem, skipped, warning } from "./check.ts";

/** Sockets, files and connections of a busy wgmon: 64 requests, 100 targets, the store, the devices. */
const OPEN_FILES_LEAST = 256;
/** wgmon with 10,000 peers; README, Figures. */
const MEMORY_LEAST_BYTES = 64 * 1024 * 1024;

/** There was no wgmon before. A machine without a battery for its clock begins in 1970 or at its image's date. */
const EARLIEST_MS = Date.UTC(2026, 10, 1);
/** Times of handshakes and now are read one after the other. */
const CLOCK_SLACK_MS = 2000;

const LIBRARIES = {
  libmnl: ["nflog", "bpf", "poll"],
  libnetfilter_log: ["nflog"],
  libpcap: ["bpf"],
} satisfies Record<string, readonly Monitor[]>;

// ---- Capabilities ----

export function checkCapabilities(monitor: Monitor): Finding[] {
  const own = ownCapabilities();
  if (own === null) return [skipped("/proc/self/status does not tell them")];
  // user_namespaces(7): the first one has them all.
  const users = readTextFile("/proc/self/uid_map")?.trim().split(/\s+/).join(" ");
  const isConfined = users !== undefined && users !== "0 0 4294967295";
  return [judgeCapabilities({ effective: own.effective, isConfined, monitor })];
}

export function judgeCapabilities({
  effective,
  isConfined,
  monitor,
}: {
  readonly effective: bigint;
  /** In a user namespace, as that of a rootless container. */
  readonly isConfined: boolean;
  readonly monitor: Monitor;
}): Finding {
  const has = (capability: Capability) => includes(effective, capability);
  const missing = [
    ...(has("CAP_NET_ADMIN") ? [] : ["CAP_NET_ADMIN"]),
    ...(has("CAP_NET_RAW") || monitor !== "bpf" ? [] : ["CAP_NET_RAW"]),
  ];
  if (missing.length > 0) {
    const names = missing.join(" and ");
    return problem(
      `${names} ${missing.length === 1 ? "is" : "are"} missing here, and monitor ${monitor} needs ${missing.length === 1 ? "it" : "them"}`,
      `sudo wgmon ...; for the daemon, in its unit: AmbientCapabilities=${missing.join(" ")}`,
    );
  }
  const there = `CAP_NET_ADMIN${has("CAP_NET_RAW") ? ", CAP_NET_RAW" : ""}`;
  return isConfined
    ? warning(
        `${there}, but of a user namespace: they count only for networks that were made in it`,
        "start wgmon outside, where the WireGuard devices were made",
      )
    : ok(there);
}

// ---- Libraries ----

export function checkLibraries(monitor: Monitor): Finding[] {
  return libraryVersions().map((library) => judgeLibrary(library, monitor));
}

export function judgeLibrary(
  { name, version, complaint }: ReturnType<typeof libraryVersions>[number],
  monitor: Monitor,
): Finding {
  if (complaint === null) return ok(`${name} ${version}`);
  const users: readonly Monitor[] = LIBRARIES[name];
  if (!users.includes(monitor)) return ok(`${name} cannot be used; only ${users.join()} needs it`);
  const [found = complaint, fix] = complaint.split("; install ");
  return problem(found, fix === undefined ? `install ${name} anew` : `install ${fix}`);
}

// ---- WireGuard in the kernel ----

export function checkKernel(userspaceDevices: readonly string[]): Finding[] {
  const release = readTextFile("/proc/sys/kernel/osrelease")?.trim() ?? "";
  const folder = `/lib/modules/${release}`;
  const lists = ["modules.builtin", "modules.dep"].map((name) => readTextFile(`${folder}/${name}`));
  return [
    judgeKernel({
      release,
      // A module with a version, as it is, has a folder there even when it is built in.
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
  /** null: the modules of this kernel are not here, as in a container. */
  readonly isInstalled: boolean | null;
  readonly userspaceDevices: readonly string[];
}): Finding {
  if (isLoaded) return ok(`WireGuard is in kernel ${release}`);
  if (isInstalled === true) {
    return ok(`kernel ${release} has WireGuard as a module, which comes with the first device`);
  }
  if (userspaceDevices.length > 0) {
    return ok(`none in kernel ${release}; ${userspaceDevices.join(", ")} is a program's`);
  }
  if (isInstalled === null) {
    return warning(
      `WireGuard is not loaded, and the modules of kernel ${release} are not here to look for it`,
      "modprobe wireguard; in a container, on its host",
    );
  }
  return problem(
    `kernel ${release} has no WireGuard`,
    "a kernel of 5.6 or later with the module wireguard, or a userspace program such as wireguard-go",
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
  /** null: the kernel does not tell. */
  readonly isSynchronised: boolean | null;
  /** null: there was none yet, or it could not be seen. */
  readonly newestHandshakeMs: number | null;
}): Finding {
  const synchronise = "timedatectl set-ntp true, or install chrony";
  const now = new Date(nowMs).toISOString();
  if (nowMs < EARLIEST_MS)
    return problem(`it says ${now}, and wgmon was not made then`, synchronise);
  const aheadMs = (newestHandshakeMs ?? 0) - nowMs;
  if (aheadMs > CLOCK_SLACK_MS) {
    return problem(
      `it was set back: the last handshake was ${duration(aheadMs)} later than now`,
      `${synchronise}; ages are right again after the next handshakes`,
    );
  }
  if (isSynchronised === false) {
    return warning(`${now}, and nothing keeps it right (NTP)`, synchronise);
  }
  return ok(isSynchronised === null ? now : `${now}, synchronised`);
}

// ---- Limits ----

export function checkLimits(): Finding[] {
  const limits = readTextFile("/proc/self/limits") ?? "";
  const files = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  const memory = /^MemAvailable:\s+(\d+) kB$/m.exec(readTextFile("/proc/meminfo") ?? "")?.[1];
  return [
    judgeLimits({
      openFiles: files === undefined ? null : Number(files),
      availableBytes: memory === undefined ? null : Number(memory) * 1024,
    }),
  ];
}

export function judgeLimits({
  openFiles,
  availableBytes,
}: {
  /** null: no limit, or not told; the same for memory. */
  readonly openFiles: number | null;
  readonly availableBytes: number | null;
}): Finding {
  if (openFiles !== null && openFiles < OPEN_FILES_LEAST) {
    return warning(
      `only ${openFiles} open files are allowed here, ${OPEN_FILES_LEAST} may be needed`,
      "ulimit -n 1024; in the unit LimitNOFILE=1024",
    );
  }
  if (availableBytes !== null && availableBytes < MEMORY_LEAST_BYTES) {
    return warning(
      `only ${megabytes(availableBytes)} of memory are free, ${megabytes(MEMORY_LEAST_BYTES)} may be needed`,
      "make room",
    );
  }
  const parts = [
    ...(openFiles === null ? [] : [`${openFiles} open files`]),
    ...(availableBytes === null ? [] : [`${megabytes(availableBytes)} of memory free`]),
  ];
  return parts.length === 0 ? skipped("/proc does not tell them") : ok(parts.join(", "));
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
