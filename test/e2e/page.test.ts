/**
 * The binary's page in Chromium. The gateway is a network namespace with a fake device: this process answers
 * at its UAPI socket, as a userspace WireGuard does. The browser runs in the same namespace.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Browser } from "playwright-core";

import { chromiumPath, complaintsOf, launch, noBrowser, withBrowser } from "../support/browser.ts";
import { TEST_MS, untilRuns } from "../support/until.ts";
import { isComplaint, startWgmon, type Wgmon } from "../support/wgmon.ts";

setDefaultTimeout(TEST_MS);

const BINARY = join(import.meta.dir, "../../wgmon");
const TOKEN = "correct-horse-battery-staple";
const missing = [
  ...(process.getuid?.() === 0 ? [] : ["not root"]),
  ...["unshare", "nsenter", "ip"].flatMap((name) =>
    Bun.which(name) === null ? [`no ${name} here`] : [],
  ),
];
if (missing.length > 0 && process.env["WGMON_KERNEL_TESTS"] === "require") {
  throw new Error(`WGMON_KERNEL_TESTS=require, but: ${missing.join("; ")}`);
}
const note = missing.length > 0 ? ` [skipped: ${missing.join("; ")}]` : "";

/** A peer of the fake device; its number is its key. */
interface FakePeer {
  readonly number: number;
  readonly handshakeSeconds: number;
  readonly rxBytes: number;
}

describe.skipIf(noBrowser || note !== "")(withBrowser(`the binary's page${note}`), () => {
  let folder: string;
  let holder: Bun.Subprocess;
  let enter: string[];
  let device: ReturnType<typeof Bun.listen>;
  let browser: Browser;
  let peersOfDevice: FakePeer[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "wgmon-page-"));
    // A namespace lives as long as its process.
    holder = Bun.spawn(["unshare", "--net", "--mount", "sleep", "3600"], { stdin: "ignore" });
    await untilRuns(holder.pid, "sleep");
    enter = ["nsenter", "--target", String(holder.pid), "--net", "--mount"];
    const script = `
      mount -t tmpfs none "$(readlink -f /var/run)"
      mkdir -p /var/run/wireguard
      mount --bind ${folder} /var/run/wireguard
      ip link set lo up
      ip link add wg0 type veth peer name wg0end`;
    const made = Bun.spawnSync([...enter, "sh", "-euc", script]);
    expect([made.exitCode, made.stderr.toString()]).toEqual([0, ""]);
    device = Bun.listen({
      unix: join(folder, "wg0.sock"),
      socket: { data: (socket) => void socket.end(answer()) },
    });
    const program = join(folder, "chromium");
    await Bun.write(program, `#!/bin/sh\nexec ${enter.join(" ")} ${chromiumPath} "$@"\n`);
    await chmod(program, 0o755);
    browser = await launch(program);
  });

  afterAll(async () => {
    await browser.close();
    device.stop(true);
    holder.kill("SIGKILL");
    await holder.exited;
    await rm(folder, { recursive: true });
  });

  /** The answer to `get=1`; https://www.wireguard.com/xplatform/ */
  function answer(): string {
    const peers = peersOfDevice.map(
      ({ number, handshakeSeconds, rxBytes }) =>
        `public_key=${number.toString(16).padStart(64, "0")}\nendpoint=192.0.2.2:${1000 + number}\n` +
        `last_handshake_time_sec=${handshakeSeconds}\nlast_handshake_time_nsec=0\n` +
        `rx_bytes=${rxBytes}\ntx_bytes=92\nallowed_ip=10.9.0.${number}/32\n`,
    );
    return `listen_port=51820\n${peers.join("")}errno=0\n\n`;
  }

  function connect(number: number): void {
    peersOfDevice = peersOfDevice.map((each) =>
      each.number === number
        ? { ...each, handshakeSeconds: Math.floor(Date.now() / 1000), rxBytes: 180 }
        : each,
    );
  }

  async function start(...more: readonly string[]): Promise<{ wgmon: Wgmon; origin: string }> {
    peersOfDevice = [1, 2, 3].map((number) => ({ number, handshakeSeconds: 0, rxBytes: 0 }));
    connect(1);
    const [nsenter, ...rest] = enter;
    const settings = join(folder, "wgmon.toml");
    const key = (number: number) =>
      Buffer.from(number.toString(16).padStart(64, "0"), "hex").toString("base64");
    await Bun.write(
      settings,
      `[peers."${key(1)}"]\nname = "alice"\n[peers."${key(2)}"]\nname = "<b>bob</b>"\n`,
    );
    const args = ["--monitor", "poll", "--tick", "100ms", "--host", "gw1", "--config", settings];
    // No other program listens in this namespace.
    const listen = ["--listen", "127.0.0.1:9587", ...more];
    const wgmon = startWgmon([...rest, BINARY, ...args, ...listen], { binary: nsenter! });
    const { url } = await wgmon.waitForLog(
      ({ msg, url: place }) => msg === "listening" && place !== undefined,
    );
    await wgmon.waitForLog(({ msg }) => String(msg).startsWith("alice (wg0) connected"));
    return { wgmon, origin: url as string };
  }

  test("shows peers without scripts, and with scripts a new connect at once", async () => {
    const { wgmon, origin } = await start();
    await using _ = wgmon;
    const plain = await browser.newContext({ javaScriptEnabled: false });
    const staticPage = await plain.newPage();
    await staticPage.goto(origin);
    expect(await staticPage.locator("#peers th").allInnerTexts()).toEqual([
      "alice",
      "<b>bob</b>",
      expect.stringMatching(/^A+…$/),
    ]);
    expect(await staticPage.locator("#peers tr").first().innerText()).toContain("192.0.2.2:1001");
    await plain.close();

    const context = await browser.newContext();
    const page = await context.newPage();
    const errors = complaintsOf(page);
    await page.goto(origin);
    await page.locator("#live.on").waitFor();
    await page.evaluate("window.isSame = true");
    connect(2);
    await page.locator("#peers tr", { hasText: "bob" }).getByText("connected").waitFor();
    await page.locator("#events li", { hasText: "bob" }).waitFor();
    expect(await page.locator("#summary").innerText()).toContain("2 of 3 peers connected");
    expect(await page.evaluate("isSame")).toBe(true);
    await page.locator("#peers tr").first().getByText("0 B/s").first().waitFor();
    for (const path of ["/sessions", "/events", "/outbox"]) {
      await page.goto(origin + path);
      await page.locator("#live.on").waitFor();
    }
    expect(await wgmon.stop()).toBe(0);
    await context.close();
    expect(errors.filter((each) => !/ERR_CONNECTION|ERR_INCOMPLETE/.test(each))).toEqual([]);
    expect(wgmon.log.filter(isComplaint)).toEqual([]);
  });

  test("needs the token in a browser that is not logged in", async () => {
    const file = join(folder, "token");
    await Bun.write(file, `${TOKEN}\n`);
    await chmod(file, 0o600);
    const { wgmon, origin } = await start("--listen-token-file", file);
    await using _ = wgmon;
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${origin}/sessions`);
    expect(await page.locator("h1").innerText()).toBe("Log in");
    await page.getByLabel("Token").fill(TOKEN);
    await page.keyboard.press("Enter");
    await page.locator("h1", { hasText: "Sessions" }).waitFor();
    await page.locator("#sessions tr").first().waitFor();
    await page.getByRole("button", { name: "Log out" }).click();
    await page.locator("h1", { hasText: "Log in" }).waitFor();
    await context.close();
    expect(wgmon.logText).not.toContain(TOKEN);
  });
});
