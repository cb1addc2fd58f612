/**
 * Runs `wgmon doctor` on a correct setup, and on setups with one fault each:
 * `unshare --net --mount bun test/support/doctor-scenarios.ts`. Prints the results as JSON, by scenario.
 * For test/e2e/doctor.test.ts.
 */

import { chmodSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { $ } from "bun";

import type { Finding } from "../../src/base/check.ts";
import { systemClock } from "../../src/base/clock.ts";
import { openGroup } from "../../src/capture/nflog.ts";
import { iptablesRules, nftRules } from "../../src/firewall/nft-rules.ts";
import { FakeDevice } from "./fake-uapi-device.ts";
import { newStateFolder } from "./state.ts";
import { REPORT_MS, until } from "./until.ts";
import { startWgmon } from "./wgmon.ts";

const BINARY = join(import.meta.dir, "../../wgmon");
const DEVICE = "wgtest-doctor";
const PORT = 51820;

/** A part of each URL and of the settings files. test/e2e/doctor.test.ts checks that it is not printed. */
const SECRET = "t0k3n";

export interface Seen {
  readonly exitCode: number;
  readonly findings: readonly (Finding & { readonly check: string })[];
  readonly stderr: string;
}

export type Scenarios = Readonly<Record<string, Seen>>;

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

const seen: Record<string, Seen> = {};

await $`ip link set lo up`;
// Network namespaces share the folder of the sockets; this mount makes it private.
await $`mkdir -p /var/run/wireguard && mount -t tmpfs tmpfs /var/run/wireguard`;
await using device = await FakeDevice.create(DEVICE);
seen["device down"] = await doctor([]);
device.isFrozen = true;
await $`ip link set ${DEVICE} up`;

const before = await wholeState();
seen["no rule"] = await doctor([]);
seen["rules to be managed"] = await doctor(["--manage-rules"]);
if ((await wholeState()) !== before) throw new Error("the doctor changed the machine");

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
const group = await openGroup(1, systemClock, { onReceived() {}, onSent() {}, onPacketsLost() {} });
seen["group taken"] = await doctor([]);
// A process name with escape sequences: one clears the screen, one reverses the text direction.
writeFileSync("/proc/self/comm", "\u001b[2J\u202eevil");
seen["group taken, for people"] = await doctorAsText();
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
const webhook = (port: number) => ["--webhook", `http://x:${SECRET}@127.0.0.1:${port}/${SECRET}`];
seen["webhook fine"] = await doctor(webhook(server.port!));
if (asked.join() !== "HEAD /") throw new Error(`the doctor sent ${asked.join()}`);
seen["webhook dead"] = await doctor(webhook(1));
seen["webhooks dead, no network"] = await doctor([...webhook(1), "--no-network"]);
seen["webhooks silent"] = await doctor([...webhook(silent.port), ...webhook(silent.port)]);
if (unanswered.most !== 2) throw new Error("the webhooks are not checked at the same time");

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
seen["settings file without secrets, to be read by all"] = await withFile('tick = "5s"\n', 0o644);
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

const lacking = ["setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"];
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
  const peers = device.publicKeys.map(
    (key, index) => `[Peer]\n# peer${index}\nPublicKey = ${key}\n`,
  );
  writeFileSync(names, peers.join(""));
  const args = ["--device", DEVICE, "--names", names, ...webhook(server.port!)];
  await using wgmon = startWgmon(args, { environment });
  await wgmon.ready;
  await wgmon.waitForLog(({ msg }) => String(msg).startsWith("wgmon "));
  await until("wgmon health says that it is ready", async () => (await health()).exitCode === 0);
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

console.log(JSON.stringify(seen));
