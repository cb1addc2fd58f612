/** Silences: a list of them with buttons to end them, and forms to add one. They work without JavaScript. */

import { type Silence, SILENCE_LIMITS, type SilenceMatcher } from "../alerts/silences.ts";
import type { ReadModel } from "../http/read-model.ts";
import { matcherTexts, singleLine } from "./alert-text.ts";
import { At, ListNote, Name } from "./components.tsx";
import { idOf } from "./format.ts";
import { nameIn } from "./history-filter.tsx";
import { item, type PageSnapshot } from "./page-diff.ts";
import { silenceFields, silenceSpans } from "./silence-form.ts";

/** Maximum number of silences in a list. */
const SILENCES_MAX = 100;
export const ALERTS_PATH = "/alerts";

interface SilenceListProps {
  readonly source: ReadModel;
  readonly silences: readonly Silence[];
  readonly snapshot: PageSnapshot;
  /** The address to return to after a silence was ended; null: the client may not end silences. */
  readonly next: string | null;
  /** Shown if there are no silences. */
  readonly none: string;
}

export function SilenceList({ source, silences, snapshot, next, none }: SilenceListProps) {
  const items = silences.slice(0, SILENCES_MAX).map((silence) => {
    const id = idOf("m", silence.id);
    const { endMs, comment, createdBy } = silence;
    const texts = matcherTexts(silence, (key) => nameIn(source, key));
    return item(id, <li id={id}></li>, [
      <span class="name">
        {texts.map((text, index) => (
          <>
            {index === 0 ? "" : " and "}
            <code>
              <bdi>{text}</bdi>
            </code>
          </>
        ))}
      </span>,
      <span class="until">
        {"until "}
        <At ms={endMs} snapshot={snapshot} />
      </span>,
      <span class="health">
        {comment === "" ? "No comment" : <bdi>{singleLine(comment)}</bdi>}
        {createdBy === "" ? null : (
          <>
            {", by "}
            <Name text={createdBy} />
          </>
        )}
      </span>,
      ...(next === null
        ? []
        : [<EndForm silence={silence} text={texts.join(" and ")} next={next} />]),
    ]);
  });
  return (
    <>
      <ul class="targets silences" id="silences">
        {snapshot.list("silences", items)}
      </ul>
      <ListNote list="silences" snapshot={snapshot}>
        {items.length === 0 ? none : ""}
      </ListNote>
    </>
  );
}

function EndForm({ silence, text, next }: { silence: Silence; text: string; next: string }) {
  return (
    <form method="post" action={ALERTS_PATH} class="actions">
      <input type="hidden" name="silence" value={silence.id} />
      <input type="hidden" name="next" value={next} />
      <button name="action" value="end" aria-label={`End now: the silence ${text}`}>
        End now
      </button>
    </form>
  );
}

interface SilenceFormProps {
  /** What the silence applies to; null: the user chooses it. */
  readonly matchers: readonly SilenceMatcher[] | null;
  /** The text of the button. */
  readonly label: string;
  /** The address to return to. */
  readonly next: string;
  /** A form that was refused; null: a new one. */
  readonly refused?: { readonly form: URLSearchParams; readonly problem: string } | null;
}

export function SilenceForm({ matchers, label, next, refused = null }: SilenceFormProps) {
  const given = refused?.form;
  const [field, span] = [given?.get("field") ?? "peer", given?.get("for") ?? "1h"];
  return (
    <form method="post" action={ALERTS_PATH} class="search silence">
      <input type="hidden" name="next" value={next} />
      {matchers === null ? (
        <>
          <label class="half">
            <span>What</span>
            <select name="field">
              {silenceFields.map((each) => (
                <option value={each} selected={each === field}>
                  {each}
                </option>
              ))}
            </select>
          </label>
          <label class="half">
            <span>Its name (* is any text)</span>
            <input
              name="pattern"
              value={given?.get("pattern") ?? ""}
              maxlength={100}
              required
              placeholder="branch-*"
              autocomplete="off"
              aria-invalid={refused === null ? null : "true"}
            />
          </label>
        </>
      ) : (
        matchers.map((each) => (
          <input type="hidden" name="match" value={`${each.field}=${each.pattern}`} />
        ))
      )}
      <label class="half">
        <span>For</span>
        <select name="for">
          {silenceSpans.map(([value, text]) => (
            <option value={value} selected={value === span}>
              {text}
            </option>
          ))}
        </select>
      </label>
      <label class="half comment">
        <span>Comment</span>
        <input
          name="comment"
          value={given?.get("comment") ?? ""}
          maxlength={SILENCE_LIMITS.commentLength}
          placeholder="maintenance"
          autocomplete="off"
        />
      </label>
      <button name="action" value="silence">
        {label}
      </button>
      {refused === null ? null : (
        <p class="warning" role="alert">
          <bdi>{singleLine(refused.problem)}</bdi>
        </p>
      )}
    </form>
  );
}

/** Shown instead of the forms to a client that may not use them. */
export function TokenHint() {
  return (
    <p class="hint">
      With <code>--listen-token-file</code>, there are forms here to add and end silences.{" "}
      <code>wgmon silence</code> does the same.
    </p>
  );
}
