/** The page in Chromium: with and without scripts, by keyboard, in both themes, on a phone, and during changes. */

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

import type { PageActions } from "../../src/http/page-actions.ts";
import { browserNeeds, complaintsOf, launch, screenshot } from "../support/browser.ts";
import { serve, type Served } from "../support/http-server.ts";
import { device, peer } from "../support/peers.ts";
import { connect, connected, HOSTILE, office } from "../support/sample-gateway.ts";
import { showcase } from "../support/showcase.ts";
import { FakeSource, keyOf } from "../support/source.ts";
import { TEST_MS, until } from "../support/until.ts";

setDefaultTimeout(TEST_MS);

const TOKEN = "correct-horse-battery-staple";
const KEY = Buffer.from(keyOf(1), "base64").toString("base64url");
/** A peer that is silenced. */
const KEY_OF_CAROL = Buffer.from(keyOf(5), "base64").toString("base64url");
const PATHS = [
  "/",
  `/peers/wg0/${KEY}`,
  `/peers/wg0/${KEY_OF_CAROL}`,
  "/alerts",
  "/alerts/alert-4",
  "/sessions",
  "/events",
  "/outbox",
] as const;
const withToken = { tokens: [TOKEN], extraHTTPHeaders: { authorization: `Bearer ${TOKEN}` } };
const desktop = { width: 1280, height: 800 };
const wide = { width: 1920, height: 1080 };
const phone = { width: 390, height: 844 };

describe.skipIf(browserNeeds.missing)(browserNeeds.title("the page in a browser"), () => {
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

  async function open(
    path: string,
    {
      from = office(),
      tokens = [],
      actions,
      ...options
    }: BrowserContextOptions & {
      from?: Promise<FakeSource>;
      tokens?: readonly string[];
      actions?: PageActions;
    } = {},
  ): Promise<void> {
    source = await from;
    served = await serve(source, {
      tokens,
      alertActions: source.alerts,
      ...(actions === undefined ? {} : { actions }),
    });
    const context = await browser.newContext({ viewport: desktop, ...options });
    page = await context.newPage();
    errors = complaintsOf(page);
    await page.goto(served.origin + path);
  }

  async function openLive(path: string, options: Parameters<typeof open>[1] = {}): Promise<void> {
    await open(path, options);
    await page.locator("#live.on").waitFor();
    await page.evaluate("window.isSame = true");
  }

  /** Names of the peers, in the order in which they are shown. */
  async function names(): Promise<string[]> {
    return await page.locator("#peers th a:not(.mark)").allTextContents();
  }

  describe("the page without scripts", () => {
    const plain = { javaScriptEnabled: false };

    test("without scripts, the page shows, searches and sorts peers, and has links to the other pages", async () => {
      await open("/", plain);
      expect((await names()).slice(0, 3)).toEqual(["alice laptop", "alice phone", "bob"]);
      expect(await page.locator("#peers tr").first().innerText()).toContain("3m");
      await page.getByLabel("Search").fill("ALICE");
      await page.getByRole("button", { name: "Search" }).click();
      expect(await names()).toEqual(["alice laptop", "alice phone"]);
      await page.getByRole("link", { name: "Peer", exact: true }).click();
      await page.getByRole("link", { name: "Peer", exact: true }).click();
      expect(await names()).toEqual(["alice phone", "alice laptop"]);
      expect(await page.locator("[aria-sort]").getAttribute("aria-sort")).toBe("descending");
      expect(await page.getByLabel("Search").inputValue()).toBe("ALICE");
      await page.getByRole("link", { name: "alice phone" }).first().click();
      expect(await page.locator("h1").innerText()).toBe("alice phone");
      await screenshot(page, "peer-without-scripts");
      const pages = page.getByRole("navigation", { name: "Pages", exact: true });
      for (const name of ["Alerts", "Sessions", "Events", "Outbox", "Overview"]) {
        await pages.getByRole("link", { name, exact: true }).click();
        expect(await page.locator("h1").innerText()).toBe(name);
      }
    });

    test("without scripts, the page remembers the theme", async () => {
      await open("/events", plain);
      const background = async () =>
        await page.evaluate("getComputedStyle(document.body).backgroundColor");
      expect(await background()).toBe("rgb(244, 246, 248)");
      await page.getByRole("button", { name: "dark" }).click();
      expect(new URL(page.url()).pathname).toBe("/events");
      expect(await background()).toBe("rgb(13, 16, 20)");
      await page.goto(served.origin);
      expect(await background()).toBe("rgb(13, 16, 20)");
      expect(await page.getByRole("button", { name: "dark" }).getAttribute("aria-pressed")).toBe(
        "true",
      );
    });
  });

  describe("the filters and forms, without scripts", () => {
    const plain = { javaScriptEnabled: false };

    test("the filters select events by peer, device, type and time, and keep the filter in the address", async () => {
      await open("/events", plain);
      const sentences = async () => await page.locator("#events li").allInnerTexts();
      expect(await sentences()).toHaveLength(5);
      await page.locator("[name=peer]").fill("carol");
      await page.getByRole("button", { name: "Show" }).click();
      expect(new URL(page.url()).search).toBe("?peer=carol");
      expect(await sentences()).toEqual([expect.stringContaining("carol")]);
      expect(await page.locator("[name=peer]").inputValue()).toBe("carol");
      await page.locator("[name=peer]").fill("alice");
      await page.getByRole("button", { name: "Show" }).click();
      await page.locator("#candidates").getByRole("link", { name: "alice phone" }).click();
      expect(await sentences()).toEqual([expect.stringContaining("alice phone")]);
      await page.locator("[name=type]").selectOption("peer.connected");
      await page.getByRole("button", { name: "Show" }).click();
      expect(await page.locator("#events-none").innerText()).toContain(
        "No events match the filter.",
      );
      await page.locator("#events-none").getByRole("link").click();
      expect(page.url()).toBe(`${served.origin}/events`);
      await page.locator("[name=device]").selectOption("wg1");
      await page.locator("[name=range]").selectOption("24h");
      await page.getByRole("button", { name: "Show" }).click();
      expect(await sentences()).toEqual([expect.stringContaining("wg1 added")]);
      await page.locator("[name=from]").fill("2026-01-03");
      await page.getByRole("button", { name: "Show" }).click();
      expect(await sentences()).toEqual([]);
      await page.locator("[name=from]").fill("");
      await page.locator("[name=until]").fill("2026-01-02");
      await page.getByRole("button", { name: "Show" }).click();
      expect(await sentences()).toHaveLength(1);
    });

    test("the filters select sessions by state, peer and time", async () => {
      await open("/sessions", plain);
      const rows = page.locator("#sessions tr");
      expect(await rows.count()).toBe(10);
      await page.locator("[name=state]").selectOption("open");
      await page.getByRole("button", { name: "Show" }).click();
      expect(await rows.count()).toBe(4);
      await page.locator("[name=peer]").fill("10.0.0.2");
      await page.getByRole("button", { name: "Show" }).click();
      expect(await rows.allInnerTexts()).toEqual([expect.stringContaining("alice laptop")]);
      await page.getByRole("link", { name: "Show all" }).click();
      expect(await rows.count()).toBe(10);
      for (const format of ["CSV", "JSON"]) {
        const link = page.getByRole("link", { name: `Download these sessions as ${format}` });
        const path = (await link.getAttribute("href"))!;
        const answer = await fetch(served.origin + path);
        expect([path, answer.status]).toEqual([path, 200]);
      }
    });

    test("the forms silence a peer, add a silence and end it", async () => {
      await open(`/peers/wg0/${KEY}`, { ...plain, ...withToken });
      await page.getByText("Silence this peer").click();
      await page.locator("[name=for]").selectOption("4h");
      await page.getByLabel("Comment").fill("<b>moves house</b>");
      await page.getByRole("button", { name: "Silence", exact: true }).click();
      expect(new URL(page.url()).pathname).toBe(`/peers/wg0/${KEY}`);
      const silences = page.locator("#silences li");
      expect(await silences.innerText()).toContain("<b>moves house</b>, by page");
      await page.goto(`${served.origin}/alerts`);
      expect(await silences.allInnerTexts()).toHaveLength(2);
      await page.getByLabel("What").selectOption("tag");
      await page.getByLabel("Its name").fill("branch-*");
      await page.locator("[name=for]").selectOption("until tomorrow 08:00");
      await page.getByRole("button", { name: "Silence", exact: true }).click();
      expect(new URL(page.url()).pathname).toBe("/alerts");
      expect(await page.locator("#silences").innerText()).toContain("tag=branch-*");
      await page.getByRole("button", { name: "End now: the silence tag=branch-*" }).click();
      expect(await page.locator("#silences").innerText()).not.toContain("tag=branch-*");
      expect(await silences.count()).toBe(2);
    });

    test("the filters select alerts by state, rule and peer, and an alert explains what was sent", async () => {
      await open("/alerts", plain);
      const past = page.locator("#past-list li");
      expect(await past.count()).toBe(4);
      await page.locator("[name=rule]").selectOption("people");
      await page.locator("[name=state]").selectOption("resolved");
      await page.getByRole("button", { name: "Show" }).click();
      expect(new URL(page.url()).search).toBe("?rule=people&state=resolved");
      expect(await past.allInnerTexts()).toEqual([expect.stringContaining("lasted 12m")]);
      await past.getByRole("link").click();
      expect(await page.locator("h1").innerText()).toBe("alice phone (wg0) is back after 12m");
      expect(await page.locator("#notices li").allInnerTexts()).toHaveLength(2);
      await page.getByRole("link", { name: "alice phone" }).click();
      expect(await page.locator("#events").innerText()).toContain("alert resolved, rule people");
    });

    test("the forms retry and delete messages, and send a test", async () => {
      const done: string[] = [];
      await open("/outbox", {
        ...plain,
        ...withToken,
        actions: {
          retry: (target) => (done.push(`retry ${target}`), 2),
          deleteMessages: (target, kind) => (done.push(`delete ${kind} ${target}`), 3),
          test: async (target) => {
            done.push(`test ${target}`);
            return await Promise.resolve({ isDelivered: true, reason: "", tookMs: 81 });
          },
        },
      });
      await page.getByRole("button", { name: "Send a test to ntfy" }).click();
      await page.getByText("Test delivered in 81 ms.").waitFor();
      await page.getByRole("button", { name: "Retry now: webhook" }).click();
      await page.getByText("2 dead letters queued again.").waitFor();
      expect(await page.getByRole("button", { name: "Delete 3 waiting events" }).count()).toBe(0);
      await page.getByText("Delete", { exact: true }).click();
      await page.getByRole("button", { name: "Delete 3 waiting events" }).click();
      await page.getByText("3 waiting events deleted.").waitFor();
      expect(done).toEqual(["test log", "retry hook", "delete waiting hook"]);
      // A form of another site has another Origin.
      const foreign = await fetch(`${served.origin}/outbox`, {
        method: "POST",
        headers: { origin: "https://example.net", authorization: `Bearer ${TOKEN}` },
        body: new URLSearchParams({ action: "retry", target: "hook" }),
      });
      expect(foreign.status).toBe(403);
      expect(done).toHaveLength(3);
    });

    test("links choose the range of the charts", async () => {
      await open("/?q=alice", { ...plain, from: showcase() });
      for (const range of ["1 h", "7 d", "30 d", "24 h"]) {
        await page.getByRole("link", { name: range, exact: true }).click();
        expect(await page.locator(".choice [aria-current=true]").innerText()).toBe(range);
        expect(await page.locator("#peers tr").count()).toBe(2);
        expect(await page.locator(".chart g text").count()).toBeGreaterThan(4);
      }
      await page.locator("#peers").getByRole("link", { name: "alice-laptop" }).click();
      await page.getByRole("link", { name: "30 d", exact: true }).click();
      expect(new URL(page.url()).search).toBe("?range=30d");
      expect(await page.locator(".chart svg").first().getAttribute("aria-label")).toMatch(
        /^last 30d: connected for \d+d \d+h; .* received from the peer, .* sent to it$/,
      );
    });
  });

  describe("the page with scripts", () => {
    test("the page follows the search text while it is typed", async () => {
      await openLive("/?sort=name&order=desc");
      await page.getByLabel("Search").pressSequentially("ALI");
      await page.locator("#found", { hasText: "2 peers" }).waitFor();
      expect(await names()).toEqual(["alice phone", "alice laptop"]);
      expect(new URL(page.url()).search).toBe("?q=ALI&sort=name&order=desc");
      expect(await page.getByRole("link", { name: "To peer" }).getAttribute("href")).toBe(
        "/?q=ALI&sort=txBytesPerSecond",
      );
      await page.locator("[name=state]").selectOption("never");
      await page.locator("#found", { hasText: "No peer matches the filter." }).waitFor();
      await page.getByLabel("Search").fill("");
      await page.locator("#found", { hasText: "2 peers" }).waitFor();
      expect(await page.evaluate("isSame")).toBe(true);
      await page.reload();
      expect(await page.locator("#peers tr").count()).toBe(2);
    });

    test("the page copies an address and a key", async () => {
      await openLive(PATHS[1], { permissions: ["clipboard-read", "clipboard-write"] });
      for (const [name, text] of [
        ["Copy the address 10.0.0.2/32", "10.0.0.2"],
        ["Copy the public key", keyOf(1)],
      ] as const) {
        await page.getByRole("button", { name }).click();
        await page.getByText("Copied", { exact: true }).first().waitFor();
        expect(await page.evaluate("navigator.clipboard.readText()")).toBe(text);
      }
    });

    test("the page shows the values of a chart by pointer and by keyboard, in the browser's time zone", async () => {
      await openLive("/", { from: showcase(), timezoneId: "Asia/Kolkata" });
      const labels = await page.locator(".chart g:not(.unseen) text").allTextContents();
      expect(labels).toEqual(["00:00", "04:00", "08:00", "12:00", "16:00", "20:00"]);
      const reading = page.locator(".reading");
      await page.locator(".chart > svg").hover({ position: { x: 200, y: 60 } });
      expect(await reading.innerText()).toMatch(
        /^\w{3},? \d+ Nov, \d\d:\d\d\nConnected: \d\nFrom peers: .* KiB\/s\nTo peers: .* KiB\/s$/,
      );
      await page.mouse.move(5, 5);
      expect(await reading.isVisible()).toBe(false);
      await page
        .locator(".tape")
        .first()
        .hover({ position: { x: 5, y: 5 } });
      expect(await reading.innerText()).toContain("connected");
      await page.locator(".chart").focus();
      await page.keyboard.press("ArrowLeft");
      const last = await reading.innerText();
      await page.keyboard.press("ArrowLeft");
      expect(await reading.innerText()).not.toBe(last);
      await page.keyboard.press("Escape");
      expect(await reading.isVisible()).toBe(false);
    });

    test("the page shows a peer that connects, and changes nothing else", async () => {
      await openLive("/?sort=name");
      const row = page.locator("#peers tr", { hasText: "dave" });
      expect(await row.innerText()).toContain("disconnected");
      // Focus and selection are in different places.
      await row.getByRole("link", { name: "dave" }).focus();
      await page.evaluate(
        `getSelection().selectAllChildren(document.querySelector("#peers code"))`,
      );
      await page.evaluate("scrollTo(0, 200)");
      const scrollY = await page.evaluate("scrollY");
      const dave = source.found.get("wg0")!.peers[5]!;
      connect(source, dave);
      source.tell(connected(source, dave));
      source.clock.advance(3000);
      await row.getByText("connected").waitFor();
      expect(await page.locator("#tiles").innerText()).toContain("5 of 9 peers");
      expect(await page.title()).toStartWith("5 of 9 peers connected");
      await page.locator("#events li").first().getByText("dave").waitFor();
      const kept = await page.evaluate(
        "[isSame, document.activeElement.textContent, getSelection().toString(), scrollY]",
      );
      expect(kept).toEqual([true, "dave", "10.0.0.2", scrollY]);
    });

    test("the page keeps the focus on a peer that moves in the list, and passes it on when the peer is removed", async () => {
      await openLive("/");
      const dave = source.found.get("wg0")!.peers[5]!;
      await page.locator("#peers").getByRole("link", { name: "dave" }).focus();
      const focused = () => page.evaluate("document.activeElement.textContent");
      connect(source, dave);
      source.tell(connected(source, dave));
      source.clock.advance(300);
      await page.locator("#peers tr:nth-child(5)", { hasText: "dave" }).waitFor();
      expect(await focused()).toBe("dave");
      source.found.get("wg0")!.peers.splice(5, 1);
      source.clock.advance(3000);
      await page.locator("#peers tr", { hasText: "dave" }).waitFor({ state: "detached" });
      expect(await focused()).toBe("carol");
    });

    test("the page does not move selected rows until the selection ends", async () => {
      await openLive("/");
      await page.evaluate(
        `getSelection().selectAllChildren([...document.querySelectorAll("#peers a")].find((a) => a.textContent === "carol"))`,
      );
      const dave = source.found.get("wg0")!.peers[5]!;
      connect(source, dave);
      source.tell(connected(source, dave));
      source.clock.advance(300);
      await page.locator("#peers tr:nth-child(6)", { hasText: "connected" }).waitFor();
      expect((await names())[5]).toBe("dave");
      expect(await page.evaluate("getSelection().toString()")).toBe("carol");
      await page.evaluate("getSelection().empty()");
      await page.locator("#peers tr:nth-child(5)", { hasText: "dave" }).waitFor();
    });

    test("the page shows the same after many changes as a reload would", async () => {
      await openLive("/?state=connected");
      const found = source.found.get("wg0")!;
      const all = [...found.peers];
      for (let n = 0; n < 25; n++) {
        found.peers = all
          .filter((_, index) => (index * 7 + n) % 3 > 0)
          .toSorted(() => (n % 2) - 0.5);
        const next = all[n % all.length]!;
        source.names.set(next.publicKey, `name ${(n * 5) % 11}`);
        if (n % 4 === 0) connect(source, next);
        source.tell(connected(source, next));
        source.clock.advance(300);
        await new Promise<void>((resolve) => void setImmediate(resolve));
      }
      source.clock.advance(3000);
      const fresh = await (await fetch(page.url())).text();
      const listed = fresh.slice(fresh.indexOf('id="peers"'));
      const wanted = [...listed.matchAll(/<tr role="row" id="(\w+)"/g)].map(([, id]) => id!);
      const text = `[...document.querySelectorAll("#peers tr")].map((row) => row.id).join()`;
      await until(
        "the rows are those of a new page",
        async () => (await page.evaluate(text)) === wanted.join(),
      );
      const read = (listed.match(/<bdi>name \d+<\/bdi>/g) ?? []).map((each) =>
        each.replace(/<.*?>/g, ""),
      );
      const shown = await page.locator("#peers bdi, #events bdi").allTextContents();
      expect(shown.filter((each) => each.startsWith("name"))).toEqual(read);
    });

    test("the page updates rates and times", async () => {
      await openLive("/");
      const row = page.locator("#peers tr", { hasText: "bob" });
      await row.getByText("129 KiB/s").waitFor();
      source.speeds.set(keyOf(3), { rxBytesPerSecond: 2000, txBytesPerSecond: 0 });
      source.clock.advance(3000);
      await row.getByText("2.0 KiB/s").waitFor();
      await row.getByText(/^1h 25m$/).waitFor();
      expect(await page.locator("#zone").innerText()).toContain("Times are in the time zone ");
    });

    test("the page shows that the connection is lost, and reconnects by itself", async () => {
      await openLive("/");
      const port = Number(new URL(served.origin).port);
      await served.stop();
      await page.locator("#live.off", { hasText: "not connected" }).waitFor();
      expect(await page.locator("#live").getAttribute("role")).toBe("status");
      source.names.set(keyOf(1), "alice anew");
      served = await serve(source, { port });
      await page.locator("#live.on").waitFor();
      expect((await names())[0]).toBe("alice anew");
      expect(await page.evaluate("isSame")).toBe(true);
      // Errors of the browser about the stopped server.
      expect(
        errors.splice(0).filter((each) => !/ERR_CONNECTION|ERR_INCOMPLETE/.test(each)),
      ).toEqual([]);
    });

    test("the page reports that its peer was removed", async () => {
      await openLive(PATHS[1]);
      source.found.get("wg0")!.peers.shift();
      source.clock.advance(3000);
      await page.locator("h1", { hasText: "Not found" }).waitFor();
      expect(errors.splice(0).filter((each) => !each.includes("404"))).toEqual([]);
    });

    test("the page closes the stream while it is in the background", async () => {
      await openLive("/");
      expect(source.listeners).toBe(1);
      const hide = (isHidden: boolean) =>
        page.evaluate(
          `Object.defineProperty(document, "hidden", { value: ${isHidden}, configurable: true });
           document.dispatchEvent(new Event("visibilitychange"))`,
        );
      await hide(true);
      await until("the page has closed its stream", () => source.listeners === 0);
      await hide(false);
      await until("the page has opened its stream again", () => source.listeners > 0);
    });
  });

  test("the page can be used by keyboard", async () => {
    await openLive("/");
    const focused = () =>
      page.evaluate("document.activeElement.id || document.activeElement.textContent");
    await page.keyboard.press("Tab");
    expect(await focused()).toBe("Skip to the content");
    const outline = "getComputedStyle(document.activeElement).outlineStyle";
    expect(await page.evaluate(outline)).toBe("solid");
    await page.keyboard.press("Enter");
    expect(await focused()).toBe("main");
    await page.keyboard.press("/");
    expect(await focused()).toBe("q");
    await page.keyboard.type("a/b");
    expect(await page.getByLabel("Search").inputValue()).toBe("a/b");
    await page.getByLabel("Search").fill("bob");
    await page.keyboard.press("Enter");
    await page.locator("#found", { hasText: "1 peer" }).waitFor();
    expect(await names()).toEqual(["bob"]);
    await page.getByRole("link", { name: "From peer" }).focus();
    await page.keyboard.press("Enter");
    await page.locator("[aria-sort=descending]", { hasText: "From peer" }).waitFor();
  });

  describe.each([
    ["light", wide],
    ["dark", wide],
    ["light", desktop],
    ["dark", desktop],
    ["light", phone],
    ["dark", phone],
  ] as const)("the theme %s, %o", (colorScheme, viewport) => {
    test(`each page is accessible in the theme ${colorScheme}, and fits a viewport of ${viewport.width} pixels`, async () => {
      await openLive("/", { colorScheme, viewport, ...withToken });
      source.clock.advance(3000);
      for (const path of [...PATHS, "/nothing"]) {
        await page.goto(served.origin + path);
        const name = path.slice(1).replaceAll("/", "-") || "overview";
        await screenshot(page, `${name}-${colorScheme}-${viewport.width}`);
        expect([path, await violations()]).toEqual([path, []]);
        expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(
          true,
        );
      }
      // The browser reports the page that does not exist as an error.
      expect(errors.splice(0).filter((each) => !each.includes("404"))).toEqual([]);
    });
  });

  /** The violations that axe finds: names, labels, roles, contrast, order of headings. */
  async function violations(): Promise<string[]> {
    await page.evaluate(axe.source);
    const { violations: found } = (await page.evaluate(
      `axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })`,
    )) as axe.AxeResults;
    return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  }

  test("the page shows nine peers on two screens of a phone, seven below three alerts, and in one line a peer that never connected", async () => {
    await openLive("/", { viewport: phone, from: showcase() });
    await screenshot(page, "showcase-phone");
    const rows = await page.locator("#peers tr").all();
    expect(rows).toHaveLength(9);
    const box = async (index: number) => (await rows[index]!.boundingBox())!;
    const end = async (index: number) => (await box(index)).y + (await box(index)).height;
    expect(await page.locator("#firing li").count()).toBe(3);
    expect(await end(6)).toBeLessThan(2 * phone.height);
    expect((await box(8)).height).toBeLessThan(40);
    expect(await rows[8]!.innerText()).toContain("never");
    source.alerts.firing = [];
    source.clock.advance(3000);
    await page.locator("#firing li").first().waitFor({ state: "detached" });
    expect(await end(8)).toBeLessThan(2 * phone.height);
  });

  test("the page shows each peer as a card on a phone", async () => {
    await openLive("/", { viewport: phone });
    const [first, second] = [page.locator("#peers tr").nth(0), page.locator("#peers tr").nth(1)];
    const [above, below] = [(await first.boundingBox())!, (await second.boundingBox())!];
    expect(above.width).toBeGreaterThan(300);
    expect(above.height).toBeLessThan(220);
    expect(below.y).toBeGreaterThanOrEqual(above.y + above.height);
    await page.getByLabel("Sort by").selectOption("name");
    await page.getByLabel("Order").selectOption("desc");
    await page.getByRole("button", { name: "Search" }).click();
    await page.waitForURL(/order=desc/);
    expect((await names())[0]).not.toBe("alice laptop");
  });

  test.each([
    ["hostile", desktop],
    ["hostile-phone", phone],
  ])("the page shows hostile names only as text (%s)", async (name, viewport) => {
    await openLive("/", { from: office({ hostile: true }), viewport });
    source.clock.advance(3000);
    await screenshot(page, name);
    expect(await page.title()).toStartWith("4 of 9 peers connected");
    const text = await page.locator("main").innerText();
    for (const each of [HOSTILE[0], HOSTILE[1], "gpj.exe evil", "second line"]) {
      expect(text).toContain(each);
    }
    expect(await page.locator("main img, main script, main style").count()).toBe(0);
    expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
    // Also in updates by the stream.
    const someone = source.found.get("wg0")!.peers[4]!;
    connect(source, someone);
    source.tell(connected(source, someone));
    source.clock.advance(3000);
    await page.locator("#events li").first().getByText(HOSTILE[4]).waitFor();
    await page.goto(`${served.origin}/peers/wg0/${KEY}`);
    expect(await page.locator("h1").innerText()).toBe(HOSTILE[0]);
    expect(await page.locator("main img").count()).toBe(0);
  });

  test("the page says that there is no device yet, and shows the first one", async () => {
    await openLive("/", { from: FakeSource.make() });
    await screenshot(page, "empty");
    expect(await page.locator("main").innerText()).toContain("There is no WireGuard device yet");
    source.found.set("wg0", { device: device(), peers: [peer()] });
    source.clock.advance(3000);
    await page.locator("#peers tr").waitFor();
    expect(await page.locator("#devices tr").count()).toBe(1);
    expect(await violations()).toEqual([]);
  });

  test("the page shows 50 of 10,000 peers, and finds the others by page and search", async () => {
    const from = FakeSource.make().then((made) => {
      const peers = Array.from({ length: 10_000 }, (_, n) => peer({ publicKey: keyOf(n) }));
      made.found.set("wg0", { device: device(), peers });
      for (const [n, each] of peers.entries()) made.names.set(each.publicKey, `peer-${n}`);
      return made;
    });
    await openLive("/", { from });
    await screenshot(page, "many");
    expect(await page.locator("#peers tr").count()).toBe(50);
    expect(await page.locator("#found").innerText()).toContain("1 to 50 of 10,000 peers");
    await page.getByRole("link", { name: "Next" }).click();
    await page.waitForURL(/page=2/);
    expect(await page.locator("#found").innerText()).toContain("51 to 100 of 10,000 peers");
    await page.getByLabel("Search").fill("peer-9999");
    await page.keyboard.press("Enter");
    await page.waitForURL(/q=peer-9999/);
    expect(await names()).toEqual(["peer-9999"]);
  });

  test("the page shows only the form for the token to a browser without it", async () => {
    await open("/events?type=peer.roamed", { tokens: [TOKEN] });
    await screenshot(page, "login");
    expect(await page.locator("h1").innerText()).toBe("Log in");
    expect(await page.title()).toBe("wgmon");
    expect(await violations()).toEqual([]);
    await page.getByLabel("Token").fill("a wrong one");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").waitFor();
    await page.getByLabel("Token").fill(TOKEN);
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/events\?type=peer\.roamed$/);
    await page.locator("#live.on").waitFor();
    const cookies = await page.context().cookies();
    expect(cookies).toMatchObject([{ name: "wgmon", httpOnly: true, sameSite: "Strict" }]);
    expect(await page.evaluate("document.cookie")).toBe("");
    await page.getByRole("button", { name: "Log out" }).click();
    await page.locator("h1", { hasText: "Log in" }).waitFor();
    await page.goto(`${served.origin}/sessions`);
    expect(await page.locator("h1").innerText()).toBe("Log in");
    expect(errors.splice(0).filter((each) => !each.includes("401"))).toEqual([]);
    (served.lines as string[]).length = 0;
  });
});
