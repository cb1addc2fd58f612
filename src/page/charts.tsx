/** Charts of the last 24 hours: the traffic, and when the peer was connected. SVG without inline styles. */

import { bytes, counted, span } from "./format.ts";
import type { PeerDay } from "./peer-history.ts";

/** Slots in one bar of the sparkline: half an hour. */
const SPARK_SLOTS = 6;
const SPARK_HEIGHT = 20;
const LINE_HEIGHT = 100;
const STRIP = 3;

/** The chart in a table row: both directions added. */
export function Spark({ past }: { past: PeerDay }) {
  const sums: number[] = [];
  for (let slot = 0; slot < past.slots; slot++) {
    const index = Math.floor(slot / SPARK_SLOTS);
    sums[index] = (sums[index] ?? 0) + past.rxBytes[slot]! + past.txBytes[slot]!;
  }
  const most = Math.max(...sums);
  return (
    <svg
      class="spark"
      viewBox={`0 0 ${past.slots} ${SPARK_HEIGHT + 2 * STRIP}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={summary(past)}
    >
      <path
        class="moved"
        d={bars(sums, { step: SPARK_SLOTS, most, base: SPARK_HEIGHT, up: -SPARK_HEIGHT })}
      />
      <Strip past={past} y={SPARK_HEIGHT + STRIP} />
    </svg>
  );
}

/** The chart on a peer's page: bytes received above the line, bytes sent below. */
export function Timeline({ past }: { past: PeerDay }) {
  const most = Math.max(...past.rxBytes, ...past.txBytes);
  const scale = { step: 1, most };
  const height = 2 * LINE_HEIGHT + 12;
  return (
    <figure class="timeline">
      <svg
        viewBox={`0 0 ${past.slots} ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={summary(past)}
      >
        <path class="grid" d={[72, 144, 216].map((x) => `M${x} 0v${height}`).join("")} />
        <path
          class="rx"
          d={bars(past.rxBytes, { ...scale, base: LINE_HEIGHT, up: -LINE_HEIGHT })}
        />
        <path class="tx" d={bars(past.txBytes, { ...scale, base: LINE_HEIGHT, up: LINE_HEIGHT })} />
        <path class="zero" d={`M0 ${LINE_HEIGHT}h${past.slots}`} />
        <Strip past={past} y={height - 6} height={6} />
      </svg>
      <ol class="hours" aria-hidden="true">
        <li>24 h ago</li>
        <li>18 h</li>
        <li>12 h</li>
        <li>6 h</li>
        <li>now</li>
      </ol>
      <figcaption>
        <span class="key rx">received, above the line</span>
        <span class="key tx">sent, below</span>
        <span class="key on">connected</span>
        <span>
          {most === 0 ? "no traffic" : `at most ${bytes(most / 300)}/s over five minutes`}
        </span>
      </figcaption>
    </figure>
  );
}

/** A strip that shows when the peer was connected. */
function Strip({ past, y, height = STRIP }: { past: PeerDay; y: number; height?: number }) {
  const lines = past.connected.map(({ from, to }) => {
    // Short sessions must be visible.
    const width = Math.max(to - from, 0.75);
    return `M${round(Math.min(from, past.slots - width))} ${y}h${round(width)}v${height}h-${round(width)}z`;
  });
  return (
    <>
      <path class="off" d={`M0 ${y}h${past.slots}v${height}h-${past.slots}z`} />
      <path class="on" d={lines.join("")} />
    </>
  );
}

interface Scale {
  /** Width of a bar. */
  readonly step: number;
  /** The value whose bar is as high as the chart. */
  readonly most: number;
  readonly base: number;
  /** Height of the chart; negative is upwards. */
  readonly up: number;
}

/** The bars as one SVG path; a value of 0 has no bar. */
function bars(values: readonly number[], { step, most, base, up }: Scale): string {
  let path = "";
  for (const [index, value] of values.entries()) {
    if (value <= 0) continue;
    // Even the smallest value must be visible.
    const height = round(Math.sign(up) * Math.max(1, (value / most) * Math.abs(up)));
    path += `M${index * step} ${base}v${height}h${step}v${-height}z`;
  }
  return path;
}

function summary({ rxBytes, txBytes, connected, connectedMs }: PeerDay): string {
  if (connected.length === 0) return "last 24 hours: not connected";
  const sum = (values: readonly number[]) => bytes(values.reduce((total, each) => total + each, 0));
  const when = `connected for ${span(connectedMs)} in ${counted(connected.length, "session")}`;
  return `last 24 hours: ${when}; received ${sum(rxBytes)}, sent ${sum(txBytes)}`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
