/**
 * `wgmon doctor` and `wgmon health` of the binary, with a fake device. The machine has no fault before each test, which
 * makes one.
 */

import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { $ } from "bun";

import { version } from "../../package.json";
import type { Finding } from "../../src/base/check.ts";
import { systemClock } from "../../src/base/clock.ts";
import { openGroup } from "../../src/capture/nflog.ts";
import { iptablesRules, nftRules } from "../../src/firewall/nft-rules.ts";
import { FakeUapiDevice, publicKeyOf } from "../support/fake-uapi-device.ts";
import { needs } from "../support/kernel.ts";
import { newStateFolder } from "../support/state.ts";
import { REPORT_MS, TEST_MS, until } from "../support/until.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

setDefaultTimeout(TEST_MS);

const ROOT = join(import.meta.dir, "../..");
const BINARY = join(ROOT, "wgmon");
const DEVICE = "wgtest-doctor";
const PORT = 51820;

/** A part of each URL and of the settings files. It must not be printed. */
const SECRET = "t0k3n";

/** `tunnel`: for the network interfaces of the scenarios. */
const tools = needs("own namespaces", "tunnel", "setpriv", "prlimit", "nft");

interface Report {
  readonly exitCode: number;
  readonly findings: readonly (Finding & { readonly check: string })[];
}

/** Name of a check, the beginning of its first finding, and its fix. */
type Expected = readonly [check: string, start: string, fix: RegExp | null];

const folder = newStateFolder();
const state = join(folder, "state");
const runtime = join(folder, "run");
const environment = { RUNTIME_DIRECTORY: runtime, STATE_DIRECTORY: state };
mkdirSync(state);
// All users can enter the folder.
chmodSync(folder, 0o755);

/** Flags of each run that the test does not set itself. The doctor checks rules and group for nflog only. */
const USUAL = {
  "--device": DEVICE,
  "--names": "off",
  "--config": "/dev/null",
  "--state-dir": state,
  "--monitor": "nflog",
};

const BPF = ["--monitor", "bpf", "--interface"];

describe.skipIf(tools.missing)(tools.title("wgmon doctor"), () => {
  let device: FakeUapiDevice;

  // A machine without a fault: a device that is up, and rules that log its port.
  beforeAll(async () => {
    device = await FakeUapiDevice.create(DEVICE);
    device.connect(1, 2, 3);
    await $`ip link set ${DEVICE} up`;
    await loadRules(PORT);
  });

  afterAll(async () => {
    await device[Symbol.asyncDispose]();
  });

  test("the doctor reports a device that is down", async () => {
    await $`ip link set ${DEVICE} down`;
    try {
      const fix = /^ip link set wgtest-doctor up$/;
      expectReport(await doctor(), 1, ["devices", "problem: wgtest-doctor is down", fix]);
    } finally {
      await $`ip link set ${DEVICE} up`;
    }
  });

  describe("firewall rules", () => {
    beforeEach(async () => {
      await $`nft flush ruleset`;
    });

    afterAll(async () => {
      await $`nft flush ruleset`;
      await loadRules(PORT);
    });

    test("the doctor reports that no rule logs to the group, and changes nothing on the machine", async () => {
      const before = await wholeState();
      const report = await doctor();
      const fix = /^wgmon rules --install, or/;
      expectReport(report, 1, ["rules", "problem: no rule logs to group 1", fix]);
      expect(await wholeState()).toBe(before);
    });

    test("the doctor accepts missing rules that wgmon will load, and changes nothing on the machine", async () => {
      const before = await wholeState();
      const report = await doctor(["--manage-rules"]);
      const start = "ok: wgmon will load table inet wgmon when it runs";
      expectReport(report, 0, ["rules", start, null]);
      expect(await wholeState()).toBe(before);
    });

    test("the doctor finds the rules that log the port", async () => {
      await loadRules(PORT);
      const start = "ok: wgtest-doctor's port 51820 is logged to group 1 (inet wgmon";
      expectReport(await doctor(), 0, ["rules", start, null]);
    });

    test("the doctor reports rules that log to another group", async () => {
      await loadRules(PORT);
      const start = "problem: no rule logs to group 2; rules log to group 1";
      expectReport(await doctor(["--group", "2"]), 1, ["rules", start, /install/]);
    });

    test("the doctor reports rules that log another port", async () => {
      await loadRules(PORT + 1);
      const start = "problem: no rule logs wgtest-doctor's port 51820 to group 1";
      expectReport(await doctor(), 1, ["rules", start, /inst/]);
    });

    test("the doctor reports a rule whose snaplen is too short", async () => {
      await loadTable(`table inet mine { chain input { type filter hook input priority 0;
  udp dport ${PORT} log group 1 snaplen 60
}
}`);
      const start = "problem: inet mine input: snaplen 60 cuts off";
      expectReport(await doctor(), 1, ["rules", start, /180 or more/]);
    });

    const noIptables = Bun.which("iptables") === null ? " [skipped: no iptables]" : "";

    test.skipIf(noIptables !== "")(`the doctor finds rules of iptables${noIptables}`, async () => {
      const text = iptablesRules({ ports: [PORT, PORT + 1], group: 1 });
      await $`sh < ${Buffer.from(text)}`.quiet();
      const { findings } = await doctor();
      expect(findings.filter(({ check }) => check === "rules")).toMatchObject([
        { verdict: "ok", found: expect.stringContaining("iptables filter WGMON-LOG") },
      ]);
    });

    test.skipIf(noIptables !== "")(
      `the doctor reports a rule of iptables behind a rule that accepts${noIptables}`,
      async () => {
        await $`iptables -A INPUT -p udp -j ACCEPT`.quiet();
        await $`iptables -A INPUT -p udp --dport ${PORT} -j NFLOG --nflog-group 1`.quiet();
        const { findings } = await doctor();
        expect(findings.filter(({ check }) => check === "rules")).toMatchObject([
          { verdict: "problem", found: expect.stringContaining("an earlier rule accepts") },
        ]);
      },
    );
  });

  test("the doctor names the process that owns the group, without control characters", async () => {
    const ignored = { onReceived() {}, onSent() {}, onPacketsLost() {} };
    const group = await openGroup(1, systemClock, ignored);
    try {
      expectReport(await doctor(), 1, ["group", "problem: process ", /--group/]);
      // A process name with escape sequences: one clears the screen, one reverses the text direction.
      writeFileSync("/proc/self/comm", "\u001b[2J\u202eevil");
      const { stdout } = await run(["doctor", ...usualFlags([])]);
      expect(stdout).toMatch(/^ {2}problem {2}group {8}process \d+, \[2J ?evil, owns 1/m);
      expect(stdout.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    } finally {
      writeFileSync("/proc/self/comm", "bun");
      group.close();
    }
  });

  test("the doctor suggests --interface any if the interface does not exist and there is no default route", async () => {
    const start = "problem: there is no interface nosuch0";
    expectReport(await doctor([...BPF, "nosuch0"]), 1, ["interface", start, /any$/]);
  });

  describe("the capture interface and its filter", () => {
    // Interfaces: far0 has the default route, near0 has none, down0 is down.
    beforeAll(async () => {
      await $`ip tuntap add dev far0 mode tun && ip link set far0 up`;
      await $`ip address add 198.51.100.1/24 dev far0 && ip route add default via 198.51.100.2`;
      await $`ip tuntap add dev near0 mode tun && ip link set near0 up`;
      await $`ip tuntap add dev down0 mode tun`;
    });

    afterAll(async () => {
      for (const name of ["far0", "near0", "down0"]) await $`ip link delete ${name}`;
    });

    test("the doctor suggests the interface of the default route if --interface does not exist", async () => {
      const start = "problem: there is no interface nosuch0";
      const fix = /^--interface far0$/;
      expectReport(await doctor([...BPF, "nosuch0"]), 1, ["interface", start, fix]);
    });

    test("the doctor reports an interface that is down", async () => {
      const report = await doctor([...BPF, "down0"]);
      expectReport(report, 1, ["interface", "problem: down0 is down", /ip link set down0 up/]);
    });

    test("the doctor accepts the interface of the default route and the default filter", async () => {
      expectReport(
        await doctor([...BPF, "far0"]),
        0,
        ["interface", "ok: far0", null],
        ["filter", "ok: the default one", null],
      );
    });

    test("the doctor warns of an interface that does not have the default route", async () => {
      const start = "warning: near0, but the default";
      expectReport(await doctor([...BPF, "near0"]), 0, ["interface", start, /far0/]);
    });

    test.each([
      ["far0", `udp dst port ${PORT}`],
      ["lo", `udp dst port ${PORT} and dst host 127.0.0.1`],
    ])("the doctor accepts on %s the filter %j", async (name, filter) => {
      const start = "ok: --filter passes handshakes to 51820";
      expectReport(await doctor([...BPF, name, "--filter", filter]), 0, ["filter", start, null]);
    });

    test("the doctor warns of a filter for another port", async () => {
      const start = "warning: --filter does not pass an initiation";
      const report = await doctor([...BPF, "far0", "--filter", "udp dst port 9"]);
      expectReport(report, 0, ["filter", start, /default/]);
    });

    test("the doctor reports an invalid filter", async () => {
      const start = 'problem: --filter: "udp dst port )" is not a tcpdump';
      const report = await doctor([...BPF, "far0", "--filter", "udp dst port )"]);
      expectReport(report, 1, ["filter", start, /correct --filter/]);
    });
  });

  describe("webhooks", () => {
    test("the doctor checks a webhook with a HEAD request without its path", async () => {
      const requests: string[] = [];
      using server = Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        fetch(request) {
          requests.push(`${request.method} ${new URL(request.url).pathname}`);
          return new Response(null, { status: 404 });
        },
      });
      const report = await doctor(webhookTo(server.port!));
      expectReport(report, 0, ["targets", "ok: webhook http://127.0.0.1:", null]);
      expect(requests).toEqual(["HEAD /"]);
    });

    test("the doctor reports a webhook that no program listens for", async () => {
      const start = "problem: webhook http://127.0.0.1:1/...: ECONNREFUSED";
      expectReport(await doctor(webhookTo(1)), 1, ["targets", start, /URL/]);
    });

    test("the doctor skips webhooks with --no-network", async () => {
      const report = await doctor([...webhookTo(1), "--no-network"]);
      const start = "skipped: webhook http://127.0.0.1:1/...: --no-";
      expectReport(report, 0, ["targets", start, null]);
    });

    test("the doctor waits 5 s for all silent targets in parallel", async () => {
      const unanswered = { now: 0, most: 0 };
      using silent = Bun.listen({
        hostname: "127.0.0.1",
        port: 0,
        socket: {
          open: () => void (unanswered.most = Math.max(unanswered.most, ++unanswered.now)),
          data() {},
          close: () => void unanswered.now--,
        },
      });
      const report = await doctor([...webhookTo(silent.port), ...webhookTo(silent.port)]);
      expectReport(report, 1, ["targets", "problem: webhook 1 http://127.0.0.1:", /receiver/]);
      const targets = report.findings.filter(({ check }) => check === "targets");
      expect(targets.map(({ found }) => found)).toEqual(
        Array(2).fill(expect.stringContaining("no answer in 5 s")),
      );
      expect(unanswered.most).toBe(2);
    });
  });

  describe("the settings file", () => {
    const settings = `webhook = "http://127.0.0.1:1/${SECRET}"\n`;
    const offline = ["--no-network"];

    async function doctorOn(text: string, mode: number, args: readonly string[] = []) {
      const file = join(folder, "wgmon.toml");
      writeFileSync(file, text);
      chmodSync(file, mode);
      return await doctor([...args, "--config", file]);
    }

    test("the doctor accepts a file with secrets that only its owner can read", async () => {
      const start = "ok: the permissions of 1 file are correct";
      expectReport(await doctorOn(settings, 0o600, offline), 0, ["secrets", start, null]);
    });

    test("the doctor warns of a file with secrets that all users can read", async () => {
      const start = "warning: all users can read /";
      expectReport(await doctorOn(settings, 0o644, offline), 0, [
        "secrets",
        start,
        /^move its URLs/,
      ]);
    });

    test("the doctor accepts a file without secrets that all users can read", async () => {
      const start = "ok: the permissions of 1 file";
      expectReport(await doctorOn('tick = "5s"\n', 0o644), 0, ["secrets", start, null]);
    });

    test("the doctor reports a file that all users can change", async () => {
      const start = "problem: all users can change /";
      expectReport(await doctorOn('tick = "5s"\n', 0o666), 1, ["secrets", start, /chmod/]);
    });

    test("the doctor reports an error in the file", async () => {
      const fix = /^correct it, otherwise wgmon does not start/;
      const report = await doctorOn(`tick = "${SECRET}://x"\ngroup = 1\n`, 0o600);
      expectReport(report, 1, ["settings", "problem: /", fix]);
    });

    const target = (path: string) => `[[target]]\nname = "own"\nexec = ["${path}", "${SECRET}"]\n`;

    test("the doctor accepts a program of a target", async () => {
      const start = "ok: own (exec /bin/true): is executable";
      expectReport(await doctorOn(target("/bin/true"), 0o600), 0, ["targets", start, null]);
    });

    test("the doctor reports a program of a target that does not exist", async () => {
      const report = await doctorOn(target(join(folder, "none")), 0o600);
      expectReport(report, 1, ["targets", "problem: own (exec /", /correct exec/]);
    });

    test("the doctor reports a program of a target that is not executable", async () => {
      writeFileSync(join(folder, "plain"), "");
      const report = await doctorOn(target(join(folder, "plain")), 0o600);
      expectReport(report, 1, ["targets", "problem: own (exec /", /chmod \+x/]);
    });
  });

  describe("the store", () => {
    const mounted: string[] = [];

    afterAll(async () => {
      for (const path of mounted) await $`umount ${path}`;
    });

    /** Mounts a new file system for the state directory. */
    async function mount(name: string, options: string): Promise<string> {
      const path = join(folder, name);
      mkdirSync(path);
      await $`mount -t tmpfs -o ${options} none ${path}`;
      mounted.push(path);
      return path;
    }

    test("the doctor reports a store on a read-only file system", async () => {
      const report = await doctor(["--state-dir", await mount("read-only", "ro")]);
      expectReport(report, 1, ["store", "problem: /", /--state-dir/]);
    });

    test("the doctor reports a store whose folder is a file", async () => {
      const start = "problem: /etc/hostname/wgmon is not writable";
      const report = await doctor(["--state-dir", "/etc/hostname/wgmon"]);
      expectReport(report, 1, ["store", start, /chown/]);
    });

    test("the doctor reports a store on a file system that is almost full", async () => {
      const path = join(await mount("small", "size=8m"), "not/yet");
      const report = await doctor(["--state-dir", path]);
      expectReport(report, 1, ["store", "problem: /", /free disk space/]);
    });

    test("the doctor reports a store that is not a database", async () => {
      const path = await mount("broken", "size=64m");
      writeFileSync(join(path, "wgmon.db"), "no database at all".repeat(100));
      const { findings } = await doctor(["--state-dir", path]);
      expect(findings).toContainEqual(
        expect.objectContaining({
          check: "store",
          verdict: "problem",
          found: expect.stringContaining("NOTADB"),
        }),
      );
    });
  });

  describe("the process", () => {
    const lacking = [
      "setpriv",
      "--bounding-set=-net_admin,-net_raw",
      "--inh-caps=-net_admin,-net_raw",
    ];

    test("the doctor reports that CAP_NET_ADMIN is missing, and skips the rules", async () => {
      expectReport(
        await doctor([], { before: lacking }),
        1,
        ["capabilities", "problem: CAP_NET_ADMIN is missing here", /^sudo/],
        ["rules", "skipped: ", null],
      );
    });

    test("the doctor reports both missing capabilities with monitor bpf", async () => {
      const start = "problem: CAP_NET_ADMIN and CAP_NET_RAW are";
      const report = await doctor([...BPF, "lo"], { before: lacking });
      expectReport(report, 1, ["capabilities", start, /^sudo/]);
    });

    test("the doctor as another user skips the group and reports the device that it cannot read", async () => {
      const user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
      expectReport(
        await doctor([], { before: [...user, "--bounding-set=-all", "--inh-caps=-all"] }),
        1,
        ["group", "skipped: read /proc/self/net/netfilter/nfnetlink_log: EACCES", null],
        ["devices", "problem: query userspace device wgtest-doctor: EACCES", /as root/],
      );
    });

    test("the doctor warns of capabilities that are limited to a user namespace", async () => {
      const start = "warning: CAP_NET_ADMIN, CAP_NET_RAW, but in a";
      const report = await doctor([], { before: ["unshare", "--user", "--map-root-user"] });
      expectReport(report, 0, ["capabilities", start, /outside/]);
    });

    test("the doctor warns of a low limit of open files", async () => {
      const start = "warning: only 64 open files are allowed here";
      const report = await doctor([], { before: ["prlimit", "--nofile=64:64"] });
      expectReport(report, 0, ["limits", start, /LimitNOFILE/]);
    });
  });

  describe("a running wgmon", () => {
    const names = join(folder, "names.conf");
    let server: Bun.Server<undefined>;
    let wgmon: Wgmon;

    // A wgmon with a webhook, and with names for all peers.
    beforeAll(async () => {
      server = Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        fetch: () => new Response(null, { status: 204 }),
      });
      const peers = [1, 2, 3].map(
        (peer) => `[Peer]\n# peer${peer}\nPublicKey = ${publicKeyOf(peer)}\n`,
      );
      writeFileSync(names, peers.join(""));
      const args = ["--device", DEVICE, "--names", names, ...webhookTo(server.port!)];
      wgmon = startWgmon(args, { environment });
      await wgmon.ready;
      await until("wgmon health says ready", async () => (await run(["health"])).exitCode === 0);
    });

    afterAll(async () => {
      await wgmon[Symbol.asyncDispose]();
      await server.stop(true);
    });

    test("the doctor reports the version of the running wgmon, and that it owns the group", async () => {
      expectReport(
        await doctor(),
        0,
        ["daemon", `ok: version ${version} is running; `, null],
        ["group", "ok: 1 is owned by wgmon, process ", null],
      );
    });

    test("wgmon health prints ready", async () => {
      expect(await run(["health"])).toEqual({ exitCode: 0, stdout: "ready\n", stderr: "" });
    });

    test("the doctor uses the names that the running wgmon has read, not the files that the doctor can read", async () => {
      // As with the service, which reads a copy: the doctor sees other content in the names file than the daemon.
      const hide = `mount --bind /dev/null ${names} && exec "$@"`;
      const before = ["unshare", "--mount", "sh", "-c", hide, "sh"];
      const { findings } = await doctor([], { before, usual: {} });
      const [finding] = findings.filter(({ check }) => check === "names");
      expect(finding?.found).toMatch(/^([1-9]\d*) of \1 peers have a name$/);
    });

    test("the doctor without flags checks the settings and the limits of the running wgmon", async () => {
      await $`prlimit --pid ${wgmon.pid} --nofile=100:100`;
      const limit = "warning: only 100 open files are allowed for the running wgmon, process ";
      expectReport(
        await doctor([], { usual: {} }),
        0,
        ["settings", "ok: those of the running wgmon: no file", null],
        ["group", "ok: 1 is owned by wgmon, process ", null],
        ["devices", "ok: wgtest-doctor listens on port 51820", null],
        ["targets", "ok: webhook http://127.0.0.1:", null],
        ["limits", limit, /LimitNOFILE/],
        ["capabilities", "ok: CAP_NET_ADMIN, CAP_NET_RAW (the running", null],
      );
    });

    test("the doctor with a flag does not check the settings of the running wgmon", async () => {
      const report = await doctor(["--monitor", "poll"], { usual: {} });
      expectReport(report, 0, ["settings", "ok: no file; flags", null]);
    });

    test("the doctor and wgmon health report a wgmon that hangs", async () => {
      wgmon.signal("SIGSTOP");
      const [report, health] = await Promise.all([doctor(), run(["health"])]);
      wgmon.signal("SIGCONT");
      expectReport(report, 1, ["daemon", "problem: ask wgmon at /", /restart it/]);
      expectFailure(health, String.raw`no answer \(wgmon hangs, or is suspended\)`);
    });
  });

  test("the doctor warns that wgmon was killed, and wgmon health reports that it is not running", async () => {
    await using wgmon = startWgmon(["--device", DEVICE, "--monitor", "poll"], { environment });
    await wgmon.ready;
    await wgmon.stop("SIGKILL");
    const start = "warning: wgmon is not running here";
    expectReport(await doctor(), 0, ["daemon", start, /start it/]);
    expectFailure(await run(["health"]), String.raw`E\w+ \(wgmon is not running here\)`);
  });
});

test("the text output of the doctor has a line for each check, in groups, and a summary", async () => {
  const folder = join(ROOT, "test");
  const child = Bun.spawn(
    [join(ROOT, "wgmon"), "doctor", "--monitor", "poll", "--no-network", "--state-dir", folder],
    { env: { RUNTIME_DIRECTORY: "/nonexistent" }, stdout: "pipe", stderr: "pipe" },
  );
  const lines = (await child.stdout.text()).trimEnd().split("\n");
  const groups = lines.filter((line) => /^\S/.test(line));
  expect(groups).toEqual([
    "settings",
    "machine",
    "WireGuard",
    "events",
    "daemon",
    expect.stringMatching(/^\d+ problems?, \d+ warnings?, \d+ ok, \d+ skipped$/),
  ]);
  const rest = lines.filter((line) => line.startsWith(" "));
  for (const line of rest)
    expect(line).toMatch(/^ {2}(ok {6}|warning |problem |skipped ) [a-z]+ +\S/);
  expect(rest.length).toBeGreaterThan(8);
});

test.each([
  ["has colours", {}, true],
  ["has no colours with NO_COLOR", { NO_COLOR: "1" }, false],
])("the output of the doctor on a terminal %s", async (_name, env, isColoured) => {
  let shown = "";
  const args = ["doctor", "--monitor", "poll", "--no-network", "--state-dir", join(ROOT, "test")];
  const child = Bun.spawn([join(ROOT, "wgmon"), ...args], {
    env: { TERM: "xterm", RUNTIME_DIRECTORY: "/nonexistent", ...env },
    terminal: {
      cols: 200,
      rows: 50,
      data: (_terminal, bytes) => void (shown += Buffer.from(bytes).toString()),
    },
  });
  await child.exited;
  await until("the summary is shown", () => shown.includes("skipped\r\n"));
  expect(shown).toContain(
    isColoured ? "  \x1b[32mok      \x1b[0m settings" : "  ok       settings",
  );
  expect(shown).toContain(isColoured ? "\x1b[1mmachine\x1b[0m" : "machine\r\n");
  expect(shown.includes("\x1b[")).toBe(isColoured);
});

test("the doctor reports that C libraries cannot be called, and what to do", async () => {
  const child = Bun.spawn([join(ROOT, "wgmon"), "doctor"], {
    env: { BUN_JSC_useJIT: "0" },
    stdout: "pipe",
    stderr: "pipe",
  });
  expect(await child.stderr.text()).toMatch(
    /^wgmon: cannot call C libraries: .*BUN_JSC_useJIT=0\n$/,
  );
  expect(await child.exited).toBe(1);
});

/** Runs the doctor, with the usual flags except those in `args`, as an argument of the command `before`. */
async function doctor(
  args: readonly string[] = [],
  {
    before = [],
    usual = USUAL,
  }: { before?: readonly string[]; usual?: Partial<typeof USUAL> } = {},
): Promise<Report> {
  const all = ["doctor", "--json", ...usualFlags(args, usual), ...args];
  const { exitCode, stdout, stderr } = await run(all, before);
  expect(stderr).toBe("");
  expect(stdout).not.toContain(SECRET);
  expect(stdout).not.toContain("bug in wgmon");
  const findings = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Report["findings"][number]);
  // The doctor fails only if there is a problem, and each problem has a fix.
  const problems = findings.filter(({ verdict }) => verdict === "problem");
  expect(exitCode).toBe(problems.length > 0 ? 1 : 0);
  for (const { fix } of problems) expect(fix).not.toBeNull();
  return { exitCode, findings };
}

function usualFlags(
  args: readonly string[],
  usual: Partial<typeof USUAL> = USUAL,
): readonly string[] {
  return Object.entries(usual)
    .filter(([flag]) => !args.includes(flag))
    .flat();
}

async function run(args: readonly string[], before: readonly string[] = []) {
  const child = Bun.spawn([...before, BINARY, ...args], {
    env: { PATH: process.env["PATH"], RUNTIME_DIRECTORY: runtime },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: REPORT_MS,
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr };
}

function expectReport(report: Report, exitCode: number, ...expected: readonly Expected[]): void {
  for (const [check, start, fix] of expected) {
    const first = report.findings.find((finding) => finding.check === check)!;
    expect(`${first.verdict}: ${first.found}`).toStartWith(start);
    if (fix === null) expect(first.fix).toBeNull();
    else expect(first.fix).toMatch(fix);
  }
  expect(report.exitCode).toBe(exitCode);
}

/** Expects that `wgmon health` printed one sentence with this reason, as a regular expression. */
function expectFailure(seen: Awaited<ReturnType<typeof run>>, reason: string): void {
  const stderr = expect.stringMatching(new RegExp(`^wgmon: ask wgmon at /\\S+: ${reason}\n$`));
  expect(seen).toEqual({ exitCode: 1, stdout: "", stderr });
}

function webhookTo(port: number): readonly string[] {
  return ["--webhook", `http://x:${SECRET}@127.0.0.1:${port}/${SECRET}`];
}

const loadTable = (text: string) => $`nft -f /dev/stdin < ${Buffer.from(text)}`.quiet();
const loadRules = (port: number) => loadTable(nftRules({ ports: [port], group: 1 }));

async function wholeState(): Promise<string> {
  return [
    await $`nft -s list ruleset`.text(),
    await $`ip -o link`.text(),
    readdirSync(folder, { recursive: true }).join(),
  ].join("\n");
}
