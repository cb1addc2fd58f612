/** The settings of one target: its destination, its filter and its limits. */

import type { EventFilter } from "../events/event-filter.ts";
import type { Format } from "./formats/format.ts";
import type { FormatName } from "./formats/index.ts";
import type { SigningSecret } from "./signature.ts";

/**
 * The default time limit for one attempt, as in the Go program and in wg-portal. A slower receiver should respond before
 * it processes the event.
 */
export const TIMEOUT_MS = 10_000;

export interface TargetSettings {
  /** null: the target has no name. */
  readonly name: string | null;
  readonly destination: Destination;
  readonly selection: EventFilter;
  /** How long events are collected into one message; 0: each event is sent alone. */
  readonly digestMs: number;
  /** Time limit for one attempt. */
  readonly timeoutMs: number;
}

export type Destination =
  | {
      readonly type: "webhook";
      /** May contain secrets in any part. */
      readonly url: string;
      readonly formatName: FormatName | "template";
      readonly format: Format;
      /** Empty: requests are not signed. */
      readonly secrets: readonly SigningSecret[];
    }
  | {
      readonly type: "exec";
      /** The program's absolute path and its arguments, which may be secrets. */
      readonly command: readonly [string, ...string[]];
    };
