/** Loads the web pages on demand: Hono and JSX take time at start, and most daemons never serve a page. */

import type { Page, PageOptions } from "../http/server.ts";

export async function loadPage(options: PageOptions): Promise<Page> {
  const { makePage } = await import("./page.tsx");
  return makePage(options);
}
