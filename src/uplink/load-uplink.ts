/** Builds the uplink with its transport, from the settings. Loaded only if there is a hub. */

import { HttpsTransport } from "./https-transport.ts";
import type { HubLinkOptions } from "./hub-link.ts";
import { HUB_KEY, type HubSettings } from "./hub-settings.ts";
import type { HubTransport } from "./hub-transport.ts";
import { createNatsTransport } from "./nats-transport.ts";
import { StateReport } from "./state-report.ts";
import { Uplink } from "./uplink.ts";

/** @param before the report of the previous settings; the order of messages continues, by which a hub finds old ones. */
export function createUplink(
  settings: HubSettings,
  options: HubLinkOptions,
  before: StateReport | null,
): { readonly uplink: Uplink; readonly report: StateReport } {
  const report = before ?? new StateReport(options.source);
  report.startAgain();
  const { store, clock, log, attempted } = options;
  const uplink = new Uplink({
    key: HUB_KEY,
    placeKey: store.targetKey(settings.url),
    store,
    clock,
    log,
    attempted,
    transport: createTransport(settings, options),
    report,
  });
  return { uplink, report };
}

export function createTransport(
  settings: HubSettings,
  {
    clock,
    log,
    source,
  }: Pick<HubLinkOptions, "clock" | "log"> & {
    readonly source: Pick<HubLinkOptions["source"], "program">;
  },
): HubTransport {
  const { gateway } = settings;
  const version = source.program;
  if (settings.type === "nats") {
    return createNatsTransport({ login: settings.login, gateway, version, log, clock });
  }
  const { url, secret, ca } = settings;
  return new HttpsTransport({ url, gateway, secret, ca, version, clock });
}
