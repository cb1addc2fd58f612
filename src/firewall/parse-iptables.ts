/** Parses the firewall rules that iptables-save prints. Pure. */

import type { Chain, Firewall, PortTest, Rule, Version } from "./ruleset.ts";

/** @param program `iptables` or `ip6tables`, the first word of a chain's name. */
export function parseIptables(
  text: string,
  { program, version }: { readonly program: string; readonly version: Version },
): Firewall {
  const chains = new Map<string, Chain>();
  let table = "";
  for (const line of text.split("\n")) {
    const [, start, rest = ""] = /^([*:]|-A )(.*)$/.exec(line) ?? [];
    if (start === "*") table = `${program} ${rest.trim()}`;
    if (start === ":") {
      const name = rest.split(" ")[0]!;
      chains.set(`${table} ${name}`, { isEntry: /^(INPUT|PREROUTING)$/.test(name), rules: [] });
    }
    if (start !== "-A ") continue;
    const [name = "", ...words] = wordsOf(rest);
    const rule = readIptablesRule(words, { table, chain: `${table} ${name}`, version });
    if (rule !== null) chains.get(`${table} ${name}`)?.rules.push(rule);
  }
  return { chains };
}

/** Splits a rule into words. A comment with spaces is in double quotes. */
function wordsOf(text: string): string[] {
  return [...text.matchAll(/"((?:[^"\\]|\\.)*)"|\S+/g)].map(([word, inQuotes]) => inQuotes ?? word);
}

/** null if the rule does not match UDP. */
function readIptablesRule(
  words: readonly string[],
  place: { readonly table: string; readonly chain: string; readonly version: Version },
): Rule | null {
  const ports: PortTest[] = [];
  const options = new Map<string, string>();
  let isFullyParsed = true;
  let isNegated = false;
  for (let index = 0; index < words.length; index++) {
    const word = words[index]!;
    if (word === "!") {
      isNegated = true;
      continue;
    }
    const value = words[index + 1] ?? "";
    let isKnown = true;
    switch (word) {
      case "-p":
        if (/^(udp|17|all)$/.test(value) === isNegated) return null;
        break;
      case "--dport":
      case "--dports":
        ports.push({ ranges: value.split(",").map(portRange), isNegated });
        break;
      case "-m":
        if (!/^(udp|multiport|comment)$/.test(value)) isFullyParsed = false;
        break;
      case "--comment":
        break;
      case "-j":
      case "-g":
      case "--nflog-group":
      case "--nflog-size":
      case "--nflog-prefix":
      case "--nflog-threshold":
      case "--nflog-range":
        options.set(word, value);
        break;
      default:
        isKnown = false;
        if (word.startsWith("-")) isFullyParsed = false;
    }
    isNegated = false;
    // Skip the value. A known option has one, which may look like an option (a comment); an unknown option is an unknown
    // condition, with any number of values.
    const isValue = isKnown || !(value.startsWith("-") || value === "!");
    if (word.startsWith("-") && isValue) index++;
  }
  const target = options.get("-j") ?? options.get("-g") ?? "";
  const size = options.get("--nflog-size");
  return {
    ports,
    version: place.version,
    isFullyParsed,
    jumps: [{ chain: `${place.table} ${target}`, ports: null }],
    log:
      target === "NFLOG"
        ? {
            group: Number(options.get("--nflog-group") ?? 0),
            snaplen: size === undefined ? null : Number(size),
            where: place.chain,
          }
        : null,
    verdict: /^(ACCEPT|DROP|REJECT|NFQUEUE)$/.test(target)
      ? "end"
      : target === "RETURN" || options.has("-g")
        ? "return"
        : null,
  };
}

function portRange(text: string): [number, number] {
  const [from = "", to = from] = text.split(":");
  return [Number(from), Number(to)];
}
