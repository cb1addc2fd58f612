/**
 * `wgmon doctor` and `wgmon health` of the binary, with a fake device. Each scenario has one fault.
 */

import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
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
import { startWgmon } from "../support/wgmon.ts";

setDefaultTimeout(TEST_MS);

const ROOT = join(import.meta.dir, "../..");
const BINARY = join(ROOT, "wgmon");
const DEVICE = "wgtest-doctor";
const PORT = 51820;

/** A part of each URL and of the settings files. It must not be printed. */
const SECRET = "t0k3n";

/** `tunnel`: for the network interfaces of the scenarios. */
const tools = needs("own namespaces", "tunnel", "setpriv", "prlimit", "nft");

interface Seen {
  readonly exitCode: number;
  readonly findings: readonly (Finding & { readonly check: string })[];
  readonly stderr: string;
}

const folder = newStateFolder();
const state = join(folder, "state");
const runtime = join(folder, "run");
const always = [
  "--device",
  DEVICE,
  "--names",
  "off",
  "--config",
  "/dev/null",
  "--state-dir",
  state,
];
mkdirSync(state);

/** Scenario, exit code, name of a check, the beginning of its first finding, and its fix. */
const cases: readonly (readonly [string, 0 | 1, string, string, RegExp | null])[] = [
  ["device down", 1, "devices", "problem: wgtest-doctor is down", /^ip link set wgtest-doctor up$/],
  ["no rule", 1, "rules", "problem: no rule logs to group 1", /^wgmon rules --install, or/],
  ["rules to be managed", 0, "rules", "ok: wgmon will load table inet wgmon when it runs", null],
  ["fine", 0, "rules", "ok: wgtest-doctor's port 51820 is logged to group 1 (inet wgmon", null],
  ["other group", 1, "rules", "problem: no rule logs to group 2; rules log to group 1", /install/],
  ["other port", 1, "rules", "problem: no rule logs wgtest-doctor's port 51820 to group 1", /inst/],
  ["short snaplen", 1, "rules", "problem: inet mine input: snaplen 60 cuts off", /180 or more/],
  ["group taken", 1, "group", "problem: process ", /--group/],
  ["interface missing", 1, "interface", "problem: there is no interface nosuch0", /any$/],
  ["interface down", 1, "interface", "problem: far0 is down", /ip link set far0 up/],
  ["interface fine", 0, "interface", "ok: far0", null],
  ["interface fine", 0, "filter", "ok: the default one", null],
  ["interface off the default route", 0, "interface", "warning: near0, but the default", /far0/],
  ["filter fine", 0, "filter", "ok: --filter passes handshakes to 51820", null],
  ["filter for the own address", 0, "filter", "ok: --filter passes handshakes to 51820", null],
  [
    "filter for another port",
    0,
    "filter",
    "warning: --filter does not pass an initiation",
    /default/,
  ],
  [
    "filter broken",
    1,
    "filter",
    'problem: --filter: "udp dst port )" is not a tcpdump',
    /correct --filter/,
  ],
  ["webhook fine", 0, "targets", "ok: webhook http://127.0.0.1:", null],
  ["webhook dead", 1, "targets", "problem: webhook http://127.0.0.1:1/...: ECONNREFUSED", /URL/],
  [
    "webhooks dead, no network",
    0,
    "targets",
    "skipped: webhook http://127.0.0.1:1/...: --no-",
    null,
  ],
  ["webhooks silent", 1, "targets", "problem: webhook 1 http://127.0.0.1:", /receiver/],
  ["settings file", 0, "secrets", "ok: the permissions of 1 file are correct", null],
  [
    "settings file, to be read by all",
    0,
    "secrets",
    "warning: all users can read /",
    /^move its URLs/,
  ],
  [
    "settings file without secrets, to be read by all",
    0,
    "secrets",
    "ok: the permissions of 1 file",
    null,
  ],
  ["settings file, to be written by all", 1, "secrets", "problem: all users can change /", /chmod/],
  [
    "settings file wrong",
    1,
    "settings",
    "problem: /",
    /^correct it, otherwise wgmon does not start/,
  ],
  ["program", 0, "targets", "ok: own (exec /bin/true): is executable", null],
  ["program missing", 1, "targets", "problem: own (exec /", /correct exec/],
  ["program not to be executed", 1, "targets", "problem: own (exec /", /chmod \+x/],
  ["store read-only", 1, "store", "problem: /", /--state-dir/],
  ["store under a file", 1, "store", "problem: /etc/hostname/wgmon is not writable", /chown/],
  ["store nearly full", 1, "store", "problem: /", /free disk space/],
  ["no capability", 1, "capabilities", "problem: CAP_NET_ADMIN is missing here", /^sudo/],
  ["no capability", 1, "rules", "skipped: ", null],
  ["no capability, bpf", 1, "capabilities", "problem: CAP_NET_ADMIN and CAP_NET_RAW are", /^sudo/],
  ["nobody", 1, "group", "skipped: read /proc/self/net/netfilter/nfnetlink_log: EACCES", null],
  ["nobody", 1, "devices", "problem: query userspace device wgtest-doctor: EACCES", /as root/],
  ["user namespace", 0, "capabilities", "warning: CAP_NET_ADMIN, CAP_NET_RAW, but in a", /outside/],
  ["few files", 0, "limits", "warning: only 64 open files are allowed here", /LimitNOFILE/],
  ["wgmon runs", 0, "daemon", `ok: version ${version} is running; `, null],
  ["wgmon runs", 0, "group", "ok: 1 is owned by wgmon, process ", null],
  ["wgmon runs, no flags", 0, "settings", "ok: those of the running wgmon: no file", null],
  ["wgmon runs, no flags", 0, "group", "ok: 1 is owned by wgmon, process ", null],
  ["wgmon runs, no flags", 0, "devices", "ok: wgtest-doctor listens on port 51820", null],
  ["wgmon runs, no flags", 0, "targets", "ok: webhook http://127.0.0.1:", null],
  [
    "wgmon runs, no flags",
    0,
    "limits",
    "warning: only 100 open files are allowed for the running wgmon, process ",
    /LimitNOFILE/,
  ],
  ["wgmon runs, no flags", 0, "capabilities", "ok: CAP_NET_ADMIN, CAP_NET_RAW (the running", null],
  ["wgmon runs, a flag", 0, "settings", "ok: no file; flags", null],
  ["wgmon hangs", 1, "daemon", "problem: ask wgmon at /", /restart it/],
  ["wgmon was killed", 0, "daemon", "warning: wgmon is not running here", /start it/],
];

describe.skipIf(tools.missing)(tools.title("the doctor"), () => {
  const seen: Record<string, Seen> = {};

  beforeAll(async () => {
    await using device = await FakeUapiDevice.create(DEVICE);
    device.connect(1, 2, 3);
    seen["device down"] = await doctor([]);
    await $`ip link set ${DEVICE} up`;

    const before = await wholeState();
    seen["no rule"] = await doctor([]);
    seen["rules to be managed"] = await doctor(["--manage-rules"]);
    // The doctor has not changed the machine.
    expect(await wholeState()).toBe(before);

    await rulesFor(PORT);
    seen["fine"] = await doctor([]);
    seen["other group"] = await doctor(["--group", "2"]);
    await rulesFor(PORT + 1);
    seen["other port"] = await doctor([]);
    await $`nft flush ruleset`;
    await script(`table inet mine { chain input { type filter hook input priority 0;
  udp dport ${PORT} log group 1 snaplen 60
}
}`);
    seen["short snaplen"] = await doctor([]);
    await $`nft flush ruleset`;

    if (Bun.which("iptables") !== null) {
      const text = iptablesRules({ ports: [PORT, PORT + 1], group: 1 });
      await $`sh < ${Buffer.from(text)}`.quiet();
      seen["iptables"] = await doctor([]);
      await $`iptables -F; ip6tables -F; iptables -A INPUT -p udp -j ACCEPT`.quiet();
      await $`iptables -A INPUT -p udp --dport ${PORT} -j NFLOG --nflog-group 1`.quiet();
      seen["iptables behind a rule that accepts"] = await doctor([]);
      await $`nft flush ruleset`;
    }

    await rulesFor(PORT);
    const group = await openGroup(1, systemClock, {
      onReceived() {},
      onSent() {},
      onPacketsLost() {},
    });
    seen["group taken"] = await doctor([]);
    // A process name with escape sequences: one clears the screen, one reverses the text direction.
    writeFileSync("/proc/self/comm", "\u001b[2J\u202eevil");
    seen["group taken, for people"] = await doctorAsText();
    writeFileSync("/proc/self/comm", "bun");
    group.close();

    seen["interface missing"] = await doctor(["--monitor", "bpf", "--interface", "nosuch0"]);
    await $`ip tuntap add dev far0 mode tun`;
    seen["interface down"] = await doctor(["--monitor", "bpf", "--interface", "far0"]);
    await $`ip link set far0 up && ip address add 198.51.100.1/24 dev far0`;
    await $`ip tuntap add dev near0 mode tun && ip link set near0 up`;
    await $`ip route add default via 198.51.100.2`;
    const bpf = ["--monitor", "bpf", "--interface"];
    seen["interface fine"] = await doctor([...bpf, "far0"]);
    seen["interface off the default route"] = await doctor([...bpf, "near0"]);
    const filter = (text: string) => doctor([...bpf, "far0", "--filter", text]);
    seen["filter fine"] = await filter(`udp dst port ${PORT}`);
    seen["filter for another port"] = await filter("udp dst port 9");
    seen["filter broken"] = await filter("udp dst port )");
    const local = `udp dst port ${PORT} and dst host 127.0.0.1`;
    seen["filter for the own address"] = await doctor([...bpf, "lo", "--filter", local]);

    const asked: string[] = [];
    using server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch(request) {
        asked.push(`${request.method} ${new URL(request.url).pathname}`);
        return new Response(null, { status: request.method === "POST" ? 204 : 404 });
      },
    });
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
    const webhook = (port: number) => [
      "--webhook",
      `http://x:${SECRET}@127.0.0.1:${port}/${SECRET}`,
    ];
    seen["webhook fine"] = await doctor(webhook(server.port!));
    expect(asked).toEqual(["HEAD /"]);
    seen["webhook dead"] = await doctor(webhook(1));
    seen["webhooks dead, no network"] = await doctor([...webhook(1), "--no-network"]);
    seen["webhooks silent"] = await doctor([...webhook(silent.port), ...webhook(silent.port)]);
    // Both are checked at the same time.
    expect(unanswered.most).toBe(2);

    const file = join(folder, "wgmon.toml");
    const settings = `webhook = "http://127.0.0.1:${server.port}/${SECRET}"\n`;
    const target = (path: string) => `[[target]]\nname = "own"\nexec = ["${path}", "${SECRET}"]\n`;
    const withFile = async (text: string, mode: number) => {
      writeFileSync(file, text);
      chmodSync(file, mode);
      return await doctor(["--config", file]);
    };
    // All users can enter the folder.
    chmodSync(folder, 0o755);
    const last = always.indexOf("--config");
    always.splice(last, 2);
    seen["settings file"] = await withFile(settings, 0o600);
    seen["settings file, to be read by all"] = await withFile(settings, 0o644);
    seen["settings file without secrets, to be read by all"] = await withFile(
      'tick = "5s"\n',
      0o644,
    );
    seen["settings file, to be written by all"] = await withFile('tick = "5s"\n', 0o666);
    seen["settings file wrong"] = await withFile(`tick = "${SECRET}://x"\ngroup = 1\n`, 0o600);
    seen["program"] = await withFile(target("/bin/true"), 0o600);
    seen["program missing"] = await withFile(target(join(folder, "none")), 0o600);
    writeFileSync(join(folder, "plain"), "");
    seen["program not to be executed"] = await withFile(target(join(folder, "plain")), 0o600);
    always.push("--config", "/dev/null");

    const readOnly = join(folder, "read-only");
    mkdirSync(readOnly);
    await $`mount -t tmpfs -o ro none ${readOnly}`;
    const elsewhere = (path: string) => doctor(["--state-dir", path]);
    always.splice(always.indexOf("--state-dir"), 2);
    seen["store read-only"] = await elsewhere(readOnly);
    seen["store under a file"] = await elsewhere("/etc/hostname/wgmon");
    const small = join(folder, "small");
    mkdirSync(small);
    await $`mount -t tmpfs -o size=8m none ${small}`;
    seen["store nearly full"] = await elsewhere(join(small, "not/yet"));
    writeFileSync(join(small, "wgmon.db"), "no database at all".repeat(100));
    await $`mount -o remount,size=64m ${small}`;
    seen["store broken"] = await elsewhere(small);
    always.push("--state-dir", state);
    await $`umount ${small} ${readOnly}`;

    const lacking = [
      "setpriv",
      "--bounding-set=-net_admin,-net_raw",
      "--inh-caps=-net_admin,-net_raw",
    ];
    seen["no capability"] = await doctor([], lacking);
    seen["no capability, bpf"] = await doctor([...bpf, "lo"], lacking);
    chmodSync(folder, 0o755);
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    seen["nobody"] = await doctor([], [...nobody, "--bounding-set=-all", "--inh-caps=-all"]);
    seen["user namespace"] = await doctor([], ["unshare", "--user", "--map-root-user"]);
    seen["few files"] = await doctor([], ["prlimit", "--nofile=64:64"]);

    const environment = { RUNTIME_DIRECTORY: runtime, STATE_DIRECTORY: state };
    {
      const names = join(folder, "names.conf");
      const peers = [1, 2, 3].map(
        (peer) => `[Peer]\n# peer${peer}\nPublicKey = ${publicKeyOf(peer)}\n`,
      );
      writeFileSync(names, peers.join(""));
      const args = ["--device", DEVICE, "--names", names, ...webhook(server.port!)];
      await using wgmon = startWgmon(args, { environment });
      await wgmon.ready;
      await wgmon.waitForLog(({ msg }) => String(msg).startsWith("wgmon "));
      await until(
        "wgmon health says that it is ready",
        async () => (await health()).exitCode === 0,
      );
      seen["health"] = await health();
      seen["wgmon runs"] = await doctor([]);
      // As with the service, which reads a copy: the doctor sees other content in the names file than the daemon.
      const withoutNames = ["sh", "-c", `mount --bind /dev/null ${names} && exec "$@"`, "sh"];
      seen["wgmon runs, with other files"] = await doctor(
        [],
        ["unshare", "--mount", ...withoutNames],
        [],
      );
      // The doctor must report the daemon's settings and the daemon's limit.
      await $`prlimit --pid ${wgmon.pid} --nofile=100:100`;
      seen["wgmon runs, no flags"] = await doctorWithoutFlags([]);
      seen["wgmon runs, a flag"] = await doctorWithoutFlags(["--monitor", "poll"]);
      wgmon.signal("SIGSTOP");
      [seen["wgmon hangs"], seen["health of one that hangs"]] = await Promise.all([
        doctor([]),
        health(),
      ]);
    }
    seen["wgmon was killed"] = await doctor([]);
    seen["health of none"] = await health();

    expect(JSON.stringify(seen)).not.toContain(SECRET);
  });

  const findings = (scenario: string, check: string) =>
    seen[scenario]!.findings.filter((finding) => finding.check === check);

  test.each(cases)(
    "the doctor reports with %s: exit code %d; %s: %s",
    (scenario, exitCode, check, start, fix) => {
      const [first] = findings(scenario, check);
      expect(`${first!.verdict}: ${first!.found}`).toStartWith(start);
      if (fix === null) expect(first!.fix).toBeNull();
      else expect(first!.fix).toMatch(fix);
      expect(seen[scenario]).toMatchObject({ exitCode, stderr: "" });
    },
  );

  test("the doctor has a fix for each problem, and fails only if there is a problem", () => {
    for (const { findings: all, exitCode } of Object.values(seen)) {
      const problems = all.filter(({ verdict }) => verdict === "problem");
      for (const { fix } of problems) expect(fix).not.toBeNull();
      if (all[0]!.check === "settings") expect(exitCode).toBe(problems.length > 0 ? 1 : 0);
    }
    const texts = Object.values(seen).flatMap(({ findings: all }) => all.map(({ found }) => found));
    expect(texts.filter((text) => /bug in wgmon/.test(text))).toEqual([]);
  });

  const noIptables = Bun.which("iptables") === null ? " [skipped: no iptables]" : "";
  test.skipIf(noIptables !== "")(`the doctor finds rules of iptables${noIptables}`, () => {
    expect(findings("iptables", "rules")).toMatchObject([
      { verdict: "ok", found: expect.stringContaining("iptables filter WGMON-LOG") },
    ]);
    expect(findings("iptables behind a rule that accepts", "rules")).toMatchObject([
      { verdict: "problem", found: expect.stringContaining("an earlier rule accepts") },
    ]);
  });

  test("the doctor uses the names that the running wgmon has read, not the files that the doctor can read", () => {
    const [finding] = findings("wgmon runs, with other files", "names");
    expect(finding?.found).toMatch(/^([1-9]\d*) of \1 peers have a name$/);
  });

  test("the doctor prints no control characters of a program's name", () => {
    const [{ found } = { found: "" }] = findings("group taken, for people", "text");
    expect(found).toMatch(/^ {2}problem {2}group {8}process \d+, \[2J ?evil, owns 1/m);
    expect(found.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });

  test("the doctor reports a store that is not a database", () => {
    expect(findings("store broken", "store")).toContainEqual(
      expect.objectContaining({ verdict: "problem", found: expect.stringContaining("NOTADB") }),
    );
  });

  test("the doctor waits 5 s for all silent targets in parallel", () => {
    // The scenario checks that both are queried at the same time.
    const silent = findings("webhooks silent", "targets").map(({ found }) => found);
    expect(silent).toEqual(Array(2).fill(expect.stringContaining("no answer in 5 s")));
  });

  test("wgmon health prints ready, or one sentence with the reason", () => {
    expect(seen["health"]).toMatchObject({
      exitCode: 0,
      findings: [{ found: "ready\n" }],
      stderr: "",
    });
    const sentence = (why: string) => ({
      exitCode: 1,
      findings: [{ found: "" }],
      stderr: expect.stringMatching(new RegExp(`^wgmon: ask wgmon at /\\S+: ${why}\n$`)),
    });
    expect(seen["health of none"]).toMatchObject(
      sentence(String.raw`E\w+ \(wgmon is not running here\)`),
    );
    expect(seen["health of one that hangs"]).toMatchObject(
      sentence(String.raw`no answer \(wgmon hangs, or is suspended\)`),
    );
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

async function doctor(
  args: readonly string[],
  before: readonly string[] = [],
  usual: readonly string[] = always,
): Promise<Seen> {
  const child = Bun.spawn(
    [...before, BINARY, "doctor", "--json", ...usual, ...monitorFor(args, usual), ...args],
    {
      env: { PATH: process.env["PATH"], RUNTIME_DIRECTORY: runtime },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: REPORT_MS,
    },
  );
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  const findings = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Seen["findings"][number]);
  return { exitCode, findings, stderr };
}

/** Defaults to nflog: the doctor checks rules and group for nflog only. */
function monitorFor(args: readonly string[], usual: readonly string[]): readonly string[] {
  return usual.length === 0 || args.includes("--monitor") ? [] : ["--monitor", "nflog"];
}

/** Without the usual flags: the doctor takes the settings from the running daemon. */
const doctorWithoutFlags = (args: readonly string[]) => doctor(args, [], []);

async function asText(...args: readonly string[]): Promise<Seen> {
  const env = { PATH: process.env["PATH"], RUNTIME_DIRECTORY: runtime };
  const { exitCode, stdout, stderr } = await $`${BINARY} ${args}`.env(env).quiet().nothrow();
  const found = { check: "text", verdict: "ok", found: stdout.toString(), fix: null } as const;
  return { exitCode, findings: [found], stderr: stderr.toString() };
}

const health = () => asText("health");
const doctorAsText = () => asText("doctor", ...always);

const script = (text: string) => $`nft -f /dev/stdin < ${Buffer.from(text)}`.quiet();
const rulesFor = (port: number, group = 1) => script(nftRules({ ports: [port], group }));

async function wholeState(): Promise<string> {
  return [
    await $`nft -s list ruleset`.text(),
    await $`ip -o link`.text(),
    readdirSync(folder, { recursive: true }).join(),
  ].join("\n");
}
