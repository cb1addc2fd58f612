/** The tables of C symbols, and the error messages of libraries that cannot be used. */

import { describe, expect, mock, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { type EmbeddedLibrary } from "../ffi/embedded.ts";
import { LibraryError } from "../ffi/errors.ts";
import { clock, control, libc, sockets, status } from "../ffi/libc.ts";
import { libmnl } from "../ffi/libmnl.ts";
import { libnetfilterLog } from "../ffi/libnetfilter_log.ts";
import { libpcap } from "../ffi/libpcap.ts";
import { embeddedVersion, lazyLibrary } from "../ffi/load.ts";

const getpid = { getpid: { args: [], returns: "i32" } } as const;

test.each([
  ["libc", libc],
  ["libc (clock)", clock],
  ["libc (control)", control],
  ["libc (status)", status],
  ["libc (sockets)", sockets],
  ["libmnl", libmnl],
  ["libnetfilter_log", libnetfilterLog],
  ["libpcap", libpcap],
])("every symbol of %s exists", (_name, library) => {
  const symbols = Object.values(library());
  expect(symbols).not.toEqual([]);
  for (const symbol of symbols) expect(symbol).toBeInstanceOf(Function);
});

test("a library is opened once", () => {
  expect(libc()).toBe(libc());
});

test("if a library is not found under its first soname, the next one is tried", () => {
  const library = lazyLibrary({
    sonames: ["libnosuch.so.1", "libc.so.6"],
    packages: "libnosuch",
    symbols: getpid,
  });
  expect(library().getpid()).toBe(process.pid);
});

describe("LibraryError", () => {
  test("the error for a missing library names the package to install", () => {
    const library = lazyLibrary({
      sonames: ["libnosuch.so.1", "libnosuch.so.2"],
      packages: "libnosuch (Debian: libnosuch1)",
      symbols: getpid,
    });
    const message =
      /^cannot load libnosuch\.so\.1 or libnosuch\.so\.2 \(.*libnosuch\.so\.1.*\); install libnosuch \(Debian: libnosuch1\)$/;
    expect(library).toThrow(LibraryError);
    expect(library).toThrow(message);
  });

  test("the error for a library that is too old names the package to update", () => {
    const library = lazyLibrary({
      sonames: ["libc.so.6"],
      packages: "glibc",
      symbols: { no_such_function: { args: [], returns: "void" } },
    });
    expect(library).toThrow(LibraryError);
    expect(library).toThrow(
      /^libc\.so\.6 is too old or broken \(.*no_such_function.*\); update glibc$/,
    );
  });

  test("the error for a process that may not create executable memory says what to remove", () => {
    const script = `
      import { libc } from ${JSON.stringify(join(import.meta.dir, "../ffi/libc.ts"))};
      try { libc(); } catch (error) { console.log(error.name + ": " + error.message); }
    `;
    const { stdout } = Bun.spawnSync([process.execPath, "-e", script], {
      env: { ...process.env, BUN_JSC_useJIT: "0" },
    });
    expect(stdout.toString().trim()).toBe(
      "LibraryError: cannot call C libraries: this process may not make executable memory, which " +
        "bun:ffi needs; remove MemoryDenyWriteExecute=, LimitAS= or BUN_JSC_useJIT=0",
    );
  });
});

describe("an embedded library", () => {
  function embed(...libraries: readonly Partial<EmbeddedLibrary>[]): void {
    const usual = { version: "1.2.3", symbol: "getpid", needs: [], read: () => Buffer.from("x") };
    const embedded = libraries.map((library) => ({ ...usual, ...library }));
    void mock.module("../ffi/embedded.ts", () => ({ embedded }));
  }
  const open = (soname: string) =>
    lazyLibrary({
      sonames: [soname],
      packages: "libown (Debian: libown1)",
      symbols: { mnl_attr_get_type: { args: ["ptr"], returns: "u16" } },
    });

  test("an embedded library is loaded from memory if the system does not have the library", () => {
    libmnl();
    const path = /\/\S*libmnl\.so\S*$/m.exec(readFileSync("/proc/self/maps", "utf8"))![0];
    embed({ soname: "libown.so.1", read: () => readFileSync(path) });
    expect(embeddedVersion("libown")).toBe(null);
    expect(open("libown.so.1")().mnl_attr_get_type).toBeInstanceOf(Function);
    expect(embeddedVersion("libown")).toBe("1.2.3");
    expect(readFileSync("/proc/self/maps", "utf8")).toContain("/memfd:libown.so.1");
  });

  // As with a glibc that is too old, or a policy that forbids it.
  test("an embedded library that the loader rejects is reported as missing", () => {
    embed({ soname: "libown.so.2" });
    expect(open("libown.so.2")).toThrow(LibraryError);
    expect(open("libown.so.2")).toThrow(
      /^cannot load libown\.so\.2 \(.*libown\.so\.2.*; embedded copy: .*file too short.*\); install libown \(Debian: libown1\)$/,
    );
  });

  test("an embedded library that needs another one that the loader rejects is reported as missing, too", () => {
    embed({ soname: "libown.so.3", needs: ["libown.so.4"] }, { soname: "libown.so.4" });
    expect(open("libown.so.3")).toThrow(LibraryError);
    expect(open("libown.so.3")).toThrow(/embedded copy: .*file too short.*\); install libown/);
  });
});
