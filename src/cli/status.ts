/** `wgmon status`: prints all peers, whether they are connected, and since when. */

import { counted, sanitize, shortName } from "../base/text.ts";
import { visible } from "../base/visible.ts";
import type { DeviceView, PeerView, StatusView } from "../http/schemas.ts";
import type { ApiReader } from "./client.ts";
import { checkDevices } from "./find-peers.ts";
import { listPeers } from "./history-query.ts";
import { lastSeen, peerColumns } from "./peer-table.ts";
import { cutTo, json, type Output, since, tableOf } from "./text.ts";

interface Options extends Output {
  readonly json: boolean;
  /** Empty: all devices. A device of the settings need not exist. */
  readonly devices: readonly string[];
  /** The values of the flag --device. */
  readonly requestedDevices: readonly string[];
  readonly nowMs: number;
  /** Whether the daemon is running. If not, its state is not printed. */
  readonly isRunning: boolean;
}

/** @throws SystemError; ConfigError when a device of the flag --device does not exist. */
export async function printStatus(api: ApiReader, options: Options): Promise<void> {
  const { devices: wanted, nowMs, isRunning, print, paint, maxWidth } = options;
  await checkDevices(api, options.requestedDevices, { allowsPast: false });
  const { items } = await api.get<{ items: readonly DeviceView[] }>("/v1/devices");
  const found = items.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
  if (options.json) {
    for (const { name } of found) {
      const lines = (await peersOf(api, name)).map((peer) => `${json(peer)}\n`);
      if (!print(lines.join(""))) return;
    }
    return;
  }
  if (isRunning) {
    const { host, version, startedAt, store, wakeUp } = await api.get<StatusView>("/v1/status");
    print(`${shortName(host)}: wgmon ${shortName(version)}, up ${since(startedAt, nowMs)}\n`);
    const wakeUpLine = visible(describeWakeUp(wakeUp));
    print(`${maxWidth === null ? wakeUpLine : cutTo(wakeUpLine, maxWidth)}\n`);
    if (wakeUp.problem !== null) print(`${paint("red", sanitize(wakeUp.problem))}\n`);
    if (store.problem !== null)
      print(`${paint("red", `store in memory only: ${shortName(store.problem)}`)}\n`);
  }
  if (items.length === 0) print("there is no WireGuard device\n");
  for (const name of wanted.filter((each) => !items.some((item) => item.name === each))) {
    print(`there is no device ${shortName(name)} at present\n`);
  }
  const { device: _, ...columns } = peerColumns(nowMs);
  for (const [index, device] of found.entries()) {
    const peers = await peersOf(api, device.name);
    const table = tableOf(Object.values(columns), peers, { maxWidth, paint });
    const lines = [paint("bold", describe(device))];
    if (peers.length > 0) lines.push(paint("dim", table.header));
    for (const peer of peers) lines.push(table.line(peer));
    const gap = index > 0 || isRunning ? "\n" : "";
    if (!print(`${gap}${lines.join("\n")}\n`)) return;
  }
}

/** `woken by bpf on all interfaces (no firewall rule logs to NFLOG group 1)` */
function describeWakeUp({ monitor, group, interface: name, reason }: StatusView["wakeUp"]): string {
  const where = name === "any" ? "all interfaces" : name;
  const source = monitor === "nflog" ? ` group ${group}` : monitor === "bpf" ? ` on ${where}` : "";
  return `woken by ${monitor}${source}${reason === null ? "" : ` (${sanitize(reason)})`}`;
}

/** `wg0, port 51820: 2 of 3 peers connected` */
function describe({ name, listenPort, peers, connected }: DeviceView): string {
  const port = listenPort === 0 ? "no port" : `port ${listenPort}`;
  return visible(
    `${shortName(name)}, ${port}: ${connected} of ${counted(peers, "peer")} connected`,
  );
}

/** All peers of a device, the most recently seen first. */
async function peersOf(api: ApiReader, device: string): Promise<readonly PeerView[]> {
  const found = new Map<string, PeerView>();
  for await (const peer of listPeers(api, { device })) found.set(peer.publicKey, peer);
  // RFC 3339 timestamps sort as text; "" means never.
  return [...found.values()].sort((a, b) => {
    const [left, right] = [lastSeen(a) ?? "", lastSeen(b) ?? ""];
    return left === right ? 0 : left < right ? 1 : -1;
  });
}
