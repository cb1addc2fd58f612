/**
 * The tests that each format must pass. test/channels/formats/SERVICE.test.ts calls testFormat() with what is
 * specific to its service.
 */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import type { NamedFormat } from "../../src/channels/formats/format.ts";
import { formatFor, type FormatName, formats } from "../../src/channels/formats/index.ts";
import { explanationIn } from "../../src/channels/refusal.ts";
import type { DeliveryResult, Message } from "../../src/delivery/target.ts";
import { anEvent, eventTypes, hostileEvent, hostileMessage, messageOf } from "./events.ts";

export interface FormatSpec {
  /** A valid URL, with the parameters that the format reads. Its secret is `s3cret`, if the service accepts that. */
  readonly url: string;
  /** Whether `auto` selects the format for this URL. */
  readonly isRecognised: boolean;
  /** Other URLs for which `auto` selects the format. */
  readonly alsoRecognised?: readonly string[];
  /** Similar URLs for which `auto` selects json. */
  readonly notRecognised: readonly string[];
  /** Other URLs, with the problem that validateUrl reports; null: none. */
  readonly checkedUrls: readonly (readonly [url: string, problem: string | null])[];
  /** Expects the requests: `expect(requests).toMatchInlineSnapshot()`, which `bun test` fills in. */
  readonly expectRequests: (requests: object) => void;
  /** How the text of a body is found, and what it must be like; null: the body has no text for people. */
  readonly text: TextSpec | null;
  /** Responses, with the result that interpretResponse returns. */
  readonly responses: readonly (readonly [
    status: number,
    body: string,
    result: DeliveryResult | null,
  ])[];
  /**
   * Bodies of error responses, from the service's documentation, source code or public bug reports, with the
   * explanation that the log shows. Objects are sent as JSON.
   */
  readonly refusals: readonly (readonly [body: unknown, explanation: string | null])[];
}

export interface TextSpec {
  readonly read: (body: string) => Readable;
  /** Bytes in the body. */
  readonly bodyMax?: number;
  /** UTF-16 units in the lines. */
  readonly linesMax?: number;
  /** UTF-16 units. */
  readonly titleMax?: number;
  /** Markup and mentions that no name may cause. */
  readonly forbidden?: RegExp;
  /** The service's escaped characters. They are removed before `forbidden` is tested. */
  readonly escaped?: RegExp;
}

/** The parts of a body that people read. */
interface Readable {
  readonly title?: string;
  readonly lines: readonly string[];
}

const one = messageOf(anEvent("peer.connected"));
const several = messageOf(
  anEvent("peer.connected"),
  anEvent("peer.connected", { name: "bob & co", initial: true }),
  anEvent("peer.disconnected", { device: "wg_1" }),
);
const alerts = messageOf(
  anEvent("peer.connected"),
  anEvent("alert.firing", { alert: { severity: "info", rule: "phones" } }),
  anEvent("alert.firing", { alert: { severity: "warning", names: ["bob & co", "carol"] } }),
  anEvent("alert.resolved"),
);
const hundred = messageOf(
  ...(Array.from({ length: 100 }, (_, index) =>
    anEvent("peer.connected", { name: `somebody with a long name, number ${index}` }),
  ) as [ReturnType<typeof anEvent>]),
);

export function testFormat(name: FormatName, spec: FormatSpec): void {
  const format: NamedFormat = formats[name];
  const url = new URL(spec.url);

  describe(`the format ${name}`, () => {
    test(`the format ${name} makes the expected requests`, () => {
      spec.expectRequests(requestsOf(format, url));
    });
    testRecognition(name, spec);
    testUrls(name, spec);
    testResponses(name, spec);
    if (spec.text !== null) testText(name, url, spec.text);
  });
}

/** The body that a format makes for one event, as JSON. */
export function bodyFor(name: FormatName, url: string): unknown {
  return JSON.parse(formats[name].request(one, new URL(url)).body);
}

/** The members of a body that is a JSON object. */
export function parsed(body: string): Readonly<Record<string, unknown>> {
  return JSON.parse(body) as Readonly<Record<string, unknown>>;
}

export function drop(reason: string): DeliveryResult {
  return { type: "drop", reason };
}

export function stop(reason: string): DeliveryResult {
  return { type: "stop", reason };
}

export function retry(reason: string, afterMs: number | null): DeliveryResult {
  return { type: "retry", reason, afterMs };
}

/** The URL and headers, and the bodies for one event of each type, for three events, and for several alerts. */
function requestsOf(format: NamedFormat, to: URL): object {
  const { url, contentType, headers } = format.request(one, to);
  return {
    to: url,
    with: [contentType, ...Object.entries(headers ?? {}).map((pair) => pair.join(": "))],
    ...Object.fromEntries(
      eventTypes.map((type) => [type, format.request(messageOf(anEvent(type)), to).body]),
    ),
    several: format.request(several, to).body,
    alerts: format.request(alerts, to).body,
  };
}

function testRecognition(name: FormatName, spec: FormatSpec): void {
  const { url, isRecognised, alsoRecognised = [], notRecognised } = spec;
  const recognised = [...(isRecognised ? [url] : []), ...alsoRecognised];
  for (const each of recognised) {
    test(`auto selects the format ${name} for ${each}`, () => {
      expect(formatFor(new URL(each))).toBe(name);
    });
  }
  for (const each of [...(isRecognised ? [] : [url]), ...notRecognised]) {
    test(`auto does not select the format ${name} for ${each}`, () => {
      expect(formatFor(new URL(each))).toBe("json");
    });
  }
}

function testUrls(name: FormatName, { url, checkedUrls }: FormatSpec): void {
  const format: NamedFormat = formats[name];
  const problemOf = (checked: URL): string | null => format.validateUrl?.(checked) ?? null;

  test(`the format ${name} accepts its URL`, () => {
    expect(problemOf(new URL(url))).toBeNull();
  });

  for (const [checked, problem] of checkedUrls) {
    test(`the format ${name} ${problem === null ? "accepts" : "reports the problem of"} ${checked}`, () => {
      expect(problemOf(new URL(checked))).toBe(problem);
      expect(problem ?? "").not.toContain("s3cret");
    });
  }

  test(`the format ${name} makes a valid request for any URL that it accepts, as does the format that auto selects`, () => {
    const own = [url, ...checkedUrls.map(([checked]) => checked)].flatMap((text) =>
      text.split(/(?=[/?&])|(?<=:\/\/)/),
    );
    const piece = fc.oneof(
      fc.constantFrom(...own),
      fc.constantFrom("/", "?", "&", "=", "@", "%00", "é", "token=", "chat_id="),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
        const any = URL.parse(`https://${pieces.join("")}`);
        if (any === null) return;
        for (const each of [format, formats[formatFor(any)]]) {
          if ((each.validateUrl?.(any) ?? null) !== null) continue;
          const { url: to, headers } = each.request(one, any);
          expect(URL.canParse(to)).toBe(true);
          new Headers(headers);
        }
      }),
    );
  });
}

function testResponses(name: FormatName, { url, responses, refusals }: FormatSpec): void {
  const format: NamedFormat = formats[name];
  const { publicParts = [] } = format;
  for (const [status, body, result] of responses) {
    test(`the format ${name} interprets the response ${status} ${JSON.stringify(body)}`, () => {
      expect(format.interpretResponse!(status, body)).toEqual(result);
    });
  }

  test(`the format ${name} interprets any response as a result or null`, () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 100, max: 599 }),
        fc.oneof(fc.json(), fc.string()),
        (status, body) => {
          const result = format.interpretResponse?.(status, body) ?? null;
          if (result !== null) expect(["retry", "drop", "stop"]).toContain(result.type);
        },
      ),
    );
  });

  for (const [body, explanation] of refusals) {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    test(`the format ${name} has an explanation of the refusal ${JSON.stringify(body)}`, () => {
      expect(explanationIn(text, new URL(url), publicParts)).toBe(explanation);
    });
  }

  test(`the format ${name} keeps the public parts of its URLs in an explanation, and hides the others`, () => {
    for (const part of publicParts) {
      const own = new URL(`https://x.example.net/${part}/s3cretKey`);
      expect(explanationIn(`no /${part}/s3cretKey`, own, publicParts)).toBe(`no /${part}/(hidden)`);
    }
  });
}

function testText(name: FormatName, url: URL, text: TextSpec): void {
  const format: NamedFormat = formats[name];
  const { read, bodyMax = Infinity, linesMax = Infinity, titleMax = Infinity } = text;
  const { forbidden, escaped = /(?!)/g } = text;

  test(`the format ${name} keeps its limits and has no forbidden text, with any names`, () => {
    fc.assert(
      fc.property(hostileMessage, (message) => {
        const { body } = format.request(message, url);
        expect(body.isWellFormed()).toBe(true);
        expect(Buffer.byteLength(body)).toBeLessThanOrEqual(bodyMax);

        const { title, lines } = read(body);
        expect(lines.join("\n").length).toBeLessThanOrEqual(linesMax);
        expect((title ?? "").length).toBeLessThanOrEqual(titleMax);

        const { shown, omitted } = countEvents(lines);
        expect(shown.length + omitted).toBe(message.events.length);
        // The first event is always shown.
        expect(shown.length).toBeGreaterThan(0);

        for (const part of [...shown, ...(title === undefined ? [] : [title])]) {
          expect(part).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
          expect(part.isWellFormed()).toBe(true);
          // wgmon writes the brackets of an IPv6 endpoint.
          const bare = part.replace(/\[2001:db8::7\]:40002/g, "").replace(escaped, "x");
          if (forbidden !== undefined) expect(bare).not.toMatch(forbidden);
        }
      }),
      { numRuns: 150 },
    );
  });

  test(`the format ${name} has as many of a hundred events as fit, and the number of the others`, () => {
    const { lines } = read(format.request(hundred, url).body);
    const { shown, omitted } = countEvents(lines);
    expect(shown.length + omitted).toBe(100);
    expect(lines.length).toBeGreaterThan(9);
  });

  test(`the format ${name} has the same body outside the text, with any names`, () => {
    const outsideText = (message: Message): unknown => {
      const { contentType, body } = format.request(message, url);
      const { title, lines } = read(body);
      const texts: unknown[] = [title, lines.join("\n"), ...lines];
      const members = JSON.stringify(membersOf(contentType, body));
      return JSON.parse(members, (_key, value: unknown) => (texts.includes(value) ? "" : value));
    };
    fc.assert(
      fc.property(hostileEvent, (event) => {
        const plain = messageOf(anEvent(event.type as (typeof eventTypes)[number]));
        expect(outsideText(messageOf(event))).toEqual(outsideText(plain));
      }),
      { numRuns: 50 },
    );
  });
}

/** One line is one event, except a last line with the number of omitted events. */
function countEvents(lines: readonly string[]) {
  const [, omitted] = /^\.\.\. and (\d+) more$/.exec(lines.at(-1)!) ?? [];
  return omitted === undefined
    ? { shown: lines, omitted: 0 }
    : { shown: lines.slice(0, -1), omitted: Number(omitted) };
}

function membersOf(contentType: string, body: string): unknown {
  switch (contentType) {
    case "application/json":
      return JSON.parse(body);
    case "application/x-www-form-urlencoded":
      return [...new URLSearchParams(body)];
    default:
      return body;
  }
}
