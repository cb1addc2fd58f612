/**
 * Opens C libraries, once and on first use. If a library cannot be used, the error says in one sentence what to do. The
 * symbol tables are in the other files of this folder.
 */

import { dlopen, type FFIFunction } from "bun:ffi";

import { embedded, type EmbeddedLibrary } from "./embedded.ts";
import { LibraryError } from "./errors.ts";

/** linux/memfd.h */
const MFD_CLOEXEC = 1;

interface Library<Symbols> {
  /** Names to try, preferred first: the number differs between distributions. */
  readonly sonames: readonly string[];
  /** What to install, for the error message. */
  readonly packages: string;
  readonly symbols: Symbols;
}

/** Opens the library on the first call; importing a table never fails. */
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
 * The loader's message for a missing library.
 *
 * @throws LibraryError if the library exists but cannot be used, or if no library could be loaded.
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

/** The embedded libraries in use, because the system lacks them, with the paths for the loader. */
const loaded = new Map<EmbeddedLibrary, string>();

/** The version of the embedded copy in use; null if the system's library is used. */
export function embeddedVersion(name: string): string | null {
  const used = [...loaded.keys()].find(({ soname }) => soname.startsWith(`${name}.`));
  return used?.version ?? null;
}

function pathOf(library: EmbeddedLibrary): string {
  const path = loaded.get(library) ?? inMemory(library);
  loaded.set(library, path);
  for (const soname of library.needs) {
    // The loader uses a library that is already loaded, by its soname. So load the needed ones first.
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

/**
 * Copies the library into a file in memory, memfd_create(2): this needs no folder that is writable and allows
 * execution.
 */
function inMemory(library: EmbeddedLibrary): string {
  const { symbols } = dlopen("libc.so.6", {
    // int memfd_create(const char *name, unsigned int flags);
    memfd_create: { args: ["cstring", "u32"], returns: "i32" },
    // ssize_t write(int fd, const void *buf, size_t count);
    write: { args: ["i32", "buffer", "u64"], returns: "i64" },
  });
  const { soname } = library;
  const bytes = library.read();
  // Never closed: the loader maps parts of the file at any time.
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
