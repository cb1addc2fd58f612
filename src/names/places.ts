/**
 * The countries and autonomous systems of addresses, from the user's MMDB files. The files are read at the start and at
 * each reload, not when they change, so that a file that is being replaced is not read half.
 */

import type { Lookup, Place } from "../alerts/kinds/kind.ts";
import { fileName } from "../base/redact.ts";

export class Places {
  #files: ReadonlyMap<string, Lookup> = new Map();

  /**
   * Reads the files, and returns what is wrong with them, each with the remedy. A file that was valid at the previous
   * reading and is not now is still used.
   */
  async load(paths: readonly string[]): Promise<readonly string[]> {
    const files = new Map<string, Lookup>();
    const problems: string[] = [];
    for (const path of paths) {
      const { openMmdb } = await import("./mmdb.ts");
      const opened = await openMmdb(path);
      const isValid = typeof opened !== "string";
      if (!isValid) problems.push(`places: ${fileName(path)}: ${opened}`);
      const file = isValid ? opened : this.#files.get(path);
      if (file !== undefined) files.set(path, file);
    }
    this.#files = files;
    return problems;
  }

  /** Returns the place of an address; null: unknown. If several files know the same fact, the first one wins. */
  readonly lookup: Lookup = (address) => {
    let found = null as Place | null;
    for (const file of this.#files.values()) {
      const place = file(address);
      if (place === null) continue;
      found = {
        country: found?.country ?? place.country,
        asn: found?.asn ?? place.asn,
        organization: found?.organization ?? place.organization,
      };
    }
    return found;
  };
}
