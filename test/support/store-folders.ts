/** Folders and stores of the tests of one file: closed and removed after each test. */

import { afterEach } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Store } from "../../src/store/store.ts";

/** Call it outside of the tests, once in a file. */
export function useStoreFolders() {
  const folders: string[] = [];
  const stores: Store[] = [];
  afterEach(() => {
    for (const store of stores.splice(0)) store[Symbol.dispose]();
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });
  return {
    /** Makes a new folder. */
    folder: (): string => {
      const path = mkdtempSync(join(tmpdir(), "wgmon-store-"));
      folders.push(path);
      return path;
    },
    /** The store is closed after the test. */
    opened: (store: Store): Store => {
      stores.push(store);
      return store;
    },
    /** Closes a store before the end of the test. */
    close: (store: Store): void => {
      stores.splice(stores.indexOf(store), 1);
      store[Symbol.dispose]();
    },
  };
}
