/** Reads the settings of the hub: its URL, which contains the name and the secret of this gateway, and its authority. */

import { parseSecrets } from "../channels/signature.ts";
import { gatewayName, isGatewayName } from "../fleet/gateway-name.ts";
import { describeServers, type NatsAddress } from "../fleet/nats-url.ts";
import { HUB_KEY, type HubSettings } from "../uplink/hub-settings.ts";
import { isLoopback } from "./listen.ts";
import { natsLogin } from "./nats.ts";
import { fileOrCredential, type Parsed, readNamedFile } from "./resolve.ts";
import type { HubUrl } from "./value-types.ts";
import { hubUrl } from "./value-types.ts";
import type { Context } from "./webhooks.ts";

interface Others {
  readonly host: string;
  /** The names of the targets; null: it has no name. */
  readonly targets: readonly (string | null)[];
}

/** null: there is no hub, or its settings have a mistake. */
export function readHub(context: Context, { host, targets }: Others): HubSettings | null {
  const { resolved, errors, warnings } = context;
  const hasHub = resolved.given("hub") !== null;
  if (hasHub && resolved.given("hub-file") !== null) {
    errors.push("hub and hub-file: give only one of them");
    return null;
  }
  const parsed = hasHub ? (resolved.parsed("hub")[0] ?? null) : readHubFile(context);
  const address = parsed?.value;
  if (address !== undefined && "servers" in address) {
    return readNatsHub({ where: parsed!.where, value: address }, host, context);
  }
  const ca = readAuthority(context);
  if (parsed === null) {
    const given = resolved.given("hub-ca");
    const isWithout = !hasHub && resolved.given("hub-file") === null;
    if (given !== null && isWithout) warnings.push(`${given.where} has no effect without hub`);
    return null;
  }
  const { where, value } = parsed as Parsed<HubUrl>;
  const found = errors.length;
  const secrets = parseSecrets(value.secret);
  if (!("value" in secrets)) {
    errors.push(`${where}: the password is not a secret that wgmon hub enroll printed`);
  }
  const { protocol, hostname } = new URL(value.url);
  if (protocol === "http:" && !isLoopback(hostname.replace(/^\[|\]$/g, ""))) {
    errors.push(`${where}: use https://, so that others cannot read or change what is sent`);
  }
  const name = gatewayName(host);
  if (name !== value.gateway) errors.push(`${where}: ${nameProblem(value.gateway, name)}`);
  if (targets.includes(HUB_KEY)) {
    errors.push(`a [[target]] is named "${HUB_KEY}", as the hub is among the targets: rename it`);
  }
  if (errors.length > found || !("value" in secrets)) return null;
  return { type: "https", url: value.url, gateway: value.gateway, secret: secrets.value[0]!, ca };
}

function readNatsHub(
  parsed: Parsed<NatsAddress>,
  host: string,
  context: Context,
): HubSettings | null {
  const { errors } = context;
  const { user } = parsed.value;
  const name = gatewayName(host);
  const login = natsLogin(parsed, "hub-ca", context);
  if (name === null || (user !== null && user !== name)) {
    errors.push(`${parsed.where}: ${nameProblem(user ?? "", name)}`);
    return null;
  }
  if (login === null) return null;
  return { type: "nats", url: describeServers(login), gateway: name, login };
}

/** @param wanted null: `--host` has no letter or digit. */
function nameProblem(given: string, wanted: string | null): string {
  // Anything else may be a part of the secret.
  const user = isGatewayName(given) ? `"${given}"` : "(hidden)";
  const own = wanted === null ? "this gateway has no name" : `this gateway is "${wanted}"`;
  const fix = isGatewayName(given) ? `set host to ${given}, or ` : "";
  const enroll = wanted === null ? "set host" : `on the hub: wgmon hub enroll ${wanted}`;
  return `the user name in the URL is ${user}, but ${own}; ${fix}${enroll}`;
}

/** The URL is on one line; blank lines and lines that begin with # are ignored. */
function readHubFile(context: Context): Parsed<HubUrl | NatsAddress> | null {
  const { sources, errors } = context;
  const file = fileOrCredential("hub-file", "hub", context);
  const text = file === null ? null : readNamedFile(sources, file, errors);
  if (file === null || text === null) return null;
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (lines.length !== 1) {
    errors.push(`${file.where}: the file has ${lines.length} lines instead of one with the URL`);
    return null;
  }
  // The line that `wgmon hub enroll` prints can be copied as it is.
  const url = /^hub\s*=\s*"(.*)"$/.exec(lines[0]!)?.[1] ?? lines[0]!;
  const result = hubUrl().parse(url);
  if ("value" in result) return { where: file.where, value: result.value };
  errors.push(`${file.where}: (hidden) ${result.problem}`);
  return null;
}

function readAuthority({ sources, resolved, errors }: Context): string | null {
  const [given] = resolved.parsed("hub-ca");
  if (given === undefined) return null;
  const { where, value: path } = given;
  const text = readNamedFile(sources, { path, where, isOptional: false }, errors);
  if (text === null) return null;
  if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  errors.push(`${where}: there is no certificate in PEM in the file`);
  return null;
}
