/**
 * Opens C libraries, once and on first use, and says in one sentence what to do when one cannot be
 * used. The tables of symbols stand in the files beside this one.
 */

import { dlopen, type FFIFunction } from "bun:ffi";

import { LibraryError } from "../src/errors.ts";
import { embedded, type EmbeddedLibrary } from "./embedded.ts";

/** linux/memfd.h */
const MFD_CLOEXEC = 1;

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
      missing.push(whyNotThere(error, soname, packages));
    }
  }
  let reason = missing[0] ?? "";
  const copy = embedded.find(({ soname }) => sonames.includes(soname));
  if (copy !== undefined) {
    try {
      return dlopen(pathOf(copy), symbols).symbols;
    } catch (error) {
      reason += `; wgmon's own: ${whyNotThere(error, copy.soname, packages)}`;
    }
  }
  throw new LibraryError(`cannot load ${sonames.join(" or ")} (${reason}); install ${packages}`);
}

/**
 * The loader's words for a library that is not there.
 *
 * @throws LibraryError when it is there, or any would fail.
 */
function whyNotThere(error: unknown, soname: string, packages: string): string {
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
  return message.replace(/\s+/g, " ");
}

/** Those of the embedded libraries that the system had not, and where the loader finds them. */
const loaded = new Map<EmbeddedLibrary, string>();

/** The version of the copy that is used; null: the system's is. */
export function embeddedVersion(name: string): string | null {
  const used = [...loaded.keys()].find(({ soname }) => soname.startsWith(`${name}.`));
  return used?.version ?? null;
}

function pathOf(library: EmbeddedLibrary): string {
  const path = loaded.get(library) ?? inMemory(library);
  loaded.set(library, path);
  for (const soname of library.needs) {
    // The loader takes one that is there already, by its soname.
    const needed = embedded.find((each) => each.soname === soname)!;
    const symbols = { [needed.symbol]: { args: [], returns: "void" } } as const;
    try {
      dlopen(soname, symbols);
    } catch {
      dlopen(pathOf(needed), symbols);
    }
  }
  return path;
}

/** A file that is nowhere but in memory, memfd_create(2): no folder need be writable, or let code run. */
function inMemory(library: EmbeddedLibrary): string {
  const { symbols } = dlopen("libc.so.6", {
    // int memfd_create(const char *name, unsigned int flags);
    memfd_create: { args: ["cstring", "u32"], returns: "i32" },
    // ssize_t write(int fd, const void *buf, size_t count);
    write: { args: ["i32", "buffer", "u64"], returns: "i64" },
  });
  const { soname } = library;
  const bytes = library.read();
  // Open for good: the loader maps parts of it when it likes.
  const descriptor = symbols.memfd_create(soname, MFD_CLOEXEC);
  if (descriptor < 0) throw notThere("memfd_create(2) failed");
  if (Number(symbols.write(descriptor, bytes, bytes.length)) !== bytes.length) {
    throw notThere("a file in memory cannot be written");
  }
  return `/proc/self/fd/${descriptor}`;
}

function notThere(message: string): Error {
  return Object.assign(new Error(message), { code: "ERR_DLOPEN_FAILED" });
}
