/**
 * The page's script: keeps the page up to date. The server sends the elements that changed, and they are
 * changed in place, so that focus, selection and scroll position stay. Without the script the page works, but
 * does not update itself.
 */

const AGAIN_MS = 3000;
/** A connection that is restored within this time is not reported as lost. */
const PATIENCE_MS = 4000;

const status = document.getElementById("live");
const template = document.createElement("template");
/** New list items by id, until their list is put in order. */
const items = new Map();
/** Orders that are not applied yet, by list: a list with selected text is not reordered. */
const waiting = new Map();
let source = null;
let again = 0;
let complaint = 0;
/** How far the server's clock is ahead of the browser's. */
let skewMs = Number(document.body.dataset.now) - Date.now();

function connect() {
  clearTimeout(again);
  source?.close();
  source = new EventSource(location.href);
  source.onmessage = ({ data }) => {
    const update = JSON.parse(data);
    // Another build of wgmon answers now, with another page.
    if (update.build !== document.body.dataset.build) location.reload();
    else apply(update);
  };
  source.onopen = () => say("live");
  source.onerror = () => {
    complaint ||= setTimeout(say, PATIENCE_MS, "not connected");
    if (source.readyState === EventSource.CLOSED) again = setTimeout(reconnect, AGAIN_MS);
  };
}

/** EventSource does not reconnect after an HTTP error. */
async function reconnect() {
  const answer = await fetch(location.href, { method: "HEAD" }).catch(() => null);
  // The login has ended: reloading shows the login form.
  if (answer?.status === 401) location.reload();
  else connect();
}

function disconnect() {
  clearTimeout(again);
  source?.close();
  source = null;
}

/** A screen reader announces the text, so it is set only when it changes. */
function say(text) {
  clearTimeout(complaint);
  complaint = 0;
  if (status.textContent === text) return;
  status.textContent = text;
  status.className = text === "live" ? "on" : "off";
}

function apply({ now, title, parts = {}, lists = {} }) {
  skewMs = now - Date.now();
  document.title = title;
  const focused = document.activeElement;
  for (const [id, html] of Object.entries(parts)) {
    const element = document.getElementById(id);
    if (element !== null) morph(element, parse(html));
  }
  for (const [id, change] of Object.entries(lists)) {
    const list = document.getElementById(id);
    if (list === null) continue;
    for (const [item, html] of Object.entries(change.items ?? {})) applyItem(list, item, html);
    if (change.order !== undefined) waiting.set(list, change.order);
  }
  arrange();
  paint();
  // Browsers without moveBefore remove the focus from a moved element.
  if (focused !== document.activeElement && focused.isConnected)
    focused.focus({ preventScroll: true });
}

/** Applies a whole item, or those of its children that changed. */
function applyItem(list, id, html) {
  const known = items.get(id) ?? document.getElementById(id);
  if (typeof html !== "string") {
    for (const [place, child] of Object.entries(html)) morph(known.children[place], parse(child));
  } else if (known !== null && known !== undefined && list.contains(known)) {
    morph(known, parse(html));
  } else {
    items.set(id, parse(html));
  }
}

/** Puts lists in their order. */
function arrange() {
  const selection = getSelection();
  for (const [list, order] of waiting) {
    if (!selection.isCollapsed && selection.containsNode(list, true)) continue;
    waiting.delete(list);
    const present = new Map(Array.from(list.children, (child) => [child.id, child]));
    const wanted = order.map((id) => present.get(id) ?? items.get(id));
    const stays = new Set(wanted);
    for (const child of present.values()) if (!stays.has(child)) remove(child);
    let next = list.firstElementChild;
    for (const child of wanted) {
      if (child === next) next = next.nextElementSibling;
      else if (child.isConnected && list.moveBefore) list.moveBefore(child, next);
      else list.insertBefore(child, next);
    }
  }
  if (waiting.size === 0) items.clear();
}

/**
 * Removes an item. If it has the focus, its neighbour gets it; otherwise the focus would return to the top of
 * the page.
 */
function remove(child) {
  if (child.contains(document.activeElement)) {
    const neighbour = child.nextElementSibling ?? child.previousElementSibling;
    neighbour?.querySelector("a")?.focus({ preventScroll: true });
  }
  child.remove();
}

function parse(html) {
  template.innerHTML = html;
  return template.content.firstElementChild;
}

/** Makes one element equal to another, and leaves equal parts alone. */
function morph(from, to) {
  if (from.isEqualNode(to)) return;
  if (from.nodeName !== to.nodeName) {
    from.replaceWith(to);
    return;
  }
  if (from.nodeType === Node.TEXT_NODE) {
    from.data = to.data;
    return;
  }
  for (const { name } of Array.from(from.attributes))
    if (!to.hasAttribute(name)) from.removeAttribute(name);
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  // paint() writes the text of times.
  if (from.nodeName === "TIME") return;
  const wanted = [...to.childNodes];
  for (const [index, child] of wanted.entries()) {
    const old = from.childNodes[index];
    if (old === undefined) from.append(child);
    else morph(old, child);
  }
  while (from.childNodes.length > wanted.length) from.lastChild.remove();
}

/** Writes all times: an age, which grows while the page is open, or a time in the browser's time zone. */
function paint() {
  const nowMs = Date.now() + skewMs;
  for (const time of document.querySelectorAll("time")) {
    const atMs = Date.parse(time.dateTime);
    const text =
      time.dataset.as === "at"
        ? // The Swedish locale writes times as 2026-11-22 16:19:04.
          new Date(atMs).toLocaleString("sv-SE")
        : span(nowMs - atMs) + (time.dataset.as === "ago" ? " ago" : "");
    if (time.firstChild === null) time.append(text);
    else if (time.firstChild.data !== text) time.firstChild.data = text;
  }
}

/** `12s`, `3h 20m`: the two largest units; duration() in event.ts has the same format. */
function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const units = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ];
  const first = units.findIndex(([count]) => count > 0);
  if (first === -1) return "0s";
  const largest = units.slice(first, first + 2).filter(([count]) => count > 0);
  return largest.map(([count, unit]) => `${count}${unit}`).join(" ");
}

document.addEventListener("keydown", (event) => {
  const search = document.getElementById("q");
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (event.key !== "/" || !isPlain || search === null) return;
  if (event.target.closest("input, select, textarea") !== null) return;
  event.preventDefault();
  search.focus();
  search.select();
});
document.addEventListener("selectionchange", () => {
  if (waiting.size > 0) arrange();
});
// A hidden page needs no updates.
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));

document.getElementById("zone").textContent =
  `Times are those of ${Intl.DateTimeFormat().resolvedOptions().timeZone}.`;
paint();
setInterval(paint, 1000);
if (!document.hidden) connect();
