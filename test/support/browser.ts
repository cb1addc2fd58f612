/**
 * Headless Chromium, driven by playwright-core.
 */

import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { type Browser, chromium, type Page } from "playwright-core";

import { skipIf } from "./kernel.ts";
import { REPORT_MS } from "./until.ts";

/** null if no Chromium is installed. */
export const chromiumPath =
  ["chromium", "chromium-browser", "google-chrome"].map((name) => Bun.which(name)).find(Boolean) ??
  null;
export const browserNeeds = skipIf(chromiumPath === null ? "no chromium here" : null);

/** @param executablePath Chromium, or a program that starts Chromium with the same arguments in another namespace. */
export async function launch(executablePath = chromiumPath!): Promise<Browser> {
  return await chromium.launch({
    executablePath,
    timeout: REPORT_MS,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** A list that collects the page's console errors and warnings, policy violations and uncaught exceptions. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  return complaints;
}

/** Writes NAME.png to the folder WGMON_TEST_SCREENSHOTS; does nothing if that is not set. */
export async function screenshot(page: Page, name: string): Promise<void> {
  const folder = process.env["WGMON_TEST_SCREENSHOTS"];
  if (folder === undefined) return;
  if (!existsSync(folder)) await mkdir(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}
