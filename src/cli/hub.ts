/** The commands of `wgmon hub` that administer the gateways: through the running hub, or its store if it does not run. */

import { readFile } from "node:fs/promises";

import type { Clock } from "../base/clock.ts";
import { AlreadyRunning, ConfigError, NotFound, SystemError } from "../base/errors.ts";
import { counted } from "../base/text.ts";
import type { HubRequest } from "../config/command-requests.ts";
import type { Settings } from "../config/config.ts";
import { duration } from "../events/event.ts";
import { standbyText } from "../http/fleet-model.ts";
import { EnrolledGateways, secretIn } from "../hub/enrolled.ts";
import type { FleetViews } from "../hub/fleet-handler.ts";
import type { GatewayView } from "../hub/fleet-state.ts";
import type { lockInstance } from "../platform/instance-lock.ts";
import type { Log } from "../platform/log.ts";
import { hubRuntimeDirOf, socketPath } from "../platform/socket-path.ts";
import { Store } from "../store/store.ts";
import { DaemonClient, DaemonNotRunning, NotFoundResponse } from "./client.ts";
import { type Column, json, plain, tableOf } from "./text.ts";

interface Options {
  readonly settings: Settings;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly print: (line: string) => void;
  /** Keeps a hub from starting meanwhile, until the process ends. */
  readonly lock: typeof lockInstance;
}

export async function runHubCommand(
  request: Exclude<HubRequest, { action: "run" | "doctor" }>,
  options: Options,
): Promise<void> {
  const { print, settings } = options;
  const client = new DaemonClient(socketPath(hubRuntimeDirOf(options.env)));
  switch (request.action) {
    case "enroll": {
      const { gateway, replace, secretFile } = request;
      const path = `/v1/fleet/gateways/${gateway}${replace ? "?replace=true" : ""}`;
      const given = secretFile === null ? null : await readSecret(secretFile);
      const body = given === null ? null : { secret: given };
      const secret = await orInStore(
        async () => (await client.send<FleetViews["enrolled"]>("POST", path, body)).secret,
        (enrolled) => {
          if (given !== null) return enrolled.enroll(gateway, given);
          return replace || enrolled.get(gateway) === null ? enrolled.enroll(gateway) : null;
        },
        options,
      );
      if (given !== null) {
        print(
          `${gateway} is enrolled with the secret of the other hub; the gateway needs no change`,
        );
        return;
      }
      if (settings.nats === null) {
        if (secret === null) throw alreadyEnrolled(gateway);
        print(`hub = "https://${gateway}:${secret}@${addressOf(settings)}"`);
        return;
      }
      const { natsEnrollment } = await import("../hub/nats-setup.ts");
      printLines(await natsEnrollment(gateway, settings.nats.servers), print);
      return;
    }
    case "forget": {
      const { gateway } = request;
      const path = `/v1/fleet/gateways/${gateway}`;
      const isForgotten = await orInStore(
        async () => await isFound(client.send("DELETE", path, null)),
        (enrolled) => enrolled.forget(gateway),
        options,
      );
      if (!isForgotten) throw unknown(gateway);
      print(`${gateway} is forgotten; its events stay for --keep`);
      if (settings.nats !== null)
        print("also remove its user from nats-server.conf, and reload it");
      return;
    }
    case "gateways": {
      const { items, role } = await client.get<FleetViews["gateways"]>("/v1/fleet/gateways");
      if (request.json) for (const item of items) print(json(item));
      else {
        printGateways(items, options);
        if (role.active !== null) print(standbyText(role) ?? `this hub works: ${role.active}`);
      }
      return;
    }
    case "rebuild": {
      const { gateway } = request;
      const query = gateway === null ? "" : `?gateway=${gateway}`;
      const response = await orNull(
        client.send<FleetViews["rebuilding"]>("POST", `/v1/fleet/rebuild${query}`, null),
      );
      if (response === null) throw unknown(gateway ?? "");
      const { gateways } = response;
      const verb = gateways === 1 ? "is" : "are";
      print(`${counted(gateways, "gateway")} ${verb} asked for all events again`);
      return;
    }
    case "init":
      if (request.isNats) {
        const { natsInit } = await import("../hub/nats-setup.ts");
        printLines(await natsInit(settings.nats?.servers ?? ["nats.example.net:4222"]), print);
      } else printLines(initText(settings), print);
  }
}

/** @throws SystemError, ConfigError */
async function readSecret(path: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new SystemError(`read ${path}`, (error as { code?: string }).code ?? "EIO");
  }
  const secret = secretIn(text);
  if (secret !== null) return secret;
  throw new ConfigError([`--secret-file: ${path} has no secret that wgmon hub enroll has printed`]);
}

function printLines(text: string, print: (line: string) => void): void {
  for (const line of text.trimEnd().split("\n")) print(line);
}

/** Asks the running hub; changes its store if it does not run. */
async function orInStore<Result>(
  ask: () => Promise<Result>,
  change: (enrolled: EnrolledGateways) => Result,
  { settings, env, clock, log, lock }: Options,
): Promise<Result> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof DaemonNotRunning)) throw error;
  }
  const { stateDir: refusal } = lockStateDir(settings.stateDir, { env, lock });
  if (refusal !== null) throw refusal;
  using store = await Store.open({ directory: settings.stateDir, clock, log });
  if (store.isInMemory) throw new SystemError(`open ${settings.stateDir}`, "EIO");
  return change(new EnrolledGateways(store.fleet));
}

function lockStateDir(stateDir: string, { env, lock }: Pick<Options, "env" | "lock">) {
  try {
    return lock(stateDir, hubRuntimeDirOf(env));
  } catch (error) {
    if (!(error instanceof AlreadyRunning)) throw error;
    const hint = "set RUNTIME_DIRECTORY as for the hub, so that this command finds it";
    throw new AlreadyRunning(`${error.message}; or ${hint}`);
  }
}

/** null: there is nothing at the path. */
async function orNull<Result>(response: Promise<Result>): Promise<Result | null> {
  try {
    return await response;
  } catch (error) {
    if (error instanceof NotFoundResponse) return null;
    throw error;
  }
}

async function isFound(response: Promise<unknown>): Promise<boolean> {
  return (await orNull(response)) !== null;
}

function alreadyEnrolled(gateway: string): ConfigError {
  return new ConfigError(
    [`${gateway} is enrolled already, and its secret is not shown again`],
    `wgmon hub enroll ${gateway} --replace makes a new secret; the old one then stops working at once.`,
  );
}

function unknown(gateway: string): NotFound {
  return new NotFound(
    `no gateway is enrolled as ${gateway}`,
    "wgmon hub gateways lists the gateways.",
  );
}

/** The address of the hub for its gateways, as far as the settings tell. */
function addressOf({ host, listen }: Settings): string {
  return listen === null || listen.port === 443 ? host : `${host}:${listen.port}`;
}

function printGateways(gateways: readonly GatewayView[], { print, clock }: Options): void {
  if (gateways.length === 0) {
    print("no gateway is enrolled yet: wgmon hub enroll NAME");
    return;
  }
  const nowMs = clock.now().wallMs;
  const ago = (ms: number | null) => (ms === null ? "never" : `${duration(nowMs - ms)} ago`);
  const lag = ({ lastSeq, confirmedSeq }: GatewayView) =>
    lastSeq === null || confirmedSeq === null ? "" : String(Math.max(0, lastSeq - confirmedSeq));
  const columns: readonly Column<GatewayView>[] = [
    { title: "GATEWAY", cell: ({ name }) => name, priority: 0 },
    { title: "CONDITION", cell: ({ condition }) => condition, priority: 0 },
    { title: "LAST-MESSAGE", cell: ({ seenMs }) => ago(seenMs), priority: 1 },
    { title: "PEERS", cell: peersOf, priority: 2 },
    { title: "LAG", cell: lag, isNumber: true, priority: 3 },
    { title: "VERSION", cell: ({ program }) => program ?? "", priority: 4 },
  ];
  const table = tableOf(columns, gateways, { maxWidth: null, paint: plain });
  print(table.header);
  for (const gateway of gateways) print(table.line(gateway));
}

/** `8/12`: of 12 peers, 8 are connected. While the gateway does not report, that is unknown. */
function peersOf({ condition, connected, peers }: GatewayView): string {
  return `${condition === "up" ? connected : "?"}/${peers}`;
}

function initText(settings: Settings): string {
  const { host, listen, stateDir } = settings;
  const address = listen === null ? "0.0.0.0:9587" : `${listen.address}:${listen.port}`;
  return `1. On this machine, the settings of the hub, /etc/wgmon/hub.toml:

     host = "${host}"
     listen = "${address}"
     listen_tls_cert = "/etc/wgmon/hub.crt"
     listen_tls_key = "/etc/wgmon/hub.key"
     listen_token_file = "/etc/wgmon/hub.token"

   The store is in ${stateDir}. A proxy with TLS in front of a loopback address works as well; it must pass
   POST /v1/fleet/events and POST /v1/fleet/state.

2. Start the hub: wgmon hub

3. For each gateway, enroll its name, which is its --host in lower case with hyphens:

     wgmon hub enroll NAME

   and put the line that it prints into the settings of the gateway, or into the file that hub_file names.

4. wgmon hub gateways lists who reports.`;
}
