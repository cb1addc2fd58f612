/** The interface of a format: how one kind of receiver expects its HTTP requests. Formats are pure. */

import type { DeliveryResult, Message } from "../../delivery/target.ts";

/** A POST request: URL, headers and body. */
export interface HttpRequest {
  readonly url: string;
  readonly contentType: string;
  /** In addition to content-type, user-agent and the signature. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Format {
  /**
   * The problem with the URL, worded to follow "(hidden)" and without any part of the URL; null: the URL is
   * valid.
   */
  readonly validateUrl?: (url: URL) => string | null;
  /**
   * The parts of the path that are the same for all users of the service. All other parts may be secrets, and are
   * hidden when a receiver's explanation of a refusal is logged.
   */
  readonly publicParts?: readonly string[];
  readonly request: (message: Message, url: URL) => HttpRequest;
  /**
   * The result of the attempt if it depends on the response body; null: the status and the headers decide. `body` is
   * the first 4 KiB. For all formats, refusal.ts finds the receiver's explanation of a refusal.
   */
  readonly interpretResponse?: (status: number, body: string) => DeliveryResult | null;
  /** The template of the format, so that a changed one can be recognised; absent: another format. */
  readonly template?: unknown;
  /** Sends the headers of Standard Webhooks: the id always, the signature if there is a secret. */
  readonly isSigned?: true;
}

/** A format that settings can name: a row of index.ts. */
export interface NamedFormat extends Format {
  /** The format's row in docs/formats.md, as Markdown. `npm run readme` writes it. */
  readonly docs: {
    readonly url: string;
    /** Which URLs `auto` recognises. */
    readonly recognised: string;
    readonly arrives: string;
    readonly limit: string;
  };
  /** Whether `auto` selects this format for the URL. Absent: never. */
  readonly matches?: (url: URL) => boolean;
}
