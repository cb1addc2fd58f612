/**
 * `npm run picture` writes docs/images/page.png: the overview page in Chromium, with the gateway of
 * sample-gateway.ts. Clock, time zone and size are fixed, so that the picture changes only with the page.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { chromiumPath, complaintsOf, launch } from "./browser.ts";
import { serve } from "./http-server.ts";
import { office } from "./sample-gateway.ts";
import type { FakeSource } from "./source.ts";

const FILE = join(import.meta.dir, "../../docs/images/page.png");
const BYTES_MAX = 200_000;

/** `office` without corner cases: each peer has a name, each row fits on one line, and the store is on disk. */
async function tidyOffice(): Promise<FakeSource> {
  const source = await office();
  const [wg0, wg1] = [source.found.get("wg0")!, source.found.get("wg1")!];
  source.names.set(wg0.peers.at(-1)!.publicKey, "frank");
  source.names.set(wg1.peers[0]!.publicKey, "backup server");
  wg1.device = { ...wg1.device, listenPort: 51821 };
  source.tags.set(wg0.peers[0]!.publicKey, ["staff"]);
  source.speeds.set(wg0.peers[0]!.publicKey, { rxBytesPerSecond: 8200, txBytesPerSecond: 540 });
  Object.defineProperty(source.store, "isInMemory", { value: false });
  source.clock.advance(4000);
  return source;
}

async function takeScreenshot(): Promise<void> {
  const source = await tidyOffice();
  await using served = await serve(source);
  await using browser = await launch();
  const context = await browser.newContext({
    viewport: { width: 1200, height: 720 },
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
