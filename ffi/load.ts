/**
 * Opens each C library once, on first use. If a library cannot be used, the error names the remedy. The symbol tables
 * are in the other files of this folder.
 */

import { dlopen, type FFIFunction } from "bun:ffi";

import { embedded, type EmbeddedLibrary } from "./embedded.ts";
import { LibraryError } from "./errors.ts";

/** linux/memfd.h */
const MFD_CLOEXEC = 1;

interface Library<Symbols> {
  /** File names to try, the preferred one first: the version number differs between distributions. */
  readonly sonames: readonly string[];
  /** The packages to install, for the error message. */
  readonly packages: string;
  readonly symbols: Symbols;
}

/**
 * Returns a function that opens the library on its first call and returns the library's functions. Importing a symbol
 * table therefore never fails.
 */
export function lazyLibrary<const Symbols extends Record<string, FFIFunction>>(
  library: Library<Symbols>,
) {
  let opened: ReturnType<typeof open<Symbols>> | undefined;
  return () => (opened ??= open(library));
}

function open<const Symbols extends Record<string, FFIFunction>>(library: Library<Symbols>) {
  const { sonames, packages, symbols } = library;
  const reasons: string[] = [];
  for (const soname of sonames) {
    try {
      return dlopen(soname, symbols).symbols;
    } catch (error) {
      reasons.push(loaderMessage(error, soname, packages));
    }
  }
  let reason = reasons[0] ?? "";
  const embeddedCopy = embedded.find(({ soname }) => sonames.includes(soname));
  if (embeddedCopy !== undefined) {
    try {
      return dlopen(pathOf(embeddedCopy), symbols).symbols;
    } catch (error) {
      reason += `; embedded copy: ${loaderMessage(error, embeddedCopy.soname, packages)}`;
    }
  }
  throw new LibraryError(`cannot load ${sonames.join(" or ")} (${reason}); install ${packages}`);
}

/**
 * Returns the dynamic loader's message for a library that could not be loaded.
 *
 * @throws LibraryError if the library exists but cannot be used, or if no library at all can be loaded.
 */
function loaderMessage(error: unknown, soname: string, packages: string): string {
  const { code, message } = error as { code?: string; message: string };
  if (/requires the JIT/.test(message)) {
    throw new LibraryError(
      "cannot call C libraries: this process may not make executable memory, which bun:ffi needs; " +
        "remove MemoryDenyWriteExecute=, LimitAS= or BUN_JSC_useJIT=0",
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

/** The embedded libraries that are in use because the system lacks them, and the path under which each was loaded. */
const loaded = new Map<EmbeddedLibrary, string>();

/**
 * The version of the embedded copy in use, by the library's name without suffix: `libmnl`; null if the system's library
 * is used.
 */
export function embeddedVersion(name: string): string | null {
  const used = [...loaded.keys()].find(({ soname }) => soname.startsWith(`${name}.`));
  return used?.version ?? null;
}

function pathOf(library: EmbeddedLibrary): string {
  const path = loaded.get(library) ?? copyToMemory(library);
  loaded.set(library, path);
  for (const soname of library.needs) {
    // The loader resolves a dependency to a library that is already loaded and has its soname. So load the dependencies
    // first.
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
 * execution. Returns the file's path.
 */
function copyToMemory(library: EmbeddedLibrary): string {
  const { symbols } = dlopen("libc.so.6", {
    // int memfd_create(const char *name, unsigned int flags);
    memfd_create: { args: ["cstring", "u32"], returns: "i32" },
    // ssize_t write(int fd, const void *buf, size_t count);
    write: { args: ["i32", "buffer", "u64"], returns: "i64" },
  });
  const { soname } = library;
  const bytes = library.read();
  // Never closed, because the loader may map parts of the file later.
  const descriptor = symbols.memfd_create(soname, MFD_CLOEXEC);
  if (descriptor < 0) throw loadError("memfd_create(2) failed");
  if (Number(symbols.write(descriptor, bytes, bytes.length)) !== bytes.length) {
    throw loadError("a file in memory cannot be written");
  }
  return `/proc/self/fd/${descriptor}`;
}

function loadError(message: string): Error {
  return Object.assign(new Error(message), { code: "ERR_DLOPEN_FAILED" });
}
