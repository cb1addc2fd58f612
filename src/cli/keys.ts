/** Decodes the input from a terminal into keys. Pure. */

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

/** Sequences of xterm and compatible terminals, vt220 and the Linux console: ctlseqs, "PC-Style Function Keys". */
const sequences: Readonly<Record<string, Key>> = {
  "[A": "up",
  "[B": "down",
  "[C": "right",
  "[D": "left",
  "[H": "home",
  "[F": "end",
  "[1~": "home",
  "[4~": "end",
  "[7~": "home",
  "[8~": "end",
  "[5~": "page-up",
  "[6~": "page-down",
  OA: "up",
  OB: "down",
  OC: "right",
  OD: "left",
  OH: "home",
  OF: "end",
};

const controls: Readonly<Record<string, Key>> = {
  "\r": "enter",
  "\n": "enter",
  "\x7f": "backspace",
  "\b": "backspace",
  "\x03": "ctrl-c",
  "\f": "ctrl-l",
  "\x15": "ctrl-u",
  "\x1a": "ctrl-z",
};

/**
 * @returns the keys, and the rest of the input, which may be the start of another key. A single escape character stays
 *   in the rest: if no more input follows soon, the user has pressed the Escape key.
 */
export function readKeys(input: string): { readonly keys: readonly Key[]; readonly rest: string } {
  const keys: Key[] = [];
  let rest = input;
  while (rest !== "") {
    if (rest.startsWith("\x1b")) {
      const after = rest.slice(1);
      // Parameter bytes, intermediate bytes and the final byte: ECMA-48, 5.4. SS3 is followed by one byte.
      const [sequence] = /^(?:\[[0-?]*[ -/]*[@-~]|O[ -~])/.exec(after) ?? [];
      if (sequence !== undefined) {
        // Ignore the modifiers (Shift, Ctrl) of an arrow key.
        const key = sequences[sequence.replace(/^\[1;\d+(?=[A-Z])/, "[")];
        if (key !== undefined) keys.push(key);
        rest = after.slice(sequence.length);
        continue;
      }
      if (/^(?:\[[0-?]*[ -/]*|O)?$/.test(after)) break;
      // Alt and a key, or an unknown sequence: treat the escape as a key, then continue with the rest.
      keys.push("escape");
      rest = after;
      continue;
    }
    const character = String.fromCodePoint(rest.codePointAt(0)!);
    rest = rest.slice(character.length);
    const control = controls[character];
    if (control !== undefined) keys.push(control);
    else if (!/\p{Cc}/u.test(character)) keys.push({ text: character });
  }
  return { keys, rest };
}
