/** The page of a hub in Chromium: by rules of accessibility in all sizes and themes, without scripts, and during changes. */

import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";

import axe from "axe-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";

import { urlKey } from "../../src/base/wireguard.ts";
import { browserNeeds, complaintsOf, launch, screenshot } from "../support/browser.ts";
import { serve, type Served } from "../support/http-server.ts";
import { hub, peerKey } from "../support/sample-fleet.ts";
import { FakeSource } from "../support/source.ts";
import { TEST_MS } from "../support/until.ts";

setDefaultTimeout(TEST_MS);

const PATHS = {
  overview: "/",
  gateways: "/gateways",
  berlin: "/gateways/berlin",
  lyon: "/gateways/lyon",
  peer: `/peers/lyon%2Fwg0/${urlKey(peerKey("lyon", 0))}`,
  events: "/events?host=oslo",
} as const;
const SIZES = [
  [390, 844],
  [1280, 800],
  [1920, 1080],
] as const;
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

describe.skipIf(browserNeeds.missing)(browserNeeds.title("the page of a hub in a browser"), () => {
  let browser: Browser;
  let source: FakeSource;
  let served: Served;
  let page: Page;
  let errors: string[];

  beforeAll(async () => {
    browser = await launch();
  });

  afterAll(async () => {
    await browser.close();
  });

  afterEach(async () => {
    await page.context().close();
    await served.stop();
    source.store[Symbol.dispose]();
    expect(errors).toEqual([]);
    expect(served.lines).toEqual([]);
  });

  async function open(options: BrowserContextOptions): Promise<void> {
    source = await hub();
    served = await serve(source, { alertActions: source.alerts });
    const context = await browser.newContext(options);
    page = await context.newPage();
    errors = complaintsOf(page);
  }

  test.each(
    SIZES.flatMap(([width, height]) =>
      (["light", "dark"] as const).map((colorScheme) => ({ width, height, colorScheme })),
    ),
  )("the pages of a hub have no accessibility problem, and fit %j", async (size) => {
    const { colorScheme, ...viewport } = size;
    await open({ viewport, colorScheme, bypassCSP: true });
    for (const [name, path] of Object.entries(PATHS)) {
      await page.goto(served.origin + path);
      await page.locator("#live.on").waitFor();
      await page.evaluate(axe.source);
      const { violations } = (await page.evaluate(
        `axe.run({ runOnly: ${JSON.stringify(RULES)} })`,
      )) as axe.AxeResults;
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`);
      expect([path, found]).toEqual([path, []]);
      const overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
      expect([path, overflow]).toEqual([path, 0]);
      await screenshot(page, `hub-${name}-${viewport.width}-${colorScheme}`);
    }
  });

  test("without scripts, the tiles lead to a gateway, and the list of peers is filtered by gateway", async () => {
    await open({ javaScriptEnabled: false, viewport: { width: 1280, height: 800 } });
    await page.goto(served.origin);
    await page.locator("select[name=host]").selectOption("oslo");
    await page.getByRole("button", { name: "Search" }).click();
    expect(new URL(page.url()).search).toBe("?host=oslo");
    expect(await page.locator("#peers tr").count()).toBe(5);
    await page.locator("#gateways").getByRole("link", { name: "berlin" }).click();
    expect(await page.locator("h1").innerText()).toBe("berlin");
    await page.locator("select[name=state]").selectOption("connected");
    await page.getByRole("button", { name: "Search" }).click();
    expect(new URL(page.url()).pathname).toBe("/gateways/berlin");
    expect(await page.locator("#peers tr").count()).toBe(8);
    await page.getByRole("link", { name: "Gateways", exact: true }).click();
    expect(await page.locator("#gateways li").count()).toBe(5);
  });

  test("an open page follows a gateway that is lost", async () => {
    await open({ viewport: { width: 1280, height: 800 } });
    await page.goto(`${served.origin}/gateways/berlin`);
    await page.locator("#live.on").waitFor();
    expect(await page.locator("#state").innerText()).toStartWith("up for");
    const { fleet } = source;
    const index = fleet!.all.findIndex(({ name }) => name === "berlin");
    const sinceMs = source.clock.now().wallMs;
    fleet!.all[index] = { ...fleet!.all[index]!, condition: "lost", sinceMs };
    source.clock.advance(3000);
    await page.getByText("lost for").waitFor();
    expect(await page.locator("#problem").innerText()).toContain("peers is unknown");
    expect(await page.locator("#peers .state").first().innerText()).toContain("unknown");
  });
});
