/**
 * The settings. One table says what can be set; flags, variables, the settings file, their checks
 * and messages, `--help` and the README are made from it. Pure but for `Sources`. Webhook URLs hold
 * secrets: no message shows one.
 */

import { formatDuration, parseDuration } from "./duration.ts";
import { ConfigError, SystemError } from "./errors.ts";
import { didYouMean } from "./suggest.ts";
import type { PublicKey } from "./wireguard.ts";

export interface Webhook {
  readonly url: string;
  readonly format: "json" | "form";
}

export interface PeerSettings {
  readonly name: string | null;
  /** null: the one that holds for all peers. */
  readonly idleTimeoutMs: number | null;
}

export interface Settings {
  readonly monitor: "nflog" | "bpf" | "poll";
  readonly group: number;
  readonly captureInterface: string;
  /** null: the default one, which passes handshakes and first packets only. */
  readonly filter: string | null;
  /** Empty: all. */
  readonly devices: readonly string[];
  readonly webhooks: readonly Webhook[];
  readonly idleTimeoutMs: number;
  readonly tickMs: number;
  /** 0: off. */
  readonly reconcileMs: number;
  /** 0: off. */
  readonly holdMs: number;
  readonly announceExisting: boolean;
  readonly logFormat: "auto" | "text" | "json" | "journal";
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly host: string;
  readonly peers: ReadonlyMap<PublicKey, PeerSettings>;
  /** The settings file that was read; null: none. */
  readonly file: string | null;
}

/** All that the settings are made from. */
export interface Sources {
  /** Without the program's own name. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly hostname: string;
  /**
   * The file's text, null when it does not exist.
   *
   * @throws SystemError when it exists and cannot be read.
   */
  readFile(path: string): string | null;
}

export type Command =
  | {
      readonly type: "run";
      readonly settings: Settings;
      /** What is worth a warning: an old variable, a setting without effect. */
      readonly notes: readonly string[];
    }
  | { readonly type: "help" }
  | { readonly type: "version" };

/** How the values of one sort are written and read. */
interface Kind<Value> {
  /** Stands for the value in the help text; null: a switch, which needs none. */
  readonly placeholder: string | null;
  readonly example: string;
  /** What it may be in TOML; the first is the one to recommend. */
  readonly tomlTypes: readonly ("string" | "number" | "boolean")[];
  /** Present: there may be several, and this stands between them in one text. */
  readonly separator?: RegExp;
  /** Never shown, not even when it is refused. */
  readonly secret?: true;
  /** `problem` continues a sentence that begins with the text: `is not ...`. */
  readonly read: (text: string) => { readonly value: Value } | { readonly problem: string };
}

export interface Setting<Value> extends Kind<Value> {
  readonly meaning: string;
  /** The default as one would write it; null: `otherwise` tells what holds. */
  readonly initial: string | null;
  readonly otherwise?: string;
  /** It has a flag and a variable, but cannot be in the settings file. */
  readonly flagOnly?: true;
}

const SECOND_MS = 1000;
const LONGEST_MS = 365 * 86_400_000;

export const table = {
  monitor: {
    ...choice("nflog", "bpf", "poll"),
    meaning:
      "what wakes wgmon: nflog, a firewall rule that logs; bpf, its own capture; poll, only the clock (every tick)",
    initial: "nflog",
  },
  group: {
    ...wholeNumber(0, 65535),
    meaning: "nflog: the group that the firewall rule logs to",
    initial: "1",
  },
  interface: {
    ...deviceName("eth0"),
    meaning: "bpf: where to capture; any: everywhere",
    initial: "eth0",
  },
  filter: {
    ...captureFilter(),
    meaning: "bpf: which packets to capture, as in tcpdump",
    initial: null,
    otherwise: "handshakes and first packets of the WireGuard ports found",
  },
  device: {
    ...deviceName("wg0"),
    separator: /[\s,]+/,
    meaning: "a WireGuard device to watch",
    initial: null,
    otherwise: "all",
  },
  webhook: {
    ...webhookUrl(),
    separator: /\s+/,
    meaning: "where to POST the events; form:URL or json:URL sets the format of one alone",
    initial: null,
    otherwise: "none",
  },
  "webhook-format": {
    ...choice("json", "form"),
    meaning: "json: the whole event; form: one field, content, as the Go wgmon sent it",
    initial: "json",
  },
  "idle-timeout": {
    ...duration(SECOND_MS),
    meaning: "a peer is disconnected after this long without a sign of life",
    initial: "180s",
  },
  tick: {
    ...duration(100),
    meaning: "how often connected peers are looked at",
    initial: "10s",
  },
  reconcile: {
    ...duration(0),
    meaning: "how often all peers are looked at, in case a packet was missed; 0: never",
    initial: "60s",
  },
  hold: {
    ...duration(0),
    meaning: "a peer that returns within this time was never gone",
    initial: "0s",
  },
  "announce-existing": {
    ...onOrOff(),
    meaning: "at the first start, report the peers that are connected already",
    initial: "true",
  },
  "log-format": {
    ...choice("auto", "text", "json", "journal"),
    meaning: "auto: the one that suits where the log goes",
    initial: "auto",
  },
  "log-level": {
    ...choice("debug", "info", "warn", "error"),
    meaning: "log this and what is more important",
    initial: "info",
  },
  host: {
    ...hostName(),
    meaning: "this gateway's name in the events",
    initial: null,
    otherwise: "the machine's host name",
  },
  config: {
    ...freeText("FILE", "/etc/wgmon/wgmon.toml"),
    meaning: "the settings file; the default one is read if it exists",
    initial: "/etc/wgmon/wgmon.toml",
    flagOnly: true,
  },
} satisfies Record<string, Setting<unknown>>;

type Name = keyof typeof table;
type ValueOf<N extends Name> = (typeof table)[N] extends Setting<infer Value> ? Value : never;

const NAMES = Object.keys(table) as Name[];
const COMMANDS = ["run", "help", "version"];
const FLAGS = [...NAMES, "no-announce-existing", "help", "version"];

/** The variables of the Go program, whose users can switch without touching them. */
const BARE_VARIABLES: readonly Name[] = ["monitor", "group", "interface", "filter", "webhook"];

/**
 * Variables with our prefix that are not for us: those of the tests, and those that Kubernetes
 * gives to every container beside a service called wgmon.
 */
const FOREIGN_VARIABLE = /^WGMON_(KERNEL_TESTS|TEST_|(SERVICE_HOST|SERVICE_PORT|PORT)(_|$))/;

/** `WGMON_IDLE_TIMEOUT` */
export function variableOf(name: string): string {
  return `WGMON_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** `idle_timeout` */
export function keyOf(name: string): string {
  return name.replaceAll("-", "_");
}

/** A setting as one source has it. */
interface Given {
  readonly origin: "flag" | "variable" | "bare variable" | "file";
  /** What to name in a message: `--tick`, `WGMON_TICK`, `/etc/wgmon/wgmon.toml: tick`. */
  readonly where: string;
  readonly texts: readonly string[];
}

type Found = Map<Name, Given>;

interface Chosen extends Given {
  readonly values: readonly unknown[];
}

/**
 * What the command line, the environment and the settings file together ask for.
 *
 * @throws ConfigError with all that is wrong.
 */
export function parseCommand(sources: Sources): Command {
  const problems: string[] = [];
  const line = readFlags(sources.argv, problems);
  if (line.help || line.words[0] === "help") return { type: "help" };
  if (line.version || line.words[0] === "version") return { type: "version" };
  checkWords(line.words, problems);

  const variables = readVariables(sources.env, problems);
  const bare = readBareVariables(sources.env, variables);
  const path = choose("config", [line.found, variables], problems);
  const file = readSettingsFile(sources, path, problems);

  const chosen = new Map<Name, Chosen>();
  const given = [line.found, variables, bare, file.found];
  const wanted = new Set(given.flatMap((found) => [...found.keys()]));
  for (const name of NAMES) {
    if (!wanted.has(name) || !inFile(name)) continue;
    const winner = choose(name, given, problems);
    if (winner !== null) chosen.set(name, winner);
  }
  if (problems.length > 0) throw new ConfigError(problems);

  const settings = settingsOf(chosen, sources.hostname, file);
  return { type: "run", settings, notes: notesOf(chosen, settings) };
}

/** The settings in force, for one line of the log. */
export function describeSettings(settings: Settings): Record<string, unknown> {
  const { monitor, group, captureInterface, filter, devices, webhooks, peers, file } = settings;
  return {
    file: file === null ? null : withoutSecrets(file),
    host: withoutSecrets(settings.host),
    monitor,
    ...(monitor === "nflog" ? { group } : {}),
    ...(monitor === "bpf"
      ? {
          interface: captureInterface,
          filter: filter === null ? "default" : withoutSecrets(filter),
        }
      : {}),
    devices: devices.length === 0 ? "all" : devices,
    webhooks: webhooks.map(({ url, format }) => `${format}:${redactUrl(url)}`),
    idleTimeout: formatDuration(settings.idleTimeoutMs),
    tick: formatDuration(settings.tickMs),
    reconcile: settings.reconcileMs === 0 ? "off" : formatDuration(settings.reconcileMs),
    hold: settings.holdMs === 0 ? "off" : formatDuration(settings.holdMs),
    announceExisting: settings.announceExisting,
    peers: peers.size,
    logFormat: settings.logFormat,
    logLevel: settings.logLevel,
  };
}

/** Scheme, host and port of an http URL, and `/...` for all the rest. Anything else is hidden. */
export function redactUrl(url: string): string {
  // The second test refuses `https:///secret`, which URL would read as `https://secret`.
  if (!URL.canParse(url) || !/^https?:\/\/[^/\\]/i.test(url)) return "(hidden)";
  const { origin, href } = new URL(url);
  return href === `${origin}/` ? origin : `${origin}/...`;
}

// ---- The kinds of values ----

function choice<const Word extends string>(...words: readonly Word[]): Kind<Word> {
  return {
    placeholder: words.join("|"),
    example: words[0]!,
    tomlTypes: ["string"],
    read(text) {
      const word = words.find((candidate) => candidate === text);
      if (word !== undefined) return { value: word };
      return { problem: `is not ${listed(words, "or")}${didYouMean(text, words)}` };
    },
  };
}

function onOrOff(): Kind<boolean> {
  const { read } = choice("true", "false");
  return {
    placeholder: null,
    example: "true",
    tomlTypes: ["boolean"],
    read(text) {
      const reading = read(text);
      return "value" in reading ? { value: reading.value === "true" } : reading;
    },
  };
}

function wholeNumber(least: number, most: number): Kind<number> {
  return {
    placeholder: "NUMBER",
    example: "1",
    tomlTypes: ["number"],
    read(text) {
      const value = Number(text);
      if (/^\d+$/.test(text) && value >= least && value <= most) return { value };
      return { problem: `is not a whole number from ${least} to ${most}` };
    },
  };
}

function duration(leastMs: number): Kind<number> {
  return {
    placeholder: "DURATION",
    example: "90s",
    // A number is refused too, but with the right advice.
    tomlTypes: ["string", "number"],
    read(text) {
      const value = parseDuration(text);
      if (value === null) {
        return /^\d+$/.test(text)
          ? { problem: `has no unit; write ${quoted(`${text}s`)} for seconds` }
          : { problem: "is not a duration; write it like 250ms, 90s or 1m30s" };
      }
      if (value < leastMs)
        return { problem: `is too short; the least is ${formatDuration(leastMs)}` };
      if (value > LONGEST_MS) return { problem: "is too long; the most is 365d" };
      return { value };
    },
  };
}

/** Not as a class of Unicode in each pattern: that takes longer to compile than all else here. */
function hasControl(text: string): boolean {
  // oxlint-disable-next-line no-control-regex
  return /[\u0000-\u001f\u007f-\u009f]/.test(text);
}

/** What the kernel takes for the name of a network interface: dev_valid_name(), net/core/dev.c. */
function deviceName(example: string): Kind<string> {
  return {
    placeholder: "NAME",
    example,
    tomlTypes: ["string"],
    read(text) {
      const valid = /^[^\s/:]+$/.test(text) && !hasControl(text) && text !== "." && text !== "..";
      if (valid && Buffer.byteLength(text) <= 15) return { value: text };
      return { problem: "is not the name of a network interface (1 to 15 bytes, no / : or space)" };
    },
  };
}

function hostName(): Kind<string> {
  return {
    placeholder: "NAME",
    example: "gw1",
    tomlTypes: ["string"],
    read(text) {
      if (/^[^\s/]{1,253}$/.test(text) && !hasControl(text)) return { value: text };
      return { problem: "is not a host name (1 to 253 characters, no / or space)" };
    },
  };
}

function peerName(): Kind<string> {
  return {
    placeholder: "NAME",
    example: "alice",
    tomlTypes: ["string"],
    read(text) {
      if (/^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}]{1,64}$/u.test(text)) return { value: text };
      return { problem: "is not a name (1 to 64 characters that can be printed)" };
    },
  };
}

/** Text that somebody else understands: libpcap, the file system. C ends it at the first NUL. */
function freeText(placeholder: string, example: string): Kind<string> {
  return {
    placeholder,
    example,
    tomlTypes: ["string"],
    read: (text) => (text.includes("\0") ? { problem: "has a NUL in it" } : { value: text }),
  };
}

/** libpcap checks it, and its message quotes it: a URL that got here must be refused before. */
function captureFilter(): Kind<string> {
  const kind = freeText("EXPRESSION", "udp dst port 51820");
  return {
    ...kind,
    read: (text) =>
      text.includes("://") ? { problem: "is a URL, not a tcpdump expression" } : kind.read(text),
  };
}

function webhookUrl(): Kind<{ url: string; format: Webhook["format"] | null }> {
  return {
    placeholder: "URL",
    example: "https://hooks.example.net/wgmon",
    tomlTypes: ["string"],
    secret: true,
    read(text) {
      const [, format, url] = /^(?:(json|form):)?(https?:\/\/[^\s/\\]\S*)$/.exec(text) ?? [];
      if (url === undefined || !URL.canParse(url)) {
        return { problem: "is not a URL that starts with http:// or https://" };
      }
      return { value: { url, format: (format as Webhook["format"] | undefined) ?? null } };
    },
  };
}

// ---- Where settings come from ----

interface CommandLine {
  readonly found: Found;
  readonly words: readonly string[];
  readonly help: boolean;
  readonly version: boolean;
}

/**
 * Not node:util parseArgs: it takes `-monitor` for seven flags, and `--tick --help` for a tick of
 * "--help".
 */
function readFlags(argv: readonly string[], problems: string[]): CommandLine {
  const found: Found = new Map();
  const words: string[] = [];
  let help = false;
  let version = false;
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!;
    if (argument === "--") {
      words.push(...argv.slice(index + 1));
      break;
    }
    const [, dashes, written, attached] = /^(--?)(\w[^=]*)(?:=(.*))?$/s.exec(argument) ?? [];
    if (written === undefined) {
      words.push(argument);
      continue;
    }
    if (written === "h" || written === "help") {
      help = true;
      continue;
    }
    if (written === "version") {
      version = true;
      continue;
    }

    const next = argv[index + 1];
    const separate = next === undefined || /^--?[a-z]|^--$/i.test(next) ? undefined : next;
    const negated = written.startsWith("no-") && isSwitch(written.slice(3));
    const name = negated ? written.slice(3) : written;
    if (!isName(name)) {
      const guess = didYouMean(written, FLAGS, (flag) => `--${flag}`);
      problems.push(`${dashes}${beginning(written)}: there is no such flag${guess}`);
      // What follows an unknown flag is most likely its value, and may be a secret.
      if (attached === undefined && separate !== undefined && !COMMANDS.includes(separate)) index++;
      continue;
    }

    const where = `--${written}`;
    const setting = settingOf(name);
    let text: string;
    if (negated) {
      if (attached !== undefined) problems.push(`${where}: takes no value; write --${name}=false`);
      text = "false";
    } else if (attached !== undefined) {
      text = attached;
    } else if (setting.placeholder === null) {
      text = "true";
    } else if (separate !== undefined) {
      text = separate;
      index++;
    } else {
      problems.push(`${where}: the value is missing; write ${where} ${setting.example}`);
      continue;
    }

    const before = found.get(name);
    if (before !== undefined && setting.separator === undefined) {
      problems.push(`--${name}: is given more than once; give it once`);
    }
    const texts = [...(before?.texts ?? []), ...split(setting, text)];
    found.set(name, { origin: "flag", where, texts });
  }
  return { found, words, help, version };
}

function checkWords([command, ...rest]: readonly string[], problems: string[]): void {
  if (command !== undefined && command !== "run") {
    const guess = didYouMean(command, COMMANDS) || `; there are ${listed(COMMANDS, "and")}`;
    problems.push(`"${beginning(command)}" is not a command${guess}`);
  }
  for (const word of rest) problems.push(`"${beginning(word)}" is not expected here`);
}

function readVariables(env: Sources["env"], problems: string[]): Found {
  const found: Found = new Map();
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith("WGMON_") || FOREIGN_VARIABLE.test(variable)) continue;
    if (text === undefined || text === "") continue;
    const name = NAMES.find((candidate) => variableOf(candidate) === variable);
    if (name === undefined) {
      const written = variable.slice("WGMON_".length).replaceAll("_", "-");
      const guess = didYouMean(written, NAMES, variableOf);
      problems.push(`${beginning(variable)}: there is no such variable${guess}`);
      continue;
    }
    found.set(name, { origin: "variable", where: variable, texts: split(settingOf(name), text) });
  }
  return found;
}

function readBareVariables(env: Sources["env"], variables: Found): Found {
  const found: Found = new Map();
  for (const name of BARE_VARIABLES) {
    const text = env[name];
    if (text === undefined || text === "" || variables.has(name)) continue;
    const where = `variable ${name}`;
    found.set(name, { origin: "bare variable", where, texts: split(settingOf(name), text) });
  }
  return found;
}

interface SettingsFile {
  /** null: there is none. */
  readonly path: string | null;
  readonly found: Found;
  readonly peers: ReadonlyMap<PublicKey, PeerSettings>;
}

function readSettingsFile(
  sources: Sources,
  named: Chosen | null,
  problems: string[],
): SettingsFile {
  const found: Found = new Map();
  const peers = new Map<PublicKey, PeerSettings>();
  const nothing: SettingsFile = { path: null, found, peers };
  const path = named === null ? table.config.initial : named.values[0];
  if (typeof path !== "string") return nothing;

  const where = /^[\w./+-]+$/.test(path) ? path : quoted(path);
  let text: string | null;
  try {
    text = sources.readFile(path);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    problems.push(`${where}: cannot be read: ${error.code}`);
    return nothing;
  }
  if (text === null) {
    if (named !== null) problems.push(`${named.where}: there is no file ${where}`);
    return nothing;
  }

  const names = NAMES.filter(inFile);
  const root = parseToml(text, where, problems);
  for (const [key, value] of Object.entries(root)) {
    if (key === "peers") {
      readPeers(value, where, { peers, problems });
      continue;
    }
    const name = names.find((candidate) => keyOf(candidate) === key);
    if (name === undefined) {
      problems.push(unknownKey(key, where, [...names.map(keyOf), "peers"]));
      continue;
    }
    const texts = textsOfToml(settingOf(name), value, `${where}: ${key}`, problems);
    if (texts !== null) found.set(name, { origin: "file", where: `${where}: ${key}`, texts });
  }
  return { path, found, peers };
}

function parseToml(text: string, where: string, problems: string[]): object {
  try {
    return Bun.TOML.parse(text);
  } catch (error) {
    // The parser quotes the file, where secrets are; and it tells no line.
    const message = String(error)
      .replace(/^\w+: (TOML Parse error: )?/, "")
      .replace(/:? (["']).{2,}\1$/s, "");
    const line = brokenLine(text);
    problems.push(`${where}${line === null ? "" : `, line ${line}`}: ${message}`);
    return {};
  }
}

/** The line on which the first broken statement begins: all that is before it can be parsed. */
function brokenLine(text: string): number | null {
  const lines = text.split("\n");
  // Each try parses the file from its start: too slow for a long one.
  if (lines.length > 500) return null;
  for (let count = lines.length - 1; count > 0; count--) {
    try {
      Bun.TOML.parse(lines.slice(0, count).join("\n"));
      return count + 1;
    } catch {
      // Still too long.
    }
  }
  return 1;
}

function readPeers(
  section: unknown,
  file: string,
  into: { peers: Map<PublicKey, PeerSettings>; problems: string[] },
): void {
  const { peers, problems } = into;
  if (!isTable(section)) {
    problems.push(`${file}: peers must be tables, such as [peers."<public key>"]`);
    return;
  }
  const kinds = { name: peerName(), idle_timeout: table["idle-timeout"] };
  const keys = Object.keys(kinds);
  for (const [key, fields] of Object.entries(section)) {
    const where = `${file}: peers.${quoted(key)}`;
    const one = <Value>(kind: Kind<Value>, field: string): Value | null => {
      const value = isTable(fields) && Object.hasOwn(fields, field) ? fields[field] : undefined;
      if (value === undefined) return null;
      const texts = textsOfToml(kind, value, `${where}.${field}`, problems) ?? [];
      return readAll(kind, { where: `${where}.${field}`, texts }, problems)[0] ?? null;
    };
    if (!isPublicKey(key)) {
      problems.push(`${where}: is not a public key (44 characters, as wg show prints it)`);
    } else if (!isTable(fields)) {
      problems.push(`${where}: must be a table, not ${typeName(fields)}`);
    } else {
      for (const field of Object.keys(fields)) {
        if (!keys.includes(field)) problems.push(unknownKey(field, where, keys));
      }
      const name = one(kinds.name, "name");
      peers.set(key, { name, idleTimeoutMs: one(kinds.idle_timeout, "idle_timeout") });
    }
  }
}

/** 32 bytes in base64: the 43rd character carries four bits, so its last two are zero. */
function isPublicKey(text: string): text is PublicKey {
  return /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text);
}

/** What one would have written as a flag for this value; null: a type that cannot be. */
function textsOfToml(
  kind: Kind<unknown>,
  value: unknown,
  where: string,
  problems: string[],
): string[] | null {
  const isList = kind.separator !== undefined && Array.isArray(value);
  const items: readonly unknown[] = isList ? value : [value];
  const texts: string[] = [];
  for (const item of items) {
    if (!kind.tomlTypes.some((type) => type === typeof item)) {
      const wanted = `a ${kind.tomlTypes[0]}${kind.separator === undefined ? "" : " or a list of strings"}`;
      problems.push(
        `${where}: must be ${wanted}, not ${isList ? "a list with " : ""}${typeName(item)}`,
      );
      return null;
    }
    texts.push(...(isList ? [String(item)] : split(kind, String(item))));
  }
  return texts;
}

// ---- From what was given to what holds ----

/** The first source that has the setting. All of them are checked: a mistake does not hide. */
function choose(name: Name, sources: readonly Found[], problems: string[]): Chosen | null {
  const given = sources.flatMap((found) => found.get(name) ?? []);
  // But an overruled bare variable may be somebody else's: `group` and `filter` are common words.
  const ours = given.filter(({ origin }, index) => index === 0 || origin !== "bare variable");
  const read = ours.map((one) => ({ ...one, values: readAll(settingOf(name), one, problems) }));
  return read[0] ?? null;
}

function readAll<Value>(
  kind: Kind<Value>,
  { where, texts }: Pick<Given, "where" | "texts">,
  problems: string[],
): Value[] {
  return texts.flatMap((text, index) => {
    const place = texts.length > 1 ? `${where} (${index + 1} of ${texts.length})` : where;
    if (text.trim() === "") {
      problems.push(`${place}: the value is empty; an example is ${kind.example}`);
      return [];
    }
    const reading = kind.read(text);
    if ("value" in reading) return [reading.value];
    problems.push(`${place}: ${kind.secret ? "(hidden)" : quoted(text)} ${reading.problem}`);
    return [];
  });
}

function settingsOf(
  chosen: ReadonlyMap<Name, Chosen>,
  hostname: string,
  file: SettingsFile,
): Settings {
  const several = <N extends Name>(name: N): readonly ValueOf<N>[] => {
    const { initial } = settingOf(name);
    const values =
      chosen.get(name)?.values ??
      readAll(settingOf(name), { where: name, texts: initial === null ? [] : [initial] }, []);
    return values as readonly ValueOf<N>[];
  };
  /** Of those that have a default in the table. */
  const one = <N extends Name>(name: N): ValueOf<N> => several(name)[0]!;

  const fromGo = chosen.get("webhook")?.origin === "bare variable";
  const format = fromGo && !chosen.has("webhook-format") ? "form" : one("webhook-format");
  return {
    monitor: one("monitor"),
    group: one("group"),
    captureInterface: one("interface"),
    filter: several("filter")[0] ?? null,
    devices: [...new Set(several("device"))],
    webhooks: several("webhook").map((webhook) => ({
      url: webhook.url,
      format: webhook.format ?? format,
    })),
    idleTimeoutMs: one("idle-timeout"),
    tickMs: one("tick"),
    reconcileMs: one("reconcile"),
    holdMs: one("hold"),
    announceExisting: one("announce-existing"),
    logFormat: one("log-format"),
    logLevel: one("log-level"),
    host: several("host")[0] ?? hostname,
    peers: file.peers,
    file: file.path,
  };
}

function notesOf(chosen: ReadonlyMap<Name, Chosen>, { monitor }: Settings): string[] {
  const notes: string[] = [];
  for (const [name, { origin }] of chosen) {
    if (origin !== "bare variable") continue;
    const format =
      name === "webhook" && !chosen.has("webhook-format")
        ? `, with form: before a URL to keep the old format`
        : "";
    notes.push(`variable ${name} is deprecated: use ${variableOf(name)} instead${format}`);
  }
  const onlyFor = { group: "nflog", interface: "bpf", filter: "bpf" } as const;
  for (const name of ["group", "interface", "filter"] as const) {
    const given = chosen.get(name);
    if (given === undefined || monitor === onlyFor[name]) continue;
    notes.push(`${given.where} has no effect with monitor ${monitor}: it is for ${onlyFor[name]}`);
  }
  return notes;
}

// ---- Small words ----

function isName(word: string): word is Name {
  return Object.hasOwn(table, word);
}

function settingOf(name: Name): Setting<unknown> {
  return table[name];
}

function isSwitch(word: string): boolean {
  return isName(word) && table[word].placeholder === null;
}

function inFile(name: Name): boolean {
  return settingOf(name).flagOnly !== true;
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  // Dates are objects too.
  return (
    typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
  );
}

function typeName(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (isTable(value)) return "a table";
  return typeof value === "object" ? "a date or time" : `a ${typeof value}`;
}

function unknownKey(key: string, where: string, keys: readonly string[]): string {
  return `${where}: there is no key "${beginning(key)}"${didYouMean(key, keys)}`;
}

/** The parts of a text; at least one, so that an empty text is noticed. */
function split(kind: Kind<unknown>, text: string): string[] {
  if (kind.separator === undefined) return [text];
  const parts = text.split(kind.separator).filter((part) => part !== "");
  return parts.length === 0 ? [""] : parts;
}

function listed(words: readonly string[], and: string): string {
  return `${words.slice(0, -1).join(", ")} ${and} ${words.at(-1)}`;
}

/** A word that is not ours, as far as it can hold no secret: `https` of a URL in the wrong place. */
function beginning(word: string): string {
  const plain = /^[\w-]{0,30}/.exec(word)![0];
  return plain === word ? word : `${plain}...`;
}

/** A value for a message: short, on one line, and harmless to a terminal. */
function quoted(text: string): string {
  const safe = withoutSecrets(text);
  if (safe !== text) return safe;
  const short = text.length > 60 ? `${text.slice(0, 60)}...` : text;
  return JSON.stringify(short).replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** A webhook's URL may have got into the wrong place. */
function withoutSecrets(text: string): string {
  return /:\/|https?:/i.test(text) ? redactUrl(text) : text;
}
