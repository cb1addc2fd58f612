/**
 * The parts of a page that change while it is open: single elements with an id, and lists of items. They are
 * recorded while the page is rendered. When it is rendered again, only the differences are sent to the
 * browser, so that unchanged elements keep their focus and selection. Pure.
 */

import { raw } from "hono/html";
import type { JSX } from "hono/jsx/jsx-runtime";

/** An item of a list. */
export interface Item {
  readonly id: string;
  /** The start tag, such as `<tr id="p1" class="never">`; if it changes, the whole item is sent. */
  readonly start: string;
  /** The HTML of its children; each is one element. */
  readonly cells: readonly string[];
  /** The end tag. */
  readonly end: string;
}

/** The changes that are sent to a browser. */
export interface Update {
  /** Changed elements, by id. */
  parts?: Record<string, string>;
  lists?: Record<string, ListUpdate>;
}

interface ListUpdate {
  /** The ids of all items in order; omitted if unchanged. */
  order?: readonly string[];
  /** Changed items by id: the whole item, or its changed children by position. */
  items?: Record<string, string | Record<number, string>>;
}

export class PageSnapshot {
  /** Wall-clock time of the rendering; null: times have no text, because the browser writes it. */
  readonly nowMs: number | null;
  readonly #parts = new Map<string, string>();
  readonly #lists = new Map<string, ReadonlyMap<string, Item>>();

  constructor(nowMs: number | null) {
    this.nowMs = nowMs;
  }

  /** Records an element that is sent as a whole if it changes. Returns its HTML. */
  part(id: string, element: JSX.Element) {
    const html = textOf(element);
    this.#parts.set(id, html);
    return raw(html);
  }

  /** Records the children of the list with this id, which are compared one by one. Returns their HTML. */
  list(id: string, items: readonly Item[]) {
    this.#lists.set(id, new Map(items.map((item) => [item.id, item])));
    return raw(items.map(htmlOf).join(""));
  }

  /** The differences from `before`; null if there are no differences. */
  since(before: PageSnapshot): Update | null {
    const update: Update = {};
    for (const [id, html] of this.#parts) {
      if (before.#parts.get(id) !== html) (update.parts ??= {})[id] = html;
    }
    for (const [id, items] of this.#lists) {
      const change = difference(before.#lists.get(id) ?? new Map<string, Item>(), items);
      if (change !== null) (update.lists ??= {})[id] = change;
    }
    return update.parts === undefined && update.lists === undefined ? null : update;
  }
}

/** An item with these children. `empty` is its element without children. */
export function item(id: string, empty: JSX.Element, cells: readonly JSX.Element[]): Item {
  const text = textOf(empty);
  const at = text.lastIndexOf("</");
  return { id, start: text.slice(0, at), cells: cells.map(textOf), end: text.slice(at) };
}

/** The HTML of an element; rendering a page is never asynchronous. */
export function textOf(element: JSX.Element): string {
  return (element as { toString(): string }).toString();
}

function htmlOf({ start, cells, end }: Item): string {
  return `${start}${cells.join("")}${end}`;
}

function difference(
  before: ReadonlyMap<string, Item>,
  now: ReadonlyMap<string, Item>,
): ListUpdate | null {
  const change: ListUpdate = {};
  const order = [...now.keys()];
  if (order.join() !== [...before.keys()].join()) change.order = order;
  for (const [id, each] of now) {
    const old = before.get(id);
    if (old === undefined || old.start !== each.start || old.cells.length !== each.cells.length) {
      (change.items ??= {})[id] = htmlOf(each);
      continue;
    }
    const cells = each.cells.flatMap((cell, index) =>
      cell === old.cells[index] ? [] : [[index, cell] as const],
    );
    if (cells.length > 0) (change.items ??= {})[id] = Object.fromEntries(cells);
  }
  return change.order === undefined && change.items === undefined ? null : change;
}
