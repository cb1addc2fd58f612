/** Which route a request is for, and what is wrong with its parameters. Elysia's own errors repeat what the client sent. */

import type { Route } from "./openapi.ts";
import { DEVICE_PATTERN, ONE_LINE } from "./schemas.ts";

/** The methods that the path allows; empty if no route matches it. */
export function allowedMethods(routes: readonly Route[], path: string): string[] {
  return routes.filter((route) => isRoute(route.path, path)).map(({ method }) => method);
}

/** Whether the path matches the route, for example `/v1/peers/:device/:publicKey`. */
function isRoute(route: string, path: string): boolean {
  const pattern = route.split("/");
  const parts = path.split("/");
  return (
    pattern.length === parts.length &&
    pattern.every((part, index) => part.startsWith(":") || part === parts[index])
  );
}

export function routeOf(routes: readonly Route[], request: Request): Route | null {
  const { pathname } = new URL(request.url);
  const matches = (route: Route) =>
    route.method === request.method && isRoute(route.path, pathname);
  return routes.find(matches) ?? null;
}

/** One error for each invalid parameter, named as in the schema. Never repeats what the client sent. */
export function parameterErrors(
  errors: readonly unknown[],
  route: Route | null,
  request: Request,
): { parameter: string; detail: string }[] {
  const { params, query, body } = (route?.hooks ?? {}) as Hooks;
  const given = body ?? query;
  const schemas = new Map(Object.entries({ ...params?.properties, ...given?.properties }));
  const invalid = new Set(
    errors.map((each) => {
      const { path } = each as { path?: unknown };
      // `/matchers/0` is a part of `matchers`.
      return typeof path === "string" ? (path.split("/")[1] ?? "") : "";
    }),
  );
  let hasUnknown = body !== undefined && invalid.values().some((name) => !schemas.has(name));
  for (const [name, value] of new URL(request.url).searchParams) {
    const schema = schemas.get(name);
    if (schema === undefined) hasUnknown = true;
    // Elysia's error does not name a parameter whose number is out of range.
    else if (!isInRange(schema, value)) invalid.add(name);
  }
  const found = [...schemas]
    .filter(([name]) => invalid.has(name))
    .map(([name, schema]) => ({ parameter: name, detail: expectedValue(schema) }));
  const names = Object.keys(given?.properties ?? {}).join(", ");
  if (body !== undefined && found.length === 0) {
    return [{ parameter: "(body)", detail: `a JSON object with some of: ${names}` }];
  }
  if (!hasUnknown) return found;
  return [
    ...found,
    { parameter: "(unknown)", detail: `known parameters: ${names === "" ? "none" : names}` },
  ];
}

function isInRange({ minimum, maximum }: Schema, value: string): boolean {
  if (minimum === undefined) return true;
  return Number(value) >= minimum && Number(value) <= (maximum ?? Infinity);
}

interface Hooks {
  readonly params?: Schema;
  readonly query?: Schema;
  readonly body?: Schema;
}

type Schema = {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
  readonly const?: unknown;
  readonly type?: string;
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
};

/** What a parameter accepts: `a whole number from 1 to 1000`. */
function expectedValue(schema: Schema): string {
  const { anyOf = [], minimum, maximum, format, pattern, minLength = 0, maxLength } = schema;
  const { items, minItems, maxItems } = schema;
  if (items !== undefined) {
    return `a list of ${minItems} to ${maxItems}, each ${expectedValue(items)}`;
  }
  const words = anyOf.flatMap((each) => ("const" in each ? [String(each.const)] : []));
  if (words.length > 0) return `one of ${words.join(", ")}`;
  if (minimum !== undefined) return `a whole number from ${minimum} to ${maximum}`;
  if (format === "date-time") return "an RFC 3339 time";
  if (pattern === ONE_LINE) {
    return `text of ${minLength} to ${maxLength} characters without control characters`;
  }
  // The name of an interface, on a hub with the gateway before it.
  if (pattern === DEVICE_PATTERN) return "text of 1 to 15 characters";
  if (pattern !== undefined) return `text that matches the pattern ${pattern}`;
  return `text of ${minLength} to ${maxLength} characters`;
}
