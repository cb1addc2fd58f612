/**
 * `wgmon doctor` and `wgmon health` of the binary, in a network namespace with a fake device. Each scenario of
 * test/support/doctor-scenarios.ts has one fault.
 */

import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { version } from "../../package.json";
import type { Scenarios } from "../support/doctor-scenarios.ts";
import { whyNoTunnel } from "../support/kernel.ts";
import { TEST_MS, until } from "../support/until.ts";

setDefaultTimeout(TEST_MS);

const ROOT = join(import.meta.dir, "../..");

/** The secret in the URLs and files of test/support/doctor-scenarios.ts. */
const SECRET = "t0k3n";

const programs = ["unshare", "setpriv", "prlimit", "ip", "nft", "mount"];
const unable = [
  whyNoTunnel(),
  ...programs.map((name) => (Bun.which(name) === null ? `no ${name}` : null)),
].filter((reason) => reason !== null);
if (unable.length > 0 && process.env["WGMON_KERNEL_TESTS"] === "require") {
  throw new Error(`WGMON_KERNEL_TESTS=require, but: ${unable.join(", ")}`);
}
const note = unable.length > 0 ? ` [skipped: ${unable.join(", ")}]` : "";

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

describe.skipIf(unable.length > 0)(`the doctor${note}`, () => {
  let seen: Scenarios;

  beforeAll(async () => {
    const program = [process.execPath, join(ROOT, "test/support/doctor-scenarios.ts")];
    const child = Bun.spawn(["unshare", "--net", "--mount", ...program], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, complaint, exitCode] = await Promise.all([
      child.stdout.text(),
      child.stderr.text(),
      child.exited,
    ]);
    expect({ complaint, exitCode }).toEqual({ complaint: "", exitCode: 0 });
    expect(stdout).not.toContain(SECRET);
    seen = JSON.parse(stdout) as Scenarios;
  });

  const findings = (scenario: string, check: string) =>
    seen[scenario]!.findings.filter((finding) => finding.check === check);

  test.each(cases)("%s: exit code %d; %s: %s", (scenario, exitCode, check, start, fix) => {
    const [first] = findings(scenario, check);
    expect(`${first!.verdict}: ${first!.found}`).toStartWith(start);
    if (fix === null) expect(first!.fix).toBeNull();
    else expect(first!.fix).toMatch(fix);
    expect(seen[scenario]).toMatchObject({ exitCode, stderr: "" });
  });

  test("has a fix for each problem, and fails only if there is a problem", () => {
    for (const { findings: all, exitCode } of Object.values(seen)) {
      const problems = all.filter(({ verdict }) => verdict === "problem");
      for (const { fix } of problems) expect(fix).not.toBeNull();
      if (all[0]!.check === "settings") expect(exitCode).toBe(problems.length > 0 ? 1 : 0);
    }
    const texts = Object.values(seen).flatMap(({ findings: all }) => all.map(({ found }) => found));
    expect(texts.filter((text) => /bug in wgmon/.test(text))).toEqual([]);
  });

  const noIptables = Bun.which("iptables") === null ? " [skipped: no iptables]" : "";
  test.skipIf(noIptables !== "")(`finds rules of iptables${noIptables}`, () => {
    expect(findings("iptables", "rules")).toMatchObject([
      { verdict: "ok", found: expect.stringContaining("iptables filter WGMON-LOG") },
    ]);
    expect(findings("iptables behind a rule that accepts", "rules")).toMatchObject([
      { verdict: "problem", found: expect.stringContaining("an earlier rule accepts") },
    ]);
  });

  test("uses the names that the running wgmon has read, not the files that the doctor can read", () => {
    const [finding] = findings("wgmon runs, with other files", "names");
    expect(finding?.found).toMatch(/^([1-9]\d*) of \1 peers have a name$/);
  });

  test("prints no control characters of a program's name", () => {
    const [{ found } = { found: "" }] = findings("group taken, for people", "text");
    expect(found).toMatch(/^ {2}problem {2}group {8}process \d+, \[2J ?evil, owns 1/m);
    expect(found.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });

  test("reports a store that is not a database", () => {
    expect(findings("store broken", "store")).toContainEqual(
      expect.objectContaining({ verdict: "problem", found: expect.stringContaining("NOTADB") }),
    );
  });

  test("waits 5 s for all silent targets in parallel", () => {
    // doctor-scenarios.ts checks that both are queried at the same time.
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

test("the text output has a line for each check, in groups, and a summary", async () => {
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
])("the output on a terminal %s", async (_name, env, isColoured) => {
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
