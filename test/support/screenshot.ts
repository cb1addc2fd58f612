/**
 * `npm run picture` writes docs/images/page.png: the overview page in Chromium, with the gateway of
 * showcase.ts. Clock, time zone and size are fixed, so that the picture changes only with the page.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { chromiumPath, complaintsOf, launch } from "./browser.ts";
import { serve } from "./http-server.ts";
import { showcase } from "./showcase.ts";

const FILE = join(import.meta.dir, "../../docs/images/page.png");
const BYTES_MAX = 200_000;

async function takeScreenshot(): Promise<void> {
  const source = await showcase();
  await using served = await serve(source);
  await using browser = await launch();
  const context = await browser.newContext({
    viewport: { width: 1280, height: 1040 },
    colorScheme: "light",
    locale: "en-GB",
    timezoneId: "UTC",
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  const complaints = complaintsOf(page);
  await page.clock.setFixedTime(source.clock.now().wallMs);
  await page.goto(served.origin);
  await page.locator("#live.on").waitFor();
  const image = await page.screenshot({ animations: "disabled", caret: "hide" });
  if (complaints.length > 0) throw new Error(complaints.join("\n"));
  if (image.length > BYTES_MAX) throw new Error(`${image.length} bytes; at most ${BYTES_MAX}`);
  await mkdir(join(FILE, ".."), { recursive: true });
  await Bun.write(FILE, image);
  console.log(`${FILE}: ${image.length} bytes`);
}

if (chromiumPath === null) {
  console.error("screenshot.ts: Chromium is not installed");
  process.exitCode = 1;
} else {
  await takeScreenshot();
}
