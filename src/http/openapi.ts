/** The OpenAPI 3.1 document of the HTTP API, made from the schemas of its routes. Pure. */

import { schemaNames } from "./schemas.ts";

/** The part of an Elysia route that is used; `hooks` has the schemas. */
export interface Route {
  readonly method: string;
  readonly path: string;
  readonly hooks: unknown;
}

interface Hooks {
  readonly query?: Schema;
  readonly params?: Schema;
  readonly body?: Schema;
  readonly response?: Readonly<Record<string, Schema>>;
  readonly detail?: {
    readonly summary?: string;
    readonly description?: string;
    /** Responses that are not validated: OpenAPI's own form. */
    readonly responses?: Json;
  };
}

interface Schema {
  readonly $id?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly anyOf?: readonly Schema[];
  readonly type?: string;
  readonly description?: string;
}

type Json = Readonly<Record<string, unknown>>;

/** Descriptions of the statuses. */
const statusDescriptions: Readonly<Record<string, string>> = {
  200: "success",
  201: "added",
  401: "the token is missing or wrong",
  403: "the Host or Origin header does not name this server",
  404: "not found",
  422: "a parameter is invalid",
  429: "too many requests",
  503: "too many requests at once, or a device cannot be read now",
};

export function openApi(routes: readonly Route[], version: string): Json {
  const schemas: Record<string, unknown> = {};
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { method, path, hooks } of routes) {
    const { detail = {}, query, params, body, response = {} } = hooks as Hooks;
    const template = path.replaceAll(/:(\w+)/g, "{$1}");
    paths[template] ??= {};
    paths[template][method.toLowerCase()] = {
      operationId: operationId(method, path),
      ...detail,
      parameters: [
        ...parameters("path", params, schemas),
        ...parameters("query", query, schemas),
        ...(path.endsWith("/stream") ? [lastEventId] : []),
      ],
      ...(body === undefined ? {} : { requestBody: requestBody(body, schemas) }),
      responses: { ...detail.responses, ...responses(path, response, schemas) },
    };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "wgmon",
      version,
      summary: "WireGuard peers that connect, roam and disconnect",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    security: [{}, { token: [] }],
    paths,
    components: {
      schemas,
      securitySchemes: {
        token: {
          type: "http",
          scheme: "bearer",
          description: "required if wgmon has a token (--listen-token-file)",
        },
      },
    },
  };
}

const lastEventId = {
  name: "Last-Event-ID",
  in: "header",
  required: false,
  description: "a browser sends it when it reconnects",
  schema: { type: "string", pattern: "^[0-9]{1,15}$" },
};

/** For example `getPeersByDeviceByPublicKey` for `GET /v1/peers/:device/:publicKey`. */
function operationId(method: string, path: string): string {
  const words = path
    .split("/")
    .slice(2)
    .map((part) => (part.startsWith(":") ? `by-${part.slice(1)}` : part))
    .flatMap((part) => part.split(/[.-]/))
    .map((word) => word[0]!.toUpperCase() + word.slice(1));
  return method.toLowerCase() + words.join("");
}

function parameters(
  location: "path" | "query",
  schema: Schema | undefined,
  schemas: Record<string, unknown>,
): Json[] {
  const required = new Set(schema?.required ?? []);
  return Object.entries(schema?.properties ?? {}).map(([name, each]) => {
    const { description, ...rest } = convert(each, schemas) as { readonly description?: string };
    return {
      name,
      in: location,
      required: required.has(name),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

function requestBody(schema: Schema, schemas: Record<string, unknown>): Json {
  return { required: true, content: { "application/json": { schema: convert(schema, schemas) } } };
}

function responses(
  path: string,
  response: Readonly<Record<string, Schema>>,
  schemas: Record<string, unknown>,
): Json {
  const declared = Object.entries(response).map(([status, schema]) => {
    const type = Number(status) < 400 ? "application/json" : "application/problem+json";
    return [status, responseObject(status, type, convert(schema, schemas))] as const;
  });
  const undeclared: (readonly [string, Json])[] = [];
  if (path.endsWith("/stream")) {
    undeclared.push(["200", responseObject("200", "text/event-stream", { type: "string" })]);
  } else if (declared.length === 0) {
    undeclared.push(["200", responseObject("200", "application/json", { type: "object" })]);
  }
  return Object.fromEntries([...undeclared, ...declared]);
}

function responseObject(status: string, type: string, schema: unknown): Json {
  return { description: statusDescriptions[status] ?? "", content: { [type]: { schema } } };
}

/** The schema as the document has it. A schema with a name is moved to `schemas` and replaced by a reference. */
function convert(schema: unknown, schemas: Record<string, unknown>): unknown {
  if (Array.isArray(schema)) return schema.map((each) => convert(each, schemas));
  if (typeof schema !== "object" || schema === null) return schema;
  const name = schemaNames.get(schema) ?? (schema as Schema).$id;
  if (name === undefined) return convertMembers(schema, schemas);
  if (!Object.hasOwn(schemas, name)) {
    // Set before its members are converted, because a schema may contain itself.
    schemas[name] = null;
    schemas[name] = convertMembers(schema, schemas);
  }
  return { $ref: `#/components/schemas/${name}` };
}

function convertMembers(schema: object, schemas: Record<string, unknown>): Json {
  const { anyOf } = schema as Schema;
  // Elysia's integer type also accepts a string, because query parameters are text. The document shows the integer.
  const number = anyOf?.find(({ type }) => type === "integer");
  const isNumber = number !== undefined && anyOf?.some(({ type }) => type === "string");
  const source: object = isNumber ? { ...schema, anyOf: undefined, ...number } : schema;
  return Object.fromEntries(
    Object.entries(source)
      .filter(([key, value]) => key !== "$id" && value !== undefined)
      .map(([key, value]) => [key, convert(value, schemas)]),
  );
}
