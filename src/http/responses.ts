/** Responses that the server itself gives, and the headers that all responses have. */

import { problem } from "./problem.ts";

export function invalidHost(): Response {
  return harden(problem(400, { detail: "invalid Host header" }));
}

export function wrongHost(): Response {
  return harden(problem(403, { detail: "the Host header does not name this server" }));
}

export function notAllowed(allow = "GET, HEAD"): Response {
  return problem(405, { headers: { allow } });
}

export function text(body: string, status = 200): Response {
  return new Response(body, { status, headers: { "content-type": "text/plain; charset=utf-8" } });
}

export function harden(response: Response): Response {
  response.headers.set("x-content-type-options", "nosniff");
  // Pages of other sites may not load the response, even without reading it.
  response.headers.set("cross-origin-resource-policy", "same-origin");
  if (!response.headers.has("cache-control")) response.headers.set("cache-control", "no-store");
  return response;
}
