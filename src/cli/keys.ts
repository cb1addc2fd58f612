/** The keys of `wgmon top`, from the keypress events of node:readline. Pure. */

import type { Key as Keypress } from "node:readline";

/** A named key, or a typed character. */
export type Key =
  | "up"
  | "down"
  | "left"
  | "right"
  | "page-up"
  | "page-down"
  | "home"
  | "end"
  | "enter"
  | "escape"
  | "backspace"
  | "ctrl-c"
  | "ctrl-l"
  | "ctrl-u"
  | "ctrl-z"
  | { readonly text: string };

/** By the name of readline. Modifiers (Shift, Ctrl) of these keys are ignored. */
const named = new Map<string, Key>([
  ["up", "up"],
  ["down", "down"],
  ["left", "left"],
  ["right", "right"],
  ["pageup", "page-up"],
  ["pagedown", "page-down"],
  ["home", "home"],
  ["end", "end"],
  ["return", "enter"],
  ["enter", "enter"],
  ["escape", "escape"],
  ["backspace", "backspace"],
]);

const withCtrl = new Map<string, Key>([
  ["c", "ctrl-c"],
  ["l", "ctrl-l"],
  ["u", "ctrl-u"],
  ["z", "ctrl-z"],
]);

/**
 * The keys of one keypress event; usually one.
 *
 * @param text the typed character; undefined for other keys.
 */
export function keysOf(
  text: string | undefined,
  { name = "", ctrl = false, meta = false, sequence = "" }: Keypress,
): readonly Key[] {
  const key = named.get(name) ?? (ctrl ? withCtrl.get(name) : undefined);
  if (key !== undefined) return [key];
  // Alt and a key, or Escape and a key in quick succession: readline reads both as one key.
  if (meta && sequence.startsWith("\x1b")) return ["escape", ...keysOf(sequence.slice(1), {})];
  return text === undefined || ctrl || !/^\P{Cc}$/u.test(text) ? [] : [{ text }];
}
