/** Decides what the hub does with events of a gateway: which are new, which are missing, and how far they are complete. Pure. */

import type { CheckedEvents } from "./check-messages.ts";

/** What the hub knows of the epoch that the events are of. */
export interface KnownEpoch {
  readonly firstSeq: number;
  readonly confirmedSeq: number;
  /** The hub had all events up to this number before it asked for them again. */
  readonly hadSeq: number;
  /** Whether the last answer to the gateway had this `confirmedSeq`, so that the gateway continues after it. */
  readonly isAnswered: boolean;
  /** The id of the stored event with this number; null: there is no such event. */
  readonly idAt: (seq: number) => string | null;
}

/** Numbers that the gateway does not have any more. */
export interface Gap {
  readonly firstSeq: number;
  readonly lastSeq: number;
}

export type CommitPlan =
  /** The gateway has other events with these numbers. */
  | { readonly type: "diverged" }
  /** The message begins later than the hub needs. The answer tells the gateway where to continue. */
  | { readonly type: "elsewhere" }
  | {
      readonly type: "commit";
      /** The events that are not stored at their place. */
      readonly placed: CheckedEvents["events"];
      readonly gaps: readonly Gap[];
      readonly confirmedSeq: number;
    };

/** The gaps in order, with those that follow each other as one. */
export function joinedGaps(gaps: readonly Gap[]): Gap[] {
  const joined: Gap[] = [];
  for (const gap of gaps.toSorted((a, b) => a.firstSeq - b.firstSeq)) {
    const before = joined.at(-1);
    if (before?.lastSeq === gap.firstSeq - 1) {
      joined[joined.length - 1] = { firstSeq: before.firstSeq, lastSeq: gap.lastSeq };
    } else joined.push(gap);
  }
  return joined;
}

export function planCommit({ after, events }: CheckedEvents, known: KnownEpoch): CommitPlan {
  const { confirmedSeq, hadSeq, idAt } = known;
  if (after !== null) {
    const id = after.seq <= confirmedSeq ? idAt(after.seq) : null;
    if (id !== null && id !== after.id) return { type: "diverged" };
    if (after.seq > confirmedSeq) return { type: "elsewhere" };
  }
  const placed: CheckedEvents["events"][number][] = [];
  const missing: Gap[] = [];
  let last = confirmedSeq;
  for (const each of events) {
    const { seq, event } = each;
    const id = idAt(seq);
    if (id !== null && id !== event.id) return { type: "diverged" };
    if (id === null) placed.push(each);
    if (seq <= last) continue;
    if (seq > last + 1) missing.push({ firstSeq: last + 1, lastSeq: seq - 1 });
    last = seq;
  }
  // Without `after`, only a gateway that knows what the hub needs can say that it does not have the events before.
  const [gap] = missing;
  const isFromStart = after === null && gap?.firstSeq === confirmedSeq + 1;
  if (isFromStart && !known.isAnswered) return { type: "elsewhere" };
  // What the hub had once is no loss, even if the gateway does not have it any more.
  const gaps = missing
    .filter(({ lastSeq }) => lastSeq > hadSeq)
    .map(({ firstSeq, lastSeq }) => ({ firstSeq: Math.max(firstSeq, hadSeq + 1), lastSeq }));
  return { type: "commit", placed, gaps, confirmedSeq: last };
}
