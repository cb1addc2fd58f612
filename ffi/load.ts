/**
 * Opens C libraries, once and on first use, and says in one sentence what to do when one cannot be
 * used. The tables of symbols stand in the files beside this one.
 */

import { dlopen, type FFIFunction } from "bun:ffi";

import { LibraryError } from "../src/errors.ts";

interface Library<Symbols> {
  /** Names that the loader is asked for, best first: distributions differ in the number. */
  readonly sonames: readonly string[];
  /** What to install, for the message. */
  readonly packages: string;
  readonly symbols: Symbols;
}

/** Opens the library at the first call; importing a table never fails. */
export function lazily<const Symbols extends Record<string, FFIFunction>>(
  library: Library<Symbols>,
) {
  let opened: ReturnType<typeof open<Symbols>> | undefined;
  return () => (opened ??= open(library));
}

function open<const Symbols extends Record<string, FFIFunction>>(library: Library<Symbols>) {
  const { sonames, packages, symbols } = library;
  const missing: string[] = [];
  for (const soname of sonames) {
    try {
      return dlopen(soname, symbols).symbols;
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (/requires the JIT/.test(message)) {
        throw new LibraryError(
          "cannot call C libraries: this process may not make executable memory, which bun:ffi needs; " +
            "take away MemoryDenyWriteExecute=, LimitAS= or BUN_JSC_useJIT=0",
        );
      }
      if (code !== "ERR_DLOPEN_FAILED") {
        throw new LibraryError(`${soname} is too old or broken (${message}); update ${packages}`);
      }
      if (/Too many open files/.test(message)) {
        throw new LibraryError(`cannot load ${soname}: too many open files; raise LimitNOFILE`);
      }
      missing.push(message);
    }
  }
  throw new LibraryError(
    `cannot load ${sonames.join(" or ")} (${missing[0]?.replace(/\s+/g, " ") ?? ""}); install ${packages}`,
  );
}
