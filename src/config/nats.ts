/** Reads the settings of NATS: servers, user and password or a credentials file, and the authority. */

import { describeServers, type NatsAddress, type NatsLogin } from "../fleet/nats-url.ts";
import { fileOrCredential, type Parsed, readNamedFile } from "./resolve.ts";
import { natsServers } from "./value-types.ts";
import type { Context } from "./webhooks.ts";

/** Those of a hub; null: it does not use NATS, or the settings have a mistake. */
export function readNats(context: Context): NatsLogin | null {
  const { resolved, errors, warnings } = context;
  const isGiven = resolved.given("nats") !== null;
  if (isGiven && resolved.given("nats-file") !== null) {
    errors.push("nats and nats-file: give only one of them");
    return null;
  }
  const address = isGiven ? (resolved.parsed("nats")[0] ?? null) : readNatsFile(context);
  if (address !== null) return natsLogin(address, "nats-ca", context);
  if (isGiven || resolved.given("nats-file") !== null) return null;
  const hasHub = resolved.given("hub") !== null || resolved.given("hub-file") !== null;
  for (const name of ["nats-credentials", "nats-ca"] as const) {
    const given = resolved.given(name);
    const isOfHub = name === "nats-credentials" && hasHub;
    if (given !== null && !isOfHub) warnings.push(`${given.where} has no effect without nats`);
  }
  return null;
}

/** Completes an address with the content of two files: the credentials, and the authority that `caSetting` names. */
export function natsLogin(
  { where, value }: Parsed<NatsAddress>,
  caSetting: "nats-ca" | "hub-ca",
  context: Context,
): NatsLogin | null {
  const { errors } = context;
  const before = errors.length;
  const credentials = readFile("nats-credentials", "BEGIN NATS USER JWT", "credentials", context);
  const ca = readFile(caSetting, "BEGIN CERTIFICATE", "certificate in PEM", context);
  if (errors.length > before) return null;
  if (value.user === null && credentials === null) {
    errors.push(`${where}: has no user and password; give them, or nats-credentials`);
    return null;
  }
  if (value.user !== null && credentials !== null) {
    errors.push(`${where}: has a user; with nats-credentials, leave it out`);
    return null;
  }
  // Otherwise the file would have no effect.
  return { ...value, isTls: value.isTls || ca !== null, credentials, ca };
}

/** One line, which may be copied as `wgmon hub init` prints it. */
function readNatsFile(context: Context): Parsed<NatsAddress> | null {
  const { sources, errors } = context;
  const file = fileOrCredential("nats-file", "nats", context);
  const text = file === null ? null : readNamedFile(sources, file, errors);
  if (file === null || text === null) return null;
  const { where } = file;
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (lines.length !== 1) {
    errors.push(`${where}: the file has ${lines.length} lines instead of one with the address`);
    return null;
  }
  const result = natsServers().parse(/^nats\s*=\s*"(.*)"$/.exec(lines[0]!)?.[1] ?? lines[0]!);
  if ("value" in result) return { where, value: result.value };
  errors.push(`${where}: (hidden) ${result.problem}`);
  return null;
}

/** null: the setting is not given, or the file is not what it should be. */
function readFile(
  setting: "nats-credentials" | "nats-ca" | "hub-ca",
  mark: string,
  what: string,
  { sources, resolved, errors }: Context,
): string | null {
  const [given] = resolved.parsed(setting);
  if (given === undefined) return null;
  const { where, value: path } = given;
  const text = readNamedFile(sources, { path, where, isOptional: false }, errors);
  if (text === null || text.includes(`-----${mark}`)) return text;
  errors.push(`${where}: the file has no ${what}`);
  return null;
}

/** For the log: the servers, without user and password. */
export function describeNats(login: NatsLogin | null): string {
  return login === null ? "off" : describeServers(login);
}
