/** The metrics: those that the two other exporters document, wgmon's own, and the two text formats. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import fc from "fast-check";

import { ruleOf } from "../../src/alerts/rule.ts";
import type { PublicKey } from "../../src/base/wireguard.ts";
import { exposition, type Naming } from "../../src/http/metrics.ts";
import { hostileText } from "../support/events.ts";
import { device, peer } from "../support/peers.ts";
import { FakeSource, keyOf } from "../support/source.ts";
import { alertView } from "../support/stored-alerts.ts";

let source: FakeSource;

beforeEach(async () => {
  source = await FakeSource.make();
});

afterEach(() => source.store[Symbol.dispose]());

function text(namings: readonly Naming[] = [], accept = ""): string {
  const { chunks } = exposition(source, { namings, accept });
  return Array.from({ [Symbol.iterator]: () => chunks }).join("");
}

/** Samples with sorted labels, because their order is irrelevant to Prometheus. */
function samples(exposed: string, prefix: string): string[] {
  return exposed
    .split("\n")
    .filter((line) => line.startsWith(prefix))
    .map((line) => {
      const [, name, labels, value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line)!;
      const pairs = [...(labels ?? "").matchAll(/\w+="(?:[^"\\]|\\.)*"/g)].map(([pair]) => pair);
      return `${name}{${pairs.toSorted().join(",")}} ${value}`;
    })
    .toSorted();
}

/** A key of 32 times `byte`, as in the tests of mdlayher's exporter. */
function key(byte: number): PublicKey {
  return new Uint8Array(32).fill(byte).toBase64() as PublicKey;
}

describe("the metrics of alerts", () => {
  test("each rule has series by state, and messages by type and result", () => {
    source.alerts.all = [ruleOf("down", "office"), ruleOf("flapping", 'a "b"')];
    const rule = "office";
    source.alerts.firing = [
      alertView({ rule }),
      alertView({ rule, state: "recovering" }),
      alertView({ rule, heldBack: { type: "times" } }),
      alertView({ rule, state: "pending", id: "" }),
    ];
    source.alerts.addSilence({
      matchers: [{ field: "peer", pattern: "nobody" }],
      endMs: 2e12,
      comment: "",
      createdBy: "",
    });
    source.counters.notices.add(["office", "firing", "sent"], 3);
    source.counters.notices.add(["office", "firing", "held-back"]);
    const exposed = text();
    expect(samples(exposed, "wgmon_alerts{")).toEqual([
      'wgmon_alerts{rule="a \\"b\\"",severity="warning",state="firing"} 0',
      'wgmon_alerts{rule="a \\"b\\"",severity="warning",state="held-back"} 0',
      'wgmon_alerts{rule="a \\"b\\"",severity="warning",state="pending"} 0',
      'wgmon_alerts{rule="office",severity="critical",state="firing"} 2',
      'wgmon_alerts{rule="office",severity="critical",state="held-back"} 1',
      'wgmon_alerts{rule="office",severity="critical",state="pending"} 1',
    ]);
    const notices = samples(exposed, "wgmon_alert_notices_total");
    expect(notices).toHaveLength(7);
    expect(notices).toContain(
      'wgmon_alert_notices_total{result="sent",rule="office",type="firing"} 3',
    );
    expect(notices).toContain(
      'wgmon_alert_notices_total{result="held-back",rule="office",type="firing"} 1',
    );
    expect(samples(exposed, "wgmon_silences")).toEqual(["wgmon_silences{} 1"]);
  });
});

describe("the names of mdlayher's exporter", () => {
  test("the names of mdlayher's exporter are exported as in its own example", () => {
    const found = peer({
      publicKey: key(3),
      endpoint: "[fd00::1]:51820",
      lastHandshakeMs: 10_999,
      rxBytes: 1,
      txBytes: 2,
      allowedIps: ["192.168.1.0/24", "2001:db8::/32"],
    });
    const again = peer({ publicKey: key(3), endpoint: null, allowedIps: ["0.0.0.0/0"] });
    source.found.set("wg0", { device: device({ publicKey: key(1) }), peers: [found] });
    const wg1 = device({ name: "wg1", publicKey: key(2) });
    source.found.set("wg1", { device: wg1, peers: [again] });
    source.names.set(key(3), "foo");
    const [A, B, P] = [key(1), key(2), key(3)];
    expect(samples(text(["mdlayher"]), "wireguard_")).toEqual(
      [
        `wireguard_device_info{device="wg0",public_key="${A}"} 1`,
        `wireguard_device_info{device="wg1",public_key="${B}"} 1`,
        `wireguard_peer_info{device="wg0",endpoint="[fd00::1]:51820",name="foo",public_key="${P}"} 1`,
        `wireguard_peer_info{device="wg1",endpoint="",name="foo",public_key="${P}"} 1`,
        `wireguard_peer_allowed_ips_info{allowed_ips="192.168.1.0/24",device="wg0",family="IPv4",public_key="${P}"} 1`,
        `wireguard_peer_allowed_ips_info{allowed_ips="2001:db8::/32",device="wg0",family="IPv6",public_key="${P}"} 1`,
        `wireguard_peer_allowed_ips_info{allowed_ips="0.0.0.0/0",device="wg1",family="IPv4",public_key="${P}"} 1`,
        `wireguard_peer_last_handshake_seconds{device="wg0",public_key="${P}"} 10`,
        `wireguard_peer_last_handshake_seconds{device="wg1",public_key="${P}"} 0`,
        `wireguard_peer_receive_bytes_total{device="wg0",public_key="${P}"} 1`,
        `wireguard_peer_receive_bytes_total{device="wg1",public_key="${P}"} 0`,
        `wireguard_peer_transmit_bytes_total{device="wg0",public_key="${P}"} 2`,
        `wireguard_peer_transmit_bytes_total{device="wg1",public_key="${P}"} 0`,
      ].toSorted(),
    );
  });
});

describe("the names of prometheus_wireguard_exporter", () => {
  test("the names of prometheus_wireguard_exporter are exported as in the example of its README", () => {
    const phone = "2S7mA0vEMethCNQrJpJKE81/JmhgtB+tHHLYQhgM6kk=" as PublicKey;
    const laptop = "qnoxQoQI8KKMupLnSSureORV0wMmH7JryZNsmGVISzU=" as PublicKey;
    const peers = [
      peer({
        publicKey: phone,
        allowedIps: ["10.70.0.2/32", "10.70.0.66/32"],
        txBytes: 3_208_804,
        rxBytes: 71_420_072,
        lastHandshakeMs: 1_562_834_127_000,
      }),
      peer({ publicKey: laptop, endpoint: null, allowedIps: ["10.70.0.3/32"] }),
      peer({ publicKey: keyOf(1), endpoint: null, allowedIps: [] }),
    ];
    source.found.set("wg0", { device: device(), peers });
    source.names.set(phone, "OnePlus 6T");
    const nowSeconds = source.clock.now().wallMs / 1000;
    const first = `interface="wg0",public_key="${phone}",allowed_ips="10.70.0.2/32,10.70.0.66/32",friendly_name="OnePlus 6T"`;
    const second = `interface="wg0",public_key="${keyOf(1)}",allowed_ips="(none)"`;
    const third = `interface="wg0",public_key="${laptop}",allowed_ips="10.70.0.3/32"`;
    const exposed = text(["mindflavor"]).split("\n");
    // The order of the labels is documented, so it is checked.
    expect(exposed.filter((line) => line.startsWith("wireguard_"))).toEqual([
      `wireguard_sent_bytes_total{${first}} 3208804`,
      `wireguard_sent_bytes_total{${second}} 0`,
      `wireguard_sent_bytes_total{${third}} 0`,
      `wireguard_received_bytes_total{${first}} 71420072`,
      `wireguard_received_bytes_total{${second}} 0`,
      `wireguard_received_bytes_total{${third}} 0`,
      `wireguard_latest_handshake_seconds{${first}} 1562834127`,
      `wireguard_latest_handshake_seconds{${second}} 0`,
      `wireguard_latest_handshake_seconds{${third}} 0`,
      `wireguard_latest_handshake_delay_seconds{${first}} ${nowSeconds - 1_562_834_127}`,
      `wireguard_latest_handshake_delay_seconds{${second}} ${nowSeconds}`,
      `wireguard_latest_handshake_delay_seconds{${third}} ${nowSeconds}`,
      `wireguard_peers_total{interface="wg0"} 3`,
    ]);
    expect(exposed).toContain("# TYPE wireguard_sent_bytes_total counter");
    expect(exposed).toContain("# TYPE wireguard_latest_handshake_seconds gauge");
  });

  test("the names of prometheus_wireguard_exporter can be exported with those of mdlayher, without duplicates", () => {
    source.found.set("wg0", { device: device(), peers: [peer()] });
    const types = [...text(["mdlayher", "mindflavor"]).matchAll(/^# TYPE (\w+) /gm)];
    const names = types.map(([, name]) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe("wgmon's own metrics", () => {
  test("wgmon's own metrics include counters, histograms and queues", () => {
    const { counters } = source;
    counters.events.add(["peer.connected"]);
    counters.events.add(["peer.connected"]);
    counters.scans.add(["tick"], 7);
    counters.packets = 3;
    counters.attempts.add(["ops", "delivered"]);
    counters.attempts.add(["ops", "retry"]);
    counters.sessionSeconds.observe(10);
    counters.sessionSeconds.observe(61);
    counters.sessionSeconds.observe(1e9);
    source.targetStates = [
      { key: "ops", label: "ops", waiting: 0, isStopped: true, failures: 0, reason: "" },
    ];
    const exposed = text();
    for (const line of [
      'wgmon_events_total{type="peer.connected"} 2',
      // Exported as 0 from the start: Prometheus sees no increase in a series that begins with 1.
      'wgmon_events_total{type="peer.roamed"} 0',
      'wgmon_scans_total{reason="tick"} 7',
      "wgmon_packets_total 3",
      'wgmon_delivery_attempts_total{target="ops",result="delivered"} 1',
      'wgmon_delivery_attempts_total{target="ops",result="retry"} 1',
      'wgmon_outbox_depth{target="ops"} 0',
      'wgmon_outbox_oldest_age_seconds{target="ops"} 0',
      'wgmon_target_stopped{target="ops"} 1',
      'wgmon_target_failures{target="ops"} 0',
      "wgmon_store_in_memory 1",
      'wgmon_session_duration_seconds_bucket{le="10.0"} 1',
      'wgmon_session_duration_seconds_bucket{le="60.0"} 1',
      'wgmon_session_duration_seconds_bucket{le="300.0"} 2',
      'wgmon_session_duration_seconds_bucket{le="+Inf"} 3',
      "wgmon_session_duration_seconds_sum 1000000071",
      "wgmon_session_duration_seconds_count 3",
    ]) {
      expect(exposed.split("\n")).toContain(line);
    }
  });

  test("wgmon's own metrics include the connected and the disconnected peers, and no removed peer", () => {
    const known = peer({ publicKey: keyOf(1) });
    source.found.set("wg0", { device: device(), peers: [known, peer({ publicKey: keyOf(2) })] });
    source.connect("wg0", known);
    expect(samples(text(), "wgmon_peer_connected")).toEqual([
      `wgmon_peer_connected{device="wg0",name="",public_key="${keyOf(1)}"} 1`,
      `wgmon_peer_connected{device="wg0",name="",public_key="${keyOf(2)}"} 0`,
    ]);
    expect(samples(text(), "wgmon_peer_session_start")).toHaveLength(1);
    expect(samples(text(), "wgmon_device")).toEqual([
      'wgmon_device_connected_peers{device="wg0"} 1',
      'wgmon_device_peers{device="wg0"} 2',
    ]);
    source.found.set("wg0", { device: device(), peers: [] });
    expect(text()).not.toContain(keyOf(1));
  });

  test("the metrics keep the number of peers of a device that cannot be read, without series for its peers", () => {
    const known = peer({ publicKey: keyOf(1) });
    source.found.set("wg0", { device: device(), peers: [known, peer({ publicKey: keyOf(2) })] });
    source.connect("wg0", known);
    source.unreadable.add("wg0");
    expect(samples(text(), "wgmon_device")).toEqual([
      'wgmon_device_connected_peers{device="wg0"} 1',
      'wgmon_device_peers{device="wg0"} 2',
    ]);
    expect(samples(text(), "wgmon_peer_connected")).toEqual([]);
  });

  test("the metrics count the peers beyond the limit, without series for them", () => {
    const peers = Array.from({ length: 10_003 }, (_, n) => peer({ publicKey: keyOf(n) }));
    source.found.set("wg0", { device: device(), peers });
    const exposed = text(["mdlayher"]);
    expect(exposed).toContain("wgmon_metrics_peers_omitted 3\n");
    expect(exposed).toContain('wgmon_device_peers{device="wg0"} 10003\n');
    expect(samples(exposed, "wireguard_peer_info")).toHaveLength(10_000);
  });
});

describe("the text format of the metrics", () => {
  test("the text format of the metrics is the one that the request accepts", () => {
    source.found.set("wg0", { device: device(), peers: [peer()] });
    const accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    expect(exposition(source, { namings: [], accept }).type).toBe(
      "application/openmetrics-text; version=1.0.0; charset=utf-8",
    );
    expect(exposition(source, { namings: [], accept: "*/*" }).type).toBe(
      "text/plain; version=0.0.4; charset=utf-8",
    );
    const open = text(["mdlayher"], accept);
    expect(open).toEndWith("# EOF\n");
    expect(open).toContain("# TYPE wireguard_peer_receive_bytes counter\n");
    expect(open).toContain("\nwireguard_peer_receive_bytes_total{");
    expect(text(["mdlayher"])).toContain("# TYPE wireguard_peer_receive_bytes_total counter\n");
  });

  test("the text format of the metrics is valid with any name, and the name can be parsed back", () => {
    source.found.set("wg0", { device: device(), peers: [peer({ publicKey: keyOf(1) })] });
    fc.assert(
      fc.property(hostileText, (name) => {
        source.names.set(keyOf(1), name);
        const exposed = text(["mdlayher", "mindflavor"]);
        expect(exposed.isWellFormed()).toBe(true);
        for (const line of exposed.trimEnd().split("\n")) {
          expect(line).toMatch(
            /^# (?:HELP|TYPE) |^\w+(?:\{\w+="(?:[^"\\]|\\["\\n])*"(?:,\w+="(?:[^"\\]|\\["\\n])*")*\})? [-+\w.]+$/,
          );
        }
        const written = /^wireguard_peer_info\{.*,name="((?:[^"\\]|\\.)*)"\} 1$/m.exec(
          exposed,
        )![1]!;
        const read = written.replaceAll(/\\(.)/g, (_, char: string) =>
          char === "n" ? "\n" : char,
        );
        expect(read).toBe(name.toWellFormed());
      }),
      { numRuns: 300 },
    );
  });
});
