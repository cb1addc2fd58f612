/** `wgmon top`: the connected peers on the full screen, updated continuously. */

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import type {
  DeviceView,
  PeerView,
  StatusView,
  StoredEventView,
  TargetView,
} from "../http/view.ts";
import { isTerminal } from "../platform/standard-streams.ts";
import { type ApiReader, ConnectionLost, DaemonNotRunning } from "./client.ts";
import { checkDevices } from "./find-peers.ts";
import { Terminal } from "./terminal.ts";
import { paintFor } from "./text.ts";
import {
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
  /** Devices of the flag --device. */
  readonly askedDevices: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
}

/**
 * Resolves when the user quits.
 *
 * @throws SystemError where there is no terminal, or access to wgmon is denied.
 * @throws ConfigError when a device that was asked for does not exist.
 */
export async function runTop(answers: ApiReader, options: Options): Promise<void> {
  const { intervalMs, env, clock } = options;
  if (!isTerminal(0) || !isTerminal(1)) {
    throw new SystemError(
      "wgmon top",
      "ENOTTY",
      "it needs a terminal; wgmon status prints the same, once",
    );
  }
  // Check access before switching screens, so that an error message stays visible.
  await checkDevices(answers, options.askedDevices, { hasPast: false }).catch(toleratingAbsence);
  await answers.get("/v1/status").catch(toleratingAbsence);

  const paint = paintFor(env, true);
  const { promise: ended, resolve: end, reject: fail } = Promise.withResolvers<void>();
  let view = firstView(options.device);
  let shown: TopData | null = null;
  let problem: string | null = null;
  let isAsking = false;
  let isOutdated = false;

  const draw = () => {
    const { size } = terminal;
    const nowMs = clock.now().wallMs;
    terminal.draw(render(view, { ...size, shown, nowMs, problem, paint }));
  };

  /** One request at a time. If the view changes during a request, another one follows. */
  const refresh = async () => {
    isOutdated = true;
    if (isAsking) return;
    isAsking = true;
    while (isOutdated) {
      isOutdated = false;
      try {
        shown = await ask(answers, peersPath(view, terminal.size));
        problem = null;
        const within = clampOffset(view, shown.total, terminal.size);
        isOutdated ||= within !== view;
        view = within;
      } catch (error) {
        problem = toleratingAbsence(error);
      }
      draw();
    }
    isAsking = false;
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
  const keepUp = async () => {
    await refresh();
    cancel = clock.after(intervalMs, () => void keepUp().catch(fail));
  };
  keepUp().catch(fail);
  try {
    await ended;
  } finally {
    cancel();
  }
}

async function ask(answers: ApiReader, peersAt: string): Promise<TopData> {
  type Items<Item> = { readonly items: readonly Item[] };
  const [status, devices, peers, targets, events] = await Promise.all([
    answers.get<StatusView>("/v1/status"),
    answers.get<Items<DeviceView>>("/v1/devices"),
    answers.get<Items<PeerView> & { readonly total: number }>(peersAt),
    answers.get<Items<TargetView>>("/v1/targets"),
    answers.get<Items<StoredEventView>>(`/v1/events?limit=${EVENTS}`),
  ]);
  return {
    status,
    devices: devices.items,
    peers: peers.items,
    total: peers.total,
    targets: targets.items,
    events: events.items,
  };
}

/** The text to show for an error. wgmon may be started again at any time. */
function toleratingAbsence(error: unknown): string {
  if (error instanceof DaemonNotRunning) return "connection to wgmon lost; waiting for it";
  if (error instanceof ConnectionLost) return "wgmon does not answer; waiting for it";
  throw error;
}
