/**
 * The countries and autonomous systems of addresses, from the user's MMDB files: those of MaxMind, DB-IP and IPinfo. The
 * files are read at the start and at each reload, not when they change, so that an update in place is never read half.
 */

import { readFile, stat } from "node:fs/promises";
import { isIP } from "node:net";

import { Reader } from "mmdb-lib";

import type { Place } from "../alerts/kinds/kind.ts";
import { fileName } from "../base/redact.ts";

/** Files of countries and networks have up to 100 MB. A file of cities may be used too, but costs memory. */
const BYTES_MAX = 256 * 1024 * 1024;
/** The metadata begins after this marker, in the last 128 KiB: MaxMind DB File Format Specification 2.0. */
const MARKER = Buffer.from("\xab\xcd\xefMaxMind.com", "latin1");
const METADATA_BYTES = 128 * 1024;

export interface PlaceFiles {
  /** Returns the place of an address; null: unknown. */
  readonly lookup: (address: string) => Place | null;
  /** What is wrong with the files, each with the remedy. The other files are used. */
  readonly problems: readonly string[];
}

type Get = (address: string) => unknown;

/** Reads the files. If several know the same fact of an address, the first wins. */
export async function readPlaces(paths: readonly string[]): Promise<PlaceFiles> {
  const files: Get[] = [];
  const problems: string[] = [];
  for (const path of paths) {
    const file = await openFile(path);
    if (typeof file === "string") problems.push(`places: ${fileName(path)}: ${file}`);
    else files.push(file);
  }
  return { lookup: (address) => lookup(files, address), problems };
}

/** Returns what is wrong if it is not a file to use. */
async function openFile(path: string): Promise<Get | string> {
  let bytes: Buffer;
  try {
    const { size } = await stat(path);
    if (size > BYTES_MAX) return "is larger than 256 MiB; use a file with countries only";
    bytes = await readFile(path);
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (typeof code !== "string") throw error;
    if (code === "ENOENT")
      return "there is no such file; download an MMDB file, or correct the path";
    const remedy = code === "EACCES" ? "; make it readable for wgmon" : "";
    return `cannot be read: ${code}${remedy}`;
  }
  if (!bytes.subarray(-METADATA_BYTES).includes(MARKER)) return NOT_MMDB;
  // mmdb-lib checks little of a file, and fails in many ways at a damaged one.
  try {
    const reader = new Reader<Record<string, unknown>>(bytes);
    const { binaryFormatMajorVersion, nodeCount, searchTreeSize } = reader.metadata;
    if (binaryFormatMajorVersion !== 2 || !(nodeCount > 0) || !(searchTreeSize < bytes.length)) {
      return NOT_MMDB;
    }
    const get = (address: string) => reader.get(address);
    // Reads the tree, so that a file that was cut off is found now.
    for (const address of ["1.1.1.1", "203.0.113.1", "2001:db8::1"]) tryLookup(get, address);
    return get;
  } catch {
    return NOT_MMDB;
  }
}

const NOT_MMDB = "is not a complete MMDB file (format 2); download it again";

function lookup(files: readonly Get[], address: string): Place | null {
  // An IPv6 address may have a zone: fe80::1%eth0.
  const [plain] = address.split("%");
  if (isIP(plain!) === 0) return null;
  let found = null as Place | null;
  for (const get of files) {
    const place = placeOf(tryLookup(get, plain!));
    if (place === null) continue;
    found = {
      country: found?.country ?? place.country,
      asn: found?.asn ?? place.asn,
      organization: found?.organization ?? place.organization,
    };
  }
  return found;
}

/** null: unknown. A damaged part of the file is as good as unknown. */
function tryLookup(get: Get, address: string): unknown {
  try {
    return get(address);
  } catch {
    return null;
  }
}

/** Reads a record of any of the supported files. */
function placeOf(record: unknown): Place | null {
  if (!isRecord(record)) return null;
  const { country, registered_country: registered } = record;
  const code =
    codeOf(isRecord(country) ? country["iso_code"] : country) ??
    codeOf(record["country_code"]) ??
    codeOf(isRecord(registered) ? registered["iso_code"] : null);
  const asn = asnOf(record["autonomous_system_number"] ?? record["asn"]);
  const name = record["autonomous_system_organization"] ?? record["as_name"] ?? record["name"];
  const organization = asn !== null && typeof name === "string" ? name.slice(0, 100) : null;
  return code === null && asn === null ? null : { country: code, asn, organization };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function codeOf(value: unknown): string | null {
  return typeof value === "string" && /^[A-Z]{2}$/.test(value) ? value : null;
}

/** 3320, `AS3320` */
function asnOf(value: unknown): number | null {
  const number = typeof value === "string" ? Number(/^AS(\d+)$/.exec(value)?.[1]) : value;
  return typeof number === "number" && Number.isInteger(number) && number > 0 ? number : null;
}
