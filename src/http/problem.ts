/** Error responses in the format of RFC 9457. They never repeat what the client sent. */

import { type Static, Type as T } from "@sinclair/typebox";

export const ProblemSchema = T.Object(
  {
    type: T.Literal("about:blank"),
    title: T.String({ description: "the meaning of the status" }),
    status: T.Integer({ minimum: 400, maximum: 599 }),
    detail: T.Optional(T.String()),
    errors: T.Optional(
      T.Array(
        T.Object({
          parameter: T.String({ description: "name of the parameter" }),
          detail: T.String({ description: "the expected value" }),
        }),
      ),
    ),
  },
  { $id: "Problem", description: "RFC 9457" },
);

export type Problem = Static<typeof ProblemSchema>;

/** The statuses used here, with the reason phrases of RFC 9110. */
const titles = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  413: "Content Too Large",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
} as const;

export type ProblemStatus = keyof typeof titles;

interface Details extends Pick<Problem, "detail" | "errors"> {
  /** The time of a hub, for its gateways. */
  readonly nowMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

export function problem(status: ProblemStatus, { headers = {}, ...rest }: Details = {}): Response {
  const body: Problem = { type: "about:blank", title: titles[status], status, ...rest };
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      ...headers,
    },
  });
}

/** A route throws it to respond with an error. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status: ProblemStatus;
  readonly details: Details;

  constructor(status: ProblemStatus, details: Details = {}) {
    super(titles[status]);
    this.status = status;
    this.details = details;
  }
}
