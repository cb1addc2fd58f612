/** The title and body of a page; each page returns one. */

import type { JSX } from "hono/jsx/jsx-runtime";

export interface PageContent {
  readonly title: string;
  readonly body: JSX.Element;
  /** Omitted: false. */
  readonly hasChart?: boolean;
}
