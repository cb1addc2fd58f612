/** Sanitizes names, and truncates lines to the limits of a service. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { sanitize, shortName, truncate } from "../../../src/base/text.ts";
import {
  describeShort,
  escapeMarkdown,
  formatLines,
  linesWithHost,
  type Look,
  lookOf,
  severityOf,
  truncateLines,
  withoutMentions,
} from "../../../src/channels/formats/message-text.ts";
import type { AlertEvent, Event, Severity } from "../../../src/events/event-schema.ts";
import {
  type AlertFields,
  anEvent,
  hostileEvent,
  hostileText,
  messageOf,
} from "../../support/events.ts";
import { ALICE } from "../../support/peers.ts";

describe("sanitize", () => {
  test.each([
    ["alice's phone", "alice's phone"],
    ["  two\t\n words ", "two words"],
    ["a\r\nb\u2028c\u0085d\0e", "a b c d e"],
    ["\x1b[31mred", "[31mred"],
    ["evil\u202egnp.exe", "evilgnp.exe"],
    ["\u2066a\u2069\u200e\u200f\u061c", "a"],
    ["a\u200bl\ufeffi\u00adce", "alice"],
    ["half \ud800 pair", "half \ufffd pair"],
    ["👩‍👩‍👧 ❤️ می‌خواهم", "👩‍👩‍👧 ❤️ می‌خواهم"],
    ["\u200d\u200c \ufe0f\u200d", ""],
    ["\n \t", ""],
  ])("sanitize changes %j to %j", (text, cleaned) => {
    expect(sanitize(text)).toBe(cleaned);
  });

  test("sanitize leaves no line ends, no direction marks and no lone surrogates", () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        const cleaned = sanitize(text);
        expect(cleaned).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\u200b]/u);
        expect(cleaned.isWellFormed()).toBe(true);
        expect(cleaned.trim()).toBe(cleaned);
        expect(sanitize(cleaned)).toBe(cleaned);
      }),
    );
  });
});

describe("truncate", () => {
  test.each([
    ["alice", 5, "alice"],
    ["alice!", 5, "alic…"],
    ["👩‍👩‍👧👩‍👩‍👧", 15, "👩‍👩‍👧…"],
    ["👩‍👩‍👧👩‍👩‍👧", 16, "👩‍👩‍👧👩‍👩‍👧"],
    ["e\u0301e\u0301e\u0301", 4, "e\u0301…"],
    [`e${"\u0301".repeat(300)}`, 5, `e${"\u0301".repeat(3)}…`],
    ["😀\u0301\u0301\u0301", 2, "…"],
  ])("truncate cuts %j to %d units as %j", (text, max, short) => {
    expect(truncate(text, max)).toBe(short);
  });

  test("truncate keeps the limit, and splits no character", () => {
    fc.assert(
      fc.property(hostileText, fc.integer({ min: 1, max: 300 }), (text, max) => {
        const short = truncate(text.toWellFormed(), max);
        expect(short.length).toBeLessThanOrEqual(max);
        expect(short.isWellFormed()).toBe(true);
      }),
    );
  });
});

describe("formatLines and linesWithHost", () => {
  test("formatLines and linesWithHost return a line for each event, linesWithHost with the host", () => {
    const message = messageOf(anEvent("peer.connected"), anEvent("device.removed"));
    const lines = ["alice (wg0) connected from 198.51.100.7:40001", "wg0 removed"];
    expect(formatLines(message)).toEqual(lines);
    expect(linesWithHost(message)).toEqual(lines.map((line) => `gw1: ${line}`));
  });

  test("a name without visible characters counts as no name", () => {
    const [line] = formatLines(messageOf(anEvent("peer.connected", { name: "\u202e\n\u200d" })));
    expect(line).toBe(`${ALICE} (wg0) connected from 198.51.100.7:40001`);
  });

  test("a peer without a name is shown by its whole key in messages, and by the start of the key on terminals and pages", () => {
    const event = anEvent("peer.connected", { name: null });
    expect(formatLines(messageOf(event))).toEqual([
      `${ALICE} (wg0) connected from 198.51.100.7:40001`,
    ]);
    expect(describeShort(event)).toBe("AAAAAAAA… (wg0) connected from 198.51.100.7:40001");
  });

  test("a name of the maximum length of the settings is not truncated", () => {
    expect(shortName("😀".repeat(64))).toBe("😀".repeat(64));
  });

  test("with any names, a line is a single line and shorter than the smallest limit of a service", () => {
    fc.assert(
      fc.property(hostileEvent, (event) => {
        const [line] = linesWithHost(messageOf(event));
        expect(line).not.toMatch(/[\n\r\u2028\u2029]/);
        expect(line!.length).toBeLessThan(800);
      }),
    );
  });
});

describe("the text of an alert", () => {
  const line = (alert: AlertFields, type: AlertEvent["type"] = "alert.firing"): string =>
    formatLines(messageOf(anEvent(type, { alert })))[0]!;

  test("the line of an alert has the severity, the sentence and the rule; a resolved one has no severity", () => {
    expect(line({ severity: "warning" })).toBe(
      "warning: alice (wg0) is down: no data for 5m; check the peer and its network (rule offices)",
    );
    expect(line({}, "alert.resolved")).toBe(
      "resolved: alice (wg0) is back after 5m (rule offices)",
    );
  });

  test("the line of several alerts has the rule only once", () => {
    expect(line({ names: ["bob", "carol"] }, "alert.resolved")).toBe(
      "resolved: 2 alerts of rule offices: bob (wg0) is back after 5m; carol (wg0) is back after 5m",
    );
  });

  test("the names within a sentence are on one line, escaped and without mentions", () => {
    const sentence = "@everyone\n*x* (wg0) is down";
    const event = anEvent("alert.firing", { alert: { sentence, rule: "a_b\u202e" } });
    const escape = (text: string) => escapeMarkdown(withoutMentions(text));
    expect(formatLines(messageOf(event), escape)).toEqual([
      "critical: @\u200beveryone \\*x\\* (wg0) is down (rule a\\_b)",
    ]);
    expect(describeShort(event)).toBe("critical: @everyone *x* (wg0) is down (rule a_b)");
  });

  test("a long sentence is cut in messages, but not on terminals and pages", () => {
    const alert = { sentence: "x".repeat(900) };
    expect(line(alert)).toBe(`critical: ${"x".repeat(499)}… (rule offices)`);
    expect(describeShort(anEvent("alert.firing", { alert }))).toContain(alert.sentence);
  });

  test("services without title and colour get a sign for the severity", () => {
    const signs = (["critical", "warning", "info"] as const).map(
      (severity) => linesWithHost(messageOf(anEvent("alert.firing", { alert: { severity } })))[0]!,
    );
    expect(signs.map((text) => text.slice(0, 7))).toEqual(["🔴 gw1:", "🟠 gw1:", "🔵 gw1:"]);
    expect(linesWithHost(messageOf(anEvent("alert.resolved")))[0]).toStartWith(
      "✅ gw1: resolved: ",
    );
  });
});

describe("lookOf and severityOf", () => {
  const firing = (severity: Severity) => anEvent("alert.firing", { alert: { severity } });
  const resolved = anEvent("alert.resolved");
  const connected = anEvent("peer.connected");

  test.each<[string, Event[], Look | null, Severity | null]>([
    ["one event", [connected], "peer.connected", null],
    ["events of one type", [connected, connected], "peer.connected", null],
    ["events of two types", [connected, anEvent("peer.roamed")], null, null],
    ["an alert", [firing("warning")], "warning", "warning"],
    ["a resolved alert", [resolved], "resolved", null],
    ["a resolved alert and another event", [resolved, connected], null, null],
    ["alerts", [firing("info"), firing("critical"), firing("warning")], "critical", "critical"],
    ["alerts and other events", [connected, firing("info"), resolved], "info", "info"],
  ])("the look of %s is that of the most severe alert, otherwise the common one", (...row) => {
    const [, events, look, severity] = row;
    const message = messageOf(...(events as [Event]));
    expect(lookOf(message)).toBe(look);
    expect(severityOf(message)).toBe(severity);
  });
});

describe("truncateLines", () => {
  const lines = ["one", "two", "three", "four"];

  test.each([
    [19, lines],
    [18, ["... and 4 more"]],
    [100, lines],
  ])("truncateLines cuts four lines to %d units as expected", (max, fitted) => {
    expect(truncateLines(lines, { max })).toEqual(fitted);
  });

  test("truncateLines writes the number of omitted lines in the last line", () => {
    const many = Array.from({ length: 20 }, (_, index) => `line ${index}`);
    expect(truncateLines(many, { max: 40 })).toEqual([
      "line 0",
      "line 1",
      "line 2",
      "... and 17 more",
    ]);
  });

  test("truncateLines measures in the unit of sizeOf, and adds perLine for each line", () => {
    const sizeOf = (line: string): number => Buffer.byteLength(line);
    expect(truncateLines(["漢字", "漢字"], { max: 14, sizeOf })).toEqual(["漢字", "漢字"]);
    expect(truncateLines(["漢字", "漢字"], { max: 13, sizeOf })).toEqual(["... and 2 more"]);
    expect(truncateLines(["a", "b"], { max: 21, perLine: 10 })).toEqual(["... and 2 more"]);
  });

  test("truncateLines keeps as many lines as fit, and counts the omitted ones", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ maxLength: 20 }), { minLength: 1 }),
        fc.integer({ min: 20, max: 200 }),
        (all, max) => {
          const fitted = truncateLines(all, { max });
          expect(fitted.join("\n").length).toBeLessThan(max);
          if (fitted.length === all.length && fitted.at(-1) === all.at(-1)) return;
          const [, missing] = /^\.\.\. and (\d+) more$/.exec(fitted.at(-1)!)!;
          expect(fitted.slice(0, -1)).toEqual(all.slice(0, all.length - Number(missing)));
        },
      ),
    );
  });
});

test.each([
  ["@everyone", "@\u200beveryone"],
  ["x@here", "x@\u200bhere"],
  ["@alice", "@\u200balice"],
  ["_@all", "_@\u200ball"],
  ["alice@example.net", "alice@example.net"],
  ["<@1> <@&2> <!channel> <#3>", "<\u200b@\u200b1> <\u200b@\u200b&2> <\u200b!channel> <\u200b#3>"],
  ["<users/all>", "<\u200busers/all>"],
  ["1 < 2", "1 < 2"],
])("withoutMentions makes %s harmless", (text, harmless) => {
  expect(withoutMentions(text)).toBe(harmless);
});

test("Markdown is escaped", () => {
  expect(escapeMarkdown("*a* _b_ ~~c~~ `d` [e](f) ||g|| \\")).toBe(
    "\\*a\\* \\_b\\_ \\~\\~c\\~\\~ \\`d\\` \\[e\\](f) \\|\\|g\\|\\| \\\\",
  );
});
