/**
 * `npm run picture` writes the pictures of README and docs/page.md: the overview, the page of alerts and the page of a
 * peer in Chromium, with the gateway of showcase.ts. Clock, time zone and size are fixed, so that a picture changes only with the page.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import type { Browser } from "playwright-core";

import { chromiumPath, complaintsOf, launch } from "./browser.ts";
import { serve } from "./http-server.ts";
import { showcase } from "./showcase.ts";

const FOLDER = join(import.meta.dir, "../../docs/images");
const BYTES_MAX = 200_000;
const DESKTOP = { width: 1280, height: 1000 };
const ALERTS = { width: 1280, height: 800 };
const TOKEN = "a-token-of-the-pictures";

interface Picture {
  readonly file: string;
  readonly colorScheme: "light" | "dark";
  readonly viewport: { readonly width: number; readonly height: number };
  /** The peer whose page it shows; null: the page of `path`. */
  readonly peer: string | null;
  readonly path?: "/alerts";
}

const PICTURES: readonly Picture[] = [
  { file: "page.png", colorScheme: "light", viewport: DESKTOP, peer: null },
  { file: "page-dark.png", colorScheme: "dark", viewport: DESKTOP, peer: null },
  { file: "alerts.png", colorScheme: "light", viewport: ALERTS, peer: null, path: "/alerts" },
  { file: "peer.png", colorScheme: "light", viewport: DESKTOP, peer: "alice-laptop" },
  {
    file: "page-phone.png",
    colorScheme: "dark",
    viewport: { width: 390, height: 844 },
    peer: null,
  },
];

async function takeScreenshot(
  browser: Browser,
  { file, colorScheme, viewport, peer, path }: Picture,
): Promise<void> {
  const source = await showcase();
  await using served = await serve(source, { tokens: [TOKEN], alertActions: source.alerts });
  const context = await browser.newContext({
    viewport,
    colorScheme,
    locale: "en-GB",
    timezoneId: "UTC",
    reducedMotion: "reduce",
    // The forms of silences need a token.
    extraHTTPHeaders: { authorization: `Bearer ${TOKEN}` },
  });
  const page = await context.newPage();
  const complaints = complaintsOf(page);
  await page.clock.setFixedTime(source.clock.now().wallMs);
  await page.goto(served.origin + (path ?? "/"));
  if (peer !== null) await page.locator("#peers").getByRole("link", { name: peer }).click();
  await page.locator("#live.on").waitFor();
  const image = await page.screenshot({ animations: "disabled", caret: "hide" });
  await context.close();
  if (complaints.length > 0) throw new Error(complaints.join("\n"));
  if (image.length > BYTES_MAX)
    throw new Error(`${file}: ${image.length} bytes; at most ${BYTES_MAX}`);
  await Bun.write(join(FOLDER, file), image);
  console.log(`docs/images/${file}: ${image.length} bytes`);
}

if (chromiumPath === null) {
  console.error("screenshot.ts: Chromium is not installed");
  process.exitCode = 1;
} else {
  await mkdir(FOLDER, { recursive: true });
  await using browser = await launch();
  for (const picture of PICTURES) await takeScreenshot(browser, picture);
}
