/** The findings of the doctor for given facts, in tables; and that a check that fails or hangs is skipped. */

import { describe, expect, test } from "bun:test";

import { type Finding, ok } from "../../../src/base/check.ts";
import { ParseError, SystemError } from "../../../src/base/errors.ts";
import type { PublicKey } from "../../../src/base/wireguard.ts";
import type { ApiReader } from "../../../src/cli/client.ts";
import { judgeDaemon } from "../../../src/cli/doctor/daemon.ts";
import { type DeviceFacts, judgeDevices } from "../../../src/cli/doctor/devices.ts";
import {
  judgeCapabilities,
  judgeClock,
  judgeKernel,
  judgeLibrary,
  judgeLimits,
} from "../../../src/cli/doctor/machine.ts";
import {
  checkNames,
  checkPlaces,
  judgeNames,
  judgeSettings,
} from "../../../src/cli/doctor/settings.ts";
import { judgeFile, judgeFolder } from "../../../src/cli/doctor/store.ts";
import { judgeProgram, judgeReached } from "../../../src/cli/doctor/targets.ts";
import { checkSecrets, judgeMode } from "../../../src/config/secret-files.ts";
import { parseIptables } from "../../../src/firewall/parse-iptables.ts";
import { runCheck } from "../../../src/platform/run-check.ts";
import {
  defaultRoutes,
  judgeFilter,
  judgeGroup,
  judgeInterface,
  judgeRules,
} from "../../../src/wakeup/checks.ts";

/** Each case has the facts, and the beginning of the first finding. */
function table<Facts>(
  judge: (facts: Facts) => Finding | readonly Finding[],
  cases: readonly (readonly [facts: Facts, start: string])[],
): void {
  for (const [facts, start] of cases) {
    const [first] = [judge(facts)].flat();
    expect(`${first!.verdict}: ${first!.found}`).toStartWith(start);
    if (first!.verdict === "problem") expect(first!.fix).not.toBeNull();
    if (first!.verdict === "ok") expect(first!.fix).toBeNull();
  }
}

const ADMIN = 1n << 12n;
const RAW = 1n << 13n;
const NOW_MS = Date.UTC(2027, 0, 1);

const wg0: DeviceFacts = {
  name: "wg0",
  listenPort: 51820,
  isUp: true,
  hasKey: true,
  peers: 2,
  newestHandshakeMs: null,
  publicKeys: [],
};

test("capabilities are a problem only if the monitor needs the missing one", () => {
  const facts = {
    effective: ADMIN | RAW,
    isConfined: false,
    monitor: "nflog",
    pid: null,
  } as const;
  table(judgeCapabilities, [
    [facts, "ok: CAP_NET_ADMIN, CAP_NET_RAW"],
    [{ ...facts, effective: ADMIN }, "ok: CAP_NET_ADMIN"],
    [{ ...facts, effective: ADMIN, monitor: "bpf" }, "problem: CAP_NET_RAW is missing here"],
    [{ ...facts, effective: 0n, monitor: "bpf" }, "problem: CAP_NET_ADMIN and CAP_NET_RAW are"],
    [{ ...facts, effective: RAW, monitor: "poll" }, "problem: CAP_NET_ADMIN is missing here"],
    [{ ...facts, pid: 812 }, "ok: CAP_NET_ADMIN, CAP_NET_RAW (the running wgmon, process 812)"],
    [
      { ...facts, effective: RAW, pid: 812 },
      "problem: CAP_NET_ADMIN is missing for the running wgmon, process 812, and monitor nflog",
    ],
    [
      { ...facts, isConfined: true },
      "warning: CAP_NET_ADMIN, CAP_NET_RAW, but in a user namespace",
    ],
  ]);
});

test("a missing library is a problem only if the monitor needs it", () => {
  const missing = {
    name: "libpcap",
    version: null,
    failure: "cannot load libpcap.so.1 (no such file); install libpcap (Debian: libpcap0.8)",
  } as const;
  expect(judgeLibrary(missing, "bpf")).toEqual({
    verdict: "problem",
    found: "cannot load libpcap.so.1 (no such file)",
    fix: "install libpcap (Debian: libpcap0.8)",
  });
  expect(judgeLibrary(missing, "nflog")).toEqual(ok("libpcap cannot be used; only bpf needs it"));
  expect(judgeLibrary({ name: "libmnl", version: "0.2.0", failure: null }, "poll")).toEqual(
    ok("libmnl 0.2.0"),
  );
});

test("the kernel is a problem only if it has no WireGuard and no program provides a device", () => {
  const none = { release: "6.1.0", isLoaded: false, isInstalled: false, userspaceDevices: [] };
  table(judgeKernel, [
    [{ ...none, isLoaded: true }, "ok: WireGuard is in kernel 6.1.0"],
    [{ ...none, isInstalled: true }, "ok: kernel 6.1.0 has WireGuard as a module"],
    [
      { ...none, userspaceDevices: ["wg0"] },
      "ok: not in kernel 6.1.0; userspace programs provide wg0",
    ],
    [{ ...none, isInstalled: null }, "warning: WireGuard is not loaded"],
    [none, "problem: kernel 6.1.0 has no WireGuard"],
  ]);
});

test("the clock is a problem if it is wrong or was set back", () => {
  const facts = { nowMs: NOW_MS, isSynchronised: true, newestHandshakeMs: null };
  table(judgeClock, [
    [facts, "ok: 2027-01-01T00:00:00.000Z, synchronised"],
    [{ ...facts, isSynchronised: null }, "ok: 2027-01-01T00:00:00.000Z"],
    [
      { ...facts, isSynchronised: false },
      "warning: 2027-01-01T00:00:00.000Z, not synchronised (NTP)",
    ],
    [{ ...facts, nowMs: 0 }, "problem: it is wrong: 1970-01-01T00:00:00.000Z"],
    [{ ...facts, newestHandshakeMs: NOW_MS + 1000 }, "ok: "],
    [
      { ...facts, newestHandshakeMs: NOW_MS + 7_200_000 },
      "problem: it was set back: the last hand",
    ],
  ]);
});

test("low limits of open files and memory are warnings", () => {
  const facts = { pid: null, openFiles: 1024, availableBytes: 1e9, allowedBytes: null };
  table(judgeLimits, [
    [facts, "ok: 1024 open files, 1000 MB of memory free"],
    [{ ...facts, openFiles: null }, "ok: 1000 MB of memory free"],
    [{ ...facts, openFiles: 64 }, "warning: only 64 open files"],
    [{ ...facts, availableBytes: 1e6 }, "warning: only 1 MB of memory"],
    [{ ...facts, openFiles: null, availableBytes: null }, "skipped: "],
    [
      { ...facts, pid: 812, allowedBytes: 256e6 },
      "ok: 1024 open files, 256 MB of memory allowed, 1000 MB of memory free (the running wgmon, process 812)",
    ],
    [
      { ...facts, pid: 812, openFiles: 64 },
      "warning: only 64 open files are allowed for the running wgmon, process 812",
    ],
    [
      { ...facts, pid: 812, allowedBytes: 32e6 },
      "warning: only 32 MB of memory is allowed for the running wgmon, process 812; 67 MB",
    ],
  ]);
});

test("errors in the settings are problems, and so are files that all users can change", () => {
  const facts = {
    file: "/etc/wgmon/wgmon.toml",
    isOfDaemon: false,
    errors: [] as string[],
    warnings: [] as string[],
  };
  table(judgeSettings, [
    [facts, "ok: /etc/wgmon/wgmon.toml"],
    [{ ...facts, file: null }, "ok: no file"],
    [{ ...facts, isOfDaemon: true }, "ok: those of the running wgmon: /etc/wgmon/wgmon.toml"],
    [{ ...facts, warnings: ["--group has no effect"] }, "warning: --group has no effect"],
    [{ ...facts, errors: ["tick: is wrong"], warnings: ["a note"] }, "problem: tick: is wrong"],
  ]);
  const unreadable = judgeSettings({ ...facts, errors: ["/x.toml: cannot be read: EACCES"] });
  expect(unreadable[0]!.fix).toStartWith("run this as root");
  const mode = { path: "/etc/wgmon/webhooks", bits: 0o600, isSecret: true, isSettings: false };
  table(judgeMode, [
    [mode, "ok: /etc/wgmon/webhooks, mode 600"],
    [{ ...mode, bits: 0o640 }, "ok: "],
    [{ ...mode, bits: 0o644 }, "warning: all users can read /etc/wgmon/webhooks, mode 644"],
    [{ ...mode, bits: 0o644, isSecret: false }, "ok: "],
    [{ ...mode, bits: 0o602, isSecret: false }, "problem: all users can change"],
  ]);
  const fixes = [0o644, 0o666].flatMap((bits) =>
    [false, true].map((isSettings) => judgeMode({ ...mode, bits, isSettings }).fix),
  );
  expect(fixes).toEqual([
    "chmod o-rwx /etc/wgmon/webhooks",
    expect.stringContaining("/etc/credstore/wgmon.webhooks"),
    "chmod o-rwx /etc/wgmon/webhooks",
    "chmod o-w /etc/wgmon/webhooks",
  ]);
});

test("files in wgmon.d may be readable for all users, unless they contain a URL", () => {
  const read = (hasUrl: boolean) => {
    const mode = { bits: 0o644, isOwnedByUsOrRoot: true, isRegular: true };
    const path = "/wgmon.d/a.toml";
    const file = { path, mode, hasUrl, isPublic: false };
    return checkSecrets(new Map([[path, file]]), { file: null, listenTls: null });
  };
  expect(read(false)).toEqual([ok("the permissions of 1 file are correct")]);
  expect(read(true)).toMatchObject([
    { verdict: "warning", fix: expect.stringContaining("move its URLs to a file") as string },
  ]);
});

test("a certificate may be readable for all users, another file that the settings name may not", () => {
  const read = (isPublic: boolean) => {
    const mode = { bits: 0o644, isOwnedByUsOrRoot: true, isRegular: true };
    const file = { path: "/hub.crt", mode, hasUrl: false, isPublic };
    return checkSecrets(new Map([["/hub.crt", file]]), { file: null, listenTls: null });
  };
  expect(read(true)).toEqual([ok("the permissions of 1 file are correct")]);
  expect(read(false)).toMatchObject([{ verdict: "warning", fix: "chmod o-rwx /hub.crt" }]);
});

test("files with places that cannot be used are a problem, with a remedy", async () => {
  expect(await checkPlaces([])).toEqual([ok("0 files")]);
  expect(await checkPlaces(["/absent.mmdb"])).toEqual([
    {
      verdict: "problem",
      found: "/absent.mmdb: there is no such file",
      fix: "download an MMDB file, or correct the path",
    },
  ]);
});

test("names have a finding with the number of named peers", () => {
  table(judgeNames, [
    [{ warnings: ["names: /x: is not a file"], isNamed: [] }, "warning: /x: is not a file"],
    [{ warnings: [], isNamed: [] }, "skipped: "],
    [{ warnings: [], isNamed: [true, false] }, "ok: 1 of 2 peers have a name"],
  ]);
});

test("names are read from the daemon, and from the files if it does not answer", async () => {
  const [named, unnamed] = [1, 2].map((byte) => Buffer.alloc(32, byte).toString("base64"));
  const devices = [{ ...wg0, publicKeys: [named, unnamed] as PublicKey[] }];
  const selection = { devices: [], peers: ["alice"] };
  const target = { name: "ops", label: "", origin: null, program: null, selection };
  const settings = {
    names: [],
    tags: [],
    peers: { [named!]: null },
    targets: [target],
    alerts: [],
  };
  const names = (get: () => Promise<unknown>) =>
    checkNames(settings, devices, { get: get as ApiReader["get"] });
  const item = (publicKey: string, name: string | null) => ({ device: "wg0", publicKey, name });
  const items = [item(named!, "alice"), item(unnamed!, null)];
  expect(await names(() => Promise.resolve({ items }))).toEqual([ok("1 of 2 peers have a name")]);
  const fromFiles = [
    ok("0 of 2 peers have a name"),
    expect.objectContaining({ found: 'no peer is called "alice" now (target ops)' }),
  ];
  expect(await checkNames(settings, devices, null)).toEqual(fromFiles);
  const lost = Promise.reject(new SystemError("ask wgmon", "ECONNRESET"));
  expect(await names(() => lost)).toEqual(fromFiles);
});

test("a device is a problem if it is down or has no port or key, and if a named one is missing", () => {
  const factsOf = (...devices: readonly DeviceFacts[]) => ({ devices, problems: [] });
  const judge = (facts: Parameters<typeof judgeDevices>[0]) => judgeDevices(facts, []);
  table(judge, [
    [factsOf(wg0), "ok: wg0 listens on port 51820 and has 2 peers"],
    [factsOf({ ...wg0, peers: 0 }), "warning: wg0 listens on port 51820 and has 0 peers"],
    [factsOf({ ...wg0, isUp: false }), "problem: wg0 is down"],
    [factsOf({ ...wg0, listenPort: 0 }), "problem: wg0 has no listen port"],
    [factsOf({ ...wg0, hasKey: false }), "problem: wg0 has no private key"],
    [factsOf({ ...wg0, hasKey: null }), "ok: "],
    [factsOf(), "warning: there is no WireGuard device"],
    [{ devices: [], problems: ["scan wg0: EPERM"] }, "problem: scan wg0: EPERM"],
  ]);
  expect(judgeDevices(factsOf(wg0), ["wg0", "wg7"])).toMatchObject([
    { verdict: "ok" },
    { verdict: "problem", found: "there is no WireGuard device wg7 in this network namespace" },
  ]);
});

test("the NFLOG group is a problem if another program owns it", () => {
  const owner = (portId: string, program: string | null) => ({ portId, program });
  const facts = { group: 1, owner: null, isRunning: false };
  table(judgeGroup, [
    [facts, "ok: 1 is free"],
    [{ ...facts, isRunning: true }, "warning: the running wgmon does not own 1"],
    [{ ...facts, owner: owner("812", "wgmon") }, "ok: 1 is owned by wgmon, process 812"],
    [{ ...facts, owner: owner("812", "ulogd") }, "problem: process 812, ulogd, owns 1"],
    [{ ...facts, owner: owner("4294963201", null) }, "problem: a program owns 1"],
    [
      { ...facts, owner: owner("9", null), isRunning: true },
      "ok: 1 is in use, as expected while wgmon",
    ],
  ]);
});

describe("the judgement of firewall rules", () => {
  const firewall = (version: 4 | 6, ...rules: readonly string[]) => {
    const text = ["*filter", ":INPUT ACCEPT [0:0]", ...rules.map((rule) => `-A INPUT ${rule}`)];
    return parseIptables(text.join("\n"), {
      program: version === 4 ? "iptables" : "ip6tables",
      version,
    });
  };
  const rule = "-p udp -m udp --dport 51820 -j NFLOG --nflog-group 1";
  const context = {
    group: 1,
    isManaged: false,
    isRunning: false,
    devices: [wg0],
    hasIpv6: false,
    rules: [firewall(4, rule)],
    unread: [] as readonly string[],
  };
  const judge = ({ rules, unread, ...rest }: typeof context) =>
    judgeRules({ firewalls: rules, unread }, rest);
  const sized = (size: number) => [firewall(4, `${rule} --nflog-size ${size}`)];

  test("firewall rules are judged by the devices' ports", () => {
    table(judge, [
      [context, "ok: wg0's port 51820 is logged to group 1 (iptables filter INPUT)"],
      [
        { ...context, hasIpv6: true },
        "warning: iptables filter INPUT: wg0's port 51820 is logged, but not over IPv6",
      ],
      [
        { ...context, rules: [firewall(6, rule)] },
        "warning: ip6tables filter INPUT: wg0's port 51820 is logged, but not over IPv4",
      ],
      [{ ...context, hasIpv6: true, rules: [firewall(4, rule), firewall(6, rule)] }, "ok: "],
      [{ ...context, group: 2 }, "problem: no rule logs to group 2; rules log to group 1"],
      [
        { ...context, devices: [{ ...wg0, listenPort: 9 }] },
        "problem: no rule logs wg0's port 9 to group 1",
      ],
      [
        { ...context, devices: [{ ...wg0, listenPort: 0 }] },
        "ok: there are rules that log to group 1",
      ],
      [{ ...context, devices: [] }, "ok: there are rules that log to group 1"],
      [{ ...context, rules: sized(63) }, "problem: iptables filter INPUT: snaplen 63"],
      [{ ...context, rules: sized(64) }, "warning: iptables filter INPUT: snaplen 64"],
      [{ ...context, rules: sized(180) }, "ok: "],
      [{ ...context, rules: [firewall(4)] }, "problem: no rule logs to group 1"],
    ]);
  });

  test("firewall rules that wgmon manages are a problem only if they are missing while it runs", () => {
    const managed = { ...context, isManaged: true, rules: [firewall(4)] };
    table(judge, [
      [managed, "ok: wgmon will load table inet wgmon when it runs"],
      [{ ...managed, isRunning: true }, "problem: no rule logs to group 1"],
    ]);
  });

  test("the check of firewall rules that cannot be read is skipped, and they are not reported as missing", () => {
    table(judge, [
      [{ ...context, rules: [], unread: ["nft: EPERM"] }, "skipped: nft: EPERM"],
      [{ ...context, rules: [] }, "skipped: neither nft nor iptables-save is installed"],
      [{ ...context, unread: ["nft: EPERM"] }, "ok: "],
    ]);
  });
});

test("the interface is a problem if it is missing or down, and the filter a warning if it excludes a port", () => {
  const facts = { name: "eth0", isUp: true, defaultRoutes: ["eth0"] };
  table(judgeInterface, [
    [facts, "ok: eth0"],
    [{ ...facts, name: "any" }, "ok: any"],
    [{ ...facts, isUp: null }, "problem: there is no interface eth0"],
    [{ ...facts, isUp: false }, "problem: eth0 is down"],
    [
      { ...facts, defaultRoutes: ["eth1"] },
      "warning: eth0, but the default route goes through eth1",
    ],
    [{ ...facts, defaultRoutes: [] }, "ok: eth0"],
  ]);
  expect(judgeFilter([1, 2], [1, 2]).verdict).toBe("ok");
  expect(judgeFilter([1, 2], [2])).toMatchObject({
    verdict: "warning",
    found: expect.stringMatching(/to port 1$/),
  });
  expect(judgeFilter([], []).verdict).toBe("ok");
});

test("default routes are read from the kernel's tables", () => {
  const header =
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
  const ipv4 = [
    header,
    "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0",
    "wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0",
    "eth1\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
  ].join("\n");
  const zero = "0".repeat(32);
  const route = (destination: string, bits: string, name: string) =>
    `${destination} ${bits} ${zero} 00 ${zero} 00000400 00000001 00000000 00000003 ${name.padStart(8)}`;
  const ipv6 = [
    route("2001".padEnd(32, "0"), "40", "eth3"),
    route(zero, "00", "eth2"),
    route(zero, "00", "lo"),
  ].join("\n");
  expect(defaultRoutes(ipv4, `${ipv6}\n`)).toEqual(["eth0", "eth2"]);
});

test("the store is a problem if the disk is almost full, and a warning if it has dead letters", () => {
  const facts = {
    stateDir: "/var/lib/wgmon",
    freeBytes: 1e9,
    sizeBytes: null,
    maxStoreBytes: 256e6,
    owner: null,
  };
  table(judgeFolder, [
    [facts, "ok: /var/lib/wgmon, 1000 MB free"],
    [
      { ...facts, owner: "process 9, wgmon" },
      "ok: /var/lib/wgmon, 1000 MB free, used by process 9",
    ],
    [
      { ...facts, freeBytes: 1e8 },
      "warning: /var/lib/wgmon: 100 MB free, and the store may grow to 256MB",
    ],
    [{ ...facts, freeBytes: 1e8, sizeBytes: 200e6 }, "ok: "],
    [{ ...facts, freeBytes: 1e6 }, "problem: /var/lib/wgmon: only 1 MB free"],
  ]);
  table(judgeFile, [
    [{ sizeBytes: 1e6, waiting: 3, dead: 0 }, "ok: wgmon.db is 1.0 MB; 3 waiting, 0 dead letters"],
    [
      { sizeBytes: 1e6, waiting: 0, dead: 2 },
      "warning: wgmon.db is 1.0 MB; 0 waiting, 2 dead letters",
    ],
  ]);
});

test("a target is a problem if it cannot be reached or its program does not exist", () => {
  const judge = (facts: Parameters<typeof judgeReached>[1]) => judgeReached("ops", facts);
  table(judge, [
    [{ status: 404, reason: "", ms: 12 }, "ok: ops: can be reached, 12 ms"],
    [{ status: 500, reason: "", ms: 12 }, "ok: "],
    [{ status: 502, reason: "", ms: 12 }, "warning: ops: answers 502"],
    [{ status: null, reason: "ECONNREFUSED", ms: 1 }, "problem: ops: ECONNREFUSED"],
    [{ status: null, reason: "timeout", ms: 5001 }, "problem: ops: no answer in 5 s"],
  ]);
  expect(judgeProgram("ops", null).verdict).toBe("ok");
  expect(judgeProgram("ops", "does not exist")).toMatchObject({ verdict: "problem" });
});

test("the running wgmon has a problem if it does not answer, misses devices, or has its store in memory", () => {
  const running = {
    version: "1.2.3",
    host: "gw1",
    startedAt: "2027-01-01T00:00:00.000Z",
    devices: 1,
    peers: 5,
    connected: 2,
    store: { inMemory: false, problem: null as string | null },
    wakeUp: { monitor: "bpf", group: null, interface: "any", reason: null, problem: null } as const,
    alerts: { firing: 0, heldBack: 0, pending: 0, silences: 0 },
    latestEvent: 9,
  };
  const target = { label: "ops", state: "ok", failures: 0, reason: null } as const;
  const facts = { running, targets: [target], version: "1.2.3", devices: 1 as number | null };
  const hubSince = (minutes: number, clockOffsetMs = 2000) => {
    const unconfirmedSince = "2026-01-01T00:00:00.000Z";
    const numbers = { epoch: "01234567", last: 9, sent: 9, confirmed: 6 };
    const hub = { ...numbers, unconfirmedSince, clockOffsetMs };
    const nowMs = Date.parse(unconfirmedSince) + minutes * 60_000;
    return { targets: [{ ...target, label: "hub", hub }], nowMs };
  };
  table<Parameters<typeof judgeDaemon>[0]>(judgeDaemon, [
    [facts, "ok: version 1.2.3 is running; 2 of 5 peers are connected"],
    [{ ...facts, version: "1.3.0" }, "warning: version 1.2.3 is running, but this is 1.3.0"],
    [
      { ...facts, running: { ...running, store: { inMemory: true, problem: "ENOSPC" } } },
      "problem: the store is in memory only and is lost when wgmon ends: ENOSPC",
    ],
    [
      { ...facts, targets: [{ ...target, state: "failing", failures: 3, reason: "503" }] },
      "warning: ops: 3 failed attempts in a row, the last: 503",
    ],
    [
      { ...facts, targets: [{ ...target, state: "stopped", reason: "410" }] },
      "warning: ops is stopped, because it no longer exists: 410",
    ],
    [{ ...facts, ...hubSince(59) }, "ok: version 1.2.3 is running; 2 of 5 peers are connected"],
    [
      { ...facts, ...hubSince(61) },
      "warning: hub has not confirmed 3 events, the oldest for 1h 1m",
    ],
    [{ ...facts, ...hubSince(0, 3000) }, "warning: this clock and that of the hub are 3s apart"],
    [
      { ...facts, ...hubSince(0, -86_400_000) },
      "problem: this clock and that of the hub are 1d apart",
    ],
    [{ ...facts, devices: 2 }, "problem: wgmon reads 1 of 2 WireGuard devices"],
    [{ ...facts, devices: null }, "ok: version 1.2.3 is running"],
    [{ ...facts, running: null }, "warning: wgmon is not running here"],
    [{ ...facts, running: "ask wgmon: EACCES (run this as root)" }, "skipped: ask wgmon: EACCES"],
    [{ ...facts, running: "ask wgmon: no answer" }, "problem: ask wgmon: no answer"],
  ]);
});

describe("runCheck", () => {
  const failing = (error: unknown) =>
    runCheck({
      run() {
        throw error;
      },
    });

  test("a check that fails is skipped, with the reason", async () => {
    expect(await failing(new SystemError("read x", "EACCES"))).toEqual([
      { verdict: "skipped", found: "read x: EACCES", fix: null },
    ]);
    expect(await failing(new ParseError("x: 3 bytes"))).toMatchObject([{ found: "x: 3 bytes" }]);
    expect(await runCheck({ run: () => Promise.reject(new SystemError("a", "b")) })).toMatchObject([
      { verdict: "skipped", found: "a: b" },
    ]);
  });

  test("a check that fails because of a bug shows no message, which could contain a secret", async () => {
    const [finding] = await failing(new TypeError("https://hooks.example.net/t0k3n"));
    expect(finding).toMatchObject({
      verdict: "skipped",
      found: expect.stringContaining("bug in wgmon (TypeError)"),
    });
  });

  test("a check that hangs is skipped after its timeout", async () => {
    const never = Promise.withResolvers<Finding[]>().promise;
    expect(await runCheck({ run: () => never }, 5)).toMatchObject([
      { verdict: "skipped", found: "it took more than 0.005 s" },
    ]);
  });
});
