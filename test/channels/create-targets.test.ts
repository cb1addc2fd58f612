/** Targets made from the settings: their names, their keys in the store, and their requests. */

import { describe, expect, test } from "bun:test";

import { keysOf, makeTargets } from "../../src/channels/create-targets.ts";
import type { Target } from "../../src/delivery/target.ts";
import { targetKey } from "../../src/store/target-key.ts";
import { HandClock } from "../support/clock.ts";
import { anEvent, eventTypes, messageOf } from "../support/events.ts";
import { Receiver } from "../support/receiver.ts";
import { type Given, run } from "../support/settings.ts";

const SLACK = "https://hooks.slack.com/services/T0/B0/s3cret";

const keyOf = (address: string) => targetKey(address, new Uint8Array(32));

function made(toml: string, given: Given = {}): readonly Target[] {
  const { targets } = run([], { ...given, toml }).settings;
  return makeTargets(targets, { version: "0.0.0", clock: new HandClock(), keyOf });
}

function keys(toml: string): readonly string[] {
  return keysOf(run([], { toml }).settings.targets, keyOf);
}

describe("the names of targets", () => {
  test.each<[string, ...string[]]>([
    [`webhook = "${SLACK}"`, "webhook https://hooks.slack.com/..."],
    [
      `webhook = ["https://a.example", "${SLACK}"]`,
      "webhook 1 https://a.example",
      "webhook 2 https://hooks.slack.com/...",
    ],
    [`target = [{ url = "${SLACK}" }]`, "webhook https://hooks.slack.com/..."],
    [`target = [{ name = "ops", url = "${SLACK}" }]`, "ops (slack https://hooks.slack.com/...)"],
    [
      `target = [{ name = "ops", url = "https://a.example", template = "1" }]`,
      "ops (template https://a.example)",
    ],
    [`target = [{ exec = ["/bin/true", "s3cret"] }]`, "exec /bin/true"],
    [
      `webhook = "${SLACK}"\ntarget = [{ exec = ["/bin/true"] }, { name = "x", exec = ["/bin/false"] }]`,
      "webhook 1 https://hooks.slack.com/...",
      "exec 2 /bin/true",
      "x (exec /bin/false)",
    ],
  ])("createTargets gives the expected names for the settings %.60j", (toml, ...names) => {
    expect(made(toml).map(({ channel }) => channel.name)).toEqual(names);
  });
});

describe("the key of a target", () => {
  test("the key of a target is its name, or 16 hex digits that reveal nothing of its address", () => {
    const [slack, ops, exec] = keys(
      `webhook = "${SLACK}"\ntarget = [{ name = "ops", url = "${SLACK}" }, { exec = ["/x"] }]`,
    );
    expect(slack).toBe(keyOf(SLACK));
    expect(ops).toBe("ops");
    expect(exec).toMatch(/^[0-9a-f]{16}$/);
  });

  test("the key of a target does not change with the order, the format, the filters or the spelling of the host", () => {
    const [key] = keys(`webhook = "${SLACK}"`);
    const [, other] = keys(`webhook = ["https://a.example", "json:${SLACK}"]`);
    const [third] = keys(`target = [{ url = "${SLACK}", digest = "1m", peers = ["alice"] }]`);
    const [fourth] = keys(`webhook = "${SLACK.replace("hooks", "HOOKS")}"`);
    expect([other, third, fourth]).toEqual([key, key, key]);
  });

  test("the keys of two targets differ for the same address with other filters, and for other arguments", () => {
    const [first, second, third] = keys(
      `target = [{ url = "${SLACK}", peers = ["a"] }, { url = "${SLACK}", peers = ["b"] }, { url = "${SLACK}" }]`,
    );
    expect([second, third]).toEqual([`${first}-2`, `${first}-3`]);
    const commands = keys(`target = [{ exec = ["/x", "a b"] }, { exec = ["/x", "a", "b"] }]`);
    expect(new Set(commands).size).toBe(2);
  });
});

test("a target accepts the events that match its filters, and has the digest interval of its settings", () => {
  const toml = `
    [[target]]
    url = "https://a.example"
    events = ["peer.disconnected"]
    peers = ["alice"]
    digest = "1m"`;
  const [target] = made(toml);
  const wanted = eventTypes.filter((type) => target!.accepts(anEvent(type, { name: "alice" })));
  expect(wanted).toEqual(["peer.disconnected"]);
  expect(target!.accepts(anEvent("peer.disconnected", { name: "bob" }))).toBe(false);
  expect(target!.digestMs).toBe(60_000);
});

test("a message is sent with the format, template, signature or program of the settings", async () => {
  using receiver = new Receiver();
  const toml = `
    webhook_secret_file = "/s"
    webhook = "form:${receiver.url("/form")}"
    [[target]]
    url = "${receiver.url("/json")}"
    [[target]]
    url = "${receiver.url("/template")}"
    template = '["{{type}}"]'
    [[target]]
    exec = ["/bin/sh", "-c", "exit 65"]`;
  const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  const message = messageOf(anEvent("peer.connected"));
  const verdicts: string[] = [];
  for (const { channel } of made(toml, { files: { "/s": secret } })) {
    const { type } = await channel.attempt(message, new AbortController().signal);
    verdicts.push(type);
  }
  expect(verdicts).toEqual(["delivered", "delivered", "delivered", "drop"]);
  const [form, json, template] = receiver.requests;
  expect(form!.body).toStartWith("content=");
  expect(json!.event).toEqual(message.events[0]);
  expect(template!.body).toBe('["peer.connected"]');
  const isSigned = [form!, json!, template!].map(({ headers }) => headers.has("webhook-signature"));
  expect(isSigned).toEqual([false, true, true]);
});
