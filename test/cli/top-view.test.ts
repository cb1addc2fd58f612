/** What `wgmon top` shows, and what its keys do. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import type { Key } from "../../src/cli/keys.ts";
import { coloured, plain } from "../../src/cli/text.ts";
import {
  clampOffset,
  type Drawing,
  firstView,
  handleKey,
  peersPath,
  render,
  tableRows,
  type TopData,
  type View,
} from "../../src/cli/top-view.ts";
import type { AlertApiView } from "../../src/http/alert-schemas.ts";
import type { PeerView } from "../../src/http/schemas.ts";
import { anEvent, hostileText } from "../support/events.ts";
import { ALICE, BOB } from "../support/peers.ts";

const NOW = "2026-11-22T16:20:00.000Z";
const NOW_MS = Date.parse(NOW);
const SMALL = { columns: 80, rows: 24 };

function peerView(fields: Partial<PeerView> = {}): PeerView {
  return {
    device: "wg0",
    publicKey: ALICE,
    name: "alice",
    tags: [],
    state: "connected",
    endpoint: "198.51.100.7:40001",
    endpointName: null,
    allowedIps: ["10.0.0.2/32"],
    lastHandshakeAt: "2026-11-22T16:19:00.000Z",
    rxBytes: 3_500_000,
    txBytes: 120_000,
    persistentKeepaliveSeconds: 25,
    session: {
      startedAt: "2026-11-22T14:15:00.000Z",
      lastSeenAt: "2026-11-22T16:19:57.000Z",
      rxBytes: 3_000_000,
      txBytes: 100_000,
      rxBytesPerSecond: 1_258_291,
      txBytesPerSecond: 900,
      roams: 1,
    },
    ...fields,
  };
}

const idle = peerView({
  publicKey: BOB,
  name: null,
  state: "disconnected",
  session: null,
  rxBytes: 0,
});
const never = peerView({
  name: "漢字さん",
  device: "wg1",
  state: "never",
  session: null,
  endpoint: null,
  lastHandshakeAt: null,
});

function shownOf(peers: readonly PeerView[], total = peers.length): TopData {
  const target = { key: "ops", label: "ops", oldestAt: null, failures: 0, reason: null, dead: 0 };
  const device = { publicKey: null, listenPort: 51820, peers: 2, connected: 1 };
  return {
    status: {
      version: "0.1.0",
      host: "gw1",
      startedAt: "2026-11-19T12:00:00.000Z",
      devices: 2,
      peers: 3,
      connected: 1,
      store: { inMemory: false, problem: null },
      wakeUp: { monitor: "bpf", group: null, interface: "any", reason: null, problem: null },
      alerts: { firing: 0, heldBack: 0, pending: 0, silences: 0 },
      latestEvent: 7,
    },
    devices: [
      { ...device, name: "wg0" },
      { ...device, name: "wg1" },
    ],
    peers,
    total,
    targets: [
      { ...target, state: "ok", waiting: 0, nextAttemptAt: null, hub: null },
      { ...target, state: "failing", waiting: 12, nextAttemptAt: null, hub: null },
    ],
    events: [
      { seq: 7, event: anEvent("peer.roamed") },
      { seq: 6, event: anEvent("peer.connected") },
    ],
    alerts: [],
  };
}

function alertOf(fields: Partial<AlertApiView> = {}): AlertApiView {
  return {
    id: "alert-1",
    rule: "offices",
    kind: "down",
    severity: "warning",
    state: "firing",
    device: "wg0",
    peer: null,
    target: null,
    sentence: "bob (wg0) is down: no data for 5m",
    since: "2026-11-22T16:15:00.000Z",
    firedAt: "2026-11-22T16:17:00.000Z",
    resolvedAt: null,
    moment: false,
    sent: true,
    accepted: true,
    heldBack: null,
    dryRun: false,
    ...fields,
  };
}

const silenced = {
  type: "silence",
  silence: "silence-1",
  comment: "new rack",
  device: null,
  sentence: "silenced: new rack",
} as const;

const drawing = (fields: Partial<Drawing> = {}): Drawing => ({
  ...SMALL,
  shown: shownOf([peerView(), idle, never]),
  nowMs: NOW_MS,
  problem: null,
  paint: plain,
  ...fields,
});

const first = firstView(null);
const screen = (view: View, fields: Partial<Drawing> = {}) =>
  `\n${render(view, drawing(fields)).join("\n")}\n`;

describe("the screen of wgmon top", () => {
  test("the screen of 80 by 24 has the peers, the latest events and the keys", () => {
    expect(screen(first)).toMatchInlineSnapshot(`
      "
      gw1: wgmon 0.1.0, up 3d 4h
      2 devices, 1 of 3 peers connected; targets: 1 ok, 1 failing, 12 events waiting
      no alert fires
      3 peers by SINCE, descending
      PEER          STATE         DEVICE  SINCE    SEEN        FROM PEER/S   TO PEER/S
      alice         connected     wg0     2h 5m    3s ago        1.2 MiB/s     900 B/s
      BBBBBBBB…     disconnected  wg0              1m ago
      漢字さん      never         wg1












      56s ago: alice (wg0) connected from 198.51.100.7:40001
      56s ago: alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001

      q quit  ? help  s sort  r reverse  / filter  d device  c connected  a alerts
      "
    `);
  });

  test("the screen of 140 by 12 has more columns, and no events", () => {
    expect(screen(first, { columns: 140, rows: 12 })).toMatchInlineSnapshot(`
      "
      gw1: wgmon 0.1.0, up 3d 4h
      2 devices, 1 of 3 peers connected; targets: 1 ok, 1 failing, 12 events waiting
      no alert fires
      3 peers by SINCE, descending
      PEER          STATE         ADDRESS   DEVICE  SINCE    SEEN        ENDPOINT               FROM PEER/S   TO PEER/S  FROM PEER   TO PEER
      alice         connected     10.0.0.2  wg0     2h 5m    3s ago      198.51.100.7:40001       1.2 MiB/s     900 B/s    3.3 MiB   117 KiB
      BBBBBBBB…     disconnected  10.0.0.2  wg0              1m ago      198.51.100.7:40001                                    0 B   117 KiB
      漢字さん      never         10.0.0.2  wg1                                                                            3.3 MiB   117 KiB



      q quit  ? help  s sort  r reverse  / filter  d device  c connected  a alerts
      "
    `);
  });

  test("the screen has the filter, its prompt, and that the connection to wgmon is lost", () => {
    const view = { ...first, search: "al", prompt: "al", device: "wg0", connectedOnly: true };
    const shown = shownOf([peerView()], 40);
    const lines = render(view, drawing({ shown }));
    expect(lines[3]).toBe(
      "1-1 of 40 peers by SINCE, descending; device wg0; connected only; filter: al",
    );
    expect(lines.at(-1)).toBe("filter: al_   Enter: keep, Esc: clear");
    const gone = render(
      view,
      drawing({ shown, problem: "connection to wgmon lost; waiting for it" }),
    );
    expect(gone[3]).toBe("connection to wgmon lost; waiting for it");
    expect(gone.with(3, lines[3]!)).toEqual(lines);
  });

  test("the screen has the number of alerts with the worst one, and on request all of them", () => {
    const base = shownOf([peerView()]);
    const shown = {
      ...base,
      status: { ...base.status, alerts: { firing: 2, heldBack: 1, pending: 1, silences: 1 } },
      alerts: [
        alertOf(),
        alertOf({ severity: "critical", sentence: "alice (wg0) does not\nanswer" }),
        alertOf({ severity: "critical", heldBack: silenced }),
        alertOf({ state: "pending", id: null, firedAt: null }),
      ],
    };
    expect(render(first, drawing({ shown }))[2]).toBe(
      "2 alerts fire; 1 held back; critical: alice (wg0) does not answer",
    );
    const lines = render({ ...first, areAlertsShown: true }, drawing({ shown, columns: 100 }));
    expect(`\n${lines.slice(4, 10).join("\n")}\n`).toMatchInlineSnapshot(`
      "
      SEVERITY  FOR  ALERT                              HELD BACK
      warning   5m   bob (wg0) is down: no data for 5m
      critical  5m   alice (wg0) does not answer
      critical  5m   bob (wg0) is down: no data for 5m  silenced: new rack
      warning   5m   bob (wg0) is down: no data for 5m  pending

      "
    `);
    const held = { ...shown, alerts: shown.alerts.slice(2) };
    expect(render(first, drawing({ shown: held }))[2]).toBe("no alert fires; 1 held back");
  });

  test("the screen has no data before the first answer, and shows the help on request", () => {
    expect(render(first, drawing({ shown: null })).slice(0, 4)).toEqual([
      "wgmon",
      "",
      "",
      "0 peers by SINCE, descending",
    ]);
    const help = render({ ...first, isHelpShown: true }, drawing());
    for (const key of ["s, right", "r ", "/ ", "d ", "c ", "a ", "home", "Ctrl-L", "q, "]) {
      expect(help.some((line) => line.startsWith(key))).toBe(true);
    }
    for (const line of help) expect(line).not.toContain("…");
  });

  test("the screen has as many lines as the terminal, and none is too wide, with any names", () => {
    const peers = fc.array(
      fc
        .record({ name: fc.option(hostileText), device: hostileText })
        .map((fields) => peerView(fields)),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(
        peers,
        hostileText,
        fc.integer({ min: 1, max: 120 }),
        fc.integer({ min: 1, max: 40 }),
        fc.boolean(),
        fc.boolean(),
        (some, text, columns, rows, isHelpShown, areAlertsShown) => {
          const base = shownOf(some);
          const shown = {
            ...base,
            status: { ...base.status, host: text },
            events: [{ seq: 1, event: anEvent("peer.connected", { name: text, device: text }) }],
            alerts: [
              alertOf({ sentence: text }),
              alertOf({ heldBack: { ...silenced, sentence: text } }),
            ],
          };
          const view = { ...first, isHelpShown, areAlertsShown, search: text, device: text };
          const lines = render(view, drawing({ shown, columns, rows, paint: coloured }));
          expect(lines).toHaveLength(rows);
          for (const line of lines) {
            const bare = Bun.stripANSI(line);
            expect(Bun.stringWidth(bare)).toBeLessThanOrEqual(columns);
            expect(bare).not.toMatch(/\p{Cc}|\p{Bidi_Control}/u);
          }
        },
      ),
    );
  });
});

describe("the keys of wgmon top", () => {
  const at = { ...SMALL, shown: shownOf([peerView()], 100) };
  const after = (...keys: readonly string[]): View =>
    keys.reduce<View>((view, key) => {
      // A key of one letter is text.
      const isNamed = key.length > 1;
      const next = handleKey(view, isNamed ? (key as Key) : { text: key }, at);
      if (typeof next === "string") throw new Error(next);
      return next;
    }, first);

  test.each<[readonly string[], Partial<View>]>([
    [["s"], { sort: "lastSeenAt" }],
    [["right", "right"], { sort: "rxBytesPerSecond" }],
    [["left"], { sort: "device" }],
    [["r", "s"], { sort: "lastSeenAt", isReversed: false }],
    [["r"], { isReversed: true }],
    [["c"], { connectedOnly: true }],
    [["c", "c"], { connectedOnly: false }],
    [["d"], { device: "wg0" }],
    [["d", "d"], { device: "wg1" }],
    [["d", "d", "d"], { device: null }],
    [["j", "down", "k"], { offset: 1 }],
    [["up"], { offset: 0 }],
    [["page-down"], { offset: 14 }],
    [["end"], { offset: 86 }],
    [["G", "page-down", "home"], { offset: 0 }],
    [["end", "c"], { offset: 0, connectedOnly: true }],
    [["/", "a", "l"], { prompt: "al", search: "al" }],
    [["/", "q", "backspace", "é", "enter"], { prompt: null, search: "é" }],
    [["/", "a", "escape"], { prompt: null, search: "" }],
    [["/", "a", "enter", "escape"], { search: "" }],
    [["/", "a", "b", "ctrl-u", "down"], { prompt: "", search: "" }],
    [["?"], { isHelpShown: true }],
    [["?", "q"], { isHelpShown: false }],
    [["a"], { areAlertsShown: true }],
    [["a", "?", "a", "q"], { areAlertsShown: false, isHelpShown: false }],
    [["x", "page-up"], {}],
  ])("the keys %j change the view", (keys, fields) => {
    expect(after(...keys)).toEqual({ ...first, ...fields });
  });

  test("q, Ctrl-C, Ctrl-Z and Ctrl-L quit, suspend and redraw", () => {
    expect(handleKey(first, { text: "q" }, at)).toBe("quit");
    for (const view of [first, after("/")]) {
      expect(handleKey(view, "ctrl-c", at)).toBe("quit");
      expect(handleKey(view, "ctrl-z", at)).toBe("suspend");
      expect(handleKey(view, "ctrl-l", at)).toBe("redraw");
    }
  });

  test("the length of the filter of wgmon top is limited", () => {
    expect(after("/", ...Array.from({ length: 80 }, () => "x")).search).toHaveLength(64);
  });
});

describe("the query of wgmon top", () => {
  test("the query selects only the visible peers", () => {
    expect(tableRows(SMALL)).toBe(14);
    expect(peersPath(first, SMALL)).toBe("/v1/peers?sort=startedAt&order=desc&limit=14&offset=0");
    const view: View = {
      ...first,
      sort: "name",
      search: "a&b",
      device: "wg0",
      connectedOnly: true,
    };
    expect(peersPath({ ...view, offset: 7 }, SMALL)).toBe(
      "/v1/peers?sort=name&order=asc&limit=14&offset=7&search=a%26b&device=wg0&state=connected",
    );
    expect(peersPath({ ...view, isReversed: true }, SMALL)).toContain("order=desc");
    expect(tableRows({ columns: 1, rows: 1 })).toBe(1);
  });

  test("the query never has an offset after the last peer", () => {
    expect(clampOffset({ ...first, offset: 90 }, 100, SMALL).offset).toBe(86);
    expect(clampOffset({ ...first, offset: 90 }, 3, SMALL).offset).toBe(0);
    expect(clampOffset(first, 0, SMALL)).toBe(first);
  });
});
