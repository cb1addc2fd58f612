/**
 * Seam: switches the terminal to full-screen mode, and restores it in all cases: at the end, after a signal or an
 * error, and while the process is stopped (Ctrl-Z).
 */

import { emitKeypressEvents, type Interface, type Key as Keypress } from "node:readline";

import { SystemError } from "../base/errors.ts";
import { printableLine } from "../base/visible.ts";
import { writeToStdout } from "../platform/standard-streams.ts";
import { type Key, keysOf } from "./keys.ts";

/** https://invisible-island.net/xterm/ctlseqs: alternate screen, no cursor, no line wrap. */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/** Synchronized output: the terminal shows the text between both at once. Terminals without this mode ignore them. */
const [BEGIN, END] = ["\x1b[?2026h", "\x1b[?2026l"];

/** An escape character without more input for this long is the Escape key. */
const ESCAPE_TIMEOUT_MS = 50;
/** Without a job-control shell, SIGTSTP does not stop the process. If so, resume after this delay. */
const RESUME_MS = 200;
/** Time limit for a write. After it, the next draw() writes all lines again. */
const WRITE_TIMEOUT_MS = 500;

interface Handlers {
  readonly key: (key: Key) => void;
  /** The lines must be drawn again, perhaps for another size of the terminal. */
  readonly changed: () => void;
  /** A signal asks the program to end, or the terminal was closed. */
  readonly ended: () => void;
  readonly failed: (error: unknown) => void;
}

export class Terminal implements Disposable {
  readonly #handlers: Handlers;
  readonly #listeners: Partial<Record<NodeJS.Signals, () => void>>;
  /** The lines on the screen. Empty: unknown. */
  #lines: readonly string[] = [];
  #isOn = false;
  #stopTimer: Timer | undefined;

  constructor(handlers: Handlers) {
    this.#handlers = handlers;
    const { ended } = handlers;
    this.#listeners = {
      SIGINT: ended,
      SIGTERM: ended,
      SIGHUP: ended,
      SIGTSTP: () => this.suspend(),
      SIGCONT: this.#resume,
      SIGWINCH: () => this.redraw(),
    };
    for (const [signal, listener] of Object.entries(this.#listeners)) process.on(signal, listener);
    process.on("exit", this.#leave);
    // readline takes the timeout from an interface, and nothing else.
    emitKeypressEvents(process.stdin, {
      escapeCodeTimeout: ESCAPE_TIMEOUT_MS,
    } as object as Interface);
    process.stdin.on("keypress", this.#press).on("end", ended).on("error", ended);
    process.stdin.resume();
    this.#enter();
  }

  get size(): { readonly columns: number; readonly rows: number } {
    const [columns, rows] = process.stdout.getWindowSize();
    // Some terminals report 0.
    return { columns: columns || 80, rows: rows || 24 };
  }

  /** Draws the lines from the first row. Writes only those that have changed. */
  draw(lines: readonly string[]): void {
    if (!this.#isOn) return;
    let text = "";
    for (const [row, line] of lines.entries()) {
      if (line !== this.#lines[row]) text += `\x1b[${row + 1};1H\x1b[2K${printableLine(line)}`;
    }
    this.#lines = lines;
    if (text !== "") this.#write(`${BEGIN}${text}${END}`);
  }

  /** Clears the screen and draws everything again. */
  redraw(): void {
    if (!this.#isOn) return;
    this.#lines = [];
    this.#write("\x1b[2J");
    this.#handlers.changed();
  }

  /** Restores the terminal and stops the process until SIGCONT. */
  suspend(): void {
    this.#leave();
    process.off("SIGTSTP", this.#listeners.SIGTSTP!);
    // Stop the whole job, which may include sudo.
    process.kill(0, "SIGTSTP");
    this.#stopTimer = setTimeout(() => {
      if (!this.#isOn) this.#resume();
    }, RESUME_MS);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#stopTimer);
    for (const [signal, listener] of Object.entries(this.#listeners)) process.off(signal, listener);
    process.off("exit", this.#leave);
    const { ended } = this.#handlers;
    process.stdin.off("keypress", this.#press).off("end", ended).off("error", ended).pause();
    this.#leave();
  }

  #enter(): void {
    this.#isOn = true;
    process.stdin.setRawMode(true);
    this.#lines = [];
    this.#write(ENTER);
  }

  readonly #leave = (): void => {
    if (!this.#isOn) return;
    this.#isOn = false;
    this.#write(LEAVE);
    process.stdin.setRawMode(false);
  };

  /** While the process was stopped, other programs may have changed the state of the terminal. */
  readonly #resume = (): void => {
    const listener = this.#listeners.SIGTSTP!;
    if (!process.listeners("SIGTSTP").includes(listener)) process.on("SIGTSTP", listener);
    else if (this.#isOn) this.#leave();
    if (this.#isOn) return;
    this.#enter();
    this.#handlers.changed();
  };

  readonly #press = (text: string | undefined, keypress: Keypress): void => {
    try {
      for (const key of keysOf(text, keypress)) this.#handlers.key(key);
    } catch (error) {
      this.#handlers.failed(error);
    }
  };

  #write(text: string): void {
    const bytes = Buffer.from(text);
    try {
      if (writeToStdout(bytes, WRITE_TIMEOUT_MS) < bytes.length) this.#lines = [];
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      if (error.code === "EAGAIN") this.#lines = [];
      else this.#handlers.ended();
    }
  }
}
