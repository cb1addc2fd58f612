/**
 * Charts as SVG: panels over a common time axis, and the tape of one peer. They need no script; chart-values.js shows the
 * values under the pointer. No inline styles, which the Content-Security-Policy forbids: positions are attributes, and
 * an inner SVG scales the lines without scaling the text.
 */

import { showBytes } from "../base/size.ts";
import { DAY_MS, HOUR_MS } from "../store/ranges.ts";
import { count, counted, span, speed } from "./format.ts";
import type { History, Interval } from "./peer-history.ts";
import type { FiringTime } from "./recent-alerts.ts";

const MINUTE_MS = 60_000;

/** Height of the labels of the time axis, and of the labels above a panel. */
const AXIS_HEIGHT = 20;
const LABEL_HEIGHT = 18;

/** Steps in one bar of the tape: half an hour. */
const BAR_STEPS = 6;
const BAR_HEIGHT = 14;
const STRIP_HEIGHT = 6;
const STRIP_GAP = 6;
/** Height of the mark of an alert, on the strip. */
const MARK_HEIGHT = 3;

export interface Axis {
  readonly startMs: number;
  readonly stepMs: number;
  readonly steps: number;
}

/** The name of a CSS class, which is a colour. */
type Hue = "on" | "from" | "to";

interface Series {
  readonly name: string;
  readonly hue: Hue;
  /** One value per step; null: unknown. */
  readonly values: readonly (number | null)[];
}

interface Panel {
  readonly name: string;
  readonly height: number;
  readonly unit: "count" | "rate";
  readonly series: readonly Series[];
}

interface ChartProps {
  readonly axis: Axis;
  /** When the peer was connected: a strip below the panels. Omitted: no strip. */
  readonly connected?: readonly Interval[];
  /** When alerts fired: marks on the strip. */
  readonly alerts?: readonly FiringTime[];
  readonly panels: readonly Panel[];
  /** The text for screen readers. */
  readonly summary: string;
}

export function Chart({ axis, panels, connected, alerts = [], summary }: ChartProps) {
  const all = panels.flatMap(({ series }) => series);
  const ends = panels.reduce((sum, { height }) => sum + height + LABEL_HEIGHT, 0);
  const plotted = ends + (connected === undefined ? 0 : STRIP_GAP + STRIP_HEIGHT);
  let top = 0;
  return (
    <figure
      class="chart"
      tabindex={0}
      aria-label="Chart; the arrow keys read its values"
      data-start={axis.startMs}
      data-step={axis.stepMs}
      data-steps={axis.steps}
      data-series={JSON.stringify(
        panels.flatMap(({ unit, series }) =>
          series.map(({ name, hue, values }) => [name, hue, unit, values]),
        ),
      )}
      data-connected={connected === undefined ? null : JSON.stringify(connected.map(roundAll))}
    >
      <svg height={plotted + AXIS_HEIGHT} role="img" aria-label={summary}>
        {ticksOf(axis).map(({ ms, stepMs, text }, index, { length }) => {
          const x = `${round(((ms - axis.startMs) / (axis.steps * axis.stepMs)) * 100)}%`;
          return (
            <g
              class={length > 6 && index % 2 === 1 ? "spare" : undefined}
              data-ms={ms}
              data-every={stepMs}
            >
              <line x1={x} x2={x} y1={LABEL_HEIGHT} y2={plotted} />
              <text x={x} y={plotted + AXIS_HEIGHT - 6} text-anchor="middle">
                {text}
              </text>
            </g>
          );
        })}
        {panels.map((panel) => {
          const y = top + LABEL_HEIGHT;
          top = y + panel.height;
          return <PanelView panel={panel} axis={axis} y={y} />;
        })}
        {connected === undefined ? null : (
          <svg
            y={ends + STRIP_GAP}
            width="100%"
            height={STRIP_HEIGHT}
            viewBox={`0 0 ${axis.steps} ${STRIP_HEIGHT}`}
            preserveAspectRatio="none"
          >
            <path class="strip off" d={`M0 0h${axis.steps}v${STRIP_HEIGHT}h-${axis.steps}z`} />
            <path class="strip on" d={strip(connected, axis.steps, 0)} />
            <path class="strip alert" d={marks(alerts, axis, 0)} />
          </svg>
        )}
      </svg>
      <figcaption>
        {all.map(({ name, hue }) => (
          <span class={`dot ${hue}`}>{name}</span>
        ))}
        {connected === undefined ? null : <span class="dot on">Connected</span>}
        {alerts.length === 0 ? null : <span class="dot alert">Alert</span>}
      </figcaption>
    </figure>
  );
}

function PanelView({ panel, axis, y }: { panel: Panel; axis: Axis; y: number }) {
  const { name, height, unit, series } = panel;
  const max = Math.max(...series.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const top = unit === "count" ? countAbove(max) : rateAbove(max);
  const label = unit === "count" ? count : speed;
  const half = y + height / 2;
  return (
    <>
      <line x1="0" x2="100%" y1={y} y2={y} />
      <line x1="0" x2="100%" y1={half} y2={half} />
      <svg
        y={y}
        width="100%"
        height={height}
        viewBox={`0 0 ${axis.steps} 100`}
        preserveAspectRatio="none"
      >
        {series.map(({ hue, values }) => {
          const { line, area } = curve(values, top, unit === "count");
          return (
            <>
              <path class={`area ${hue}`} d={area} />
              <path class={`line ${hue}`} d={line} />
            </>
          );
        })}
      </svg>
      <line class="zero" x1="0" x2="100%" y1={y + height} y2={y + height} />
      {[
        { value: top, at: y },
        { value: top / 2, at: half },
        { value: 0, at: y + height },
      ].map(({ value, at }) => (
        <text x="-8" y={at + 4} text-anchor="end">
          {label(value)}
        </text>
      ))}
      <text class="name" x="0" y={y - 6}>
        {name}
      </text>
    </>
  );
}

/** The line through the values, and the area below it. Unknown values are gaps. */
function curve(values: readonly (number | null)[], top: number, isStep: boolean) {
  let line = "";
  let area = "";
  let begin: number | null = null;
  let last = -1;
  const close = (end: number) => {
    if (begin === null) return;
    if (isStep) line += `H${end}`;
    area += `${isStep ? `H${end}` : ""}V100H${begin}z`;
    begin = null;
  };
  for (const [index, value] of values.entries()) {
    if (value === null) {
      close(isStep ? index : index - 0.5);
      continue;
    }
    const y = round(100 - (value / top) * 100);
    const x = isStep ? index : index + 0.5;
    if (begin === null) {
      begin = x;
      line += `M${x} ${y}`;
      area += `M${x} 100V${y}`;
    } else if (isStep) {
      if (y !== last) {
        line += `H${x}V${y}`;
        area += `H${x}V${y}`;
      }
    } else {
      line += `L${x} ${y}`;
      area += `L${x} ${y}`;
    }
    last = y;
  }
  close(isStep ? values.length : values.length - 0.5);
  return { line, area };
}

/** The smallest value of at least 2 that is greater than or equal to `max`, and whose half is a whole number. */
function countAbove(max: number): number {
  for (let unit = 1; ; unit *= 10) {
    for (const digit of [2, 4, 6, 8]) if (digit * unit >= max) return digit * unit;
  }
}

/** The smallest rate that is greater than or equal to `max` and has a short text. */
function rateAbove(max: number): number {
  for (let unit = 1; ; unit *= 1024) {
    for (const digit of [1, 2, 4, 6, 10, 20, 40, 60, 100, 200, 400, 600]) {
      if (digit * unit >= Math.max(max, 128)) return digit * unit;
    }
  }
}

/** The labels of the time axis in UTC; chart-values.js moves them to the browser's time zone. */
function ticksOf({ startMs, stepMs, steps }: Axis) {
  const rangeMs = steps * stepMs;
  const [everyMs, isDay] =
    rangeMs <= 2 * HOUR_MS
      ? [10 * MINUTE_MS, false]
      : rangeMs <= 2 * DAY_MS
        ? [4 * HOUR_MS, false]
        : rangeMs <= 10 * DAY_MS
          ? [DAY_MS, true]
          : [5 * DAY_MS, true];
  const ticks = [];
  for (let ms = Math.ceil(startMs / everyMs) * everyMs; ms < startMs + rangeMs; ms += everyMs) {
    const iso = new Date(ms).toISOString();
    ticks.push({ ms, stepMs: everyMs, text: isDay ? iso.slice(5, 10) : iso.slice(11, 16) });
  }
  return ticks;
}

/** A part of a whole as a thin bar. Several parts follow each other. */
export function ProportionBar({
  parts,
  of,
}: {
  parts: readonly { readonly hue: Hue; readonly value: number }[];
  of: number;
}) {
  let x = 0;
  return (
    <svg class="proportion" aria-hidden="true">
      <rect class="off" width="100%" height="4" rx="2" />
      {parts.map(({ hue, value }) => {
        const width = of === 0 ? 0 : round((value / of) * 100);
        const bar = <rect class={hue} x={`${x}%`} width={`${width}%`} height="4" rx="2" />;
        x = round(x + width);
        return bar;
      })}
    </svg>
  );
}

/** The last 24 hours of a peer: above, its traffic, the sum of both directions; below, when it was connected and had alerts. */
export function Tape({ day, alerts }: { day: History; alerts: readonly FiringTime[] }) {
  const sums: number[] = [];
  for (let step = 0; step < day.steps; step++) {
    const index = Math.floor(step / BAR_STEPS);
    sums[index] = (sums[index] ?? 0) + (day.rxBytes[step] ?? 0) + (day.txBytes[step] ?? 0);
  }
  const max = Math.max(...sums);
  const top = BAR_HEIGHT + 2;
  return (
    <svg
      class="tape"
      data-start={day.startMs}
      data-step={day.stepMs}
      data-steps={day.steps}
      data-connected={JSON.stringify(day.connected.map(roundAll))}
      viewBox={`0 0 ${day.steps} ${top + STRIP_HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={dayText(day, alerts.length)}
    >
      <path class="moved" d={bars(sums, max)} />
      <path class="strip off" d={`M0 ${top}h${day.steps}v${STRIP_HEIGHT}h-${day.steps}z`} />
      <path class="strip on" d={strip(day.connected, day.steps, top)} />
      <path class="strip alert" d={marks(alerts, day, top)} />
    </svg>
  );
}

function strip(connected: readonly Interval[], steps: number, y: number): string {
  return connected
    .map(({ from, to }) => {
      // Short sessions must be visible.
      const width = round(Math.max(to - from, steps / 400));
      return `M${round(Math.min(from, steps - width))} ${y}h${width}v${STRIP_HEIGHT}h-${width}z`;
    })
    .join("");
}

/** When alerts fired, as one SVG path over the upper part of the strip. */
function marks(alerts: readonly FiringTime[], { startMs, stepMs, steps }: Axis, y: number): string {
  return alerts
    .map(({ fromMs, toMs }) => {
      const from = Math.max(0, (fromMs - startMs) / stepMs);
      // One that still fires reaches to the end, so that the chart does not change with the time.
      const to = toMs === null ? steps : Math.min(steps, (toMs - startMs) / stepMs);
      if (to < 0 || from > steps) return "";
      const width = round(Math.max(to - from, steps / 120));
      return `M${round(Math.min(from, steps - width))} ${y}h${width}v${MARK_HEIGHT}h-${width}z`;
    })
    .join("");
}

/** The bars as one SVG path; a value of 0 has no bar. */
function bars(values: readonly number[], max: number): string {
  let path = "";
  for (const [index, value] of values.entries()) {
    if (value <= 0) continue;
    // Even the smallest value must be visible.
    const rise = round(Math.max(1, (value / max) * BAR_HEIGHT));
    path += `M${index * BAR_STEPS} ${BAR_HEIGHT}v-${rise}h${BAR_STEPS - 1}v${rise}z`;
  }
  return path;
}

function dayText({ rxBytes, txBytes, connected, connectedMs }: History, alerts: number): string {
  const alertText = alerts === 0 ? "" : `; ${counted(alerts, "alert")}`;
  if (connected.length === 0) return `last 24 hours: not connected${alertText}`;
  const sum = (values: readonly (number | null)[]) =>
    showBytes(values.reduce<number>((total, each) => total + (each ?? 0), 0));
  const when = `connected for ${span(connectedMs)} in ${counted(connected.length, "session")}`;
  return `last 24 hours: ${when}; ${sum(rxBytes)} from the peer, ${sum(txBytes)} to the peer${alertText}`;
}

/** The interval as chart-values.js reads it. */
function roundAll({ from, to }: Interval): [number, number] {
  return [Math.round(from * 1000) / 1000, Math.round(to * 1000) / 1000];
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
