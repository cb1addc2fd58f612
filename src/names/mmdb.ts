/**
 * Reads one MMDB file with countries or autonomous systems of addresses: those of MaxMind, DB-IP and IPinfo. Loaded on
 * demand, because few users have such files.
 */

import { readFile, stat } from "node:fs/promises";
import { isIP } from "node:net";

import { Reader } from "mmdb-lib";

import type { Lookup, Place } from "../alerts/kinds/kind.ts";

/** Files of countries and networks have up to 100 MB. A file of cities may be used too, but costs memory. */
const BYTES_MAX = 256 * 1024 * 1024;
/** The metadata begins after this marker, in the last 128 KiB: MaxMind DB File Format Specification 2.0. */
const MARKER = Buffer.from("\xab\xcd\xefMaxMind.com", "latin1");
const METADATA_BYTES = 128 * 1024;

/** Returns the lookup in a file, or what is wrong with the file and the remedy. */
export async function openMmdb(path: string): Promise<Lookup | string> {
  let bytes: Buffer;
  try {
    const found = await stat(path);
    // Reading a pipe would never end.
    if (!found.isFile()) return "is not a file; give the path of an MMDB file";
    if (found.size > BYTES_MAX) return "is larger than 256 MiB; use a file with countries only";
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
    return (address) => lookup((each) => reader.get(each), address);
  } catch {
    return NOT_MMDB;
  }
}

type Get = (address: string) => unknown;

const NOT_MMDB = "is not a complete MMDB file (format 2); download it again";

function lookup(get: Get, address: string): Place | null {
  // An IPv6 address may have a zone: fe80::1%eth0.
  const [plain] = address.split("%");
  return isIP(plain!) === 0 ? null : placeOf(tryLookup(get, plain!));
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
