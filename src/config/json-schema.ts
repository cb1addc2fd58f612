/**
 * The settings file as JSON Schema (draft 7), for editors: they complete keys and mark mistakes. It is made from the
 * tables of settings and keys. It is less strict than wgmon, which also checks names, files and combinations. Pure.
 */

import type { RuleKind } from "../alerts/rule.ts";
import { commonKeys, defaultOf, type Key, keysOf, KIND_SUMMARIES, KINDS } from "./alert-keys.ts";
import { inFile, peerTypes, TAGS_MAX } from "./settings-file.ts";
import { keyOf, type Setting, SETTING_NAMES, settingOf } from "./settings-table.ts";
import { ADDRESSES, keyTypes, TARGETS_MAX } from "./targets.ts";
import type { ValueType } from "./value-types.ts";

export type JsonSchema = Readonly<Record<string, unknown>>;

const PEER_KEYS: Readonly<Record<keyof ReturnType<typeof peerTypes>, string>> = {
  name: "the name of the peer in events and messages",
  tags: `its tags, in its events; at most ${TAGS_MAX}`,
  idle_timeout: "the idle timeout of this peer",
  mute: "no events about this peer to targets",
};

const TARGET_KEYS: Readonly<Record<keyof ReturnType<typeof keyTypes>, string>> = {
  name: "its name in the log, in commands and in targets of alerts",
  url: "the URL to POST events to; slack:URL sets the format",
  url_file: "a file with the URL",
  format: "how events are written; auto: the format of the service in the URL, else json",
  template: "the JSON to send, with {{fields}} of the event",
  template_file: "a file with the template",
  secret_file: "a file with the secrets (whsec_...) to sign with, one on each line",
  events: "only events of this type, such as peer.connected or alert.*",
  devices: "only events of this device",
  peers: "only events of the peer with this name or public key",
  digest: "collect events for this long into one message",
  timeout: "the time for one attempt",
};

export function configSchema(): JsonSchema {
  const settings = SETTING_NAMES.filter(inFile).map((name) => [
    keyOf(name),
    settingSchema(settingOf(name)),
  ]);
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "wgmon settings",
    type: "object",
    properties: {
      ...Object.fromEntries(settings),
      peers: {
        type: "object",
        description: 'what is known of peers: [peers."<public key>"]',
        propertyNames: { pattern: "^[A-Za-z0-9+/]{43}=$" },
        additionalProperties: tableSchema(peerTypes(), PEER_KEYS),
      },
      target: {
        type: "array",
        maxItems: TARGETS_MAX,
        description: "where events go",
        items: targetSchema(),
      },
      alert: {
        type: "array",
        maxItems: 1000,
        description: "rules: what is reported when it lasts, or happens too often",
        items: alertSchema(),
      },
    },
    additionalProperties: false,
  };
}

function settingSchema(setting: Setting<unknown>): JsonSchema {
  const { description, defaultValue } = setting;
  const schema = { ...valueSchema(setting), description };
  return defaultValue === null ? schema : { ...schema, default: tomlValue(setting, defaultValue) };
}

/** The text of a default as a value of TOML. */
function tomlValue({ tomlTypes, separator }: ValueType<unknown>, text: string): unknown {
  const value = tomlTypes[0] === "string" ? text : (JSON.parse(text) as unknown);
  return separator === undefined ? value : [value];
}

/** A value, or a list if the type has a separator; a text may also contain several values. */
function valueSchema(type: ValueType<unknown>): JsonSchema {
  const { tomlTypes, schema = {}, separator, secret, example } = type;
  const item = { type: tomlTypes.length === 1 ? tomlTypes[0] : tomlTypes, ...schema };
  const examples = secret === true ? {} : { examples: [tomlValue(type, example)] };
  if (separator === undefined) return { ...item, ...examples };
  const single = tomlTypes[0] === "string" ? { type: "string" } : item;
  return { anyOf: [single, { type: "array", items: item }], ...examples };
}

function tableSchema(
  types: Readonly<Record<string, ValueType<unknown>>>,
  descriptions: Readonly<Record<string, string>>,
): JsonSchema {
  const properties = Object.entries(types).map(([key, type]) => [
    key,
    { ...valueSchema(type), description: descriptions[key] },
  ]);
  return {
    type: "object",
    properties: Object.fromEntries(properties),
    additionalProperties: false,
  };
}

function targetSchema(): JsonSchema {
  const table = tableSchema(keyTypes(), TARGET_KEYS);
  const exec = {
    type: "array",
    minItems: 1,
    items: { type: "string" },
    description: "a program and its arguments, instead of a URL",
  };
  return {
    ...table,
    properties: { ...(table["properties"] as JsonSchema), exec },
    oneOf: ADDRESSES.map((address) => ({ required: [address] })),
  };
}

/**
 * Each kind has its own keys, in `then` and not in `oneOf`: with that, editors mark the whole table instead of the key.
 * They complete the keys in `properties`.
 */
function alertSchema(): JsonSchema {
  const keys = KINDS.flatMap((kind) => Object.entries(keysOf(kind)));
  const properties = keys.map(([name, { description }]) => [name, { description }]);
  return {
    type: "object",
    required: ["name", "kind"],
    properties: {
      ...Object.fromEntries(properties),
      kind: { enum: KINDS, description: commonKeys().kind.description },
    },
    allOf: KINDS.map((kind) => ({
      if: { properties: { kind: { const: kind } }, required: ["kind"] },
      // oxlint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
      then: kindSchema(kind),
    })),
  };
}

function kindSchema(kind: RuleKind): JsonSchema {
  const properties = Object.entries(keysOf(kind)).map(([name, key]) => [
    name,
    name === "kind"
      ? { const: kind, description: KIND_SUMMARIES[kind] }
      : keySchema(kind, name, key),
  ]);
  return {
    title: kind,
    description: KIND_SUMMARIES[kind],
    type: "object",
    properties: Object.fromEntries(properties),
    additionalProperties: false,
    ...NEEDED[kind],
  };
}

/** The keys that a kind needs, in addition to those of all. */
const NEEDED: Partial<Record<RuleKind, JsonSchema>> = {
  hours: { required: ["allowed"] },
  traffic: { anyOf: [{ required: ["quota"] }, { required: ["rate"] }] },
};

function keySchema(kind: RuleKind, name: string, key: Key<unknown>): JsonSchema {
  const defaultValue = defaultOf(kind, name);
  return {
    ...valueSchema(key),
    description: key.description,
    ...(defaultValue === undefined ? {} : { default: defaultValue }),
  };
}
