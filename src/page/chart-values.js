/**
 * The script of charts: shows the values under the pointer, or at the position that the arrow keys move, and moves the
 * labels of the time axis to the browser's time zone. Without it, charts have axes and labels in UTC.
 */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

const cursor = document.createElement("div");
const reading = document.createElement("div");
cursor.className = "cursor";
cursor.hidden = true;
reading.className = "reading";
reading.setAttribute("role", "status");
cursor.append(reading);
document.body.append(cursor);

/** The chart that is read, and the position, in steps since its beginning. */
let current = null;
let position = 0;

function read(chart, at) {
  const box = (chart.querySelector("svg") ?? chart).getBoundingClientRect();
  const { start, step } = chart.dataset;
  const series = JSON.parse(chart.dataset.series ?? "[]");
  const connected = JSON.parse(chart.dataset.connected ?? "null");
  const steps = Number(chart.dataset.steps);
  current = chart;
  position = Math.min(Math.max(0, at), steps - 0.01);
  const whole = Math.floor(position);
  const isWhole = series.length > 0;
  const lines = [[timeText(Number(start) + (isWhole ? whole : position) * step, step), ""]];
  for (const [name, hue, unit, values] of series) {
    const value = values[whole];
    lines.push([
      `${name}: ${value === null ? "unknown" : unit === "count" ? value : rate(value)}`,
      hue,
    ]);
  }
  if (connected !== null) {
    const [from, to] = isWhole ? [whole, whole + 1] : [position, position];
    const isOn = connected.some(([begin, end]) => begin <= to && end >= from);
    lines.push([isOn ? "connected" : "not connected", isOn ? "on" : ""]);
  }
  reading.replaceChildren(
    ...lines.map(([text, hue]) => {
      const line = document.createElement("span");
      line.textContent = text;
      if (hue !== "") line.className = `dot ${hue}`;
      return line;
    }),
  );
  const x = box.left + ((isWhole ? whole + 0.5 : position) / steps) * box.width;
  cursor.classList.toggle("left", x > document.documentElement.clientWidth / 2);
  cursor.style.left = `${x + scrollX}px`;
  cursor.style.top = `${box.top + scrollY}px`;
  cursor.style.height = `${box.height}px`;
  cursor.hidden = false;
}

function hide() {
  current = null;
  cursor.hidden = true;
}

/** `Mon 23 Nov, 14:05`, in the browser's time zone. */
function timeText(ms, step) {
  const time = new Date(ms).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return `${dayText(ms, { weekday: "short" })}, ${step >= 3_600_000 ? "from " : ""}${time}`;
}

function dayText(ms, more = {}) {
  return new Date(ms).toLocaleDateString("en-GB", { day: "numeric", month: "short", ...more });
}

/** `1.2 MiB/s`; showBytes() in size.ts has the same format. */
function rate(value) {
  let unit = 0;
  for (; value >= 1023.5 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}/s`;
}

/** Moves the labels to full hours, or to midnight, of the browser's time zone. */
function localize() {
  for (const chart of document.querySelectorAll(".chart")) {
    const { start, step, steps } = chart.dataset;
    const rangeMs = step * steps;
    for (const tick of chart.querySelectorAll("[data-ms]")) {
      const every = Number(tick.dataset.every);
      const zoneMs = new Date(Number(tick.dataset.ms)).getTimezoneOffset() * 60_000;
      const first = Math.ceil((start - zoneMs) / every) * every + zoneMs;
      const index = [...tick.parentNode.querySelectorAll("[data-ms]")].indexOf(tick);
      const ms = first + index * every;
      const x = `${((ms - start) / rangeMs) * 100}%`;
      const [line, text] = tick.children;
      tick.classList.toggle("unseen", ms - start > rangeMs);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      text.setAttribute("x", x);
      text.textContent = every >= 86_400_000 ? dayText(ms) : timeText(ms, 0).split(", ")[1];
    }
  }
}

document.addEventListener("pointermove", ({ target, clientX }) => {
  const chart = target.closest(".tape, .chart > svg")?.closest("[data-steps]") ?? null;
  if (chart === null) {
    if (current !== null && !current.matches(":focus-visible")) hide();
    return;
  }
  const box = (chart.querySelector("svg") ?? chart).getBoundingClientRect();
  read(chart, ((clientX - box.left) / box.width) * chart.dataset.steps);
});
document.addEventListener("keydown", ({ target, key }) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[key];
  if (key === "Escape") hide();
  if (by === undefined || !target.matches(".chart")) return;
  read(target, current === target ? Math.floor(position) + by : Number(target.dataset.steps) - 1);
});
document.addEventListener("focusout", hide);
document.addEventListener("wgmon:update", () => {
  localize();
  if (current?.isConnected) read(current, position);
  else hide();
});
localize();
