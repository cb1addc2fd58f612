/** Small components that several pages use. */

import { shortName } from "../base/text.ts";
import { withoutHostPrefix } from "../base/tunnel-address.ts";
import { shortKey } from "../base/wireguard.ts";
import type { GatewayCondition } from "../http/fleet-model.ts";
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

/** A peer's tunnel addresses: the first one, and how many more there are. The prefix of a single host is left out. */
export function Addresses({ allowedIps }: { allowedIps: readonly string[] }) {
  const [first, ...others] = allowedIps.map(withoutHostPrefix);
  if (first === undefined) return <None />;
  return (
    <span title={others.length === 0 ? undefined : allowedIps.join(", ")}>
      <code>{first}</code>
      {others.length === 0 ? null : <span class="more">{` +${others.length}`}</span>}
    </span>
  );
}

/** Copies a text. Only the script shows it, because only the script can copy. */
export function CopyButton({ text, what }: { text: string; what: string }) {
  return (
    <button type="button" class="quiet copy" data-copy={text} aria-label={`Copy the ${what}`}>
      Copy
    </button>
  );
}

export function Tags({ tags }: { tags: readonly string[] }) {
  return (
    <>
      {tags.map((tag) => (
        <span class="tag">
          <Name text={tag} />
        </span>
      ))}
    </>
  );
}

/** A state as a word and a shape, because colour alone is not accessible. */
export function State({ state }: { state: string }) {
  return <span class={`state ${state}`}>{state}</span>;
}

const conditionStyles: Readonly<Record<GatewayCondition, string>> = {
  up: "ok",
  lost: "stopped",
  stopped: "gone",
  waiting: "unknown",
};

/** The condition of a gateway, as a word and a shape. */
export function Condition({ condition }: { condition: GatewayCondition }) {
  return <span class={`state ${conditionStyles[condition]}`}>{condition}</span>;
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

/** The paragraph below a list: that it is empty, or that there are more rows. Without children, it takes no space. */
export function ListNote({
  list,
  snapshot,
  children,
}: {
  /** Id of the list. */
  list: string;
  snapshot: PageSnapshot;
  children?: unknown;
}) {
  const id = `${list}-none`;
  return snapshot.part(
    id,
    <p id={id} class="empty">
      {children}
    </p>,
  );
}

/** Links of which one is current: ranges of a chart. */
export function Choice({
  label,
  choices,
  current,
  to,
}: {
  label: string;
  choices: readonly string[];
  current: string;
  to: (choice: string) => string;
}) {
  return (
    <nav class="choice" aria-label={label}>
      {choices.map((each) => (
        <a href={to(each)} aria-current={each === current ? "true" : null}>
          {each.replace(/\d+/, "$& ")}
        </a>
      ))}
    </nav>
  );
}

/** A card with a heading. Its link, if any, leads to the page with all of its content. */
export function Card({
  titleId,
  title,
  href,
  aside,
  className = "",
  children,
}: {
  /** Id of the heading. */
  titleId: string;
  title: string;
  href?: string;
  /** Shown at the end of the line of the heading. */
  aside?: unknown;
  className?: string;
  children: unknown;
}) {
  return (
    <section class={`card ${className}`} aria-labelledby={titleId}>
      <div class="head">
        <h2 id={titleId}>{href === undefined ? title : <a href={href}>{title}</a>}</h2>
        {aside === undefined ? null : <div class="right">{aside as string}</div>}
      </div>
      {children as string}
    </section>
  );
}

/** A name and a value in a list of facts. */
export function Fact({
  name,
  isWide = false,
  children,
}: {
  name: string;
  isWide?: boolean;
  children: unknown;
}) {
  return (
    <div class={isWide ? "all" : undefined}>
      <dt>{name}</dt>
      <dd>{children as string}</dd>
    </div>
  );
}
