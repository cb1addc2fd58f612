/** Suggests the intended name for a mistyped one. Pure. */

/** Longer words are unlikely to be typing mistakes, and comparing them takes time. */
const LONGEST_WORD = 40;

/** Returns the name that was probably meant; null if none is similar. */
export function suggest(written: string, names: readonly string[]): string | null {
  const best = nearest(written, names);
  const word = written.toLowerCase();
  if (best !== null || word.length < 3 || word.length > LONGEST_WORD) return best;
  // An abbreviation (`--idle`), or a name with something added (`--webhook-url`).
  const related = names.filter((name) => name.startsWith(word) || word.startsWith(name));
  return related.length === 1 ? related[0]! : null;
}

/** Returns the name that `written` is a misspelling of; null if none is close enough. */
export function nearest(written: string, names: readonly string[]): string | null {
  if (written.length > LONGEST_WORD) return null;
  const word = written.toLowerCase();
  const slipsAllowed = Math.max(1, Math.floor(word.length / 3));
  let best: string | null = null;
  let fewest = slipsAllowed + 1;
  for (const name of names) {
    const slips = distance(word, name.toLowerCase());
    if (slips < fewest) [best, fewest] = [name, slips];
  }
  return best;
}

/** Returns `; did you mean --monitor?` to end a message with, or an empty text. */
export function didYouMean(
  written: string,
  names: readonly string[],
  write: (name: string) => string = (name) => name,
): string {
  const name = suggest(written, names);
  return name === null ? "" : `; did you mean ${write(name)}?`;
}

/** The number of characters added, left out, changed or swapped with their neighbour (optimal string alignment). */
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
