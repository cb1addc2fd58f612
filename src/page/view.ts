/** What a page is made of; each of them makes one. */

import type { JSX } from "hono/jsx/jsx-runtime";

export interface View {
  readonly title: string;
  readonly body: JSX.Element;
}
