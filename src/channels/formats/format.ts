/** How one kind of receiver expects its HTTP requests. A format is pure: message in, request out. */

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
  /** Whether a URL without a format belongs to this format. */
  readonly matches?: (url: URL) => boolean;
  /**
   * What is wrong with the URL, worded to follow "(hidden) ..." and without any part of the URL; null: the
   * URL is valid.
   */
  readonly validateUrl?: (url: URL) => string | null;
  readonly request: (message: Message, url: URL) => HttpRequest;
  /**
   * The verdict if status and headers are not enough for one; null: they are enough. `body` is the first 4
   * KiB of the answer. refusal.ts finds the receiver's own words about a refusal for all formats.
   */
  readonly interpretResponse?: (status: number, body: string) => DeliveryResult | null;
  /** Sends the headers of Standard Webhooks: the id always, the signature if there is a secret. */
  readonly isSigned?: true;
}
