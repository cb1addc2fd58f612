/**
 * The page's script: keeps what is shown up to date. The server says which elements changed, and they are
 * changed in place, so that focus, selection and scroll stay where they are. Without it the page works,
 * too, and stands still.
 */

const AGAIN_MS = 3000;
/** A connection that is back so soon was not worth a word. */
const PATIENCE_MS = 4000;

const status = document.getElementById("live");
const template = document.createElement("template");
/** The items of lists by their ids. */
const items = new Map();
/** Orders of lists that have to wait, because something in them is selected. */
const waiting = new Map();
let source = null;
let again = 0;
let complaint = 0;
/** How far the server's clock is ahead of ours. */
let skewMs = Number(document.body.dataset.now) - Date.now();

function connect() {
  clearTimeout(again);
  source?.close();
  source = new EventSource(location.href);
  source.onmessage = ({ data }) => {
    const update = JSON.parse(data);
    // Another wgmon answers now, with another page.
    if (update.build !== document.body.dataset.build) location.reload();
    else apply(update);
  };
  source.onopen = () => say("live");
  source.onerror = () => {
    complaint ||= setTimeout(say, PATIENCE_MS, "not connected");
    if (source.readyState === EventSource.CLOSED) again = setTimeout(reconnect, AGAIN_MS);
  };
}

/** A browser does not try again where it was refused. */
async function reconnect() {
  const answer = await fetch(location.href, { method: "HEAD" }).catch(() => null);
  // The login is over: the form for it comes.
  if (answer?.status === 401) location.reload();
  else connect();
}

function disconnect() {
  clearTimeout(again);
  source?.close();
  source = null;
}

/** A screen reader says it, too; so only what is new. */
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
  // Browsers that cannot move an element take the focus from it.
  if (focused !== document.activeElement && focused.isConnected)
    focused.focus({ preventScroll: true });
}

/** Takes in an item as a whole, or those of its children that changed. */
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

/** Brings lists into their order. */
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

/** Who was at an item that goes is at its neighbour then, not at the beginning of the page. */
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

/** Makes one element like another, and changes nothing that is alike. */
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
  // Times have their text from here.
  if (from.nodeName === "TIME") return;
  const wanted = [...to.childNodes];
  for (const [index, child] of wanted.entries()) {
    const old = from.childNodes[index];
    if (old === undefined) from.append(child);
    else morph(old, child);
  }
  while (from.childNodes.length > wanted.length) from.lastChild.remove();
}

/** Writes all times: how long ago, counting on; or when, in this browser's zone. */
function paint() {
  const nowMs = Date.now() + skewMs;
  for (const time of document.querySelectorAll("time")) {
    const atMs = Date.parse(time.dateTime);
    const text =
      time.dataset.as === "at"
        ? // Of Sweden, where times are written as 2026-11-22 16:19:04.
          new Date(atMs).toLocaleString("sv-SE")
        : span(nowMs - atMs) + (time.dataset.as === "ago" ? " ago" : "");
    if (time.firstChild === null) time.append(text);
    else if (time.firstChild.data !== text) time.firstChild.data = text;
  }
}

/** `12s`, `3h 20m`: the two largest units; event.ts writes the same. */
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
// Nobody looks at a page in the background.
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));

document.getElementById("zone").textContent =
  `Times are those of ${Intl.DateTimeFormat().resolvedOptions().timeZone}.`;
paint();
setInterval(paint, 1000);
if (!document.hidden) connect();
