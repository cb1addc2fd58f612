/**
 * `npm run picture:terminal` writes docs/images/terminal.svg: the output of wgmon's commands as text in an SVG, light or
 * dark as the reader's system is. The peers are those of a stand-in gateway, and the clock is fixed, so the picture
 * changes only with the commands.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { version } from "../../package.json";
import type { PublicKey } from "../../src/base/wireguard.ts";
import { printEvents } from "../../src/cli/events.ts";
import { printPeer } from "../../src/cli/peer.ts";
import { printStatus } from "../../src/cli/status.ts";
import { coloured } from "../../src/cli/text.ts";
import { eventOf } from "../../src/events/event.ts";
import type { Change } from "../../src/sessions/change.ts";
import { asked, printed } from "./api-reader.ts";
import { device, mustEndpoint, peer } from "./peers.ts";
import { FakeSource, keyOf } from "./source.ts";

const COLUMNS = 110;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** A terminal session: each command line, and what it prints, with the colours of a terminal. */
export async function terminalSession(): Promise<string> {
  using gateway = await StandIn.make();
  const { source } = gateway;
  const api = asked(source);
  const nowMs = source.clock.now().wallMs;
  const output = () => ({ ...printed(), paint: coloured, maxWidth: COLUMNS, devices: [], nowMs });
  const parts: string[] = [];
  const ran = (line: string, { text }: { readonly text: () => string }) =>
    parts.push(`\u001b[1m$ ${line}\u001b[0m\n${text()}`);

  const status = { ...output(), requestedDevices: [], search: null, json: false, isRunning: true };
  await printStatus(api, status);
  ran("wgmon status", status);

  const request = { requestedDevices: [], limit: 3, json: false };
  const one = { ...output(), request: { ...request, word: "10.0.0.2" } };
  await printPeer(api, one);
  ran("wgmon peer 10.0.0.2 -n 3", one);

  const past = { peer: null, since: null, until: null, types: [], follow: false };
  const events = { ...output(), request: { ...request, ...past, limit: 4 }, clock: source.clock };
  await printEvents(api, events);
  ran("wgmon events -n 4", events);
  return parts.join("\n");
}

/** A gateway whose four peers have a past. */
class StandIn implements Disposable {
  readonly source: FakeSource;

  static async make(): Promise<StandIn> {
    const source = await FakeSource.make();
    source.clock.advance(40 * 24 * HOUR_MS);
    fill(source);
    Object.defineProperty(source, "version", { value: version });
    return new StandIn(source);
  }

  private constructor(source: FakeSource) {
    this.source = source;
  }

  [Symbol.dispose](): void {
    this.source.store[Symbol.dispose]();
  }
}

function fill(source: FakeSource): void {
  const { wallMs } = source.clock.now();
  const alice = peer({
    publicKey: "8ly5SwKCANPdyunxgCDvAf8o7MNQwsSu1ofnadakHlc=" as PublicKey,
    endpoint: "198.51.100.7:40001",
    allowedIps: ["10.0.0.2/32", "fd00::2/128"],
    lastHandshakeMs: wallMs - 68_000,
    rxBytes: 814 * 2 ** 20,
    txBytes: 89 * 2 ** 20,
    persistentKeepaliveSeconds: 25,
  });
  const bob = peer({
    publicKey: keyOf(12),
    endpoint: "203.0.113.9:51820",
    allowedIps: ["10.0.0.3/32"],
    lastHandshakeMs: wallMs - 31_000,
    rxBytes: 5_000_000,
    txBytes: 60_000_000,
  });
  const carol = peer({
    publicKey: keyOf(13),
    endpoint: "192.0.2.44:33211",
    allowedIps: ["10.0.0.4/32"],
    lastHandshakeMs: wallMs - 124 * MINUTE_MS,
    rxBytes: 300_000,
    txBytes: 200_000,
  });
  const office = peer({
    publicKey: keyOf(14),
    endpoint: null,
    allowedIps: ["10.0.0.5/32", "192.168.7.0/24"],
  });
  const peers = [alice, bob, carol, office];
  for (const [n, name] of ["alice", "bob's phone", "carol", "office Lyon"].entries()) {
    source.names.set(peers[n]!.publicKey, name);
  }
  source.tags.set(alice.publicKey, ["staff", "laptop"]);
  source.found.set("wg0", { device: device(), peers });
  const lasted = [6.5, 3.2, 8.1, 0.4];
  const ended = lasted.map((hours, days) => {
    const startedAtMs = wallMs - (days * 24 + 15) * HOUR_MS;
    const durationMs = hours * HOUR_MS;
    return {
      device: "wg0",
      publicKey: alice.publicKey,
      startedAtMs,
      endedAtMs: startedAtMs + durationMs,
      durationMs,
      reason: "idle" as const,
      endpoint: "198.51.100.7:40001",
      rxBytes: (120 + 37 * days) * 2 ** 20,
      txBytes: (11 + 3 * days) * 2 ** 20,
      roams: days % 2,
      peer: alice,
    };
  });
  source.store.record({ events: [], sessions: [], ended, devices: null }, 0);
  const open = (minutes: number, fields: object) => ({
    startedAtMs: wallMs - minutes * MINUTE_MS,
    lastActivity: { wallMs: wallMs - 2000, monotonicMs: 0 },
    ...fields,
  });
  source.connect("wg0", alice, open(125, { rxBytes: 5e7, txBytes: 3.5e6, roams: 1 }));
  source.connect("wg0", bob, open(16, { rxBytes: 4e6, txBytes: 3e7 }));
  source.speeds.set(alice.publicKey, { rxBytesPerSecond: 1_260_000, txBytesPerSecond: 90_000 });
  source.speeds.set(bob.publicKey, { rxBytesPerSecond: 1900, txBytesPerSecond: 640 });

  const base = { device: "wg0", initial: false } as const;
  const session = { startedAtMs: wallMs, rxBytes: 0, txBytes: 0, roams: 0 };
  const changes: readonly Change[] = [
    { ...base, type: "peer.connected", atMs: wallMs - 125 * MINUTE_MS, peer: alice, session },
    {
      type: "peer.disconnected",
      device: "wg0",
      atMs: wallMs - 121 * MINUTE_MS,
      peer: carol,
      session,
      endedAtMs: wallMs - 124 * MINUTE_MS,
      durationMs: 47 * MINUTE_MS,
      reason: "idle",
    },
    {
      type: "peer.roamed",
      device: "wg0",
      atMs: wallMs - 62 * MINUTE_MS,
      peer: alice,
      session,
      previousEndpoint: mustEndpoint("192.0.2.80:51004"),
    },
    { ...base, type: "peer.connected", atMs: wallMs - 16 * MINUTE_MS, peer: bob, session },
  ];
  source.record(
    changes.map((change, n) => {
      const name = "peer" in change ? source.nameOf(change.peer.publicKey) : null;
      return eventOf(change, { id: `evt_${`${n}`.padStart(32, "0")}`, host: "gw1", name });
    }),
  );
}

// ---- SVG ----

const FONT_PX = 13;
/** The width of a character of the usual monospaced fonts, as a part of the font's size. */
const CHARACTER = 0.6;
const LINE_PX = 18;
const MARGIN_PX = 18;

/** The classes of the styles of base/visible.ts, by their number in an escape sequence. */
const CLASSES: Readonly<Record<string, string>> = {
  "1": "b",
  "2": "d",
  "31": "r",
  "32": "g",
  "33": "y",
};

const STYLE = `
text{font:${FONT_PX}px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre;fill:#1f2328}
rect{fill:#f6f8fa;stroke:#d1d9e0}
.b{font-weight:bold}.d{fill:#59636e}.g{fill:#1a7f37}.r{fill:#cf222e}.y{fill:#7d4e00}
@media(prefers-color-scheme:dark){
text{fill:#e6edf3}rect{fill:#0d1117;stroke:#30363d}
.d{fill:#9198a1}.g{fill:#3fb950}.r{fill:#ff7b72}.y{fill:#d29922}}
`.trim();

/** The text of a terminal as an SVG. Each run of one style is placed by its column, so the font need not be known. */
export function svgOf(terminal: string, title: string): string {
  const lines = terminal.trimEnd().split("\n");
  const rows = lines.map((line, row) => {
    const y = MARGIN_PX + FONT_PX + row * LINE_PX;
    return runsOf(line)
      .map(({ text, column, style }) => {
        const name = style === null ? "" : ` class="${style}"`;
        const x = Math.round((MARGIN_PX + column * FONT_PX * CHARACTER) * 10) / 10;
        const width = Math.round(Bun.stringWidth(text) * FONT_PX * CHARACTER * 10) / 10;
        return `<text x="${x}" y="${y}"${name} textLength="${width}">${escape(text)}</text>`;
      })
      .join("");
  });
  const columns = Math.max(...lines.map((line) => Bun.stringWidth(Bun.stripANSI(line))));
  const width = Math.ceil(2 * MARGIN_PX + columns * FONT_PX * CHARACTER);
  const height = 2 * MARGIN_PX + lines.length * LINE_PX;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escape(title)}</title>
<style>${STYLE}</style>
<rect x=".5" y=".5" width="${width - 1}" height="${height - 1}" rx="8"/>
${rows.filter((row) => row !== "").join("\n")}
</svg>
`;
}

interface Run {
  readonly text: string;
  readonly column: number;
  /** A class; null: no style. */
  readonly style: string | null;
}

/** The words of a line. Spaces of two or more are left out, because each run is placed by its column. */
function runsOf(line: string): Run[] {
  const runs: Run[] = [];
  let [column, style]: [number, string | null] = [0, null];
  // oxlint-disable-next-line no-control-regex
  for (const [part, code] of line.matchAll(/\u001b\[(\d+)m| {2,}|(?:(?! {2})[^\u001b])+/g)) {
    if (code !== undefined) {
      style = CLASSES[code] ?? null;
      continue;
    }
    const text = part.trimStart();
    const indent = part.length - text.length;
    if (text.trimEnd() !== "") runs.push({ text: text.trimEnd(), column: column + indent, style });
    column += Bun.stringWidth(part);
  }
  return runs;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

const TITLE = "The output of wgmon status, wgmon peer and wgmon events in a terminal";

/** The file that docs/images/terminal.svg should be. */
export async function terminalPicture(): Promise<string> {
  return svgOf(await terminalSession(), TITLE);
}

if (import.meta.main) {
  // Times are printed in local time.
  process.env["TZ"] = "UTC";
  const file = join(import.meta.dir, "../../docs/images/terminal.svg");
  const picture = await terminalPicture();
  await mkdir(join(file, ".."), { recursive: true });
  await Bun.write(file, picture);
  console.log(`${file}: ${picture.length} bytes`);
}
