/**
 * Charts of the last 24 hours: the traffic, and when the peer was connected. SVG without inline styles, which the
 * Content-Security-Policy forbids.
 */

import { bytes, counted, span } from "./format.ts";
import type { PeerDay } from "./peer-history.ts";

/** Slots of TRAFFIC_SLOT_MS in one bar of the sparkline: half an hour. */
const SPARK_SLOTS = 6;
const SPARK_HEIGHT = 20;
const LINE_HEIGHT = 100;
const STRIP_HEIGHT = 3;

/** The chart in a table row: the sum of both directions. */
export function Spark({ day }: { day: PeerDay }) {
  const sums: number[] = [];
  for (let slot = 0; slot < day.slots; slot++) {
    const index = Math.floor(slot / SPARK_SLOTS);
    sums[index] = (sums[index] ?? 0) + day.rxBytes[slot]! + day.txBytes[slot]!;
  }
  const max = Math.max(...sums);
  return (
    <svg
      class="spark"
      viewBox={`0 0 ${day.slots} ${SPARK_HEIGHT + 2 * STRIP_HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={summary(day)}
    >
      <path
        class="moved"
        d={bars(sums, { step: SPARK_SLOTS, max, base: SPARK_HEIGHT, height: -SPARK_HEIGHT })}
      />
      <Strip day={day} y={SPARK_HEIGHT + STRIP_HEIGHT} />
    </svg>
  );
}

/** The chart on a peer's page: bytes received above the line, bytes sent below. */
export function Timeline({ day }: { day: PeerDay }) {
  const max = Math.max(...day.rxBytes, ...day.txBytes);
  const scale = { step: 1, max };
  const height = 2 * LINE_HEIGHT + 12;
  return (
    <figure class="timeline">
      <svg
        viewBox={`0 0 ${day.slots} ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={summary(day)}
      >
        <path class="grid" d={[72, 144, 216].map((x) => `M${x} 0v${height}`).join("")} />
        <path
          class="rx"
          d={bars(day.rxBytes, { ...scale, base: LINE_HEIGHT, height: -LINE_HEIGHT })}
        />
        <path
          class="tx"
          d={bars(day.txBytes, { ...scale, base: LINE_HEIGHT, height: LINE_HEIGHT })}
        />
        <path class="zero" d={`M0 ${LINE_HEIGHT}h${day.slots}`} />
        <Strip day={day} y={height - 6} height={6} />
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
        <span>{max === 0 ? "no traffic" : `at most ${bytes(max / 300)}/s over five minutes`}</span>
      </figcaption>
    </figure>
  );
}

/** A strip that shows when the peer was connected. */
function Strip({ day, y, height = STRIP_HEIGHT }: { day: PeerDay; y: number; height?: number }) {
  const lines = day.connected.map(({ from, to }) => {
    // Short sessions must be visible.
    const width = Math.max(to - from, 0.75);
    return `M${round(Math.min(from, day.slots - width))} ${y}h${round(width)}v${height}h-${round(width)}z`;
  });
  return (
    <>
      <path class="off" d={`M0 ${y}h${day.slots}v${height}h-${day.slots}z`} />
      <path class="on" d={lines.join("")} />
    </>
  );
}

interface Scale {
  /** Width of a bar. */
  readonly step: number;
  /** The largest value, whose bar is as high as the chart. */
  readonly max: number;
  /** The y coordinate at which the bars begin. */
  readonly base: number;
  /** Height of the chart; negative if the bars grow upwards. */
  readonly height: number;
}

/** The bars as one SVG path; a value of 0 has no bar. */
function bars(values: readonly number[], { step, max, base, height }: Scale): string {
  let path = "";
  for (const [index, value] of values.entries()) {
    if (value <= 0) continue;
    // Even the smallest value must be visible.
    const rise = round(Math.sign(height) * Math.max(1, (value / max) * Math.abs(height)));
    path += `M${index * step} ${base}v${rise}h${step}v${-rise}z`;
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
