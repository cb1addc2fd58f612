/** Which peers a rule or a silence applies to: by name, key or pattern, by tag, and by device. Pure. */

import type { Selectors } from "./rule.ts";

/** The parts of a peer that selectors compare. */
export interface Selectable {
  readonly device: string;
  readonly publicKey: string;
  readonly name: string | null;
  readonly tags: readonly string[];
}

export type Matcher = (text: string) => boolean;

/** A peer must match each list that is not empty. */
export function selectorOf({ peers, tags, devices }: Selectors): (peer: Selectable) => boolean {
  const [isPeer, isTag, isDevice] = [matcherOf(peers), matcherOf(tags), matcherOf(devices)];
  return (peer) =>
    (devices.length === 0 || isDevice(peer.device)) &&
    (tags.length === 0 || peer.tags.some(isTag)) &&
    (peers.length === 0 || isPeer(peer.publicKey) || (peer.name !== null && isPeer(peer.name)));
}

/**
 * Returns a function that tests whether a text is one of the words. In a word, `*` stands for any characters and `?`
 * for one. The case matters, as in keys.
 */
export function matcherOf(words: readonly string[]): Matcher {
  const exact = new Set(words.filter((word) => !isPattern(word)));
  const patterns = words.filter(isPattern);
  return (text) => exact.has(text) || patterns.some((pattern) => matchesPattern(pattern, text));
}

function isPattern(word: string): boolean {
  return /[*?]/.test(word);
}

/** Not by a regular expression, which takes years for a pattern with many stars. */
function matchesPattern(pattern: string, text: string): boolean {
  let [inPattern, inText] = [0, 0];
  // The last star, and where the text that it stands for ends.
  let [star, starEnd] = [-1, 0];
  while (inText < text.length) {
    const wanted = pattern[inPattern];
    if (wanted === "*") {
      star = inPattern++;
      starEnd = inText;
    } else if (wanted === "?" || wanted === text[inText]) {
      inPattern++;
      inText++;
    } else if (star !== -1) {
      // The star stands for one character more.
      inPattern = star + 1;
      inText = ++starEnd;
    } else {
      return false;
    }
  }
  return /^\**$/.test(pattern.slice(inPattern));
}
