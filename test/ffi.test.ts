/** The tables of C symbols, and the sentence that is said when a library cannot be used. */

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import { libc } from "../ffi/libc.ts";
import { libmnl } from "../ffi/libmnl.ts";
import { libnetfilterLog } from "../ffi/libnetfilter_log.ts";
import { libpcap } from "../ffi/libpcap.ts";
import { lazily } from "../ffi/load.ts";
import { LibraryError } from "../src/errors.ts";

const getpid = { getpid: { args: [], returns: "i32" } } as const;

test.each([
  ["libc", libc],
  ["libmnl", libmnl],
  ["libnetfilter_log", libnetfilterLog],
  ["libpcap", libpcap],
])("every symbol of %s is there", (_name, library) => {
  const symbols = Object.values(library());
  expect(symbols.length).toBeGreaterThan(2);
  for (const symbol of symbols) expect(symbol).toBeInstanceOf(Function);
});

test("a library is opened once", () => {
  expect(libc()).toBe(libc());
});

test("where distributions differ in the number, the next name is tried", () => {
  const library = lazily({
    sonames: ["libnosuch.so.1", "libc.so.6"],
    packages: "libnosuch",
    symbols: getpid,
  });
  expect(library().getpid()).toBe(process.pid);
});

describe("a library that cannot be used is told in one sentence with the next step:", () => {
  test("one that is missing", () => {
    const library = lazily({
      sonames: ["libnosuch.so.1", "libnosuch.so.2"],
      packages: "libnosuch (Debian: libnosuch1)",
      symbols: getpid,
    });
    const message =
      /^cannot load libnosuch\.so\.1 or libnosuch\.so\.2 \(.*libnosuch\.so\.1.*\); install libnosuch \(Debian: libnosuch1\)$/;
    expect(library).toThrow(LibraryError);
    expect(library).toThrow(message);
  });

  test("one that is too old", () => {
    const library = lazily({
      sonames: ["libc.so.6"],
      packages: "glibc",
      symbols: { no_such_function: { args: [], returns: "void" } },
    });
    expect(library).toThrow(LibraryError);
    expect(library).toThrow(
      /^libc\.so\.6 is too old or broken \(.*no_such_function.*\); update glibc$/,
    );
  });

  test("any, where the process may not make executable memory", () => {
    const script = `
      import { libc } from ${JSON.stringify(join(import.meta.dir, "../ffi/libc.ts"))};
      try { libc(); } catch (error) { console.log(error.name + ": " + error.message); }
    `;
    const { stdout } = Bun.spawnSync([process.execPath, "-e", script], {
      env: { ...process.env, BUN_JSC_useJIT: "0" },
    });
    expect(stdout.toString().trim()).toBe(
      "LibraryError: cannot call C libraries: this process may not make executable memory, which " +
        "bun:ffi needs; take away MemoryDenyWriteExecute=, LimitAS= or BUN_JSC_useJIT=0",
    );
  });
});
