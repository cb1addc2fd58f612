/** The types of deploy/bun.mjs, which describes them. */

export const bunPackages: { readonly x64: string; readonly arm64: string };

export class BunError extends Error {}

export function lockedPackage(
  name: string,
  lock?: string,
): { readonly version: string; readonly sha512: string };

export function fetchBun(
  machine: "x64" | "arm64",
  say: (line: string) => void,
): ReadonlyMap<string, Uint8Array>;
