/**
 * deploy/setup.mjs in a clone that contains only the files that it reads, with a fake npm registry and a
 * fake package manager: what it installs, what it refuses, and what it prints before it installs.
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { rootCertificates } from "node:tls";

import { bunPackages, lockedPackage } from "../../deploy/bun.mjs";
import { newStateFolder } from "../support/state.ts";

// npm takes seconds to start on a busy machine.
setDefaultTimeout(120_000);

const ROOT = join(import.meta.dir, "../..");
const MACHINE = process.arch as "x64" | "arm64";
const PACKAGE = bunPackages[MACHINE];
const VERSION = lockedPackage(PACKAGE).version;
const missing = ["node", "npm"].filter((program) => Bun.which(program) === null);
const note = missing.length === 0 ? "" : ` [skipped: no ${missing.join(", ")}]`;

/** A fake Bun: prints its version, and records its arguments in the file `asked`. */
const FAKE_BUN = `#!/bin/sh
if [ "$1" = --version ]; then echo ${VERSION}; exit; fi
echo "$*" >>asked
mkdir -p node_modules/bun/bin node_modules/.bin
ln -sf ../bun/bin/bun.exe node_modules/.bin/bun
`;

/** A registry that has one version of one package, with the given archive. */
class Registry implements Disposable {
  archive: Uint8Array;
  asked: string[] = [];
  readonly #server: Bun.Server<undefined>;

  constructor(archive: Uint8Array, name = PACKAGE) {
    this.archive = archive;
    this.#server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: ({ url }) => {
        const { pathname, origin } = new URL(url);
        this.asked.push(decodeURIComponent(pathname));
        if (pathname.endsWith(".tgz")) return new Response(this.archive);
        // The registry's own integrity always matches its archive, so it proves nothing.
        const dist = { tarball: `${origin}/bun.tgz`, integrity: integrityOf(this.archive) };
        const versions = { [VERSION]: { name, version: VERSION, dist } };
        return Response.json({ name, "dist-tags": { latest: VERSION }, versions });
      },
    });
  }

  get url(): string {
    return this.#server.url.href;
  }

  [Symbol.dispose](): void {
    void this.#server.stop(true);
  }
}

class Clone {
  readonly folder = newStateFolder();
  /** The only folder in PATH, apart from root's folders that setup adds. */
  readonly programs = newStateFolder();

  constructor(lockedArchive: Uint8Array) {
    for (const file of ["deploy/setup.mjs", "deploy/bun.mjs", "package.json", "bun.lock"]) {
      mkdirSync(dirname(join(this.folder, file)), { recursive: true });
      cpSync(join(ROOT, file), join(this.folder, file));
    }
    const lock = readFileSync(join(this.folder, "bun.lock"), "utf8");
    const line = new RegExp(`^( {4}"${PACKAGE}": .*)"sha512-[^"]+"`, "m");
    writeFileSync(
      join(this.folder, "bun.lock"),
      lock.replace(line, (_all, start: string) => `${start}"${integrityOf(lockedArchive)}"`),
    );
    for (const name of ["node", "npm", "sh", "mkdir", "ln", "env", "true"]) {
      symlinkSync(Bun.which(name)!, join(this.programs, name));
    }
    this.program("sudo", 'shift; exec "$@"');
  }

  program(name: string, script: string): void {
    writeFileSync(join(this.programs, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    chmodSync(join(this.programs, name), 0o755);
  }

  async setup(registry: Registry, ...flags: readonly string[]) {
    return await this.run(registry, "node", join(this.folder, "deploy/setup.mjs"), ...flags);
  }

  /** Runs a command. Returns its standard output and standard error as one text. */
  async run(registry: Registry, ...command: readonly string[]) {
    const child = Bun.spawn([...command], {
      cwd: "/",
      env: {
        PATH: this.programs,
        HOME: this.folder,
        npm_config_registry: registry.url,
        npm_config_cache: join(this.folder, "npm"),
        npm_config_fetch_retries: "0",
      },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    return { text: stdout + stderr, exitCode: await child.exited };
  }

  read(path: string): string | null {
    try {
      return readFileSync(join(this.folder, path), "utf8");
    } catch {
      return null;
    }
  }
}

function integrityOf(bytes: Uint8Array): string {
  return `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
}

/** An npm archive with this text as the executable of Bun. */
async function archiveOf(bun: string): Promise<Uint8Array> {
  const manifest = JSON.stringify({ name: PACKAGE, version: VERSION });
  const files = { "package/package.json": manifest, "package/bin/bun": bun };
  return await new Bun.Archive(files, { compress: "gzip" }).bytes();
}

const right = await archiveOf(FAKE_BUN);
const wrong = await archiveOf(`${FAKE_BUN}touch tampered\n`);
const EXECUTABLE = `node_modules/${PACKAGE}/bin/bun`;
const CACHED = `node_modules/.cache/${PACKAGE.replace("/", "-")}-${VERSION}/archive.tgz`;

describe.skipIf(missing.length > 0)(`Bun in a clone${note}`, () => {
  test("Bun in a clone is the one in bun.lock, installs the other packages without scripts, and is fetched only once", async () => {
    using registry = new Registry(right);
    const clone = new Clone(right);
    const first = await clone.setup(registry);
    expect(first).toEqual({ text: expect.stringContaining("setup: fetching Bun"), exitCode: 0 });
    expect(clone.read("asked")).toBe("install --frozen-lockfile --ignore-scripts --silent\n");
    expect(clone.read("node_modules/.bin/bun")).toBe(FAKE_BUN);
    expect(registry.asked.filter((path) => path !== `/${PACKAGE}`)).toEqual(["/bun.tgz"]);
    registry.asked = [];
    expect(await clone.setup(registry)).toEqual({ text: "", exitCode: 0 });
    expect(registry.asked).toEqual([]);
  });

  test("Bun is refused if the registry sends another archive", async () => {
    using registry = new Registry(wrong);
    const clone = new Clone(right);
    const { text, exitCode } = await clone.setup(registry);
    expect(exitCode).toBe(1);
    expect(text).toContain(
      `${PACKAGE} ${VERSION} from the npm registry is not the file that bun.lock names`,
    );
    for (const archive of [right, wrong]) {
      expect(text).toContain(createHash("sha512").update(archive).digest("hex"));
    }
    for (const path of ["asked", "tampered", EXECUTABLE, CACHED])
      expect(clone.read(path)).toBeNull();
  });

  test("Bun is fetched again if the cached archive was changed", async () => {
    using registry = new Registry(right);
    const clone = new Clone(right);
    mkdirSync(join(clone.folder, dirname(CACHED)), { recursive: true });
    writeFileSync(join(clone.folder, CACHED), wrong);
    const { text, exitCode } = await clone.setup(registry);
    expect({ text, exitCode }).toEqual({
      text: expect.stringContaining("archive.tgz differs from bun.lock; fetching it again"),
      exitCode: 0,
    });
    expect(clone.read("tampered")).toBeNull();
    expect(new Uint8Array(readFileSync(join(clone.folder, CACHED)))).toEqual(new Uint8Array(right));
  });

  test("Bun replaces an older version, and does not change the file in Bun's cache that node_modules links to", async () => {
    using registry = new Registry(right);
    const clone = new Clone(right);
    const old = "#!/bin/sh\necho 1.0.0\n";
    writeFileSync(join(clone.folder, "cached"), old, { mode: 0o755 });
    mkdirSync(join(clone.folder, "node_modules/bun/bin"), { recursive: true });
    linkSync(join(clone.folder, "cached"), join(clone.folder, "node_modules/bun/bin/bun.exe"));
    expect(await clone.setup(registry)).toMatchObject({ exitCode: 0 });
    expect(clone.read("cached")).toBe(old);
    expect(clone.read("node_modules/.bin/bun")).toBe(FAKE_BUN);
  });

  test("build.ts, too, refuses a Bun for another architecture that differs from bun.lock", async () => {
    const other = MACHINE === "x64" ? "arm64" : "x64";
    using registry = new Registry(wrong, bunPackages[other]);
    const clone = new Clone(right);
    cpSync(join(ROOT, "build.ts"), join(clone.folder, "build.ts"));
    const command = [process.execPath, join(clone.folder, "build.ts"), "--target", other];
    const { text, exitCode } = await clone.run(registry, ...command);
    expect(exitCode).toBe(1);
    expect(text).toContain("build.ts: ");
    expect(text).toContain("is not the file that bun.lock names");
    expect(readdirSync(clone.folder)).not.toContain(`wgmon-${other}`);
  });

  test("Bun is fetched with npm's registry and certificates", async () => {
    using registry = new Registry(right);
    const archive = await archiveOf(
      FAKE_BUN.replace('"$*"', '"$npm_config_registry $NODE_EXTRA_CA_CERTS"'),
    );
    registry.archive = archive;
    const clone = new Clone(archive);
    const cafile = join(clone.folder, "ca.pem");
    writeFileSync(cafile, rootCertificates[0]!);
    writeFileSync(join(clone.folder, ".npmrc"), `cafile=${cafile}\n`);
    expect(await clone.setup(registry)).toMatchObject({ exitCode: 0 });
    expect(clone.read("asked")).toBe(`${registry.url} ${cafile}\n`);
  });

  test("npm's error is printed if Bun cannot be fetched", async () => {
    const clone = new Clone(right);
    const registry = new Registry(right);
    registry[Symbol.dispose]();
    const { text, exitCode } = await clone.setup(registry);
    expect(exitCode).toBe(1);
    expect(text).toMatch(/^setup: npm pack \S+ failed: .*ECONNREFUSED/ms);
  });
});

describe.skipIf(missing.length > 0)(`system packages${note}`, () => {
  /**
   * A fake apt-get that adds one dependency, and runs `upgrade` to print changes of other packages. Without its lists
   * it knows no package before an update.
   */
  function withApt({ upgrade = "", hasLists = true } = {}): Clone {
    const clone = new Clone(right);
    const log = join(clone.folder, "apt");
    const lists = join(clone.folder, "lists");
    if (hasLists) writeFileSync(lists, "");
    clone.program(
      "apt-get",
      `case " $* " in
      " update "*) echo "$*" >>${log}; echo >${lists}; exit;;
      esac
      if [ ! -e ${lists} ]; then echo "E: Unable to locate package" >&2; exit 100; fi
      case " $* " in *" -s "*)
        for word; do case $word in -*|install) ;; *) echo "Inst $word (1 Debian)";; esac; done
        echo "Inst libneeded (2 Debian)"; ${upgrade};;
      *) echo "$*" >>${log};; esac`,
    );
    clone.program("apt-cache", `for word; do echo "Installed-Size: 1000"; done`);
    return clone;
  }

  test("setup --demo prints what it will install, installs only that, and lists it at the end", async () => {
    using registry = new Registry(right);
    const clone = withApt();
    const { text, exitCode } = await clone.setup(registry, "--demo");
    expect(exitCode).toBe(0);
    const lines = text.trim().split("\n");
    const plan = lines.indexOf("setup: npm run demo needs from this system's packages:");
    const firstInstall = lines.findIndex((line) => line.includes("apt-get install"));
    expect(plan).toBeGreaterThan(-1);
    expect(firstInstall).toBeGreaterThan(plan);
    expect(text).toMatch(
      / {2}with what these need: \d+ packages, \d+ MB on disk, .*; no installed package is upgraded/,
    );
    expect(text).toContain("npm run demo itself takes about a minute");
    expect(lines.at(-1)).toMatch(/^setup: installed \d+ packages: .*wireguard-tools.*libneeded/);
    // test/demo.ts lists them again.
    expect(clone.read("node_modules/.installed")).toMatch(/wireguard-tools.*libneeded/);
    const calls = clone.read("apt")!.trim().split("\n");
    for (const call of calls) expect(call).toContain("--no-install-recommends --no-upgrade");
    expect(clone.read("apt")).toContain("wireguard-tools");
    // Packages that only tests use.
    expect(clone.read("apt")).not.toMatch(/gcc|chromium|podman|mmdebstrap|fish|zsh/);
  });

  test.each([
    ["upgrade", 'echo "Inst libc6 [1] (2 Debian)"', "libc6"],
    ["remove", 'echo "Remv passwd [1]"', "passwd"],
  ])("setup installs nothing if apt would %s another package", async (_verb, upgrade, name) => {
    using registry = new Registry(right);
    const clone = withApt({ upgrade });
    const { text } = await clone.setup(registry, "--demo");
    expect(text).toContain(`not installed, because apt would also change ${name}`);
    expect(text).toContain("to allow that: sudo apt-get install --no-install-recommends ");
    expect(text).toContain("setup: the demo cannot run");
    expect(clone.read("apt") ?? "").not.toContain("install");
    expect(text).toContain("; no installed package is upgraded");
    const allowed = await clone.setup(registry, "--demo", "--allow-upgrades");
    expect(allowed.text).toContain(`; apt also upgrades or removes ${name}\n`);
    expect(allowed.text).not.toContain("no installed package is upgraded");
    expect(allowed.text).toContain("setup: installed");
  });

  test("setup fetches missing package lists once, before it prints the plan", async () => {
    using registry = new Registry(right);
    const clone = withApt({ hasLists: false });
    const { text, exitCode } = await clone.setup(registry, "--demo");
    expect(exitCode).toBe(0);
    const lines = text.trim().split("\n");
    const indexOf = (words: string) => lines.findIndex((line) => line.includes(words));
    expect(indexOf("apt-get update -qq")).toBeGreaterThan(-1);
    expect(indexOf("with what these need: ")).toBeGreaterThan(indexOf("apt-get update -qq"));
    expect(indexOf("apt-get install")).toBeGreaterThan(indexOf("with what these need: "));
    expect(clone.read("apt")!.match(/^update/gm)).toHaveLength(1);
  });

  test("setup reports a package that apt does not know even after an update with apt's reason", async () => {
    using registry = new Registry(right);
    const clone = withApt();
    clone.program("apt-get", 'echo "E: no such package" >&2; exit 100');
    const { text } = await clone.setup(registry, "--demo");
    expect(text.match(/apt-get update/g)).toHaveLength(1);
    expect(text).toContain(": cannot be installed: E: no such package");
  });

  test("setup refuses an unknown option", async () => {
    using registry = new Registry(right);
    const { text, exitCode } = await new Clone(right).setup(registry, "--tests");
    expect({ text, exitCode }).toEqual({
      text: "setup: unknown option --tests; it takes --build, --demo, --test, --allow-upgrades\n",
      exitCode: 2,
    });
  });
});
