/**
 * What the program is made of and under which licences: the text of NOTICE, and the list of parts for
 * tools (CycloneDX 1.6). `bun deploy/notice.ts` writes NOTICE; build.ts --release uses both.
 */

import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { $ } from "bun";

import { version } from "../package.json";
import { bunPackages, lockedPackage } from "./bun.mjs";
import { libraries, type Machine } from "./libraries.ts";

const ROOT = join(import.meta.dir, "..");
/** Those of what Bun links, which NOTICE lists; "and" because all of it is in the program. */
const BUN_LICENCES =
  "MIT AND LGPL-2.0-or-later AND LGPL-2.1-or-later AND Apache-2.0 AND BSD-2-Clause AND BSD-3-Clause AND Zlib";
const LINE = "=".repeat(80);

interface Package {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  readonly text: string;
}

/** The packages of npm whose code is in the program, by the source map of a build. */
async function bundledPackages(): Promise<Package[]> {
  const folder = await mkdtemp(join(tmpdir(), "wgmon-notice-"));
  try {
    const command = [process.execPath, "build", "src/main.ts", "--target=bun", "--splitting"];
    await $`${command} --sourcemap=external --outdir ${folder}`.cwd(ROOT).quiet();
    const names = new Set<string>();
    for (const file of new Bun.Glob("*.map").scanSync(folder)) {
      const text = await readFile(join(folder, file), "utf8");
      for (const [, name] of text.matchAll(/node_modules\/((?:@[^/"]+\/)?[^/"]+)/g)) {
        names.add(name!);
      }
    }
    return await Promise.all([...names].sort().map(readPackage));
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function readPackage(name: string): Promise<Package> {
  const folder = join(ROOT, "node_modules", name);
  const manifest = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as {
    readonly version: string;
    readonly license: string;
  };
  const file = (await readdir(folder)).find((each) => /^licen[cs]e(\.|$)/i.test(each));
  const text = file === undefined ? "" : await readFile(join(folder, file), "utf8");
  return { name, version: manifest.version, licence: manifest.license, text: tidy(text) };
}

/** The text of NOTICE. Debian has the copyright files and the licences. */
export async function noticeText(): Promise<string> {
  const packages = await bundledPackages();
  const parts = [
    `wgmon ${version}

wgmon's own source is under the MIT licence: see LICENSE. The program that is built
from it also holds what is listed here.

Every build:
  Bun ${Bun.version} (MIT), which links JavaScriptCore and WebKit (LGPL-2.0-or-later, BSD),
  uSockets, uWebSockets and simdutf (Apache-2.0) and others; all of them are listed below
${packages.map((each) => `  ${each.name} ${each.version} (${each.licence})`).join("\n")}

Release builds (npm run release), used where the system has none of its own:
${libraries.map((each) => `  ${each.name} ${each.version} (${each.licence}), Debian's source package ${each.source.join(" ")}`).join("\n")}

libnfnetlink and libnetfilter_log are under the GNU General Public License, version 2 or
later. Whoever passes on a release build passes on a whole that holds them, and does so
under the terms of that licence. Some parts of Bun (uSockets, uWebSockets, simdutf) are
under the Apache License 2.0, which goes with version 3 and not with version 2: for the
whole it is version 3. That means, too, to give the source to those who ask: that of wgmon
is at the commit it was built from, that of the libraries is in the Debian source packages
that are named above, that of Bun is at its release. A build without --release holds none
of these libraries, and has no such terms.

"Or later" is what Debian's records say, below. Upstream's files are less clear: those of
libnfnetlink name no version, and libnetfilter_log.c was published with a header that names
version 2 alone. Whoever passes on a release and needs certainty asks netfilter.org first,
or passes on a build without --release.
`,
    `Bun ${Bun.version}, as its project describes it\n\n${await bunText()}\n`,
    `Bun's own licence: the MIT licence. Copyright (c) Oven and the contributors to Bun\n\n${await mitText()}\n`,
    ...packages.map(({ name, version: its, text }) => `${name} ${its}\n\n${text}\n`),
    `libpcap ${libraries.find(({ name }) => name === "libpcap")!.version}\n\n${await debianText("libpcap0.8")}\n`,
    ...["libmnl0", "libnfnetlink0", "libnetfilter-log1"].map(
      (name) => `${name}, as Debian describes it\n\n@${name}\n`,
    ),
    `Apache License, version 2.0\n\n${await commonLicence("Apache-2.0")}\n`,
    `GNU Library General Public License, version 2\n\n${await commonLicence("LGPL-2")}\n`,
    `GNU Lesser General Public License, version 2.1\n\n${await commonLicence("LGPL-2.1")}\n`,
    `GNU General Public License, version 2\n\n${await commonLicence("GPL-2")}\n`,
    `GNU General Public License, version 3\n\n${await commonLicence("GPL-3")}\n`,
  ];
  const whole = await Promise.all(
    parts.map(async (part) => {
      const name = /\n@(\S+)\n$/.exec(part)?.[1];
      return name === undefined ? part : part.replace(`@${name}`, await debianText(name));
    }),
  );
  return whole.join(`\n${LINE}\n\n`);
}

/** Bun's own list of what is in it, from bun-types, which has the documentation of the same version. */
async function bunText(): Promise<string> {
  const folder = join(ROOT, "node_modules/bun-types");
  const manifest = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as {
    readonly version: string;
  };
  if (manifest.version !== Bun.version) {
    throw new Error(`bun-types is ${manifest.version}, but this is Bun ${Bun.version}`);
  }
  const text = await readFile(join(folder, "docs/project/license.mdx"), "utf8");
  // It begins with a title for the website.
  return tidy(text.replace(/^---\n.*?\n---\n/s, ""));
}

/** The MIT licence without a copyright line. Bun's files name no holder and do not repeat the text. */
async function mitText(): Promise<string> {
  const text = await readFile(join(ROOT, "LICENSE"), "utf8");
  return tidy(text.slice(text.indexOf("Permission is hereby granted")));
}

async function debianText(name: string): Promise<string> {
  return tidy(await readFile(`/usr/share/doc/${name}/copyright`, "utf8"));
}

async function commonLicence(name: string): Promise<string> {
  return tidy(await readFile(`/usr/share/common-licenses/${name}`, "utf8"));
}

/** Whether this machine has all the texts that NOTICE is made from. */
export function hasTexts(): boolean {
  const packages = ["libpcap0.8", "libmnl0", "libnfnetlink0", "libnetfilter-log1"];
  return (
    packages.every((name) => existsSync(`/usr/share/doc/${name}/copyright`)) &&
    ["Apache-2.0", "LGPL-2", "LGPL-2.1", "GPL-2", "GPL-3"].every((name) =>
      existsSync(`/usr/share/common-licenses/${name}`),
    )
  );
}

/** Form feeds are for printers. */
function tidy(text: string): string {
  return text.replaceAll("\r", "").replaceAll("\f", "").trim();
}

/**
 * A bill of materials of a release, CycloneDX 1.6; the same for the same program. Hashes of npm packages are
 * those of their archives, from bun.lock; what licences the whole has, NOTICE explains.
 *
 * @param sums SHA-256 in hexadecimal: of the program as "wgmon", of each C library by its soname.
 */
export async function billOfMaterials(
  machine: Machine,
  sums: ReadonlyMap<string, string>,
): Promise<string> {
  const licences = (expression: string) => [{ expression }];
  const hashes = (sha256: string) => [{ alg: "SHA-256", content: sha256 }];
  const fromNpm = (name: string) => {
    const { version: its, sha512 } = lockedPackage(name);
    return {
      hashes: [{ alg: "SHA-512", content: sha512 }],
      purl: `pkg:npm/${name.replace("@", "%40")}@${its}`,
    };
  };
  const npm = (await bundledPackages()).map((each) => ({
    type: "library",
    name: each.name,
    version: each.version,
    licenses: licences(each.licence),
    ...fromNpm(each.name),
  }));
  const debian = libraries.map(({ name, version: its, licence, source, soname }) => ({
    type: "library",
    name,
    version: its,
    licenses: licences(licence),
    hashes: hashes(sums.get(soname)!),
    purl: `pkg:deb/debian/${source[0]}@${source[1]}?arch=source`,
  }));
  const bun = {
    type: "platform",
    name: "bun",
    version: Bun.version,
    licenses: licences(BUN_LICENCES),
    ...fromNpm(bunPackages[machine]),
  };
  const document = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: {
        type: "application",
        name: "wgmon",
        version,
        licenses: licences("GPL-3.0-only"),
        purl: `pkg:generic/wgmon@${version}?arch=${machine}&os=linux`,
        hashes: hashes(sums.get("wgmon")!),
      },
    },
    components: [bun, ...npm, ...debian],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

if (import.meta.main) await Bun.write(join(ROOT, "NOTICE"), await noticeText());
