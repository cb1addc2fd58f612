/**
 * The countries and autonomous systems of addresses, from the user's MMDB files. The files are read at the start and at
 * each reload, not when they change, so that a file that is being replaced is not read half.
 */

import type { Lookup, Place } from "../alerts/kinds/kind.ts";
import { fileName } from "../base/redact.ts";

export interface PlaceFiles {
  /** Returns the place of an address; null: unknown. If several files know the same fact, the first one wins. */
  readonly lookup: Lookup;
  /** What is wrong with the files, each with the remedy. */
  readonly problems: readonly string[];
  /** The lookups in the files, by their paths. */
  readonly files?: ReadonlyMap<string, Lookup>;
}

/**
 * Reads the files.
 *
 * @param before the previous reading. A file that was valid then and is not now is still used.
 */
export async function readPlaces(
  paths: readonly string[],
  before: PlaceFiles | null = null,
): Promise<PlaceFiles> {
  const files = new Map<string, Lookup>();
  const problems: string[] = [];
  for (const path of paths) {
    const { openMmdb } = await import("./mmdb.ts");
    const opened = await openMmdb(path);
    const isValid = typeof opened !== "string";
    if (!isValid) problems.push(`places: ${fileName(path)}: ${opened}`);
    const file = isValid ? opened : before?.files?.get(path);
    if (file !== undefined) files.set(path, file);
  }
  return { files, problems, lookup: (address) => lookup(files.values(), address) };
}

function lookup(files: Iterable<Lookup>, address: string): Place | null {
  let found: Place | null = null;
  for (const file of files) {
    const place = file(address);
    if (place !== null) found = found === null ? place : merge(found, place);
  }
  return found;
}

function merge(first: Place, second: Place): Place {
  return {
    country: first.country ?? second.country,
    asn: first.asn ?? second.asn,
    organization: first.organization ?? second.organization,
  };
}
