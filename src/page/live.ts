/**
 * What of a page changes while somebody looks at it: parts, each an element with an id, and lists of
 * items. They note themselves while the page is rendered. Rendered again later, only what differs goes
 * to the browser, so that what stays the same keeps its focus and its selection there. Pure.
 */

import { raw } from "hono/html";
import type { JSX } from "hono/jsx/jsx-runtime";

/** An item of a list. */
export interface Item {
  readonly id: string;
  /** Its start tag, without which it is another one: `<tr id="p1" class="never">`. */
  readonly start: string;
  /** Its children, each an element. */
  readonly cells: readonly string[];
  readonly end: string;
}

/** What a browser is told; those that did not change are left out. */
export interface Update {
  /** Elements by their ids. */
  parts?: Record<string, string>;
  lists?: Record<string, ListUpdate>;
}

interface ListUpdate {
  /** The ids of all items. */
  order?: readonly string[];
  /** By id: the whole item, or those of its children that changed, by their places. */
  items?: Record<string, string | Record<number, string>>;
}

export class Live {
  /** When the page was rendered; null: the browser counts the time by itself. */
  readonly nowMs: number | null;
  readonly #parts = new Map<string, string>();
  readonly #lists = new Map<string, ReadonlyMap<string, Item>>();

  constructor(nowMs: number | null) {
    this.nowMs = nowMs;
  }

  /** An element that changes as a whole; it has this id. */
  part(id: string, element: JSX.Element) {
    const html = textOf(element);
    this.#parts.set(id, html);
    return raw(html);
  }

  /** The children of the element with this id. */
  list(id: string, items: readonly Item[]) {
    this.#lists.set(id, new Map(items.map((item) => [item.id, item])));
    return raw(items.map(htmlOf).join(""));
  }

  /** What is another here than before; null: nothing. */
  since(before: Live): Update | null {
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

/** An item of these children; `start` is rendered with the closing tag of an empty element. */
export function item(id: string, empty: JSX.Element, cells: readonly JSX.Element[]): Item {
  const text = textOf(empty);
  const at = text.lastIndexOf("</");
  return { id, start: text.slice(0, at), cells: cells.map(textOf), end: text.slice(at) };
}

/** Nothing of a page is asynchronous. */
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
    const cells = each.cells.flatMap((cell, place) =>
      cell === old.cells[place] ? [] : [[place, cell] as const],
    );
    if (cells.length > 0) (change.items ??= {})[id] = Object.fromEntries(cells);
  }
  return change.order === undefined && change.items === undefined ? null : change;
}
