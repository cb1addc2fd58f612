/**
 * C libraries inside the program, for machines that do not have them. There are none: `bun build.ts
 * --release` puts another file in the place of this one.
 */

export interface EmbeddedLibrary {
  readonly soname: string;
  readonly version: string;
  /** A function that it has. */
  readonly symbol: string;
  /** Others that it does not load without, by their sonames. */
  readonly needs: readonly string[];
  read(): Uint8Array;
}

export const embedded: readonly EmbeddedLibrary[] = [];
