/**
 * The C libraries that `bun build.ts --release` puts into the program: Debian's, and a libpcap made from
 * Debian's source that compiles filters, and needs no other library. Needs a Debian with
 * apt, a compiler, flex and bison; for another kind of machine, its cross compiler. Sources as apt has
 * them, kept in node_modules/.cache.
 */

import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { basename, join } from "node:path";

import { $ } from "bun";

export type Machine = "x64" | "arm64";

export interface Library {
  readonly name: string;
  readonly soname: string;
  /** Upstream's. */
  readonly version: string;
  /** Debian's source package, with its version. */
  readonly source: readonly [name: string, version: string];
  /** The package that it is taken from; null: it is made from the source. */
  readonly package: string | null;
  /** SPDX */
  readonly licence: string;
  /** A function that it has. */
  readonly symbol: string;
  readonly needs: readonly string[];
  /**
   * Of what apt brought: the library itself for each kind of machine, or the archive with the source.
   * What a compiler makes of that is as reproducible as the compiler.
   */
  readonly sha256: Readonly<Record<Machine, string>> | string;
}

/** Each comes behind those that it needs. */
export const libraries: readonly Library[] = [
  {
    name: "libmnl",
    soname: "libmnl.so.0",
    version: "1.0.4",
    source: ["libmnl", "1.0.4-3"],
    package: "libmnl0",
    licence: "LGPL-2.1-or-later",
    symbol: "mnl_socket_open",
    needs: [],
    sha256: {
      x64: "26e828524b37a408819da0d90532b803c077e44508a0a0f9304dde0f51575b6a",
      arm64: "55ec5d808c2a90f2d7c6250fa86f423319561119892ed93daa116878b26e3e57",
    },
  },
  {
    name: "libnfnetlink",
    soname: "libnfnetlink.so.0",
    version: "1.0.2",
    source: ["libnfnetlink", "1.0.2-2"],
    package: "libnfnetlink0",
    licence: "GPL-2.0-or-later",
    symbol: "nfnl_open",
    needs: [],
    sha256: {
      x64: "1c374d2ff21c195e336edd00b60729129c58b79423ed034ef7b9af2952936866",
      arm64: "5b39ff5e5fbd8e0b92a0a7210a2875398a18bc310ef28d579eb9efc3db82ca0e",
    },
  },
  {
    name: "libnetfilter_log",
    soname: "libnetfilter_log.so.1",
    version: "1.0.2",
    source: ["libnetfilter-log", "1.0.2-3"],
    package: "libnetfilter-log1",
    licence: "GPL-2.0-or-later",
    symbol: "nflog_open",
    needs: ["libmnl.so.0", "libnfnetlink.so.0"],
    sha256: {
      x64: "bc21ae15067718805533c341389cd1a1348c7bcca1f6a763b54c9adb8249cd43",
      arm64: "a630d4a197956e490497ea3c7d9c9df58c63c607d5e2de4337e85d408d6c4a94",
    },
  },
  {
    name: "libpcap",
    soname: "libpcap.so.1",
    version: "1.10.3",
    source: ["libpcap", "1.10.3-1"],
    package: null,
    licence: "BSD-3-Clause",
    symbol: "pcap_lib_version",
    needs: [],
    sha256: "2a8885c403516cf7b0933ed4b14d6caa30e02052489ebd414dc75ac52e7559e6",
  },
];

/**
 * wgmon lets libpcap compile filters and captures by itself. Without its way to capture, libpcap needs
 * nothing newer than glibc 2.14; with it 2.33, which the machines that lack a libpcap may not have.
 */
const LIBPCAP_SETTINGS = [
  "--with-pcap=null",
  ...["dbus", "bluetooth", "usb", "netmap", "rdma", "remote"].map((what) => `--disable-${what}`),
  ...["libnl", "dag", "septel", "snf", "turbocap", "dpdk"].map((what) => `--without-${what}`),
];

const debianNames = { x64: "amd64", arm64: "arm64" } as const;
const triplets = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" } as const;

/**
 * Paths of the libraries for a kind of machine, by soname.
 *
 * @throws Error that says what is missing.
 */
export async function fetchLibraries(
  machine: Machine,
  cache: string,
): Promise<ReadonlyMap<string, string>> {
  const stamp = Bun.hash(JSON.stringify([libraries, LIBPCAP_SETTINGS])).toString(16);
  const folder = join(cache, `libraries-${machine}-${stamp}`);
  if (!existsSync(folder)) {
    requireTools(machine);
    const aside = `${folder}-${process.pid}`;
    await mkdir(aside, { recursive: true });
    try {
      const apt = await privateApt(aside, machine);
      for (const library of libraries) await fetchLibrary(library, { machine, aside, apt });
      await mkdir(join(aside, "done"));
      for (const { soname } of libraries) {
        await rename(join(aside, soname), join(aside, "done", soname));
      }
      await rename(join(aside, "done"), folder);
    } finally {
      await rm(aside, { recursive: true });
    }
  }
  return new Map(libraries.map(({ soname }) => [soname, join(folder, soname)]));
}

/** What is missing here to make the libraries; empty: nothing. */
export function missingTools(machine: Machine): string[] {
  const compiler = machine === process.arch ? "gcc" : `${triplets[machine]}-gcc`;
  const wanted = ["apt-get", "dpkg-deb", "make", "flex", "bison", "tar", compiler];
  return wanted.filter((program) => Bun.which(program) === null);
}

function requireTools(machine: Machine): void {
  const missing = missingTools(machine);
  if (missing.length > 0) throw new Error(`there is no ${missing.join(", ")} here`);
}

/**
 * The system's sources of packages, but with the sources of programs, in a place of our own: nothing of
 * the system changes, whatever machine the packages are for.
 */
async function privateApt(folder: string, machine: Machine): Promise<readonly string[]> {
  const home = join(folder, "apt");
  for (const each of ["parts", "lists/partial", "cache/archives/partial"]) {
    await mkdir(join(home, each), { recursive: true });
  }
  const parts = "/etc/apt/sources.list.d";
  const files = ["/etc/apt/sources.list"];
  for (const name of await readdir(parts).catch(() => [])) files.push(join(parts, name));
  for (const file of files) {
    const text = await readFile(file, "utf8").catch(() => "");
    const changed = file.endsWith(".sources")
      ? text.replaceAll(/^Types:.*$/gm, "Types: deb deb-src")
      : text.replaceAll(/^deb (.*)$/gm, "deb $1\ndeb-src $1");
    await writeFile(
      join(home, "parts", basename(file).replace("sources.list", "main.list")),
      changed,
    );
  }
  const settings = {
    "Dir::Etc::sourcelist": "/dev/null",
    "Dir::Etc::sourceparts": join(home, "parts"),
    "Dir::State::lists": join(home, "lists"),
    "Dir::Cache": join(home, "cache"),
    "APT::Architecture": debianNames[machine],
    "APT::Architectures": debianNames[machine],
    "APT::Sandbox::User": "root",
  };
  const apt = [
    "apt-get",
    "-qq",
    ...Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]),
  ];
  await $`${apt} update`.quiet();
  return apt;
}

interface Place {
  readonly machine: Machine;
  readonly aside: string;
  readonly apt: readonly string[];
}

async function fetchLibrary(library: Library, { machine, aside, apt }: Place): Promise<void> {
  const folder = join(aside, library.name);
  await mkdir(folder);
  const [source, version] = library.source;
  const made = join(aside, library.soname);
  if (library.package !== null) {
    await $`${apt} download ${library.package}=${version}`.cwd(folder).quiet();
    const [archive] = [...new Bun.Glob("*.deb").scanSync(folder)];
    await $`dpkg-deb -x ${archive!} .`.cwd(folder).quiet();
    await cp(join(folder, "usr/lib", triplets[machine], library.soname), made, {
      dereference: true,
    });
    expectSum(library, machine, await readFile(made));
    return;
  }
  await $`${apt} source --download-only ${source}=${version}`.cwd(folder).quiet();
  const [archive] = [...new Bun.Glob("*.orig.tar.*").scanSync(folder)].filter(
    (name) => !name.endsWith(".asc"),
  );
  expectSum(library, machine, await readFile(join(folder, archive!)));
  const host = machine === process.arch ? [] : [`--host=${triplets[machine]}`];
  const tree = join(folder, "tree");
  await mkdir(tree);
  await $`tar -xf ${join(folder, archive!)} --strip-components=1 -C ${tree}`.quiet();
  // No path of this folder may be in it.
  const env = { ...process.env, CFLAGS: `-O2 -ffile-prefix-map=${tree}=.`, SOURCE_DATE_EPOCH: "1" };
  await $`./configure --quiet ${host} ${LIBPCAP_SETTINGS}`.cwd(tree).env(env).quiet();
  await $`make -s -j${cpus().length} shared`.cwd(tree).env(env).quiet();
  await cp(join(tree, `libpcap.so.${library.version}`), made);
}

function expectSum({ name, sha256 }: Library, machine: Machine, bytes: Uint8Array): void {
  const wanted = typeof sha256 === "string" ? sha256 : sha256[machine];
  const found = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  if (found !== wanted) {
    throw new Error(
      `${name} for ${machine} is not what deploy/libraries.ts says: its SHA-256 is ${found}`,
    );
  }
}
