/** `wgmon status`: prints all peers, whether they are connected, and since when. */

import { NotFound } from "../base/errors.ts";
import { noSuch } from "../base/redact.ts";
import { counted, sanitize, shortName } from "../base/text.ts";
import { visible } from "../base/visible.ts";
import type { DeviceView, PeerView, StatusView } from "../http/schemas.ts";
import type { ApiReader } from "./client.ts";
import { checkDevices, knownNames } from "./find-peers.ts";
import { listPeers } from "./history-query.ts";
import { columnsOf, lastSeen } from "./peer-table.ts";
import { cutTo, json, type Output, since, tableOf } from "./text.ts";

interface Options extends Output {
  /** Only peers with this text in their name, key, tags or addresses; null: all peers. */
  readonly search: string | null;
  readonly json: boolean;
  /** Empty: all devices. A device of the settings need not exist. */
  readonly devices: readonly string[];
  /** The values of the flag --device. */
  readonly requestedDevices: readonly string[];
  readonly nowMs: number;
  /** Whether the daemon is running. If not, its state is not printed. */
  readonly isRunning: boolean;
}

/** The answer of a daemon that may be older than this program. */
type GivenStatus = Omit<StatusView, "alerts"> & Partial<Pick<StatusView, "alerts">>;

/**
 * @throws SystemError
 * @throws ConfigError when a device of the flag --device does not exist.
 * @throws NotFound when no peer matches the text to search for.
 */
export async function printStatus(api: ApiReader, options: Options): Promise<void> {
  const { devices: wanted, search, nowMs, isRunning, print, paint, maxWidth } = options;
  await checkDevices(api, options.requestedDevices, { allowsPast: false });
  const { items } = await api.get<{ items: readonly DeviceView[] }>("/v1/devices");
  const found = items.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
  if (search !== null) {
    await printMatches(api, { ...options, search }, found);
    return;
  }
  if (options.json) {
    for (const { name } of found) {
      if (!print(jsonLines(await peersOf(api, name)))) return;
    }
    return;
  }
  let isHub = false;
  if (isRunning) {
    const status = await api.get<GivenStatus>("/v1/status");
    isHub = status.gateways !== undefined;
    const { host, version, startedAt, store, wakeUp, alerts, gateways } = status;
    print(`${shortName(host)}: wgmon ${shortName(version)}, up ${since(startedAt, nowMs)}\n`);
    if (wakeUp !== null) {
      const line = visible(describeWakeUp(wakeUp));
      print(`${maxWidth === null ? line : cutTo(line, maxWidth)}\n`);
      if (wakeUp.problem !== null) print(`${paint("red", sanitize(wakeUp.problem))}\n`);
    }
    if (gateways !== undefined) print(`${describeGateways(gateways)}\n`);
    if (store.problem !== null)
      print(`${paint("red", `store in memory only: ${shortName(store.problem)}`)}\n`);
    if (alerts !== undefined && alerts.firing > 0) {
      const count = `${counted(alerts.firing, "alert")} ${alerts.firing === 1 ? "fires" : "fire"}`;
      print(`${paint("red", `${count}; wgmon alerts lists them`)}\n`);
    }
  }
  if (items.length === 0) {
    print(isHub ? "no gateway has reported a device yet\n" : "there is no WireGuard device\n");
  }
  for (const name of wanted.filter((each) => !items.some((item) => item.name === each))) {
    print(`there is no device ${shortName(name)} at present\n`);
  }
  for (const [index, device] of found.entries()) {
    const gap = index > 0 || isRunning ? "\n" : "";
    if (!print(`${gap}${deviceText(device, await peersOf(api, device.name), options)}`)) return;
  }
}

/** Prints only the peers that match, and their devices. */
async function printMatches(
  api: ApiReader,
  options: Options & { readonly search: string },
  devices: readonly DeviceView[],
): Promise<void> {
  const { search, print } = options;
  const found: [DeviceView, readonly PeerView[]][] = [];
  for (const device of devices) {
    const peers = await peersOf(api, device.name, search);
    if (peers.length > 0) found.push([device, peers]);
  }
  if (found.length === 0) {
    const problem = noSuch({ flag: null, what: "peer", word: search }, await knownNames(api));
    throw new NotFound(problem, "wgmon status without a text lists all peers.");
  }
  print(
    options.json
      ? found.map(([, peers]) => jsonLines(peers)).join("")
      : found.map(([device, peers]) => deviceText(device, peers, options)).join("\n"),
  );
}

function jsonLines(peers: readonly PeerView[]): string {
  return peers.map((peer) => `${json(peer)}\n`).join("");
}

/** A device and its peers, each on one line. */
function deviceText(
  device: DeviceView,
  peers: readonly PeerView[],
  { nowMs, maxWidth, paint }: Options,
): string {
  const columns = columnsOf(peers, nowMs).filter(({ title }) => title !== "DEVICE");
  const table = tableOf(columns, peers, { maxWidth, paint });
  const lines = [paint("bold", describe(device))];
  if (peers.length > 0) lines.push(paint("dim", table.header));
  for (const peer of peers) lines.push(table.line(peer));
  return `${lines.join("\n")}\n`;
}

/** `woken by bpf on all interfaces (no firewall rule logs to NFLOG group 1)` */
function describeWakeUp({
  monitor,
  group,
  interface: name,
  reason,
}: NonNullable<StatusView["wakeUp"]>): string {
  const where = name === "any" ? "all interfaces" : name;
  const source = monitor === "nflog" ? ` group ${group}` : monitor === "bpf" ? ` on ${where}` : "";
  return `woken by ${monitor}${source}${reason === null ? "" : ` (${sanitize(reason)})`}`;
}

/** `hub of 3 gateways: 2 up, 1 lost` */
export function describeGateways(gateways: NonNullable<StatusView["gateways"]>): string {
  const counts = Object.entries(gateways).filter(([, count]) => count > 0);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  const conditions = counts.map(([condition, count]) => `${count} ${condition}`).join(", ");
  return `hub of ${counted(total, "gateway")}${total === 0 ? "" : `: ${conditions}`}`;
}

/** `wg0, port 51820: 2 of 3 peers connected`; on a hub `berlin/wg0, ...`, and whether its peers are in an unknown state. */
function describe({ name, listenPort, peers, connected, unknown }: DeviceView): string {
  const port = listenPort === 0 ? "no port" : `port ${listenPort}`;
  const count = unknown === undefined ? `${connected} of ` : "";
  const state = unknown === undefined ? "connected" : "in an unknown state";
  return visible(`${shortName(name)}, ${port}: ${count}${counted(peers, "peer")} ${state}`);
}

/** The peers of a device, the most recently seen first. With a text, only those that match. */
async function peersOf(
  api: ApiReader,
  device: string,
  search: string | null = null,
): Promise<readonly PeerView[]> {
  const found = new Map<string, PeerView>();
  const query = search === null ? { device } : { device, search };
  for await (const peer of listPeers(api, query)) found.set(peer.publicKey, peer);
  // RFC 3339 timestamps sort as text; "" means never.
  return [...found.values()].sort((a, b) => {
    const [left, right] = [lastSeen(a) ?? "", lastSeen(b) ?? ""];
    return left === right ? 0 : left < right ? 1 : -1;
  });
}
