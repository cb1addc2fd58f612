/** The text of --version: wgmon, Bun, and the C libraries as the loader found them. */

import { libmnl } from "../../ffi/libmnl.ts";
import { libnetfilterLog } from "../../ffi/libnetfilter_log.ts";
import { libpcap } from "../../ffi/libpcap.ts";
import { LibraryError } from "../errors.ts";
import { readTextFile } from "../system.ts";

export function versionText(version: string): string {
  const libraries = [
    ["libmnl", () => fileVersion("libmnl", libmnl)],
    ["libnetfilter_log", () => fileVersion("libnetfilter_log", libnetfilterLog)],
    ["libpcap", () => String(libpcap().pcap_lib_version()).replace(/^libpcap version /, "")],
  ] as const;
  const lines = libraries.map(([name, find]) => `${name} ${describe(find)}`);
  return [`wgmon ${version}`, `Bun ${Bun.version}`, ...lines].join("\n");
}

function describe(find: () => string): string {
  try {
    return find();
  } catch (error) {
    if (error instanceof LibraryError) return `not usable: ${error.message}`;
    throw error;
  }
}

/** These two tell their version by the name of their file only: libmnl.so.0.2.0. */
function fileVersion(name: string, open: () => unknown): string {
  open();
  const maps = readTextFile("/proc/self/maps") ?? "";
  return new RegExp(`/${name}\\.so\\.([0-9.]+)$`, "m").exec(maps)?.[1] ?? "of unknown version";
}
