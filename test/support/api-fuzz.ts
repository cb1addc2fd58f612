/**
 * Fuzzes the HTTP API: generates valid and invalid requests from its OpenAPI document, and checks each response
 * against the document. No response may contain a part of the request.
 */

import Ajv from "ajv/dist/2020.js";
import fc from "fast-check";

import { Broken, type Place, type RawAnswer, RawHttp } from "./raw-http.ts";

/** Part of every generated value: no response may contain it. */
const MARKER = "zqMARKqz";

export interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: object;
}

interface Operation {
  readonly parameters: readonly Parameter[];
  readonly requestBody?: object;
  readonly responses: Readonly<
    Record<string, { readonly content: Readonly<Record<string, object>> }>
  >;
}

interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required: boolean;
  readonly schema: Schema;
}

interface Schema {
  readonly anyOf?: readonly { readonly const: string }[];
  readonly type?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly format?: string;
}

/**
 * Existing values (peer keys, device names, ...), by name of the parameter. By path: valid bodies, as JSON, of an operation
 * that needs one.
 */
export type Known = Readonly<Record<string, readonly string[]>>;

type Header = readonly [name: string, value: string];

export interface FuzzRequest {
  readonly method: string;
  /** The bytes on the wire, as latin1. */
  readonly target: string;
  readonly headers: readonly Header[];
  readonly body: string;
  /** The document allows this request: the response must not report an error in it. */
  readonly isValid: boolean;
}

export interface Fuzz {
  readonly place: Place;
  readonly document: Document;
  readonly known: Known;
  /** Texts that no response may contain. */
  readonly secrets: readonly string[];
  /** The server requires a token, and no request has it. */
  readonly isLocked: boolean;
  readonly runs: number;
  readonly seed: number;
  /** Called before each request. */
  readonly before?: () => void;
}

/** Number of responses by status; "broken": no complete response to a request with ambiguous framing. */
export type Statuses = Map<number | "broken", number>;

/** Sends complete requests. @throws on the first bad response, with the seed and the smallest failing request. */
export async function fuzzRequests(fuzz: Fuzz): Promise<Statuses> {
  const check = createCheck(fuzz);
  const statuses: Statuses = new Map();
  let client: RawHttp | null = null;
  const property = fc.asyncProperty(requests(fuzz), async (request) => {
    fuzz.before?.();
    const isWellFramed = request.headers.every(([name]) => !FRAMING.test(name));
    if (client?.isReusable !== true || !isWellFramed) {
      client?.[Symbol.dispose]();
      client = await RawHttp.connect(fuzz.place);
    }
    let outcome: number | "broken" = "broken";
    try {
      const answer = await client.ask(bytesOf(request), request.method);
      check(request, answer);
      if (isWellFramed && client.left > 0) throw new Error("more bytes than one response");
      outcome = answer.status;
    } catch (error) {
      client[Symbol.dispose]();
      client = null;
      if (!(error instanceof Broken && !isWellFramed)) throw error;
    }
    if (!isWellFramed) {
      client?.[Symbol.dispose]();
      client = null;
    }
    statuses.set(outcome, (statuses.get(outcome) ?? 0) + 1);
  });
  await fc.assert(property, { numRuns: fuzz.runs, seed: fuzz.seed, endOnFailure: false });
  (client as RawHttp | null)?.[Symbol.dispose]();
  return statuses;
}

/**
 * Sends bytes that are not a request, or a part of one. The server must respond with an error or close the connection.
 * Resolves with the number of responses.
 */
export async function fuzzBytes(fuzz: Fuzz): Promise<number> {
  let answered = 0;
  const damage = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    cut: fc.nat(40),
    put: fc.oneof(
      fc.string({ unit: "binary", maxLength: 5 }),
      fc.constantFrom(
        "\r\n",
        "\n",
        "\r\n\r\n",
        "\0",
        " ",
        ":",
        "HTTP/1.1",
        "%",
        "\xff",
        "0\r\n\r\n",
      ),
    ),
  });
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 400 }).map((noise) => Buffer.from(noise)),
    fc
      .tuple(requests(fuzz), fc.array(damage, { minLength: 1, maxLength: 4 }), fc.boolean())
      .map(([request, damages, isHalf]) => {
        let text = bytesOf(request).toString("latin1");
        for (const { at, cut, put } of damages) {
          const start = Math.floor(at * text.length);
          text = text.slice(0, start) + put + text.slice(start + cut);
        }
        if (isHalf) text = text.slice(0, Math.floor(damages[0]!.at * text.length));
        return Buffer.from(text, "latin1");
      }),
  );
  const property = fc.asyncProperty(bytes, async (garbage) => {
    fuzz.before?.();
    using client = await RawHttp.connect(fuzz.place);
    const text = await client.sendAll(garbage);
    // 505 is the correct response to an unknown HTTP version.
    if (/^HTTP\/1\.1 5(?!0[35])/m.test(text)) throw new Error(`failed: ${text}`);
    checkSecrets(text, fuzz.secrets);
    if (text !== "") answered++;
  });
  await fc.assert(property, { numRuns: fuzz.runs, seed: fuzz.seed });
  return answered;
}

// ---- Requests ----

/** Headers that affect the framing of the request or the connection, and malformed header names. */
const FRAMING = /^(content-length|transfer-encoding|expect|upgrade|connection|host)$|[^\w-]|^$/i;

const edges = [
  ..."-1 0 1 1e3 0x10 1.5 NaN Infinity -0 +1 99999999999999999999 9007199254740993 1e400".split(
    " ",
  ),
  ..."true null undefined [] {} [object+Object] 2026-13-45 2026-02-30T25:61:61Z now".split(" "),
  ..."__proto__ constructor toString ../../etc/passwd %00 %zz % %c3 %ff%fe %u0041".split(" "),
  ..."' \" ' OR 1=1-- ; DROP <script> ${7*7} {{7*7}} $(id) `id`".split(" "),
  "",
];

/** Arbitrary values, percent-encoded for a target where necessary; most contain MARKER. */
const anyValue: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(...edges).map((edge) => `${edge}${MARKER}`),
  fc.constantFrom(...edges),
  fc
    .string({ unit: "binary", maxLength: 30 })
    .map((text) => encodeURIComponent(`${MARKER}${text.toWellFormed()}`)),
  // Bytes that should have been escaped.
  fc
    .string({ unit: "grapheme", maxLength: 10 })
    .map((text) => Buffer.from(`${MARKER}${text}`.replaceAll(/[\s\0]/g, "_")).toString("latin1")),
  fc.integer({ min: 100, max: 6000 }).map((length) => MARKER + "x".repeat(length)),
  // Cursors of sessions, which only the server creates.
  fc.constantFrom(
    ...[[1, MARKER, MARKER], [MARKER], [1e300, "wg0", MARKER], { a: MARKER }, [-1, "", ""]].map(
      (cursor) => Buffer.from(JSON.stringify(cursor)).toString("base64url"),
    ),
  ),
  fc.integer().map(String),
  fc.double().map(String),
);

/** Values that the document allows. */
function validValue({ name, schema }: Parameter, known: Known): fc.Arbitrary<string> {
  const { anyOf, type, pattern, format, minimum = 0, maximum = 1e6, minLength, maxLength } = schema;
  const values = known[name];
  if (values !== undefined) return fc.constantFrom(...values).map(encodeURIComponent);
  if (anyOf !== undefined) return fc.constantFrom(...anyOf.map((each) => each.const));
  if (type === "integer")
    return fc.integer({ min: minimum, max: Math.min(maximum, 2 ** 31) }).map(String);
  if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern)).map(encodeURIComponent);
  if (format === "date-time") {
    return fc
      .date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) })
      .map((date) => date.toISOString());
  }
  return fc
    .string({
      unit: "grapheme",
      minLength: minLength ?? 0,
      maxLength: Math.min(maxLength ?? 20, 20),
    })
    .filter((text) => text.length <= (maxLength ?? Infinity))
    .map(encodeURIComponent);
}

const names = ["", "__proto__", "constructor", "limit[]", "limit[0]", "limit.x", "LIMIT", MARKER];

interface Route {
  readonly path: string;
  readonly method: string;
  readonly parameters: readonly Parameter[];
  readonly needsBody: boolean;
}

function requests({ document, known }: Fuzz): fc.Arbitrary<FuzzRequest> {
  const routes: Route[] = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { parameters, requestBody }]) => ({
      path,
      method: method.toUpperCase(),
      parameters,
      needsBody: requestBody !== undefined,
    })),
  );
  // Paths that the document does not list. Most of them exist.
  for (const path of ["/metrics", "/healthz", "/readyz", "/", "/v1/", `/${MARKER}`]) {
    routes.push({ path, method: "GET", parameters: [], needsBody: false });
  }
  return fc.constantFrom(...routes).chain((route) => {
    const valid = validRequest(route, known);
    return fc.oneof(
      { weight: 1, arbitrary: valid },
      { weight: 4, arbitrary: mutatedRequest(route, valid) },
    );
  });
}

const localhost = ["Host", "localhost"] as const;

function validRequest(
  { path, method, parameters, needsBody }: Route,
  known: Known,
): fc.Arbitrary<FuzzRequest> {
  const body: fc.Arbitrary<Body> = needsBody
    ? fc.constantFrom(...known[path]!).map((text) => jsonBody(text))
    : fc.constant(noBody);
  const value = (parameter: Parameter) =>
    parameter.required
      ? validValue(parameter, known)
      : fc.option(validValue(parameter, known), { nil: null, freq: 1 });
  return fc
    .tuple(fc.record(Object.fromEntries(parameters.map((each) => [each.name, value(each)]))), body)
    .map(([values, { headers: bodyHeaders, text: bodyText }]) => {
      const given = parameters.flatMap((each) => {
        const text = values[each.name] ?? null;
        return text === null ? [] : [{ ...each, text }];
      });
      let filled = path;
      for (const { name, in: where, text } of given) {
        if (where === "path") filled = filled.replace(`{${name}}`, text);
      }
      const query = given.filter((each) => each.in === "query");
      const headers = given.filter((each) => each.in === "header");
      return {
        method,
        target: withQuery(
          filled,
          query.map(({ name, text }) => [name, text] as const),
        ),
        headers: [
          localhost,
          ...headers.map(({ name, text }) => [name, text] as const),
          ...bodyHeaders,
        ],
        body: bodyText,
        isValid: !path.includes(MARKER),
      };
    });
}

function withQuery(path: string, pairs: readonly (readonly [string, string])[]): string {
  const query = pairs.map(([name, text]) => `${name}=${text}`).join("&");
  return query === "" ? path : `${path}?${query}`;
}

function mutatedRequest(route: Route, valid: fc.Arbitrary<FuzzRequest>): fc.Arbitrary<FuzzRequest> {
  const own = route.parameters.filter((each) => each.in === "query").map(({ name }) => name);
  const name = fc.constantFrom(...own, ...own, ...own, ...names);
  const path = anyValue.map((text) => route.path.replaceAll(/\{\w+\}/g, () => text));
  // Mostly one part is invalid: of several, the server would report only the first that it checks.
  const mostly = <Value>(usual: Value, weight: number, arbitrary: fc.Arbitrary<Value>) =>
    fc.oneof({ weight, arbitrary: fc.constant(usual) }, arbitrary);
  const oddHeader = fc.oneof(
    fc.constantFrom(...oddHeaders),
    fc.tuple(
      fc.constantFrom(...headerNames),
      fc.oneof(fc.constant(MARKER), fc.string({ maxLength: 20 }), fc.constantFrom(...edges)),
    ),
  );
  return fc
    .record({
      request: valid,
      method: mostly(route.method, 8, fc.constantFrom(...methods)),
      path: mostly(null, 1, path),
      pairs: mostly([], 1, fc.array(fc.tuple(name, anyValue), { minLength: 1, maxLength: 3 })),
      rewrite: mostly(unchanged, 5, fc.constantFrom(...rewrites)),
      headers: mostly([], 4, fc.array(oddHeader, { minLength: 1, maxLength: 3 })),
      host: mostly([localhost], 12, fc.constantFrom(...hosts)),
      body: mostly(noBody, 8, fc.constantFrom(...bodies)),
    })
    .map(({ request, method, path: other, pairs, rewrite, headers, host, body }) => {
      const [start, query] = request.target.split("?");
      // The valid query stays, after the generated pairs.
      const all = pairs.map(([key, text]) => `${key}=${text}`).concat(query ?? []);
      const target = `${other ?? start}${all.length === 0 ? "" : `?${all.join("&")}`}`;
      const odd = headers.map(
        ([header, value]) => [header, value.replaceAll(/[\r\n\0]/g, " ")] as const,
      );
      const [headersOfBody, text] =
        body === noBody ? [[], request.body] : [body.headers, body.text];
      // The generated body replaces a valid one.
      const kept = request.headers
        .slice(1)
        .filter(([header]) => body === noBody || !/^content-/i.test(header));
      return {
        method,
        target: rewrite(target),
        headers: [...host, ...kept, ...odd, ...headersOfBody],
        body: text,
        isValid: false,
      };
    });
}

const methods = (
  "GET HEAD OPTIONS POST PUT DELETE PATCH TRACE CONNECT PROPFIND M-SEARCH PURGE QUERY get Get FOO " +
  `PRI ${MARKER}`
).split(" ");

type Rewrite = (target: string) => string;
const unchanged: Rewrite = (target) => target;
/** Other spellings of a target, and malformed targets. */
const rewrites: readonly Rewrite[] = [
  (target) => target.replace("/v1", "/v1/../v1"),
  (target) => target.replace("/v1", "//v1"),
  (target) => target.replace("/v1/", "/v1//"),
  (target) => target.replace("/v1/", "/v1%2f"),
  (target) => target.replace("/v1", "/%76%31"),
  (target) => target.replace("/v1", "/./v1/."),
  (target) => target.replace("/v1", "\\v1"),
  (target) => target.replace("/v1", "/V1"),
  (target) => target.replace("/v1", `/v1;${MARKER}`),
  (target) => target.replace("?", `/?`),
  (target) => `${target}#${MARKER}`,
  (target) => `${target}&&&==&?${MARKER}`,
  (target) => `/..%2f..%2f${target}`,
  (target) => `/v1/%2e%2e/%2e%2e/${MARKER}${target}`,
  (target) => `http://${MARKER}.example${target}`,
  (target) => `http://localhost:99999${target}`,
  (target) => `//${MARKER}.example${target}`,
  (target) => `https:${target}`,
  (target) => target.slice(1),
  (target) => `${target}\x80\xff`,
  (target) => `${target}%00${MARKER}`,
  (target) => `${target}/${MARKER}`,
  (target) => `${target}?${"a=1&".repeat(2000)}`,
  (target) => target + MARKER.repeat(2500),
  () => "*",
  () => "/",
  () => "/../../../../etc/passwd",
  () => `/v1/peers/wg0/${"../".repeat(50)}${MARKER}`,
];

const long = MARKER + "x".repeat(16_384);
const headerNames = (
  "Range Accept Accept-Encoding Accept-Language Last-Event-ID Authorization Origin Cookie Referer " +
  "If-None-Match If-Modified-Since If-Range X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto " +
  "Forwarded X-HTTP-Method-Override X-Original-URL X-Rewrite-URL Content-Type Content-Encoding " +
  "Access-Control-Request-Method Sec-Fetch-Site TE Trailer Via Max-Forwards Date"
).split(" ");
const oddHeaders: readonly Header[] = [
  ["Range", "bytes=0-0"],
  ["Range", "bytes=-1"],
  ["Range", "bytes=9999999999999999999-"],
  ["Range", `bytes=${"0-1,".repeat(500)}`],
  ["Accept-Encoding", "gzip, deflate, br, zstd"],
  ["Accept-Encoding", `identity;q=0, ${MARKER}`],
  ["Accept", "application/openmetrics-text"],
  ["Accept", "application/xml"],
  ["Last-Event-ID", "0"],
  ["Last-Event-ID", "999999999999999"],
  ["Last-Event-ID", "9".repeat(40)],
  ["Last-Event-ID", "-1"],
  ["Last-Event-ID", MARKER],
  ["If-None-Match", "*"],
  ["Authorization", `Bearer ${MARKER}`],
  ["Authorization", `Bearer ${"x".repeat(8000)}`],
  ["Authorization", "Basic OjpiOg=="],
  ["Origin", `https://${MARKER}.example`],
  ["Origin", "null"],
  ["Origin", "http://localhost"],
  ["X", long],
  [MARKER, MARKER],
  ["__proto__", MARKER],
  ["constructor", MARKER],
  ["Expect", "100-continue"],
  ["Expect", MARKER],
  ["Connection", "Upgrade"],
  ["Connection", "close"],
  ["Upgrade", "websocket"],
  ["Upgrade", "h2c"],
  ["HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"],
  ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
  ["Content-Length", "-1"],
  ["Content-Length", "1e1"],
  ["Content-Length", "99999999999999999999"],
  ["Content-Length", "0, 0"],
  ["Transfer-Encoding", "identity"],
  ["Transfer-Encoding", `chunked, ${MARKER}`],
  [" Space", "before"],
  ["No\tname", MARKER],
  ["\xffname", "\xff"],
  ["", MARKER],
];
const hosts: readonly (readonly Header[])[] = [
  [],
  [localhost, localhost],
  [localhost, ["Host", MARKER]],
  ...["127.0.0.1:99999", "999.999.999.999", "[::::1]", "[:]", "[::1", "localhost:", ":80", "a b"]
    .concat("", "pi", "0", "1.2.3.4.5", "localhost/x", "localhost?x", "localhost#x", "a@localhost")
    .concat(`${MARKER}.example`, "\xff", "localhost.", "xn--a", "%6c%6f", "x".repeat(4000))
    .map((host) => [["Host", host]] as const),
];

interface Body {
  readonly headers: readonly Header[];
  readonly text: string;
}

const noBody: Body = { headers: [], text: "" };

function jsonBody(text: string): Body {
  const bytes = Buffer.from(text);
  return {
    headers: [
      ["Content-Type", "application/json"],
      ["Content-Length", String(bytes.length)],
    ],
    text: bytes.toString("latin1"),
  };
}
const types = ["application/json", "text/plain", "multipart/form-data; boundary=x", "x", MARKER];
const texts = [
  "{}",
  `{"limit":"${MARKER}"}`,
  `{"matchers":["${MARKER}"],"for":"2h"}`,
  `{"matchers":["peer=x"],"for":"${MARKER}"}`,
  `{"matchers":["peer=x"],"until":"${MARKER}"}`,
  `{"matchers":"${MARKER}","${MARKER}":[]}`,
  `{"matchers":[1,null,{}],"for":1}`,
  `{"matchers":["peer=x"],"for":"2h","until":"2100-01-01T00:00:00Z"}`,
  "{",
  "[".repeat(900),
  "\xff\xfe",
  `a=${MARKER}`,
  "x".repeat(3000),
];
const bodies: readonly Body[] = [
  ...types.flatMap((type) =>
    texts.map((text) => ({
      headers: [
        ["Content-Type", type],
        ["Content-Length", String(text.length)],
      ] as const,
      text,
    })),
  ),
  ...["5\r\nhello\r\n0\r\n\r\n", "zz\r\n", "ffffffffffffffff\r\nx", "0;x=y\r\nA: b\r\n\r\n"].map(
    (text) => ({
      headers: [["Transfer-Encoding", "chunked"]] as const,
      text,
    }),
  ),
  // Two headers that disagree about the length: request smuggling.
  {
    headers: [
      ["Content-Length", "5"],
      ["Transfer-Encoding", "chunked"],
    ],
    text: "0\r\n\r\n",
  },
  {
    headers: [
      ["Content-Length", "3"],
      ["Content-Length", "5"],
    ],
    text: "hello",
  },
  {
    headers: [["Content-Length", "0"]],
    text: `GET /${MARKER} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
  },
];

function bytesOf({ method, target, headers, body }: FuzzRequest): Buffer {
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n${body}`, "latin1");
}

// ---- Checks of the responses ----

/** Statuses of any request that the document does not list. */
const GENERAL = [400, 403, 404, 405, 413, 417, 431];

function createCheck(fuzz: Fuzz): (request: FuzzRequest, answer: RawAnswer) => void {
  const { document, secrets, isLocked } = fuzz;
  const locked = isLocked ? [401] : [];
  const ajv = new Ajv({
    strict: false,
    formats: { "date-time": (text: string) => new Date(text).toJSON() === text },
  });
  ajv.addSchema(document, "api");
  const problemSchema = "api#/components/schemas/Problem";

  const checkJson = (reference: string, text: string): void => {
    const validate = ajv.getSchema(reference);
    if (validate === undefined) throw new Error(`the document has no ${reference}`);
    if (validate(JSON.parse(text)) !== true) {
      throw new Error(`${reference}: ${ajv.errorsText(validate.errors)}: ${text.slice(0, 500)}`);
    }
  };

  return (request, { status, head, headers, body }) => {
    if (status >= 500 && status !== 503) throw new Error(`status ${status}: ${body}`);
    const isPage = isOfPage(request);
    // The page shows the text of a search.
    checkSecrets(head + body, isPage ? secrets : [MARKER, ...secrets]);
    const type = headers.get("content-type") ?? null;
    // Bun itself rejects malformed and oversized requests, with an empty response.
    if (type === null && body === "" && [400, 413, 417, 431].includes(status)) return;
    if (headers.get("x-content-type-options") !== "nosniff") throw new Error("no nosniff");
    if (isPage) {
      const isHtml = type?.startsWith("text/html") === true;
      if (isHtml && !headers.has("content-security-policy")) throw new Error("a page without CSP");
      if (isLocked && isHtml && !isOfLogin(request)) throw new Error("a page without the token");
      return;
    }
    if (headers.get("cache-control") !== "no-store") throw new Error("no no-store");
    for (const name of headers.keys()) {
      if (/^(server|x-powered-by|access-control-.*)$/.test(name)) throw new Error(`header ${name}`);
    }
    const found = operationAt(document, request);
    if (request.isValid && status >= 400 && ![404, 429, 503].concat(locked).includes(status)) {
      throw new Error(`the document allows the request, but the response is ${status} ${body}`);
    }
    if (request.method === "HEAD") return;
    if (status >= 400) {
      if (type !== "application/problem+json") throw new Error(`type ${type} of status ${status}`);
      checkJson(problemSchema, body);
      if ((JSON.parse(body) as { status: number }).status !== status) throw new Error("status");
      if (status === 405 && !headers.has("allow")) throw new Error("405 without Allow");
      const isListed = found !== null && Object.hasOwn(found.operation.responses, status);
      if (!isListed && !GENERAL.concat(locked).includes(status))
        throw new Error(`${status} is not in the document`);
      return;
    }
    if (isLocked && !/^ok|^ready/.test(body)) throw new Error(`${status} without the token`);
    if (found === null) {
      if (
        type?.startsWith("text/plain") !== true &&
        type?.startsWith("application/openmetrics") !== true
      ) {
        throw new Error(`${status} for a path that is not in the document`);
      }
      return;
    }
    const content = found.operation.responses[status]?.content;
    if (content === undefined) throw new Error(`${status} is not in the document`);
    const given = Object.keys(content).find((each) => type?.split(";")[0] === each);
    if (given === undefined) throw new Error(`type ${type} is not in the document`);
    if (given !== "application/json") return;
    const path = ["paths", found.path, request.method.toLowerCase(), "responses", String(status)];
    const pointer = [...path, "content", given, "schema"].map((part) =>
      encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")),
    );
    checkJson(`api#/${pointer.join("/")}`, body);
  };
}

function checkSecrets(text: string, secrets: readonly string[]): void {
  const lower = text.toLowerCase();
  for (const secret of secrets) {
    if (lower.includes(secret.toLowerCase()))
      throw new Error(`${secret} came back: ${text.slice(0, 800)}`);
  }
}

/** Whether the target belongs to the page, not to the HTTP API. */
function isOfPage(request: FuzzRequest): boolean {
  const path = pathOf(request);
  return path !== null && !/^\/(?:v1\/|metrics$|healthz$|readyz$)/.test(path);
}

/** The parts of the page that need no token. */
function isOfLogin(request: FuzzRequest): boolean {
  return /^\/(?:login$|theme$|assets\/)/.test(pathOf(request) ?? "");
}

function pathOf({ target }: FuzzRequest): string | null {
  // The absolute form of a target, as for a proxy: the host is ignored.
  return URL.parse(`http://localhost${target.replace(/^https?:\/+[^/]*/, "")}`)?.pathname ?? null;
}

/** The operation of the target, after the normalisation that URL does; null if the document has none. */
function operationAt(document: Document, request: FuzzRequest) {
  const { method } = request;
  const pathname = pathOf(request);
  if (pathname === null) return null;
  const parts = pathname.split("/");
  for (const [path, operations] of Object.entries(document.paths)) {
    const wanted = path.split("/");
    const fits =
      wanted.length === parts.length &&
      wanted.every((part, index) => part.startsWith("{") || part === parts[index]);
    const operation = operations[method.toLowerCase()];
    if (fits && operation !== undefined && method === method.toUpperCase())
      return { path, operation };
  }
  return null;
}
