/** Parameters for services in the query of the webhook's URL. Pure; shows no part of a URL. */

/** A parameter's value; null: the parameter is missing or empty. */
export function parameter(url: URL, name: string): string | null {
  return url.searchParams.get(name) || null;
}

/** The problem with parameters that the service would not get, probably misspelt ones. */
export function unknownParameters(url: URL, known: readonly string[]): string | null {
  if ([...url.searchParams.keys()].every((name) => known.includes(name))) return null;
  const names =
    known.length === 1 ? known[0]! : `${known.slice(0, -1).join(", ")} and ${known.at(-1)}`;
  return `has an unknown parameter; known are ${names}`;
}

/** The URL without its query. */
export function withoutQuery(url: URL): string {
  const short = new URL(url);
  short.search = "";
  short.hash = "";
  return short.href;
}
