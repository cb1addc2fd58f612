/** The text of --version: the versions of wgmon, Bun and the C libraries that are loaded. */

import { LibraryError } from "../../ffi/errors.ts";
import { libmnl } from "../../ffi/libmnl.ts";
import { libnetfilterLog } from "../../ffi/libnetfilter_log.ts";
import { libpcap } from "../../ffi/libpcap.ts";
import { embeddedVersion } from "../../ffi/load.ts";
import { readTextFile } from "./files.ts";

export function versionText(version: string): string {
  const lines = libraryVersions().map(
    ({ name, version: found, failure }) => `${name} ${found ?? `not usable: ${failure}`}`,
  );
  return [`wgmon ${version}`, `Bun ${Bun.version}`, ...lines].join("\n");
}

/** The version of each library, or why the library cannot be used and what to install. */
export function libraryVersions() {
  return [
    library("libmnl", () => fileVersion("libmnl", libmnl)),
    library("libnetfilter_log", () => fileVersion("libnetfilter_log", libnetfilterLog)),
    library("libpcap", () => String(libpcap().pcap_lib_version()).replace(/^libpcap version /, "")),
  ];
}

function library<const Name extends string>(name: Name, find: () => string) {
  try {
    const found = find();
    const embedded = embeddedVersion(name);
    const version = embedded === null ? found : `${embedded} (embedded)`;
    return { name, version, failure: null };
  } catch (error) {
    if (error instanceof LibraryError) return { name, version: null, failure: error.message };
    throw error;
  }
}

/** The version of a library that has it only in its file name: libmnl.so.0.2.0. */
function fileVersion(name: string, open: () => unknown): string {
  open();
  const maps = readTextFile("/proc/self/maps") ?? "";
  return new RegExp(`/${name}\\.so\\.([0-9.]+)$`, "m").exec(maps)?.[1] ?? "of unknown version";
}
