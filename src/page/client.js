/**
 * The page's script: keeps the page up to date. The server sends the elements that changed. The script changes them
 * in place, so that focus, selection and scroll position stay. Without the script the page works, but does not update
 * itself.
 */

const RECONNECT_MS = 3000;
/** An interruption is shown only if it lasts longer than this. */
const INTERRUPTION_MS = 4000;
/** Pause in typing after which the list is searched. */
const SEARCH_MS = 200;
const COPIED_MS = 1500;

const status = document.getElementById("live");
const template = document.createElement("template");
/** New list items by id, until they are inserted in their list. */
const newItems = new Map();
/** Orders that are not applied yet, by list: a list with selected text is not reordered. */
const pendingOrders = new Map();
let source = null;
let reconnectTimer = 0;
let interruptionTimer = 0;
/** How far the server's clock is ahead of the browser's, in milliseconds. */
let offsetMs = Number(document.body.dataset.now) - Date.now();

function connect() {
  clearTimeout(reconnectTimer);
  source?.close();
  source = new EventSource(location.href);
  source.onmessage = ({ data }) => {
    const update = JSON.parse(data);
    // The server was replaced by another build of wgmon, whose page may differ.
    if (update.build !== document.body.dataset.build) location.reload();
    else apply(update);
  };
  source.addEventListener("gone", () => location.reload());
  source.onopen = () => showStatus("live");
  source.onerror = () => {
    interruptionTimer ||= setTimeout(showStatus, INTERRUPTION_MS, "not connected");
    if (source.readyState === EventSource.CLOSED)
      reconnectTimer = setTimeout(reconnect, RECONNECT_MS);
  };
}

/** EventSource does not reconnect after an HTTP error. */
async function reconnect() {
  const response = await fetch(location.href, { method: "HEAD" }).catch(() => null);
  // The login is no longer valid: reloading shows the login form.
  if (response?.status === 401) location.reload();
  else connect();
}

function disconnect() {
  clearTimeout(reconnectTimer);
  source?.close();
  source = null;
}

/** Sets the status. A screen reader announces the text, so it is set only when it changes. */
function showStatus(text) {
  clearTimeout(interruptionTimer);
  interruptionTimer = 0;
  if (status.textContent === text) return;
  status.textContent = text;
  status.className = text === "live" ? "on" : "off";
}

function apply({ now, title, parts = {}, lists = {} }) {
  offsetMs = now - Date.now();
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
    if (change.order !== undefined) pendingOrders.set(list, change.order);
  }
  applyOrders();
  showTimes();
  document.dispatchEvent(new Event("wgmon:update"));
  // Browsers without moveBefore remove the focus from a moved element.
  if (focused !== document.activeElement && focused.isConnected)
    focused.focus({ preventScroll: true });
}

/** Applies a whole item, or its changed children. */
function applyItem(list, id, html) {
  const existing = newItems.get(id) ?? document.getElementById(id);
  if (typeof html !== "string") {
    for (const [index, child] of Object.entries(html))
      morph(existing.children[index], parse(child));
  } else if (existing !== null && existing !== undefined && list.contains(existing)) {
    morph(existing, parse(html));
  } else {
    newItems.set(id, parse(html));
  }
}

/** Applies the pending orders: inserts new items, removes missing ones, moves the others. */
function applyOrders() {
  const selection = getSelection();
  for (const [list, order] of pendingOrders) {
    if (!selection.isCollapsed && selection.containsNode(list, true)) continue;
    pendingOrders.delete(list);
    const present = new Map(Array.from(list.children, (child) => [child.id, child]));
    const ordered = order.map((id) => present.get(id) ?? newItems.get(id));
    const kept = new Set(ordered);
    for (const child of present.values()) if (!kept.has(child)) remove(child);
    let next = list.firstElementChild;
    for (const child of ordered) {
      if (child === next) next = next.nextElementSibling;
      else if (child.isConnected && list.moveBefore) list.moveBefore(child, next);
      else list.insertBefore(child, next);
    }
  }
  if (pendingOrders.size === 0) newItems.clear();
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

/** Makes one element equal to another. Equal parts stay unchanged. */
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
  // The user opens and closes details.
  for (const { name } of Array.from(from.attributes))
    if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  // showTimes() writes the text and the title of times.
  if (from.nodeName === "TIME") return;
  const wanted = [...to.childNodes];
  for (const [index, child] of wanted.entries()) {
    const old = from.childNodes[index];
    if (old === undefined) from.append(child);
    else morph(old, child);
  }
  while (from.childNodes.length > wanted.length) from.lastChild.remove();
}

/** Writes the text of all times: an age, which grows while the page is open, or a time in the browser's time zone. */
function showTimes() {
  const nowMs = Date.now() + offsetMs;
  for (const time of document.querySelectorAll("time")) {
    const atMs = Date.parse(time.dateTime);
    const text =
      time.dataset.as === "at"
        ? // The Swedish locale formats times as 2026-11-22 16:19:04.
          new Date(atMs).toLocaleString("sv-SE")
        : span(nowMs - atMs) + (time.dataset.as === "ago" ? " ago" : "");
    if (time.dataset.as !== "at") time.title = new Date(atMs).toLocaleString("sv-SE");
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

/** Follows the search form while the user types: the stream of the new address sends the rows. */
function search(form) {
  const given = [...new FormData(form)].filter(([, value]) => value !== "");
  const query = new URLSearchParams(given).toString();
  history.replaceState(null, "", query === "" ? "/" : `/?${query}`);
  for (const next of document.getElementsByName("next"))
    next.value = location.pathname + location.search;
  connect();
}

let searchTimer = 0;
document.addEventListener("input", ({ target: { form } }) => {
  if (!form?.matches("[data-live]")) return;
  clearTimeout(searchTimer);
  searchTimer = setTimeout(search, SEARCH_MS, form);
});
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-copy]");
  if (button !== null) void copy(button);
});

async function copy(button) {
  button.textContent = (await isCopied(button.dataset.copy)) ? "Copied" : "Not copied";
  setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
}

/** Copies the text. The clipboard API needs https or this machine; elsewhere a selected field is copied. */
async function isCopied(text) {
  if (isSecureContext) {
    return await navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  return isDone;
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
  if (pendingOrders.size > 0) applyOrders();
});
// A hidden page needs no updates.
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));

// Shows what only works with the script: copy buttons.
document.documentElement.dataset.script = "";
/** How far the time zone is behind UTC, in minutes, at the midnight that begins the day; `days`: of a later day. */
function zoneAt(date, days) {
  const midnight = date === "" ? new Date() : new Date(`${date}T00:00`);
  midnight.setDate(midnight.getDate() + days);
  return midnight.getTimezoneOffset();
}

// Dates in a filter are days in the browser's time zone. Its offset may differ between them.
for (const form of document.querySelectorAll("form[data-zone]")) {
  const zone = document.createElement("input");
  zone.type = "hidden";
  zone.name = "tz";
  form.append(zone);
  form.addEventListener("submit", () => {
    const { from, until } = form.elements;
    const [first, last] = [zoneAt(from.value, 0), zoneAt(until.value, 1)];
    zone.value = first === last ? first : `${first}_${last}`;
    zone.disabled = from.value === "" && until.value === "";
  });
}
document.getElementById("zone").textContent =
  `Times are in the time zone ${Intl.DateTimeFormat().resolvedOptions().timeZone}.`;
showTimes();
setInterval(showTimes, 1000);
if (!document.hidden) connect();
