/** Parses the firewall rules that `nft -j list ruleset` prints: libnftables-json(5). Pure. */

import { ParseError } from "../base/errors.ts";
import type { Chain, Firewall, LogRule, PortTest, Rule, Version } from "./ruleset.ts";

type Json = Readonly<Record<string, unknown>>;

/** A set or map: kind, family, table and name, as `nft list` expects them. */
export type SetName = readonly [kind: "set" | "map", family: string, table: string, name: string];

/**
 * The sets and maps with which rules compare a destination port. `nft --terse` omits the elements of sets, because
 * there can be very many; the elements of these sets must be requested separately.
 *
 * @throws ParseError
 */
export function portSetsOf(text: string): SetName[] {
  const entries = entriesOf(text);
  const wanted = new Set<string>();
  for (const { rule } of entries) {
    for (const expression of listOf(rule?.["expr"]).filter(isObject)) {
      const { match, vmap } = expression as Record<string, unknown>;
      const [key, value] = isObject(match)
        ? [match["left"], match["right"]]
        : isObject(vmap)
          ? [vmap["key"], vmap["data"]]
          : [null, null];
      if (isPortField(key) && isSetName(value)) wanted.add(keyOf(rule!, value.slice(1)));
    }
  }
  return entries.flatMap(({ set, map }): SetName[] => {
    const found = set ?? map;
    if (found === undefined || !wanted.has(keyOf(found, found["name"]))) return [];
    const kind = set === undefined ? "map" : "set";
    return [[kind, String(found["family"]), String(found["table"]), String(found["name"])]];
  });
}

/**
 * @param sets the output of `nft -j list` for single sets and maps: their elements, which the list of rules omits.
 * @param withXtables whether to read the rules of iptables-nft too: yes if iptables-save, which shows more of them, is
 *   not available.
 * @throws ParseError
 */
export function parseNft(
  text: string,
  { sets = [], withXtables }: { readonly sets?: readonly string[]; readonly withXtables: boolean },
): Firewall {
  const entries = entriesOf(text);
  const chains = new Map<string, Chain>();
  const elements = new Map<string, readonly unknown[]>();
  const xtablesTables = new Set<string>();
  for (const { chain, rule } of entries) {
    if (chain !== undefined) {
      const isEntry = /^(input|prerouting|ingress)$/.test(String(chain["hook"]));
      chains.set(keyOf(chain, chain["name"]), { isEntry, rules: [] });
    }
    const expressions = listOf(rule?.["expr"]).filter(isObject);
    if (rule !== undefined && expressions.some((each) => "xt" in each))
      xtablesTables.add(tableKey(rule));
  }
  for (const { set, map } of [entries, ...sets.map(entriesOf)].flat()) {
    const found = set ?? map;
    if (found !== undefined && "elem" in found) {
      elements.set(keyOf(found, found["name"]), listOf(found["elem"]));
    }
  }
  for (const { rule } of entries) {
    if (rule === undefined || (xtablesTables.has(tableKey(rule)) && !withXtables)) continue;
    const read = readNftRule(rule, elements);
    if (read !== null) chains.get(keyOf(rule, rule["chain"]))?.rules.push(read);
  }
  return { chains };
}

/** @throws ParseError if the text is not the output of `nft -j`. */
function entriesOf(text: string): readonly Readonly<Record<string, Json | undefined>>[] {
  let list: unknown;
  try {
    list = (JSON.parse(text) as { nftables?: unknown } | null)?.nftables;
  } catch {
    // Not JSON.
  }
  if (!Array.isArray(list)) throw new ParseError("nft -j: the output is not a list of rules");
  return list
    .filter(isObject)
    .map((entry) => Object.fromEntries(Object.entries(entry).filter(([, each]) => isObject(each))))
    .map((entry) => entry as Readonly<Record<string, Json | undefined>>);
}

function isSetName(value: unknown): value is string {
  return typeof value === "string" && value.startsWith("@");
}

function tableKey(of: Json): string {
  return `${String(of["family"])} ${String(of["table"])}`;
}

function keyOf(of: Json, name: unknown): string {
  return `${tableKey(of)} ${String(name)}`;
}

/** null if the rule does not match UDP. */
function readNftRule(rule: Json, sets: ReadonlyMap<string, readonly unknown[]>): Rule | null {
  const family = String(rule["family"]);
  if (family === "arp" || family === "bridge") return null;
  const where = keyOf(rule, rule["chain"]);
  const ports: PortTest[] = [];
  const jumps: { chain: string; ports: PortTest | null }[] = [];
  let version: Version | null = family === "ip" ? 4 : family === "ip6" ? 6 : null;
  let log: LogRule | null = null;
  let isFullyParsed = true;
  let verdict: Rule["verdict"] = null;
  const elements = (value: unknown): readonly unknown[] | null => {
    if (isSetName(value)) return sets.get(keyOf(rule, value.slice(1))) ?? null;
    return isObject(value) && "set" in value ? listOf(value["set"]) : [value];
  };
  for (const expression of listOf(rule["expr"]).filter(isObject)) {
    const [[kind, body] = ["", null]] = Object.entries(expression);
    const details = isObject(body) ? body : {};
    switch (kind) {
      case "match": {
        const test = readMatch(details, elements);
        if (test === "never") return null;
        if (test === "unknown") isFullyParsed = false;
        else if (test === 4 || test === 6) version = test;
        else if (test !== "always") ports.push(test);
        break;
      }
      case "log":
        if (typeof details["group"] === "number") {
          const { snaplen } = details;
          log = {
            group: details["group"],
            snaplen: typeof snaplen === "number" ? snaplen : null,
            where,
          };
        }
        break;
      case "jump":
      case "goto":
        jumps.push({ chain: keyOf(rule, details["target"]), ports: null });
        if (kind === "goto") verdict = "return";
        break;
      case "vmap": {
        const isPort = isPortField(details["key"]);
        isFullyParsed = false;
        for (const element of elements(details["data"]) ?? []) {
          const [value, target] = listOf(element);
          const to = isObject(target) ? (target["jump"] ?? target["goto"]) : null;
          if (!isObject(to)) continue;
          jumps.push({
            chain: keyOf(rule, to["target"]),
            ports: isPort ? { ranges: rangesOf([value]), isNegated: false } : null,
          });
        }
        break;
      }
      case "accept":
      case "drop":
      case "reject":
      case "queue":
        verdict = "end";
        break;
      case "return":
        verdict = "return";
        break;
      case "counter":
      case "mangle":
      case "notrack":
        break;
      default:
        isFullyParsed = false;
    }
  }
  return { ports, version, isFullyParsed, jumps, log, verdict };
}

/**
 * Reads a match statement. Returns a test of the port, the IP version that it requires, or whether UDP packets match;
 * "never": no UDP packet matches.
 *
 * @param elements returns the elements of an anonymous or named set, or a single value as a list; null if the elements
 *   of the set are unknown.
 */
function readMatch(
  { op, left, right }: Json,
  elements: (value: unknown) => readonly unknown[] | null,
): PortTest | Version | "always" | "never" | "unknown" {
  if (!isObject(left)) return "unknown";
  const isNegated = op === "!=";
  const isEqual = op === "==" || op === "in" || isNegated;
  if (isPortField(left)) {
    const values = elements(right);
    if (values === null) return "unknown";
    const ranges = isEqual ? rangesOf(values) : comparison(String(op), Number(right));
    return ranges === null ? "unknown" : { ranges, isNegated };
  }
  const payload = isObject(left["payload"]) ? left["payload"] : {};
  const meta = isObject(left["meta"]) ? left["meta"]["key"] : null;
  const { protocol, field } = payload;
  if (/^(tcp|udplite|sctp|dccp|icmp|icmpv6|igmp|esp|ah)$/.test(String(protocol))) return "never";
  if (meta === "l4proto" || field === "protocol" || field === "nexthdr") {
    const values = elements(right);
    if (values === null) return "unknown";
    const isForUdp = values.some((each) => each === "udp" || each === 17);
    return isEqual && isForUdp !== isNegated ? "always" : isEqual ? "never" : "unknown";
  }
  if (meta === "nfproto" && op === "==") {
    if (right === "ipv4") return 4;
    if (right === "ipv6") return 6;
  }
  return "unknown";
}

function isPortField(key: unknown): boolean {
  const payload = isObject(key) && isObject(key["payload"]) ? key["payload"] : {};
  return /^(udp|th)$/.test(String(payload["protocol"])) && payload["field"] === "dport";
}

function comparison(operator: string, port: number): [number, number][] | null {
  const bounds: Readonly<Record<string, [number, number]>> = {
    ">=": [port, 65_535],
    ">": [port + 1, 65_535],
    "<=": [0, port],
    "<": [0, port - 1],
  };
  const bound = bounds[operator];
  return bound === undefined || Number.isNaN(port) ? null : [bound];
}

/** Converts the elements of a set to ranges. Omits values that are not numbers, such as parts of a concatenation. */
function rangesOf(values: readonly unknown[]): [number, number][] {
  return values.flatMap((value): [number, number][] => {
    if (typeof value === "number") return [[value, value]];
    if (!isObject(value)) return [];
    // An element with a timeout or a comment.
    if (isObject(value["elem"])) return rangesOf([value["elem"]["val"]]);
    const [from, to] = listOf(value["range"]);
    return typeof from === "number" && typeof to === "number" ? [[from, to]] : [];
  });
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
