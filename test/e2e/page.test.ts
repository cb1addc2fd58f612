/**
 * The binary's page in Chromium. Both run in a network namespace with a fake device.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod } from "node:fs/promises";
import { join } from "node:path";

import type { Browser } from "playwright-core";

import { browserNeeds, chromiumPath, complaintsOf, launch } from "../support/browser.ts";
import { type FakeUapiDevice, publicKeyOf } from "../support/fake-uapi-device.ts";
import { needs } from "../support/kernel.ts";
import { Stage } from "../support/netns-stage.ts";
import { TEST_MS } from "../support/until.ts";
import { isComplaint, type Wgmon } from "../support/wgmon.ts";

setDefaultTimeout(TEST_MS);

const TOKEN = "correct-horse-battery-staple";
const tools = needs("namespaces", "nsenter");

describe.skipIf(browserNeeds.missing || tools.missing)(
  browserNeeds.title(tools.title("the binary's page")),
  () => {
    let stage: Stage;
    let device: FakeUapiDevice;
    let browser: Browser;

    beforeAll(async () => {
      stage = await Stage.create();
      device = await stage.device("wg0");
      const program = join(stage.folder, "chromium");
      const command = stage.command(chromiumPath!).join(" ");
      await Bun.write(program, `#!/bin/sh\nexec ${command} "$@"\n`);
      await chmod(program, 0o755);
      browser = await launch(program);
    });

    afterAll(async () => {
      await browser.close();
      await device[Symbol.asyncDispose]();
      await stage[Symbol.asyncDispose]();
    });

    async function start(...more: readonly string[]): Promise<{ wgmon: Wgmon; origin: string }> {
      device.add(1, 2, 3);
      device.connect(1);
      const settings = join(stage.folder, "wgmon.toml");
      await Bun.write(
        settings,
        `[peers."${publicKeyOf(1)}"]\nname = "alice"\n[peers."${publicKeyOf(2)}"]\nname = "<b>bob</b>"\n`,
      );
      const args = ["--monitor", "poll", "--tick", "100ms", "--host", "gw1", "--config", settings];
      // No other program listens in this namespace.
      const listen = ["--listen", "127.0.0.1:9587", ...more];
      const wgmon = stage.wgmon([...args, ...listen]);
      const { url } = await wgmon.waitForLog(
        ({ msg, url: place }) => msg === "listening" && place !== undefined,
      );
      await wgmon.waitForLog(({ msg }) => String(msg).startsWith("alice (wg0) connected"));
      return { wgmon, origin: url as string };
    }

    async function tokenFile(): Promise<string> {
      const file = join(stage.folder, "token");
      await Bun.write(file, `${TOKEN}\n`);
      await chmod(file, 0o600);
      return file;
    }

    test("the page of the binary shows peers without scripts, and with scripts a new connect at once", async () => {
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
      device.connect(2);
      await page.locator("#peers tr", { hasText: "bob" }).getByText("connected").waitFor();
      await page.locator("#events li", { hasText: "bob" }).waitFor();
      expect(await page.locator("#tiles").innerText()).toContain("2 of 3 peers");
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

    test("the page of the binary shows why a target refused an event, sends it again, and sends a test", async () => {
      using receiver = stage.receiver();
      const token = ["--listen-token-file", await tokenFile()];
      const { wgmon, origin } = await start("--webhook", receiver.url(), ...token);
      await using _ = wgmon;
      await receiver.waitFor((requests) => requests.length > 0);
      receiver.answer = { status: 404 };
      device.connect(2);
      const extraHTTPHeaders = { authorization: `Bearer ${TOKEN}` };
      const context = await browser.newContext({ extraHTTPHeaders });
      const page = await context.newPage();
      await page.goto(`${origin}/outbox`);
      const target = page.locator("#targets li");
      await target.getByText(/Refused the latest event: 404.* 1 dead letter\./).waitFor();
      receiver.answer = { status: 204 };
      await target.getByRole("button", { name: "Retry now" }).click();
      await target.getByText("1 dead letter queued again.").waitFor();
      await target.getByText("Delivers events.").waitFor();
      await target.getByRole("button", { name: "Send a test" }).click();
      await target.getByText(/Test delivered in \d+ ms\./).waitFor();
      const bodies = receiver.requests.slice(-2).map(({ body }) => body);
      expect(bodies).toEqual([
        expect.stringContaining("<b>bob</b>"),
        expect.stringContaining("wgmon-test"),
      ]);
      await context.close();
    });

    test("the page of the binary needs the token in a browser that is not logged in", async () => {
      const { wgmon, origin } = await start("--listen-token-file", await tokenFile());
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
  },
);
