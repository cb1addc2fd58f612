/** Warnings about files with secrets that all users can read: at the start, after a reload, and by the doctor. */

import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startWgmon, type Wgmon } from "../support/wgmon.ts";

const BINARY = join(import.meta.dir, "../../wgmon");
const folder = mkdtempSync(join(tmpdir(), "wgmon-secrets-"));
chmodSync(folder, 0o755);
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string, mode: number): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

function warnings(wgmon: Wgmon): string[] {
  return wgmon.log.filter(({ level }) => level === "warn").map(({ msg }) => String(msg));
}

const readable = (path: string, mode: string) =>
  `all users can read ${path}, mode ${mode}, and it may contain secrets`;

test("there is no finding about a path that is not a regular file, such as /dev/null", () => {
  const doctor = ["doctor", "--json", "--no-network", "--config", "/dev/null"];
  expect(Bun.spawnSync([BINARY, ...doctor]).stdout.toString()).not.toContain('"check":"secrets"');
});

test("a file that all users can read causes a warning, unless its folder denies them access", async () => {
  const webhooks = file("webhooks", "https://127.0.0.1:1/hunter2\n", 0o644);
  const secret = file("secret", `whsec_${Buffer.alloc(32, 1).toString("base64")}\n`, 0o640);
  const settings = file("wgmon.toml", `webhook = "https://127.0.0.1:1/hunter2"\n`, 0o604);
  const args = ["--webhook-file", webhooks, "--webhook-secret-file", secret, "--config", settings];
  await using wgmon = startWgmon(["--monitor", "poll", "--device", "wgtest-none", ...args]);
  await wgmon.waitForLog(({ msg }) => String(msg).includes("webhooks, mode 644"));
  const expected = [
    `${readable(settings, "604")}; move its URLs to a file with mode 600: webhook_file, url_file of a [[target]], or the service's /etc/credstore/wgmon.webhooks`,
    `${readable(webhooks, "644")}; chmod o-rwx ${webhooks}`,
  ];
  await wgmon.waitForLog(({ msg }) => msg === expected[0]);
  expect(warnings(wgmon).toSorted()).toEqual(expected.toSorted());
  const doctor = Bun.spawnSync([BINARY, "doctor", "--json", "--no-network", ...args]);
  const found = doctor.stdout
    .toString()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { check: string; found: string; fix: string })
    .filter(({ check }) => check === "secrets");
  const findings = found.map((each) => `${each.found}; ${each.fix}`);
  expect(findings.toSorted()).toEqual(expected.toSorted());

  // After a reload, the warnings that still apply are logged again.
  chmodSync(webhooks, 0o600);
  chmodSync(settings, 0o600);
  chmodSync(secret, 0o644);
  wgmon.signal("SIGHUP");
  const again = `${readable(secret, "644")}; chmod o-rwx ${secret}`;
  await wgmon.waitForLog(({ msg }) => msg === again);
  expect(warnings(wgmon)).toHaveLength(3);
  expect(wgmon.logText).not.toContain("hunter2");
  await wgmon.stop();

  chmodSync(folder, 0o700);
  const debug = ["--log-level", "debug"];
  await using hidden = startWgmon([
    "--monitor",
    "poll",
    "--device",
    "wgtest-none",
    ...args,
    ...debug,
  ]);
  // wgmon listens only after these checks.
  await hidden.waitForLog(({ msg }) => msg === "listening");
  expect(await hidden.stop()).toBe(0);
  expect(warnings(hidden)).toEqual([]);
});

test("after a reload only the files of the new settings are checked", async () => {
  chmodSync(folder, 0o755);
  const secretFile = (name: string) =>
    file(name, `whsec_${Buffer.alloc(32, 1).toString("base64")}\n`, 0o644);
  const [first, second, third, refused] = ["first", "second", "third", "refused"].map(secretFile);
  const settingsWith = (secret: string, more = "") =>
    file("reloaded.toml", `webhook_secret_file = "${secret}"\n${more}`, 0o600);
  const config = settingsWith(first!);
  const webhook = ["--webhook", "https://127.0.0.1:1/x", "--config", config];
  await using wgmon = startWgmon(["--monitor", "poll", "--device", "wgtest-none", ...webhook]);
  const expected: string[] = [];
  const warned = async (path: string) => {
    const warning = `${readable(path, "644")}; chmod o-rwx ${path}`;
    expected.push(warning);
    await wgmon.waitForLog(({ msg }) => msg === warning);
    expect(warnings(wgmon)).toEqual(expected);
  };
  await warned(first!);

  settingsWith(second!);
  rmSync(first!);
  wgmon.signal("SIGHUP");
  await warned(second!);

  settingsWith(refused!, 'tick = "never"\n');
  wgmon.signal("SIGHUP");
  await wgmon.waitForLog(({ msg }) => String(msg).startsWith("settings not reloaded"));
  settingsWith(third!);
  wgmon.signal("SIGHUP");
  await warned(third!);
});
