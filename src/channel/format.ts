/** How one kind of receiver wants to be told by HTTP. A format is pure: a message in, a request out. */

import type { Message, Verdict } from "./channel.ts";

/** What to POST, and where. */
export interface HttpRequest {
  readonly url: string;
  readonly contentType: string;
  /** Besides content-type, user-agent and the signature. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Format {
  /** Whether a URL without a format is meant for this one. */
  readonly fits?: (url: URL) => boolean;
  /** What is wrong with the URL, to follow "(hidden) ..."; null: nothing. Says no part of it. */
  readonly problem?: (url: URL) => string | null;
  readonly request: (message: Message, url: URL) => HttpRequest;
  /**
   * The verdict where status and headers do not tell it alone; null: they do. `body`: the answer's
   * first 4 KiB. The receiver's own words about a refusal are found for all formats alike: refusal.ts.
   */
  readonly judge?: (status: number, body: string) => Verdict | null;
  /** Standard Webhooks headers: the id always, the signature when there is a secret. */
  readonly isSigned?: true;
}
