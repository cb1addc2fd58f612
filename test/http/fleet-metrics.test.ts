/** The metrics of a hub: those of its gateways, and the gateway as a label of devices and peers. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import { exposition, type Naming } from "../../src/http/metrics.ts";
import { hub, peerKey } from "../support/sample-fleet.ts";
import { FakeSource } from "../support/source.ts";

let source: FakeSource;

beforeEach(async () => {
  source = await hub();
});

afterEach(() => source.store[Symbol.dispose]());

function lines(prefix: string, namings: readonly Naming[] = []): string[] {
  const { chunks } = exposition(source, { namings, accept: "" });
  const text = Array.from({ [Symbol.iterator]: () => chunks }).join("");
  return text.split("\n").filter((line) => line.startsWith(prefix));
}

test("a hub has series of each gateway, and none for what is not known of it", () => {
  const { wallMs } = source.clock.now();
  expect(lines("wgmon_gateway_up{")).toEqual([
    'wgmon_gateway_up{gateway="berlin"} 1',
    'wgmon_gateway_up{gateway="kyoto"} 0',
    'wgmon_gateway_up{gateway="lyon"} 0',
    'wgmon_gateway_up{gateway="nairobi"} 0',
    'wgmon_gateway_up{gateway="oslo"} 1',
  ]);
  expect(lines("wgmon_gateway_condition{").filter((line) => line.endsWith(" 1"))).toEqual([
    'wgmon_gateway_condition{gateway="berlin",condition="up"} 1',
    'wgmon_gateway_condition{gateway="kyoto",condition="stopped"} 1',
    'wgmon_gateway_condition{gateway="lyon",condition="lost"} 1',
    'wgmon_gateway_condition{gateway="nairobi",condition="waiting"} 1',
    'wgmon_gateway_condition{gateway="oslo",condition="up"} 1',
  ]);
  expect(lines("wgmon_gateway_lag_events{")).toEqual([
    'wgmon_gateway_lag_events{gateway="berlin"} 0',
    'wgmon_gateway_lag_events{gateway="kyoto"} 0',
    'wgmon_gateway_lag_events{gateway="lyon"} 0',
    'wgmon_gateway_lag_events{gateway="oslo"} 120',
  ]);
  expect(lines("wgmon_gateway_clock_offset_seconds{").at(-1)).toBe(
    'wgmon_gateway_clock_offset_seconds{gateway="oslo"} 3.4',
  );
  expect(lines("wgmon_gateway_last_seen_timestamp_seconds{")[0]).toBe(
    `wgmon_gateway_last_seen_timestamp_seconds{gateway="berlin"} ${(wallMs - 4000) / 1000}`,
  );
});

test("peers of a gateway that does not report are unknown: they have no series, and are not disconnected", () => {
  expect(lines("wgmon_device_peers{")).toEqual([
    'wgmon_device_peers{gateway="berlin",device="wg0"} 6',
    'wgmon_device_peers{gateway="berlin",device="wg1"} 6',
    'wgmon_device_peers{gateway="oslo",device="wg0"} 5',
    'wgmon_device_peers{gateway="lyon",device="wg0"} 4',
    'wgmon_device_peers{gateway="kyoto",device="wg0"} 3',
  ]);
  expect(lines("wgmon_device_connected_peers{")).toEqual([
    'wgmon_device_connected_peers{gateway="berlin",device="wg0"} 4',
    'wgmon_device_connected_peers{gateway="berlin",device="wg1"} 4',
    'wgmon_device_connected_peers{gateway="oslo",device="wg0"} 3',
  ]);
  expect(lines("wgmon_device_unknown_peers{").slice(2)).toEqual([
    'wgmon_device_unknown_peers{gateway="oslo",device="wg0"} 0',
    'wgmon_device_unknown_peers{gateway="lyon",device="wg0"} 4',
    'wgmon_device_unknown_peers{gateway="kyoto",device="wg0"} 3',
  ]);
  expect(lines("wgmon_peer_connected{")).toHaveLength(17);
  expect(lines("wgmon_peer_connected{").join()).not.toContain('gateway="lyon"');
});

test("the names of other exporters have the label of the gateway, too", () => {
  const key = peerKey("oslo", 0);
  const received = lines("wireguard_peer_receive_bytes_total{", ["mdlayher"]);
  expect(received).toHaveLength(17);
  expect(received).toContain(
    `wireguard_peer_receive_bytes_total{gateway="oslo",device="wg0",public_key="${key}"} 0`,
  );
  expect(lines("wireguard_peers_total{", ["mindflavor"])[0]).toBe(
    'wireguard_peers_total{gateway="berlin",interface="wg0"} 6',
  );
  expect(lines("wireguard_device_info{", ["mdlayher"])[0]).toStartWith(
    'wireguard_device_info{gateway="berlin",device="wg0",public_key="',
  );
});

test("a gateway has no series of gateways, and no label for itself", () => {
  source.fleet = null;
  expect(lines("wgmon_gateway")).toEqual([]);
  expect(lines("wgmon_device_unknown_peers")).toEqual([]);
  expect(lines("").join()).not.toContain("gateway=");
});
