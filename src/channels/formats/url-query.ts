/** The parameters for a service in the query of the webhook's URL. Pure. No message quotes a part of the URL. */

/** A parameter's value; null: the parameter is missing or empty. */
export function parameter(url: URL, name: string): string | null {
  return url.searchParams.get(name) || null;
}

/** The problem if the query has other parameters than `known`, which are probably misspelt; null: it has none. */
export function unknownParameters(url: URL, known: readonly string[]): string | null {
  if ([...url.searchParams.keys()].every((name) => known.includes(name))) return null;
  return `has an unknown parameter; ${listOf(known)}`;
}

function listOf(known: readonly string[]): string {
  if (known.length === 0) return "it takes no parameters";
  if (known.length === 1) return `known is ${known[0]!}`;
  return `known are ${known.slice(0, -1).join(", ")} and ${known.at(-1)}`;
}

/** The URL without its query and fragment. */
export function withoutQuery(url: URL): string {
  const short = new URL(url);
  short.search = "";
  short.hash = "";
  return short.href;
}
