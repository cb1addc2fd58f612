/** Places of addresses from MMDB files: the fields of each vendor, several files, and files that cannot be used. */

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import fc from "fast-check";

import type { Place } from "../../src/alerts/kinds/kind.ts";
import { readPlaces } from "../../src/names/places.ts";
import { type Data, mmdb } from "../support/mmdb.ts";

const folder = mkdtempSync(join(tmpdir(), "wgmon-places-"));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
function file(bytes: Uint8Array): string {
  const path = join(folder, `${count++}.mmdb`);
  writeFileSync(path, bytes);
  return path;
}

async function placeOf(address: string, ...tables: Readonly<Record<string, Data>>[]) {
  const { lookup, problems } = await readPlaces(tables.map((table) => file(mmdb(table))));
  expect(problems).toEqual([]);
  return lookup(address);
}

const GERMANY = { country: "DE", asn: null, organization: null };

describe("readPlaces", () => {
  test.each<[string, Data, Place | null]>([
    [
      "a country of MaxMind or DB-IP",
      { country: { iso_code: "DE", names: { en: "Germany" } } },
      GERMANY,
    ],
    ["a country of registration", { registered_country: { iso_code: "DE" } }, GERMANY],
    [
      "a network of MaxMind or DB-IP",
      { autonomous_system_number: 3320, autonomous_system_organization: "Deutsche Telekom AG" },
      { country: null, asn: 3320, organization: "Deutsche Telekom AG" },
    ],
    [
      "a place of IPinfo",
      { country: "Germany", country_code: "DE", asn: "AS3320", as_name: "Deutsche Telekom AG" },
      { country: "DE", asn: 3320, organization: "Deutsche Telekom AG" },
    ],
    ["an older place of IPinfo", { country: "DE" }, GERMANY],
    ["a record without a place", { is_anycast: true }, null],
    ["a record that is no map", "DE", null],
  ])("the place in a file is read: %s", async (_, record, place) => {
    expect(await placeOf("192.0.2.7", { "192.0.2.0/24": record })).toEqual(place);
  });

  test.each<[string, boolean]>([
    ["192.0.2.7", true],
    ["192.0.3.1", false],
    ["2001:db8::1", true],
    ["2001:db8:ffff::1", true],
    ["2001:db9::1", false],
    ["2001:db8::1%eth0", true],
    ["::ffff:10.0.0.1", false],
    ["", false],
    ["example.net", false],
    ["192.0.2.7:51820", false],
  ])("it is right that the place of %p is known: %p", async (address, isKnown) => {
    const record = { country: { iso_code: "DE" } };
    const place = await placeOf(address, { "192.0.2.0/24": record, "2001:db8::/32": record });
    expect(place).toEqual(isKnown ? GERMANY : null);
  });

  test("several files complete each other, and the first wins", async () => {
    const countries = { "192.0.2.0/24": { country: { iso_code: "DE" } } };
    const networks = {
      "192.0.2.0/25": { autonomous_system_number: 3320, country: { iso_code: "AT" } },
    };
    expect(await placeOf("192.0.2.7", countries, networks)).toEqual({
      country: "DE",
      asn: 3320,
      organization: null,
    });
  });

  test("a file that cannot be used is explained, and the others are used", async () => {
    const good = file(mmdb({ "192.0.2.0/24": { country: { iso_code: "DE" } } }));
    const bytes = mmdb({ "192.0.2.0/24": { country: { iso_code: "DE" } } });
    const paths = [
      join(folder, "absent.mmdb"),
      folder,
      file(Buffer.from("not a database")),
      file(new Uint8Array(0)),
      file(bytes.subarray(0, bytes.length - 200)),
      file(mmdb({}, { binary_format_major_version: 3 })),
      file(mmdb({}, { record_size: 25 })),
    ];
    const { lookup, problems } = await readPlaces([...paths, good]);
    const damaged = "is not a complete MMDB file (format 2); download it again";
    expect(problems.map((problem) => problem.replace(/^places: \S+: /, ""))).toEqual([
      "there is no such file; download an MMDB file, or correct the path",
      "is not a file; give the path of an MMDB file",
      damaged,
      damaged,
      damaged,
      damaged,
      damaged,
    ]);
    expect(lookup("192.0.2.7")).toEqual(GERMANY);
  });

  test("a reload reads changed files, keeps one that became damaged, and forgets one that is no longer named", async () => {
    const germany = file(mmdb({ "192.0.2.0/24": { country: { iso_code: "DE" } } }));
    const other = file(mmdb({ "198.51.100.0/24": { country: { iso_code: "FR" } } }));
    let places = await readPlaces([germany, other]);
    const reload = async (...paths: readonly string[]) => {
      places = await readPlaces(paths, places);
      return places.problems.length;
    };
    writeFileSync(germany, mmdb({ "192.0.2.0/24": { country: { iso_code: "AT" } } }));
    expect(places.lookup("192.0.2.7")?.country).toBe("DE");
    expect(await reload(germany, other)).toBe(0);
    expect(places.lookup("192.0.2.7")?.country).toBe("AT");
    writeFileSync(germany, "damaged");
    expect(await reload(germany)).toBe(1);
    expect(await reload(germany)).toBe(1);
    expect(places.lookup("192.0.2.7")?.country).toBe("AT");
    expect(places.lookup("198.51.100.7")).toBeNull();
    expect(await reload()).toBe(0);
    expect(places.lookup("192.0.2.7")).toBeNull();
  });

  test("a damaged file never causes an exception", async () => {
    const whole = mmdb({
      "192.0.2.0/24": { country: { iso_code: "DE" } },
      "2001:db8::/32": { autonomous_system_number: 3320 },
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        async (changes) => {
          const bytes = Buffer.from(whole);
          for (const [at, value] of changes) bytes[at] = value;
          const path = join(folder, "damaged.mmdb");
          writeFileSync(path, bytes);
          const { lookup } = await readPlaces([path]);
          for (const address of ["192.0.2.7", "2001:db8::1", "1.1.1.1"]) lookup(address);
        },
      ),
      { numRuns: 300 },
    );
  });
});
