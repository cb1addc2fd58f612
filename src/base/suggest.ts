/** Suggests the intended name for a mistyped one. Pure. */

/** Longer words are unlikely to be misspelt names, and comparing them takes time. */
const WORD_LENGTH_MAX = 40;

/** Returns the name that was probably meant; null if none is similar. */
export function suggest(written: string, names: readonly string[]): string | null {
  const best = nearest(written, names);
  const word = written.toLowerCase();
  if (best !== null || word.length < 3 || word.length > WORD_LENGTH_MAX) return best;
  // An abbreviation (`--idle`), or a name with something added (`--webhook-url`).
  const related = names.filter((name) => name.startsWith(word) || word.startsWith(name));
  return related.length === 1 ? related[0]! : null;
}

/** Returns the name that `written` is a misspelling of; null if none is close enough. */
export function nearest(written: string, names: readonly string[]): string | null {
  if (written.length > WORD_LENGTH_MAX) return null;
  const word = written.toLowerCase();
  const editsAllowed = Math.max(1, Math.floor(word.length / 3));
  let best: string | null = null;
  let fewest = editsAllowed + 1;
  for (const name of names) {
    const edits = distance(word, name.toLowerCase());
    if (edits < fewest) [best, fewest] = [name, edits];
  }
  return best;
}

/** Returns `; did you mean --monitor?`, the end of an error message; empty if no name is similar. */
export function didYouMean(
  written: string,
  names: readonly string[],
  format: (name: string) => string = (name) => name,
): string {
  const name = suggest(written, names);
  return name === null ? "" : `; did you mean ${format(name)}?`;
}

/**
 * The edit distance (optimal string alignment): how many characters were added, omitted, changed or swapped with the
 * next one.
 */
function distance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
          ? beforeLast[j - 2]! + 1
          : Infinity;
      row.push(Math.min(last[j]! + 1, row[j - 1]! + 1, changed, swapped));
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
