/** `wgmon top`: shows the peers on the full screen, and updates them continuously. */

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import type { AlertApiView } from "../http/alert-schemas.ts";
import type {
  DeviceView,
  PeerView,
  StatusView,
  StoredEventView,
  TargetView,
} from "../http/schemas.ts";
import { isTerminal } from "../platform/standard-streams.ts";
import { type ApiReader, ConnectionLost, DaemonNotRunning } from "./client.ts";
import { checkDevices } from "./find-peers.ts";
import { Terminal } from "./terminal.ts";
import { paintFor } from "./text.ts";
import {
  ALERTS,
  clampOffset,
  EVENTS,
  firstView,
  handleKey,
  peersPath,
  render,
  type TopData,
} from "./top-view.ts";

interface Options {
  readonly intervalMs: number;
  /** The device shown first; null: all devices. */
  readonly device: string | null;
  /** The values of the flag --device. */
  readonly requestedDevices: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
}

/**
 * Resolves when the user quits.
 *
 * @throws SystemError when standard input or output is not a terminal, or access to wgmon is denied.
 * @throws ConfigError when a device of the flag --device does not exist.
 */
export async function runTop(api: ApiReader, options: Options): Promise<void> {
  const { intervalMs, env, clock } = options;
  if (!isTerminal(0) || !isTerminal(1)) {
    throw new SystemError(
      "top",
      "ENOTTY",
      "it needs a terminal; wgmon status prints the same, once",
    );
  }
  // Check access before the full screen, so that an error message stays visible.
  await checkDevices(api, options.requestedDevices, { allowsPast: false }).catch(connectionProblem);
  await api.get("/v1/status").catch(connectionProblem);

  const paint = paintFor(env, true);
  const { promise: ended, resolve: end, reject: fail } = Promise.withResolvers<void>();
  let view = firstView(options.device);
  let shown: TopData | null = null;
  let problem: string | null = null;
  let isRefreshing = false;
  let isOutdated = false;

  const draw = () => {
    const { size } = terminal;
    const nowMs = clock.now().wallMs;
    terminal.draw(render(view, { ...size, shown, nowMs, problem, paint }));
  };

  /** Requests the data and draws it, one request at a time. If the view changes during a request, repeats it. */
  const refresh = async () => {
    isOutdated = true;
    if (isRefreshing) return;
    isRefreshing = true;
    while (isOutdated) {
      isOutdated = false;
      try {
        shown = await fetchData(api, peersPath(view, terminal.size));
        problem = null;
        const clamped = clampOffset(view, shown.total, terminal.size);
        isOutdated ||= clamped !== view;
        view = clamped;
      } catch (error) {
        problem = connectionProblem(error);
      }
      draw();
    }
    isRefreshing = false;
  };
  const changed = () => {
    draw();
    refresh().catch(fail);
  };

  using terminal = new Terminal({
    changed,
    ended: end,
    failed: fail,
    key(key) {
      const next = handleKey(view, key, { ...terminal.size, shown });
      if (next === "quit") end();
      else if (next === "suspend") terminal.suspend();
      else if (next === "redraw") terminal.redraw();
      else {
        view = next;
        changed();
      }
    },
  });
  let cancel = () => {};
  const refreshPeriodically = async () => {
    await refresh();
    cancel = clock.after(intervalMs, () => void refreshPeriodically().catch(fail));
  };
  refreshPeriodically().catch(fail);
  try {
    await ended;
  } finally {
    cancel();
  }
}

async function fetchData(api: ApiReader, peersRequest: string): Promise<TopData> {
  type Items<Item> = { readonly items: readonly Item[] };
  const [status, devices, peers, targets, events, alerts] = await Promise.all([
    api.get<StatusView>("/v1/status"),
    api.get<Items<DeviceView>>("/v1/devices"),
    api.get<Items<PeerView> & { readonly total: number }>(peersRequest),
    api.get<Items<TargetView>>("/v1/targets"),
    api.get<Items<StoredEventView>>(`/v1/events?limit=${EVENTS}`),
    api.get<Items<AlertApiView>>(`/v1/alerts?state=current&limit=${ALERTS}`),
  ]);
  return {
    status,
    devices: devices.items,
    peers: peers.items,
    total: peers.total,
    targets: targets.items,
    events: events.items,
    alerts: alerts.items,
  };
}

/**
 * The text to show while wgmon cannot be reached, because it may be started again at any time.
 *
 * @throws all other errors.
 */
function connectionProblem(error: unknown): string {
  if (error instanceof DaemonNotRunning) return "connection to wgmon lost; waiting for it";
  if (error instanceof ConnectionLost) return "wgmon does not answer; waiting for it";
  throw error;
}
