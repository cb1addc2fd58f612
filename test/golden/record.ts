/**
 * Records messages of a kernel with WireGuard in the files of this folder; README.md lists their content.
 * It runs itself in a temporary virtual machine: bun test/golden/record.ts
 */

import { randomBytes } from "node:crypto";
import { readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { libc } from "../../ffi/libc.ts";
import { genericHeader, parseFamily } from "../../src/kernel/genl-family.ts";
import { NetlinkSocket } from "../../src/kernel/netlink-socket.ts";
import { bytesOf, encodeMessage, type Message, text, u32 } from "../../src/kernel/netlink.ts";
import {
  CTRL_ATTR_FAMILY_NAME,
  CTRL_CMD_GETFAMILY,
  GENL_ID_CTRL,
  IFLA_EXT_MASK,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  NETLINK_GENERIC,
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  NFNL_SUBSYS_ULOG,
  NFULA_CFG_QTHRESH,
  NFULNL_CFG_CMD_BIND,
  NFULNL_COPY_PACKET,
  NFULNL_MSG_CONFIG,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  RTEXT_FILTER_SKIP_STATS,
  RTM_GETLINK,
  RTMGRP_LINK,
  WG_CMD_GET_DEVICE,
  WG_GENL_VERSION,
  WGDEVICE_A_IFNAME,
} from "../../src/platform/constants.ts";
import { runInVm } from "../support/vm.ts";

const GROUP = 7;
/** linux/socket.h */
const MSG_DONTWAIT = 0x40;

const folder = process.env["WGMON_TEST_OUT"];
if (folder !== undefined) {
  if (readlinkSync("/proc/self/ns/net") === readlinkSync("/proc/1/ns/net")) {
    throw new Error("this would change the machine's own network");
  }
  record(folder);
} else {
  const { exitCode } = await runInVm(["unshare", "--net", process.execPath, import.meta.path], {
    timeoutMs: 120_000,
    resultsFolder: import.meta.dir,
  });
  process.exitCode = exitCode;
}

function record(results: string): void {
  const save = (name: string, datagrams: readonly Uint8Array[]) => {
    const framed = datagrams.flatMap((datagram) => [u32(datagram.length), datagram]);
    writeFileSync(join(results, name), Buffer.concat(framed));
    console.log(`${name}: ${datagrams.length} datagrams`);
  };

  using route = new NetlinkSocket(NETLINK_ROUTE);
  using generic = new NetlinkSocket(NETLINK_GENERIC);

  using events = new NetlinkSocket(NETLINK_ROUTE, RTMGRP_LINK);
  void events.descriptor;
  sh(`
    ip link set lo up
    ip link add wg8 type wireguard
    ip link set wg8 name wg9
    ip link set wg9 up
    ip link add outer type veth peer name far
    ip link add bridge type bridge
    ip link set outer master bridge
    ip link set outer nomaster
    ip link del wg9
    ip link del outer
    ip link del bridge
  `);
  save("link-events.bin", drain(events));

  save("family.bin", answer(generic, familyRequest("wireguard")));
  save("family-missing.bin", answer(generic, familyRequest("nosuch")));
  save("device-missing.bin", answer(generic, deviceRequest(WGDEVICE_A_IFNAME, text("lo"))));

  // A network with two clients that begin handshakes, and two with which the gateway begins handshakes.
  sh(`
    ip netns add clients
    ip link add outer type veth peer name far netns clients
    ip addr add 198.51.100.1/24 dev outer
    ip addr add 2001:db8:5::1/64 dev outer nodad
    ip link set outer up
    ip -n clients addr add 198.51.100.2/24 dev far
    ip -n clients addr add 2001:db8:5::2/64 dev far nodad
    ip -n clients link set far up
    cd /run; umask 077
    for name in gateway static 1 2 3 4; do
      wg genkey >$name.key; wg pubkey <$name.key >$name.pub; wg genpsk >$name.psk
    done
    ip link add wg0 type wireguard
    ip addr add 10.0.0.100/24 dev wg0
    wg set wg0 private-key gateway.key listen-port 51820 fwmark 0x2a
    ip link set wg0 up
    for i in 1 2 3 4; do
      wg set wg0 peer $(cat $i.pub) preshared-key $i.psk allowed-ips 10.0.0.$i/32,fd00::$i/128
      [ $((i % 2)) = 1 ] && outer=198.51.100.1 || outer=[2001:db8:5::1]
      ip -n clients link add client$i type wireguard
      ip -n clients addr add 10.0.0.$i/32 dev client$i
      ip netns exec clients wg set client$i private-key $i.key listen-port 4000$i \\
        peer $(cat gateway.pub) preshared-key $i.psk endpoint $outer:51820 allowed-ips 10.0.0.100/32
      ip -n clients link set client$i up
    done
    wg set wg0 peer $(cat 3.pub) endpoint 198.51.100.2:40003
    wg set wg0 peer $(cat 4.pub) endpoint [2001:db8:5::2]:40004
    nft -f - <<'END'
      table inet golden {
        chain input {
          type filter hook input priority 0
          udp dport 51820 log prefix "golden" group ${GROUP} snaplen 128
        }
      }
END
  `);
  using logged = new NetlinkSocket(NETLINK_NETFILTER);
  takeGroup(logged);
  sh(`
    inside() { ip netns exec clients "$@"; }
    inside bash -c 'echo no WireGuard >/dev/udp/198.51.100.1/51820'
    # Only one route to 10.0.0.100 at a time, so that each client begins its own session.
    for i in 1 2; do
      ip -n clients route add 10.0.0.100/32 dev client$i src 10.0.0.$i
      inside ping -n -q -c 2 -i 0.2 -W 20 10.0.0.100
      ip -n clients route del 10.0.0.100/32 dev client$i
    done
    for i in 3 4; do
      ip -n clients route add 10.0.0.100/32 dev client$i src 10.0.0.$i
      ping -n -q -c 2 -i 0.2 -W 20 10.0.0.$i
      ip -n clients route del 10.0.0.100/32 dev client$i
    done
  `);
  save("nflog.bin", drain(logged));

  // A device that is down, so its peers do not change.
  sh(`
    cd /run
    key() { wg genkey | wg pubkey; }
    ip link add wg1 type wireguard
    wg set wg1 private-key static.key listen-port 51821
    wg set wg1 peer $(key) endpoint 192.0.2.1:51820 allowed-ips 10.1.0.1/32,fd01::1/128 \\
      preshared-key static.psk persistent-keepalive 25
    wg set wg1 peer $(key) endpoint [2001:db8::1]:51821 allowed-ips 10.1.1.0/24
    wg set wg1 peer $(key) endpoint [fe80::1%outer]:51822 allowed-ips 10.1.2.0/23,2001:db8:1::/48
    wg set wg1 peer $(key) endpoint [2001:db8:0:0:1::]:1 persistent-keepalive 65535
    wg set wg1 peer $(key) allowed-ips 0.0.0.0/0,::/0
    wg set wg1 peer $(key)
    ip link add wg2 type wireguard
  `);
  save("links.bin", answer(route, linksRequest({ filtered: true })));
  save("links-unfiltered.bin", answer(route, linksRequest({ filtered: false })));
  // The text and the bytes must have the same state.
  for (;;) {
    const before = sh("wg show all dump");
    const dumps = ["wg0", "wg1", "wg2"].map((name) =>
      answer(generic, deviceRequest(WGDEVICE_A_IFNAME, text(name))),
    );
    if (sh("wg show all dump") !== before) continue;
    for (const [i, dump] of dumps.entries()) save(`device-wg${i}.bin`, dump);
    writeFileSync(join(results, "wg-show-all-dump.txt"), before);
    break;
  }

  // A peer is removed during the dump. The kernel prepares one datagram in advance.
  const peers = Array.from({ length: 400 }, () => randomBytes(32).toString("base64"));
  const configuration = peers.map((key) => `[Peer]\nPublicKey = ${key}\n`).join("");
  sh("ip link add wg3 type wireguard; wg setconf wg3 /dev/stdin", configuration);
  using slow = new NetlinkSocket(NETLINK_GENERIC);
  slow.send("record", encodeMessage(deviceRequest(WGDEVICE_A_IFNAME, text("wg3"))));
  const first = receive(slow, 0)!;
  sh(`wg set wg3 peer ${peers.at(-1)} remove`);
  save("device-interrupted.bin", [first, ...untilDone(slow)]);
}

function familyRequest(name: string): Message {
  return {
    type: GENL_ID_CTRL,
    flags: NLM_F_REQUEST,
    sequence: 1,
    header: genericHeader(CTRL_CMD_GETFAMILY, 1),
    attributes: [[CTRL_ATTR_FAMILY_NAME, text(name)]],
  };
}

function deviceRequest(attribute: number, value: Uint8Array): Message {
  return {
    type: family(),
    flags: NLM_F_REQUEST | NLM_F_DUMP,
    sequence: 1,
    header: genericHeader(WG_CMD_GET_DEVICE, WG_GENL_VERSION),
    attributes: [[attribute, value]],
  };
}

function linksRequest({ filtered }: { filtered: boolean }): Message {
  return {
    type: RTM_GETLINK,
    flags: NLM_F_REQUEST | NLM_F_DUMP,
    sequence: 1,
    header: new Uint8Array(16),
    attributes: [
      ...(filtered ? ([[IFLA_LINKINFO, [[IFLA_INFO_KIND, text("wireguard")]]]] as const) : []),
      [IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS)],
    ],
  };
}

function family(): number {
  using socket = new NetlinkSocket(NETLINK_GENERIC);
  const [datagram] = answer(socket, familyRequest("wireguard"));
  return parseFamily(bytesOf(datagram!), 0, datagram!.length)!;
}

/** Configures the group in the same way as openGroup() in src/capture/nflog.ts. */
function takeGroup(socket: NetlinkSocket): void {
  const threshold = Uint8Array.of(0, 0, 0, 1);
  const mode = Uint8Array.of(0, 0, 0, 128, NFULNL_COPY_PACKET, 0);
  // NFULA_CFG_CMD, NFULA_CFG_MODE, linux/netfilter/nfnetlink_log.h
  for (const [attribute, value] of [
    [1, Uint8Array.of(NFULNL_CFG_CMD_BIND)],
    [2, mode],
    [NFULA_CFG_QTHRESH, threshold],
  ] as const) {
    const message = encodeMessage({
      type: (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_CONFIG,
      flags: 0,
      sequence: 0,
      header: Uint8Array.of(0, 0, 0, GROUP),
      attributes: [[attribute, value]],
    });
    socket.acknowledge("take the group", message);
  }
}

/** The datagrams of the kernel's answer. */
function answer(socket: NetlinkSocket, request: Message): Uint8Array[] {
  socket.send("record", encodeMessage(request));
  const isDump = (request.flags & NLM_F_DUMP) !== 0;
  return isDump ? untilDone(socket) : [receive(socket, 0)!];
}

function untilDone(socket: NetlinkSocket): Uint8Array[] {
  const datagrams: Uint8Array[] = [];
  for (;;) {
    const datagram = receive(socket, 0)!;
    datagrams.push(datagram);
    const view = new DataView(datagram.buffer);
    for (let offset = 0; offset < datagram.length;) {
      const type = view.getUint16(offset + 4, true);
      if (type === NLMSG_DONE || type === NLMSG_ERROR) return datagrams;
      offset += (view.getUint32(offset, true) + 3) & ~3;
    }
  }
}

/** The datagrams that wait in the socket. */
function drain(socket: NetlinkSocket): Uint8Array[] {
  const datagrams: Uint8Array[] = [];
  for (;;) {
    const datagram = receive(socket, MSG_DONTWAIT);
    if (datagram === null) return datagrams;
    datagrams.push(datagram);
  }
}

function receive(socket: NetlinkSocket, flags: number): Uint8Array | null {
  const buffer = new Uint8Array(new ArrayBuffer(65_536));
  const length = Number(libc().recv(socket.descriptor, buffer, buffer.length, flags));
  return length < 0 ? null : buffer.slice(0, length);
}

function sh(script: string, input = ""): string {
  const done = Bun.spawnSync(["bash", "-euc", script], {
    stdin: Buffer.from(input),
    stderr: "inherit",
  });
  if (done.exitCode !== 0) throw new Error(`exit status ${done.exitCode}: ${script}`);
  return done.stdout.toString();
}
