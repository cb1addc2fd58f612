/**
 * C libraries embedded in the program, for machines without them. This file contains none; `bun build.ts --release`
 * puts another file in its place.
 */

export interface EmbeddedLibrary {
  readonly soname: string;
  readonly version: string;
  /** A function of the library. */
  readonly symbol: string;
  /** Sonames of the embedded libraries that it needs. */
  readonly needs: readonly string[];
  read(): Uint8Array;
}

export const embedded: readonly EmbeddedLibrary[] = [];
