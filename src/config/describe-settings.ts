/** The settings as fields of one log line, without secrets. Pure. */

import { formatDuration } from "../base/duration.ts";
import { redact, redactUrl } from "../base/redact.ts";
import { formatSize } from "../base/size.ts";
import { counted } from "../base/text.ts";
import type { TargetSettings } from "../channels/target-settings.ts";
import type { Settings } from "./config.ts";
import type { ListenSettings } from "./listen.ts";
import { describeNats } from "./nats.ts";

export function describe(settings: Settings): Record<string, unknown> {
  const { monitor, group, captureInterface, filter, devices, targets, hub, peers, file } = settings;
  return {
    file: file === null ? null : redact(file),
    host: redact(settings.host),
    monitor,
    group,
    manageRules: settings.manageRules,
    interface: captureInterface,
    filter: filter === null ? "default" : redact(filter),
    devices: devices.length === 0 ? "all" : devices,
    targets: targets.map(describeTarget),
    hub:
      hub === null
        ? "none"
        : `${hub.type === "nats" ? hub.url : redactUrl(hub.url)} as ${hub.gateway}`,
    idleTimeout: formatDuration(settings.idleTimeoutMs),
    tick: formatDuration(settings.tickMs),
    reconcile: settings.reconcileMs === 0 ? "off" : formatDuration(settings.reconcileMs),
    hold: settings.holdMs === 0 ? "off" : formatDuration(settings.holdMs),
    announceExisting: settings.announceExisting,
    reportUnknown: settings.reportUnknown,
    resolveEndpoints: settings.resolveEndpoints,
    peersInSettings: peers.size,
    names: settings.names.length === 0 ? "off" : settings.names.map(redact),
    places: settings.places.length === 0 ? "off" : settings.places.map(redact),
    alerts: settings.alerts.length,
    metrics: settings.metrics.length === 0 ? "none" : settings.metrics,
    listen: describeListen(settings),
    nats: describeNats(settings.nats),
    stateDir: redact(settings.stateDir),
    keep: formatDuration(settings.keepMs),
    maxStore: formatSize(settings.maxStoreBytes),
    logFormat: settings.logFormat,
    logLevel: settings.logLevel,
  };
}

/** `127.0.0.1:9587 (TLS; 2 tokens)` */
function describeListen({ listen, listenTls, listenTokens }: ListenSettings): string {
  if (listen === null) return "off";
  const { address, port } = listen;
  const tokens = listenTokens.length;
  const details = [
    ...(listenTls === null ? [] : ["TLS"]),
    ...(tokens === 0 ? [] : [counted(tokens, "token")]),
  ];
  const text = `${address.includes(":") ? `[${address}]` : address}:${port}`;
  return details.length === 0 ? text : `${text} (${details.join("; ")})`;
}

/** `ops slack:https://hooks.slack.com/... (peers laptop; digest 5m)` */
function describeTarget(target: TargetSettings, index: number): string {
  const { name, destination, selection, digestMs } = target;
  const address =
    destination.type === "exec"
      ? `exec:${redact(destination.command[0])}`
      : `${destination.formatName}:${redactUrl(destination.url)}`;
  const filters = Object.entries<readonly string[]>({ ...selection })
    .filter(([, values]) => values.length > 0)
    .map(([name, values]) => `${name} ${values.map(redact).join("|")}`);
  const details = [
    ...filters,
    ...(digestMs > 0 ? [`digest ${formatDuration(digestMs)}`] : []),
    ...(destination.type === "webhook" && destination.secrets.length > 0 ? ["signed"] : []),
  ];
  const suffix = details.length === 0 ? "" : ` (${details.join("; ")})`;
  return `${name ?? index + 1} ${address}${suffix}`;
}
