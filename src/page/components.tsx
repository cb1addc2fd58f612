/** Small components that several pages use. */

import { shortName } from "../base/text.ts";
import { shortKey, urlKey } from "../base/wireguard.ts";
import { clockTime, peerAddress, span } from "./format.ts";
import type { PageSnapshot } from "./page-diff.ts";

/** The time since `ms`, as `3m ago` (`ago`) or `3m` (`for`). The browser keeps it up to date. */
export function Age({
  ms,
  snapshot,
  as,
}: {
  ms: number;
  snapshot: PageSnapshot;
  as: "ago" | "for";
}) {
  const { nowMs } = snapshot;
  const text = nowMs === null ? "" : `${span(nowMs - ms)}${as === "ago" ? " ago" : ""}`;
  return (
    <time datetime={new Date(ms).toISOString()} data-as={as} title={`${clockTime(ms)} UTC`}>
      {text}
    </time>
  );
}

/** A time. The browser shows it in its own time zone. */
export function At({ ms, snapshot }: { ms: number; snapshot: PageSnapshot }) {
  return (
    <time datetime={new Date(ms).toISOString()} data-as="at">
      {snapshot.nowMs === null ? "" : clockTime(ms)}
    </time>
  );
}

/** A text from an untrusted source: sanitized, and its writing direction isolated from the rest of the page. */
export function Name({ text }: { text: string }) {
  return <bdi>{shortName(text)}</bdi>;
}

interface PeerName {
  readonly device: string;
  readonly publicKey: string;
  /** null if the peer has no name. */
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

/** A state as a word and a shape, because colour alone is not accessible. */
export function State({ state }: { state: string }) {
  return <span class={`state ${state}`}>{state}</span>;
}

/** An empty value, which a screen reader reads as "none". */
export function None() {
  return (
    <span class="none">
      <span aria-hidden="true">{"\u2013"}</span>
      <span class="unseen">none</span>
    </span>
  );
}

interface FilterFormProps {
  /** Address of the unfiltered list. */
  readonly action: string;
  readonly label: string;
  /** Name of the query parameter. */
  readonly name: string;
  readonly choices: readonly string[];
  /** null: all. */
  readonly chosen: string | null;
  /** Public key of the only peer that is listed; null: all peers. */
  readonly peer: string | null;
}

/** Filters a list by one choice, and keeps a filter by peer. Works without JavaScript. */
export function FilterForm({ action, label, name, choices, chosen, peer }: FilterFormProps) {
  return (
    <form class="search" action={action}>
      <label>
        <span>{label}</span>
        <select name={name}>
          <option value="">all</option>
          {choices.map((each) => (
            <option value={each} selected={each === chosen}>
              {each}
            </option>
          ))}
        </select>
      </label>
      {peer === null ? null : (
        <>
          <input type="hidden" name="peer" value={urlKey(peer)} />
          <p>
            of the peer <code>{shortKey(peer)}</code>
          </p>
        </>
      )}
      <button>Show</button>
      {chosen === null && peer === null ? null : <a href={action}>Show all</a>}
    </form>
  );
}

/** A wide table that scrolls in its own box, also by keyboard. */
export function Wide({ label, children }: { label: string; children: unknown }) {
  return (
    <div class="wide" role="region" aria-label={label} tabindex={0}>
      {children as string}
    </div>
  );
}
