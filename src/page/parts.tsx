/** Small things that several pages show. */

import { shortName } from "../channel/text.ts";
import { shortKey } from "../wireguard.ts";
import { clockTime, peerAddress, span } from "./format.ts";
import type { Live } from "./live.ts";

/** How long ago, or for how long by now; the browser counts on. */
export function Age({ ms, live, as }: { ms: number; live: Live; as: "ago" | "for" }) {
  const { nowMs } = live;
  const text = nowMs === null ? "" : `${span(nowMs - ms)}${as === "ago" ? " ago" : ""}`;
  return (
    <time datetime={new Date(ms).toISOString()} data-as={as} title={`${clockTime(ms)} UTC`}>
      {text}
    </time>
  );
}

/** When; the browser writes it in its own zone. */
export function At({ ms, live }: { ms: number; live: Live }) {
  return (
    <time datetime={new Date(ms).toISOString()} data-as="at">
      {live.nowMs === null ? "" : clockTime(ms)}
    </time>
  );
}

/** Of a text that anybody may have written: clean, and its direction stays its own. */
export function Name({ text }: { text: string }) {
  return <bdi>{shortName(text)}</bdi>;
}

interface PeerName {
  readonly device: string;
  readonly publicKey: string;
  /** null: it has none. */
  readonly name: string | null;
}

export function PeerLink({ device, publicKey, name }: PeerName) {
  const text = shortName(name ?? "");
  return (
    <a href={peerAddress(device, publicKey)} title={publicKey}>
      {text === "" ? <code>{shortKey(publicKey)}</code> : <bdi>{text}</bdi>}
    </a>
  );
}

/** Never by its colour alone: each has a word and a shape. */
export function State({ state }: { state: string }) {
  return <span class={`state ${state}`}>{state}</span>;
}

/** Nothing, so that it is heard as such. */
export function None() {
  return (
    <span class="none">
      <span aria-hidden="true">{"\u2013"}</span>
      <span class="unseen">none</span>
    </span>
  );
}

/** A wide table moves within itself; by the keyboard, too. */
export function Wide({ label, children }: { label: string; children: unknown }) {
  return (
    <div class="wide" role="region" aria-label={label} tabindex={0}>
      {children as string}
    </div>
  );
}
