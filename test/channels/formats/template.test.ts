/** Templates: which ones are refused, and that a value cannot change the structure. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import {
  parseTemplate,
  templateFormat,
  templateVariables,
} from "../../../src/channels/formats/template.ts";
import type { Message } from "../../../src/delivery/target.ts";
import { anEvent, hostileMessage, messageOf } from "../../support/events.ts";
import { ALICE, peer } from "../../support/peers.ts";

const URL_ = new URL("https://hooks.example.net/wgmon");

function rendered(template: unknown, message: Message): unknown {
  const parsed = parseTemplate(JSON.stringify(template));
  if ("problem" in parsed) throw new Error(parsed.problem);
  return JSON.parse(templateFormat(parsed.value).request(message, URL_).body);
}

function problem(template: unknown): string | null {
  const parsed = parseTemplate(JSON.stringify(template));
  return "problem" in parsed ? parsed.problem : null;
}

const every = Object.fromEntries(templateVariables.map((name) => [name, `{{${name}}}`]));

describe("the values of a template", () => {
  test("a template variable that is the whole string keeps its type", () => {
    expect(rendered(every, messageOf(anEvent("peer.roamed")))).toMatchInlineSnapshot(`
      {
        "cause": null,
        "count": 1,
        "device": "wg0",
        "host": "gw1",
        "id": "evt_11111111111111111111111111111111",
        "initial": null,
        "kind": null,
        "listenPort": null,
        "peer.allowedIps": [
          "10.0.0.2/32",
        ],
        "peer.endpoint": "198.51.100.7:40001",
        "peer.name": "alice",
        "peer.publicKey": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=",
        "peer.tags": [],
        "previousEndpoint": "192.0.2.1:51820",
        "reason": null,
        "reminder": null,
        "rule": null,
        "sentence": null,
        "session.durationMs": null,
        "session.endedAt": null,
        "session.roams": 0,
        "session.rxBytes": 212,
        "session.startedAt": "2026-11-22T16:19:04.417Z",
        "session.txBytes": 92,
        "severity": null,
        "since": null,
        "text": "alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001",
        "timestamp": "2026-11-22T16:19:04.417Z",
        "title": "WireGuard on gw1",
        "type": "peer.roamed",
        "version": 1,
      }
    `);
  });

  test("a template has the severity, the rule and the sentence of an alert, and no peer if there are several", () => {
    const template = [
      "{{severity}}",
      "{{rule}}",
      "{{kind}}",
      "{{since}}",
      "{{cause}}",
      "{{reminder}}",
      "{{peer.name}}",
      "{{device}}: {{sentence}}",
    ];
    const since = "2026-11-22T16:14:04.417Z";
    expect(rendered(template, messageOf(anEvent("alert.firing")))).toEqual([
      "critical",
      "offices",
      "down",
      since,
      null,
      false,
      "alice",
      "wg0: alice (wg0) is down: no data for 5m; check the peer and its network",
    ]);
    const several = anEvent("alert.resolved", { alert: { names: ["bob", "carol"] } });
    expect(rendered(template, messageOf(several))).toEqual([
      "critical",
      "offices",
      "down",
      since,
      null,
      null,
      null,
      "wg0: 2 alerts of rule offices: bob (wg0) is back after 5m; carol (wg0) is back after 5m",
    ]);
  });

  test("a template's sentence of an alert is not cut, and is one line", () => {
    const sentence = `a\n${"b".repeat(2000)}`;
    const event = anEvent("alert.firing", { alert: { sentence } });
    expect(rendered("{{sentence}}", messageOf(event))).toBe(`a ${"b".repeat(2000)}`);
  });

  test("a template variable without a value is null as a whole string, and empty within a text", () => {
    const template = { reason: "{{reason}}", text: "[{{ reason }}] {{peer.name}}" };
    const event = anEvent("peer.connected", { name: null, peer: peer({ endpoint: null }) });
    expect(rendered(template, messageOf(event))).toEqual({ reason: null, text: "[] " });
    expect(
      rendered(
        { a: "{{peer.endpoint}}", b: "{{session.roams}}" },
        messageOf(anEvent("device.added")),
      ),
    ).toEqual({ a: null, b: null });
  });

  test("several template variables in one text are replaced, with and without spaces, and if repeated", () => {
    const template =
      "{{device}}{{ device }}: {{session.rxBytes}} B, {{initial}}, {{peer.allowedIps}}";
    const someone = peer({ allowedIps: ["10.0.0.2/32", "fd00::2/128"] });
    expect(rendered(template, messageOf(anEvent("peer.connected", { peer: someone })))).toBe(
      "wg0wg0: 212 B, false, 10.0.0.2/32, fd00::2/128",
    );
  });

  test("for several events, a template has all lines, the count, and the fields of the first event", () => {
    const message = messageOf(anEvent("peer.connected"), anEvent("device.removed"));
    expect(
      rendered(["{{text}}", "{{count}}", "{{title}}", "{{type}} {{peer.publicKey}}"], message),
    ).toEqual([
      "alice (wg0) connected from 198.51.100.7:40001\nwg0 removed",
      2,
      "WireGuard on gw1",
      `peer.connected ${ALICE}`,
    ]);
  });

  test("the rest of a template's JSON is unchanged", () => {
    const template = { a: [1, -2.5e3, true, null, "x", { "": {} }], __proto: "{ {text}}" };
    expect(rendered(template, messageOf(anEvent("device.added")))).toEqual(template);
    const odd = '{"__proto__":{"a":"{{device}}"}}';
    const parsed = parseTemplate(odd);
    if ("problem" in parsed) throw new Error(parsed.problem);
    expect(templateFormat(parsed.value).request(messageOf(anEvent("device.added")), URL_)).toEqual({
      url: URL_.href,
      contentType: "application/json",
      body: '{"__proto__":{"a":"wg0"}}',
    });
  });

  test("the body of a template is signed", () => {
    const parsed = parseTemplate("{}");
    expect("value" in parsed && templateFormat(parsed.value).isSigned).toBe(true);
  });

  test("with any names, the structure is the template's, and variables in a name are not replaced", () => {
    const template = { all: every, list: [{ text: "a {{peer.name}} b" }, 1], "{x}": "}} {{host}}" };
    fc.assert(
      fc.property(hostileMessage, (message) => {
        const result = rendered(template, message) as typeof template;
        expect(Object.keys(result)).toEqual(Object.keys(template));
        expect(Object.keys(result.all)).toEqual([...templateVariables]);
        const { text } = result.list[0] as { text: string };
        expect(text).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
        expect(text).toStartWith("a ");
        expect(text).toEndWith(" b");
        expect(JSON.stringify(result)).not.toMatch(/\\ud[89a-f]/);
        expect(result.all.text!.split("\n")).toHaveLength(message.events.length);
      }),
      { numRuns: 100 },
    );
  });
});

describe("parseTemplate", () => {
  test.each(["", "{", "{'a': 1}", "text: {{text}}", '{"a": {{text}}}'])(
    "parseTemplate refuses the text %s because it is not JSON",
    (text) => {
      expect(parseTemplate(text)).toEqual({ problem: "is not JSON" });
    },
  );

  test.each([
    ["{{peer.nmae}}", "has an unknown variable {{peer.nmae}} (did you mean {{peer.name}}?)"],
    ["{{ Text }}", "has an unknown variable {{Text}} (did you mean {{text}}?)"],
    ["a {{nonsense.at.all}} b", "has an unknown variable {{nonsense.at.all}}"],
    ["{{constructor}}", "has an unknown variable {{constructor}}"],
    ["{{}}", "has a {{ }} without a variable name"],
    ["{{{text}}}", "has a {{ }} without a variable name"],
    ["{{#if text}}", "has a {{ }} without a variable name"],
    [`{{${"x".repeat(41)}}}`, "has a {{ }} without a variable name"],
    ["{{text", "has a {{ without a }}"],
    ["{{text}} {{", "has a {{ without a }}"],
    [
      { a: [{ b: "{{text}}" }, "{{txt}}"] },
      "has an unknown variable {{txt}} (did you mean {{text}}?)",
    ],
    [{ "{{device}}": 1 }, "has a variable in a key; only values can have them"],
  ])("parseTemplate refuses the value %j because it %s", (template, expected) => {
    expect(problem(template)).toBe(expected);
  });

  test("parseTemplate refuses any JSON that has a problem, or accepts it and can render it", () => {
    const braces = fc.constantFrom("{{", "}}", "text", " ", "{", "}", ".", "peer.name");
    const leaf = fc.array(braces, { maxLength: 8 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(fc.oneof(leaf, fc.dictionary(leaf, leaf), fc.array(leaf)), (template) => {
        if (problem(template) !== null) return;
        rendered(template, messageOf(anEvent("peer.connected")));
      }),
    );
  });
});
