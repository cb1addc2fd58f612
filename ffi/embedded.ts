/**
 * C libraries embedded in the program, for machines that lack them. This file lists none; `bun build.ts --release`
 * builds with a generated file instead.
 */

export interface EmbeddedLibrary {
  readonly soname: string;
  readonly version: string;
  /** The name of a function of the library, with which to load it. */
  readonly symbol: string;
  /** Sonames of the embedded libraries that this one depends on. */
  readonly needs: readonly string[];
  read(): Uint8Array;
}

export const embedded: readonly EmbeddedLibrary[] = [];
