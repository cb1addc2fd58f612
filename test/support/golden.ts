/** Reads the recordings of test/golden; its README.md describes them. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

const FOLDER = join(import.meta.dir, "../golden");

/** The datagrams of a recording: each follows its length, 32 bits, little-endian. */
export function readGolden(name: string): Uint8Array[] {
  const bytes = new Uint8Array(readFileSync(join(FOLDER, name)));
  const view = new DataView(bytes.buffer);
  const datagrams: Uint8Array[] = [];
  for (let offset = 0; offset < bytes.length;) {
    const start = offset + 4;
    offset = start + view.getUint32(offset, true);
    datagrams.push(bytes.slice(start, offset));
  }
  return datagrams;
}

export function readGoldenText(name: string): string {
  return readFileSync(join(FOLDER, name), "utf8");
}
